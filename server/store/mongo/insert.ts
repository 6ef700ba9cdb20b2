/**
 * New runs, a page at a time and in few steps: what is known is read together, decisions are made in order, key records are claimed, the
 * runs are inserted in one unordered write whose duplicates tell the repeats, and what follows is done together.
 *
 * A plain run (no key) costs that one write: a repeat of its request meets its own id. An item that lost a race, or that depends on
 * another of the same call, comes round again; so the number of steps does not grow with the number of items.
 */
import { Binary, type Document } from "mongodb";
import { createRaceLost, storeUnavailable } from "../../domain/error.js";
import { decodeId } from "../../domain/ids.js";
import type { RunState } from "../../domain/run.js";
import type { InsertRun, InsertRunResult } from "../store.js";
import { type Answer, answersBefore, rememberAnswers } from "./answers.js";
import { type Context, newToken, pause, ROUNDS_MAX } from "./context.js";
import { type FollowUp, followUp } from "./follow-up.js";
import { claimKeys, dropKeys, HOLDER_FIELDS, holderOfKey, type KeyClaim, type KeyHolder } from "./keys.js";
import { ensureQueues, queuedCounts } from "./queues.js";
import { fieldsOf, isClaimable, type RunDoc } from "./run-doc.js";
import type { Snapshot } from "./settings.js";
import { type KnownUse, knownUse, useTokens } from "./token-uses.js";

