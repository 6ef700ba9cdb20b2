/**
 * New runs, a page at a time and in few steps: what is known is read together, decisions are made in order, key records are claimed, the
 * runs are inserted in one unordered write whose duplicates tell the repeats, and what follows is done together.
 *
 * A plain run (no key) costs that one write: a repeat of its request meets its own id. An item that lost a race, or that depends on
 * another of the same call, comes round again; so the number of steps does not grow with the number of items.
 */
import { Binary } from "mongodb";
import { createRaceLost, storeUnavailable } from "../../domain/error.js";
import { decodeId } from "../../domain/ids.js";
import type { RunState } from "../../domain/run.js";
import type { InsertRun, InsertRunResult } from "../store.js";
import { type Answer, answersBefore, rememberAnswers } from "./answers.js";
import { settlePromises } from "./batches.js";
import { type Context, newToken, pause, ROUNDS_MAX } from "./context.js";
import {
  type DebounceHolder,
  type DebouncePlan,
  debouncePlanOf,
  forgetAnswers,
  hasPushed,
  lookForHolders,
  pushRuns,
} from "./debounce.js";
import { type FollowUp, followUp } from "./follow-up.js";
import { claimKeys, dropKeys, HOLDER_FIELDS, holderOfKey, type KeyClaim, type KeyHolder, loserOf } from "./keys.js";
import { ensureQueues, queuedCounts } from "./queues.js";
import { newRunDoc, type RunDoc, WITHOUT_BODIES } from "./run-doc.js";
import type { Snapshot } from "./settings.js";
import { type KnownUse, knownUse, useTokens } from "./token-uses.js";

/** One item on its way. */
interface Entry {
  readonly index: number;
  readonly item: InsertRun;
  /** Its id, or its key's record, met another: look for an own earlier run before anything else. */
  readonly isSecondLook: boolean;
  /** An earlier round of this call used up its one-time token for a push that was overtaken. */
  readonly hasUsedToken?: true;
}

interface Call {
  readonly token: string;
  readonly results: (InsertRunResult | undefined)[];
  /** Runs stored by this call. */
  readonly made: string[];
}

export async function insertRuns(context: Context, items: readonly InsertRun[]): Promise<readonly InsertRunResult[]> {
  for (const { run } of items) {
    if (decodeId("run", run.id) === undefined) throw new TypeError(`not a run id: ${run.id}`);
  }
  const call: Call = { token: newToken(context), results: items.map(() => undefined), made: [] };
  let left: readonly Entry[] = items.map((item, index) => ({ index, item, isSecondLook: false }));
  // Items that depend on each other come one to a round, so only rounds that bring nothing count.
  for (let round = 0; left.length > 0; round += 1) {
    if (round === ROUNDS_MAX) throw raceLost(left);
    if (round > 2) await pause(context, round);
    const { now, later } = firstOfEach(left);
    const before = left.length;
    try {
      left = [...(await insertRound(context, call, now)), ...later].toSorted((a, b) => a.index - b.index);
    } catch (error) {
      // Nothing of the call is acknowledged; what was made and not yet taken goes, so that a refused call leaves nothing behind.
      if (error instanceof ClashError)
        await context.runs.deleteMany({ _id: { $in: call.made }, version: 1, by: call.token });
      throw error;
    }
    if (left.length < before) round = -1;
  }
  return call.results.map((result) => {
    if (result === undefined) throw new Error("an item was left without a result");
    return result;
  });
}

function raceLost(left: readonly Entry[]): Error {
  const key = left.find(({ item }) => item.run.key !== undefined)?.item.run.key;
  return key === undefined ? storeUnavailable() : createRaceLost(key.text);
}

/** Items of one key, of one token, or of one id, see each other in order: one at a time. */
function firstOfEach(entries: readonly Entry[]): { readonly now: readonly Entry[]; readonly later: readonly Entry[] } {
  const seen = new Set<string>();
  const later: Entry[] = [];
  const now = entries.filter((entry) => {
    const { run, debounce, token } = entry.item;
    const names = [run.id, run.key?.recordHash, debounce?.recordHash, token?.hash].filter((name) => name !== undefined);
    if (names.some((name) => seen.has(name))) {
      later.push(entry);
      return false;
    }
    for (const name of names) seen.add(name);
    return true;
  });
  return { now, later };
}

/** @returns entries that come round again. */
async function insertRound(context: Context, call: Call, entries: readonly Entry[]): Promise<readonly Entry[]> {
  const known = await look(context, entries);
  const again: Entry[] = [];
  const lookAgain = (entry: Entry): void => {
    again.push({ ...entry, isSecondLook: true });
  };
  const decided = decide(call, entries, known);
  const plans = decided.filter((decision) => decision.kind === "insert");
  for (const decision of decided) if (decision.kind === "again") lookAgain(decision.entry);
  await useForHits(context, call, { decided, known, lookAgain });
  // Hits are remembered under their request before they are answered, pushes before they are made.
  await forgetAnswers(context, known.answersToForget);
  await rememberAnswers(context, known.answersToKeep, nowOf(entries));
  await pushFor(context, call, { decided, lookAgain });
  const ensured = await ensureQueues(
    context,
    plans.map(({ entry: { item } }) => ({ ...item, name: item.run.queue, environment: item.run.environment })),
  );
  const won = await useFor(context, await claimFor(context, plans));
  const inserting = plans.filter((plan) => {
    if (won.has(plan)) return true;
    lookAgain(plan.entry);
    return false;
  });
  const snapshots = await readSettings(context, inserting);
  const docs = inserting.map((plan) => docOf(call, plan, snapshots.get(plan.run.environment)));
  const duplicates = await context.runs.insertMany(docs);
  const created: { readonly plan: Plan; readonly doc: RunDoc }[] = [];
  inserting.forEach((plan, index) => {
    const doc = docs[index];
    if (duplicates.has(index)) lookAgain(plan.entry);
    else if (doc !== undefined) created.push({ plan, doc });
  });
  call.made.push(...created.map(({ doc }) => doc._id));
  for (const { plan } of created) {
    if (plan.run.status === "QUEUED") context.sizes.grew(`${plan.run.environment}|${plan.run.queue}`);
  }
  await finish(context, created);
  for (const { plan } of created) {
    const { item, index } = plan.entry;
    const queueLimitIgnored =
      item.queueLimit !== undefined && ensured.ignored.has(`${plan.run.environment}|${plan.run.queue}`);
    call.results[index] = { kind: "created", run: plan.run, queueLimitIgnored };
  }
  return again;
}

function nowOf(entries: readonly Entry[]): number {
  return entries[0]?.item.nowMs ?? 0;
}

// ── what is known ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────

interface Known {
  readonly own: ReadonlyMap<string, RunDoc>;
  readonly answers: Awaited<ReturnType<typeof answersBefore>>;
  readonly holders: ReadonlyMap<string, KeyHolder>;
  readonly useOf: (item: InsertRun) => KnownUse;
  readonly debounce: ReadonlyMap<string, DebounceHolder>;
  /** Runs that answers of pushes name. */
  readonly pushed: ReadonlyMap<string, RunDoc>;
  /** QUEUED runs by `environment|queue`. */
  readonly sizes: Map<string, number>;
  /** Filled by {@link decide}. */
  readonly answersToKeep: Answer[];
  readonly answersToForget: string[];
}

async function look(context: Context, entries: readonly Entry[]): Promise<Known> {
  const keyed = entries.flatMap(({ item }) => (item.run.key === undefined ? [] : [item]));
  const asked = entries.filter(
    ({ item, isSecondLook }) => isSecondLook || (isKeyed(item) && item.request !== undefined),
  );
  const requests = asked.flatMap(({ item }) =>
    isKeyed(item) && item.request !== undefined ? [item.request.hash] : [],
  );
  const debounced = entries.flatMap(({ item }) => item.debounce?.recordHash ?? []);
  const [own, answers, records, uses, sizes, debounce] = await Promise.all([
    context.runs.findByIds(
      asked.map(({ item }) => item.run.id),
      HOLDER_FIELDS,
    ),
    answersBefore(context, requests),
    context.keys.findByIds(keyed.flatMap(({ run }) => (run.key === undefined ? [] : [run.key.recordHash]))),
    context.tokenUses.findByIds(entries.flatMap(({ item }) => item.token?.hash ?? [])),
    sizesOf(context, entries),
    lookForHolders(context, debounced),
  ]);
  const pushes = [...answers.values()].filter(({ push }) => push === true).map(({ run }) => run);
  const named = [...records.values(), ...uses.values()].map(({ run }) => run);
  const [present, pushed] = await Promise.all([
    context.runs.findByIds(named, HOLDER_FIELDS),
    context.runs.findByIds(pushes, WITHOUT_BODIES),
  ]);
  const wasPending = await settlePromises(context, [...records.values()], present);
  const runs = wasPending ? await context.runs.findByIds(named, HOLDER_FIELDS) : present;
  const holders = new Map(
    keyed.map(({ run, nowMs }): [string, KeyHolder] => {
      const hash = run.key?.recordHash ?? "";
      const record = records.get(hash);
      return [hash, holderOfKey(record, record === undefined ? undefined : runs.get(record.run), nowMs)];
    }),
  );
  const useOf = ({ token, request, nowMs }: InsertRun): KnownUse => {
    const record = token === undefined ? undefined : uses.get(token.hash);
    return knownUse({
      record,
      run: record === undefined ? undefined : runs.get(record.run),
      requestHash: request?.hash,
      nowMs,
    });
  };
  const found = { own, answers, holders, debounce, pushed, useOf };
  return { ...found, sizes, answersToKeep: [], answersToForget: [] };
}