/** One item on its way. */
interface Entry {
  readonly index: number;
  readonly item: InsertRun;
  /** Its id, or its key's record, met another: look for an own earlier run before anything else. */
  readonly isSecondLook: boolean;
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
  for (let round = 0; left.length > 0; round += 1) {
    if (round === ROUNDS_MAX) throw raceLost(left);
    if (round > 2) await pause(context, round);
    const { now, later } = firstOfEach(left);
    try {
      left = [...(await insertRound(context, call, now)), ...later].toSorted((a, b) => a.index - b.index);
    } catch (error) {
      // Nothing of the call is acknowledged; what was made and not yet taken goes, so that a refused call leaves nothing behind.
      if (error instanceof ClashError)
        await context.runs.deleteMany({ _id: { $in: call.made }, version: 1, by: call.token });
      throw error;
    }
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
    const { id, key } = entry.item.run;
    const names = [id, key?.recordHash, entry.item.token?.hash].filter((name) => name !== undefined);
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
  // Hits are remembered under their request before they are answered.
  await rememberAnswers(context, known.answersToKeep, nowOf(entries));
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
  /** QUEUED runs by `environment|queue`. */
  readonly sizes: Map<string, number>;
  /** Filled by {@link decide}. */
  readonly answersToKeep: Answer[];
}

async function look(context: Context, entries: readonly Entry[]): Promise<Known> {
  const keyed = entries.flatMap(({ item }) => (item.run.key === undefined ? [] : [item]));
  const asked = entries.filter(
    ({ item, isSecondLook }) =>
      isSecondLook || ((item.run.key !== undefined || item.token !== undefined) && item.request !== undefined),
  );
  const requests = keyed.flatMap(({ request }) => (request === undefined ? [] : [request.hash]));
  const sized = entries.filter(({ item }) => item.queueSizeMax !== undefined).map(({ item }) => item.run);
  const [own, answers, records, uses, sizes] = await Promise.all([
    context.runs.findByIds(
      asked.map(({ item }) => item.run.id),
      HOLDER_FIELDS,
    ),
    answersBefore(context, requests),
    context.keys.findByIds(keyed.flatMap(({ run }) => (run.key === undefined ? [] : [run.key.recordHash]))),
    context.tokenUses.findByIds(entries.flatMap(({ item }) => item.token?.hash ?? [])),
    queuedCounts(context, sized),
  ]);
  const runs = await context.runs.findByIds(
    [...records.values(), ...uses.values()].map(({ run }) => run),
    HOLDER_FIELDS,
  );
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
  return { own, answers, holders, useOf, sizes: new Map(sizes), answersToKeep: [] };
}

// ── decisions ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

/** A run to be inserted. */
interface Plan {
  readonly kind: "insert";
  readonly entry: Entry;
  readonly run: RunState;
  readonly key: KeyClaim | undefined;
  /** The token is to be used up by it; false where its record names this run already. */
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

type Decision = Plan | TokenHit | Again;

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
    // Another request with the same one-time token may have kept the promise of this one.
    if (run.key === undefined && item.token === undefined)
      throw new ClashError(`${run.id} exists already, and was not made by this request`);
  }
  const answer = request === undefined || run.key === undefined ? undefined : known.answers.get(request.hash);
  if (answer !== undefined && answer.untilMs > nowMs) {
    return { kind: "repeat", runId: answer.run, isCached: answer.cached };
  }
  const use = known.useOf(item);
  if (use.kind === "own") return { kind: "repeat", runId: use.runId, isCached: use.isCached };
  if (use.kind === "used") return { kind: "tokenUsed" };
  const holder = run.key === undefined ? undefined : known.holders.get(run.key.recordHash);
  if (holder?.kind === "held" && holder.keeps) {
    if (item.token === undefined || holder.run.req === request?.hash) return hit(entry, holder.run, known);
    return use.kind === "promised" ? { kind: "again", entry } : { kind: "tokenHit", entry, holder: holder.run };
  }
  const queue = `${run.environment}|${run.queue}`;
  const size = known.sizes.get(queue) ?? 0;
  if (item.queueSizeMax !== undefined && size >= item.queueSizeMax) return { kind: "queueFull", size };
  if (run.status === "QUEUED") known.sizes.set(queue, size + 1);
  return planOf(entry, holder, use);
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

function planOf(entry: Entry, holder: KeyHolder | undefined, use: KnownUse): Plan | Again {
  const { run, nowMs, token } = entry.item;
  const usesToken = token !== undefined && use.kind === "none";
  const promisedId = use.kind === "promised" ? use.runId : undefined;
  if (run.key === undefined || holder === undefined) {
    return { kind: "insert", entry, run: { ...run, id: promisedId ?? run.id }, key: undefined, usesToken };
  }
  // A record whose window is over and whose run is gone promises nothing any more.
  const isPromised = holder.kind === "promised" && holder.record.untilMs > nowMs;
  // Two promises of two creations that were cut off: each is kept by the repeat of its own request.
  if (isPromised && promisedId !== undefined && promisedId !== holder.record.run) return { kind: "again", entry };
  const runId = isPromised ? holder.record.run : (promisedId ?? run.id);
  const { recordHash, expiresAtMs: untilMs } = run.key;
  const key = { recordHash, environment: run.environment, runId, untilMs, nowMs, holder };
  return { kind: "insert", entry, run: { ...run, id: runId }, key, usesToken };
}

// ── writing ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

/** Plans whose key, if they have one, names their run. */
async function claimFor(context: Context, plans: readonly Plan[]): Promise<ReadonlySet<Plan>> {
  const keyed = plans.flatMap((plan) => (plan.key === undefined ? [] : [{ plan, key: plan.key }]));
  const claimed = await claimKeys(
    context,
    keyed.map(({ key }) => key),
  );
  const lost = new Set(keyed.filter((_, index) => claimed[index] !== true).map(({ plan }) => plan));
  return new Set(plans.filter((plan) => !lost.has(plan)));
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
  const owes = isLimited && isClaimable(run);
  const doc: Document = {
    _id: run.id,
    ...fieldsOf(run, isLimited),
    limited: isLimited,
    gen: 0,
    by: call.token,
    owed: owes ? 1 : 0,
    owes: owes ? item.nowMs : undefined,
    req: item.request?.hash,
    spec: new Binary(item.spec),
    meta: item.metadataJson,
  };
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- made of a whole RunState just above
  return doc as RunDoc;
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
    if (key?.holder.kind === "held") dropped.push({ runId: key.holder.run._id, recordHash: key.recordHash });
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