/** Its answer may be another run than its own. */
function isKeyed({ run, debounce, token }: InsertRun): boolean {
  return run.key !== undefined || debounce !== undefined || token !== undefined;
}

/** Sizes of the queues whose size is to be checked. */
async function sizesOf(context: Context, entries: readonly Entry[]): Promise<Map<string, number>> {
  const sizes = new Map<string, number>();
  const counting: RunState[] = [];
  for (const { item } of entries) {
    if (item.queueSizeMax === undefined) continue;
    const queue = `${item.run.environment}|${item.run.queue}`;
    const size = context.sizes.far(queue, item.queueSizeMax);
    if (size === undefined) counting.push(item.run);
    else sizes.set(queue, size);
  }
  const counts = await queuedCounts(context, counting);
  for (const { environment, queue: name } of counting) {
    const queue = `${environment}|${name}`;
    const size = counts.get(queue) ?? 0;
    sizes.set(queue, size);
    context.sizes.learn(queue, size);
  }
  return sizes;
}

// ── decisions ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

/** A run to be inserted. */
interface Plan {
  readonly kind: "insert";
  readonly entry: Entry;
  readonly run: RunState;
  readonly key: KeyClaim | undefined;
  readonly debounce: KeyClaim | undefined;
  /** The token is to be used up by it; false where its record names this run already. */
  readonly usesToken: boolean;
}

/** A run to be pushed. */
interface Push extends DebouncePlan {
  readonly kind: "push";
  readonly entry: Entry;
  readonly usesToken: boolean;
}

/** An existing run is the answer, once the one-time token is used up by it. */
interface TokenHit {
  readonly kind: "tokenHit";
  readonly entry: Entry;
  readonly holder: RunDoc;
}

/** What is under way at others has to come to its end first. */
interface Again {
  readonly kind: "again";
  readonly entry: Entry;
}

type Decision = Plan | TokenHit | Push | Again;

/** A run of this id exists, and was not made by this request: a mistake of ours. */
class ClashError extends Error {}

function decide(call: Call, entries: readonly Entry[], known: Known): readonly Decision[] {
  return entries.flatMap((entry) => {
    const decided = decideOne(entry, known);
    if ("entry" in decided) return [decided];
    call.results[entry.index] = decided;
    return [];
  });
}

function decideOne(entry: Entry, known: Known): InsertRunResult | Decision {
  const { item } = entry;
  const { run, request, nowMs } = item;
  const own = known.own.get(run.id);
  if (own !== undefined) {
    if (request !== undefined && own.req === request.hash) return { kind: "repeat", runId: run.id, isCached: false };
    // Another request with the same key or one-time token may have kept the promise of this one.
    if (!isKeyed(item)) throw new ClashError(`${run.id} exists already, and was not made by this request`);
  }
  const answer = request === undefined || !isKeyed(item) ? undefined : known.answers.get(request.hash);
  if (answer?.push === true) {
    const doc = known.pushed.get(answer.run);
    if (doc !== undefined && hasPushed(doc, answer._id)) return { kind: "repeat", runId: answer.run, isCached: false };
    // A crash, or a lost race, came between the answer and its effect; the call is decided anew.
    known.answersToForget.push(answer._id);
  } else if (answer !== undefined && answer.untilMs > nowMs) {
    return { kind: "repeat", runId: answer.run, isCached: answer.cached };
  }
  const use: KnownUse = entry.hasUsedToken === true ? { kind: "none" } : known.useOf(item);
  if (use.kind === "own" && answer?.push !== true) return { kind: "repeat", runId: use.runId, isCached: use.isCached };
  if (use.kind === "used") return { kind: "tokenUsed" };
  const holder = run.key === undefined ? undefined : known.holders.get(run.key.recordHash);
  if (holder?.kind === "held" && holder.keeps) {
    if (item.token === undefined || holder.run.req === request?.hash) return hit(entry, holder.run, known);
    return use.kind === "promised" ? { kind: "again", entry } : { kind: "tokenHit", entry, holder: holder.run };
  }
  const debounceHolder = item.debounce === undefined ? undefined : known.debounce.get(item.debounce.recordHash);
  const push = use.kind === "promised" ? undefined : debouncePlanOf(item, debounceHolder);
  if (push !== undefined) {
    if (request !== undefined) known.answersToKeep.push(push.answer(request));
    return { kind: "push", ...push, entry, usesToken: usesToken(entry, use) };
  }
  const queue = `${run.environment}|${run.queue}`;
  const size = known.sizes.get(queue) ?? 0;
  if (item.queueSizeMax !== undefined && size >= item.queueSizeMax) return { kind: "queueFull", size };
  if (run.status === "QUEUED") known.sizes.set(queue, size + 1);
  return planOf(entry, { key: holder, debounce: debounceHolder, use });
}

function hit({ item }: Entry, holder: RunDoc, known: Known): InsertRunResult {
  const { request } = item;
  if (request === undefined) return { kind: "cached", runId: holder._id };
  if (holder.req === request.hash) return { kind: "repeat", runId: holder._id, isCached: false };
  known.answersToKeep.push({
    requestHash: request.hash,
    runId: holder._id,
    isCached: true,
    untilMs: request.expiresAtMs,
  });
  return { kind: "cached", runId: holder._id };
}

function planOf(
  entry: Entry,
  known: {
    readonly key: KeyHolder | undefined;
    readonly debounce: DebounceHolder | undefined;
    readonly use: KnownUse;
  },
): Plan | Again {
  const { run, debounce, nowMs } = entry.item;
  const promisedByToken = known.use.kind === "promised" ? known.use.runId : undefined;
  const promisedByKey = promisedBy(known.key, nowMs);
  // Two promises of two creations that were cut off: each is kept by the repeat of its own request.
  if (promisedByKey !== undefined && promisedByToken !== undefined && promisedByToken !== promisedByKey) {
    return { kind: "again", entry };
  }
  const runId = promisedByKey ?? promisedByToken ?? promisedBy(known.debounce, nowMs) ?? run.id;
  const claim = (recordHash: string, untilMs: number, holder: KeyHolder): KeyClaim => {
    return { recordHash, environment: run.environment, runId, untilMs, nowMs, holder };
  };
  return {
    kind: "insert",
    entry,
    run: { ...run, id: runId },
    key:
      run.key === undefined || known.key === undefined
        ? undefined
        : claim(run.key.recordHash, run.key.expiresAtMs, known.key),
    debounce:
      debounce === undefined || known.debounce === undefined
        ? undefined
        : claim(debounce.recordHash, run.dueMs ?? nowMs, known.debounce),
    usesToken: usesToken(entry, known.use),
  };
}

function usesToken({ item, hasUsedToken }: Entry, use: KnownUse): boolean {
  return item.token !== undefined && use.kind === "none" && hasUsedToken !== true;
}

/** The id that a key's record names; one whose window is over and whose run is gone promises nothing any more. */
function promisedBy(holder: KeyHolder | undefined, nowMs: number): string | undefined {
  return holder?.kind === "promised" && holder.record.untilMs > nowMs ? holder.record.run : undefined;
}

// ── writing ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

/** Plans whose key, if they have one, names their run. */
async function claimFor(context: Context, plans: readonly Plan[]): Promise<ReadonlySet<Plan>> {
  const won = await claimEach(context, plans, ({ key }) => key);
  return new Set(await claimEach(context, won, ({ debounce }) => debounce));
}

async function claimEach(
  context: Context,
  plans: readonly Plan[],
  claimOf: (plan: Plan) => KeyClaim | undefined,
): Promise<readonly Plan[]> {
  const claims = plans.flatMap((plan) => {
    const claim = claimOf(plan);
    return claim === undefined ? [] : [{ plan, claim }];
  });
  const claimed = await claimKeys(
    context,
    claims.map(({ claim }) => claim),
  );
  const lost = new Set(claims.filter((_, index) => claimed[index] !== true).map(({ plan }) => plan));
  return plans.filter((plan) => !lost.has(plan));
}

/** Of these plans those whose one-time token, if they have one, is used up by their run. */
async function useFor(context: Context, plans: ReadonlySet<Plan>): Promise<ReadonlySet<Plan>> {
  const using = [...plans].flatMap((plan) => {
    const { token, request, nowMs } = plan.entry.item;
    if (token === undefined || !plan.usesToken) return [];
    return [{ plan, use: { token, runId: plan.run.id, isCached: false, requestHash: request?.hash, nowMs } }];
  });
  const lost = await useTokens(
    context,
    using.map(({ use }) => use),
  );
  const losers = new Set(using.filter((_, index) => lost.has(index)).map(({ plan }) => plan));
  return new Set([...plans].filter((plan) => !losers.has(plan)));
}

/** Hits by one-time tokens: the use first, for it decides who is answered. */
async function useForHits(
  context: Context,
  call: Call,
  round: {
    readonly decided: readonly Decision[];
    readonly known: Known;
    readonly lookAgain: (entry: Entry) => void;
  },
): Promise<void> {
  const hits = round.decided.filter((decision) => decision.kind === "tokenHit");
  const lost = await useTokens(
    context,
    hits.flatMap(({ entry: { item }, holder }) => {
      const { token, request, nowMs } = item;
      return token === undefined
        ? []
        : [{ token, runId: holder._id, isCached: true, requestHash: request?.hash, nowMs }];
    }),
  );
  hits.forEach(({ entry, holder }, index) => {
    if (lost.has(index)) round.lookAgain(entry);
    else call.results[entry.index] = hit(entry, holder, round.known);
  });
}

/** Debounced calls that push: the use of a one-time token first, for it decides whether the call is answered at all. */
async function pushFor(
  context: Context,
  call: Call,
  round: { readonly decided: readonly Decision[]; readonly lookAgain: (entry: Entry) => void },
): Promise<void> {
  const pushes = round.decided.filter((decision) => decision.kind === "push");
  const using = pushes.flatMap((push) => {
    const { token, request, nowMs } = push.entry.item;
    if (token === undefined || !push.usesToken) return [];
    // Named like a run that existed before: a push makes none.
    return [{ push, use: { token, runId: push.doc._id, isCached: true, requestHash: request?.hash, nowMs } }];
  });
  const lost = await useTokens(
    context,
    using.map(({ use }) => use),
  );
  const losers = new Set(using.filter((_, index) => lost.has(index)).map(({ push }) => push));
  const going = pushes.filter((push) => !losers.has(push));
  const pushed = await pushRuns(context, going, call.token);
  for (const push of losers) round.lookAgain(push.entry);
  going.forEach((push, index) => {
    const run = pushed[index];
    if (run === undefined) round.lookAgain({ ...push.entry, ...(push.usesToken ? { hasUsedToken: true } : {}) });
    else call.results[push.entry.index] = { kind: "pushed", run };
  });
}

async function readSettings(context: Context, plans: readonly Plan[]): Promise<ReadonlyMap<string, Snapshot>> {
  const environments = [...new Set(plans.map(({ run }) => run.environment))];
  return new Map(
    await Promise.all(
      environments.map(async (name): Promise<[string, Snapshot]> => [name, await context.settings.read(name)]),
    ),
  );
}

function docOf(call: Call, { run, entry }: Plan, snapshot: Snapshot | undefined): RunDoc {
  const { item } = entry;
  const isLimited = snapshot?.of(run.queue).limit !== undefined;
  const { spec, metadataJson, request, nowMs, debounce, objectKeys } = item;
  const insert = { run, spec: new Binary(spec), metadataJson, requestHash: request?.hash, objectKeys, nowMs };
  return newRunDoc(insert, { isLimited, token: call.token, debounceHash: debounce?.recordHash });
}

async function finish(
  context: Context,
  created: readonly { readonly plan: Plan; readonly doc: RunDoc }[],
): Promise<void> {
  const owed: FollowUp[] = [];
  const dropped: { readonly runId: string; readonly recordHash: string }[] = [];
  const answers: Answer[] = [];
  for (const { plan, doc } of created) {
    const { run, key, entry } = plan;
    if (doc.owes !== undefined) {
      const { queue, concurrencyKey, environment } = run;
      owed.push({
        run: { _id: run.id, environment, l: doc.l, pos: doc.pos, queue, concurrencyKey },
        free: [],
        owed: 1,
      });
    }
    const loser = key === undefined ? undefined : loserOf(key.holder);
    if (key !== undefined && loser !== undefined) dropped.push({ runId: loser, recordHash: key.recordHash });
    const { request } = entry.item;
    // Its repeat could not find it by its own id.
    if (request !== undefined && run.id !== entry.item.run.id) {
      answers.push({ requestHash: request.hash, runId: run.id, isCached: false, untilMs: request.expiresAtMs });
    }
  }
  const nowMs = created[0]?.plan.entry.item.nowMs ?? 0;
  await Promise.all([
    followUp(context, owed, nowMs),
    dropKeys(context, dropped),
    rememberAnswers(context, answers, nowMs),
  ]);
}
