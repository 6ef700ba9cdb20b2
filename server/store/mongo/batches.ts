/**
 * Batches without transactions (design 6). A call looks at everything that could refuse it, enters itself as the maker of the chunk, claims
 * the keys, stores what is to become valid, and makes it valid by one guarded write of the batch's record; then it publishes. Until that
 * write nobody sees anything of it. The guard is the token of the maker: whoever takes over (the caller's own repeat, at once) or aborts (who
 * waits, after 5 s) writes another.
 *
 * Nobody waits for others while it holds keys of items: a maker that finds one taken gives back what it has and looks again. So two batches
 * with the same keys in another order cannot block each other.
 */

import { type BatchState, openBatch, withChunk } from "../../domain/batch.js";
import { applyPush } from "../../domain/debounce.js";
import { isWindowOpen } from "../../domain/idempotency.js";
import { decodeId } from "../../domain/ids.js";
import { isRefused } from "../../domain/run-change.js";
import type { InsertBatch, InsertBatchResult, InsertRun } from "../store.js";
import { answersBefore, expiryDate, rememberAnswers } from "./answers.js";
import { type BatchDoc, batchState, type ChunkDoc, chunkId, chunkItems, isVisible, pendingDocs } from "./batch-doc.js";
import { awaitDecisions, type Owing, publishBatch } from "./batch-publish.js";
import { filterOf } from "./client.js";
import { type Context, newToken, pause, ROUNDS_MAX, racesLost } from "./context.js";
import { type DebouncePlan, debouncePlanOf, lookForHolders, pushRuns } from "./debounce.js";
import { HOLDER_FIELDS, holderOfKey, type KeyDoc, type KeyHolder, loserOf } from "./keys.js";
import { ensureQueues, queuedCounts } from "./queues.js";
import type { RunDoc } from "./run-doc.js";

/** Rounds in which a key that names no run is left to whoever claimed it; then it is taken for the trace of a crash. */
const PROMISE_ROUNDS = 10;
const ROUND_PAUSE_MS = 20;

export async function insertBatch(context: Context, params: InsertBatch): Promise<InsertBatchResult> {
  if (decodeId("batch", params.batch.id) === undefined) throw new TypeError(`not a batch id: ${params.batch.id}`);
  for (let round = 0; round < ROUNDS_MAX; round += 1) {
    const result = await insertRound(context, params, round);
    if (result !== "again") return result;
    // Apart from those who lost to each other.
    const spread = (context.entropy.bytes(1)[0] ?? 0) / 255;
    await pause(context, ROUND_PAUSE_MS * (0.5 + spread));
  }
  throw racesLost("a batch");
}

async function insertRound(context: Context, params: InsertBatch, round: number): Promise<InsertBatchResult | "again"> {
  const { batch, items } = params;
  const [docs, before, looked] = await Promise.all([
    context.batches.findByIds([batch.id]),
    heldBatch(context, params),
    look(context, items),
  ]);
  const doc = docs.get(batch.id);
  const answer =
    (doc === undefined ? undefined : await answerOfDoc(context, params, doc, round)) ??
    (await answerOfKey(context, params, doc, before));
  if (answer !== undefined) return answer;
  const decided = await decide(context, params, looked, round);
  if (decided === "again" || "kind" in decided) return decided;
  const token = newToken(context);
  if (!(await begin(context, params, doc, token))) return "again";
  if (!(await claimBatchKey(context, params, before.record, token))) return "again";
  if (items.length === 0)
    return { kind: "created", batch: openBatch(batch), items: [], created: [], ignoredLimits: [] };
  const ensured = await ensureQueues(
    context,
    decided.inserts.map((item) => ({ ...item, name: item.run.queue, environment: item.run.environment })),
  );
  if (!(await claimItemKeys(context, decided, params, token))) return "again";
  // Before the chunk is made: a push that is overtaken is decided anew. Where nobody makes the chunk after all, a run was pushed for nothing.
  const pushed = await pushRuns(context, decided.pushes, token);
  if (pushed.includes(undefined)) {
    await giveBackKeys(context, decided.claims, token);
    return "again";
  }
  const chunk = chunkOf(context, params, decided, token);
  await Promise.all([
    context.chunks.insertMany([chunk]),
    context.pendingRuns.insertMany([
      ...pendingDocs(decided.inserts, { batch: batch.id, token, at: context.databaseMs() }),
    ]),
  ]);
  const made = await commit(context, params, doc, token);
  if (made === undefined) {
    await context.pendingRuns.deleteMany({ batch: batch.id, token });
    await context.chunks.deleteMany({ _id: chunk._id });
    return "again";
  }
  await publishBatch(context, made.doc, { inserts: decided.inserts, dropped: chunk.dropped ?? [] });
  const limited = decided.inserts.filter(
    ({ queueLimit, run }) => queueLimit !== undefined && ensured.ignored.has(`${run.environment}|${run.queue}`),
  );
  return {
    kind: "created",
    batch: made.state,
    items: chunkItems(chunk),
    created: decided.inserts.map(({ run }) => run),
    ignoredLimits: [...new Set(limited.map(({ run }) => run.queue))],
  };
}

// ── what is there already ──────────────────────────────────────────────────────────────────────────────────────────────────────────

interface HeldBatch {
  /** The batch that this request was answered with before. */
  readonly answered: string | undefined;
  readonly record: KeyDoc | undefined;
}

async function heldBatch(context: Context, { batch, request, nowMs }: InsertBatch): Promise<HeldBatch> {
  if (batch.key === undefined) return { answered: undefined, record: undefined };
  const [answers, records] = await Promise.all([
    request === undefined ? undefined : answersBefore(context, [request.hash]),
    context.keys.findByIds([batch.key.recordHash]),
  ]);
  const answer = request === undefined ? undefined : answers?.get(request.hash);
  const answered = answer !== undefined && answer.untilMs > nowMs ? answer.run : undefined;
  return { answered, record: records.get(batch.key.recordHash) };
}

/** The batch that the request was answered with, or that holds the key. */
async function answerOfKey(
  context: Context,
  { batch, chunk, request, nowMs }: InsertBatch,
  doc: BatchDoc | undefined,
  { answered, record }: HeldBatch,
): Promise<InsertBatchResult | "again" | undefined> {
  if (chunk.index !== 0) return doc === undefined ? { kind: "outOfOrder", batch: undefined } : undefined;
  const id = answered ?? record?.run;
  if (id === undefined || id === batch.id) return undefined;
  const holder = (await context.batches.findByIds([id])).get(id);
  if (holder === undefined) return undefined;
  if (holder.makingMs !== undefined && !isVisible(holder)) {
    await awaitDecisions(context, [id]);
    return "again";
  }
  const { key } = holder;
  const holds = key?.recordHash === batch.key?.recordHash && isWindowOpen(key?.expiresAtMs ?? 0, nowMs);
  if (!isVisible(holder) || (answered === undefined && !holds)) return undefined;
  await publishBatch(context, holder);
  if (request !== undefined && answered === undefined) {
    const answer = { requestHash: request.hash, runId: id, isCached: true, untilMs: request.expiresAtMs };
    await rememberAnswers(context, [answer], nowMs);
  }
  return { kind: "cached", batch: batchState(holder) };
}

/** What a batch that is there already answers; undefined: the chunk is to be made, or made to its end. */
async function answerOfDoc(
  context: Context,
  { batch, chunk, items, request }: InsertBatch,
  doc: BatchDoc,
  round: number,
): Promise<InsertBatchResult | "again" | undefined> {
  if (doc.environment !== batch.environment || request === undefined || doc.req !== request.hash) {
    throw new Error(`${batch.id} exists already, and was not made by this request`);
  }
  await publishBatch(context, doc);
  const state = batchState(doc);
  const isMade = doc.streamed ? items.length === 0 || chunk.index < doc.chunks : doc.chunks > 0;
  if (isMade) return { kind: "repeat", batch: state };
  if (doc.sealedAtMs !== undefined) return { kind: "sealed", batch: state };
  if (chunk.index !== doc.chunks || chunk.firstIndex !== doc.items) return { kind: "outOfOrder", batch: state };
  // A repeat takes over at once; repeats that took over from each other let the last one come to its end.
  if (round > 0 && doc.makingMs !== undefined) {
    await awaitDecisions(context, [doc._id]);
    return "again";
  }
  return undefined;
}

// ── what the items come to ─────────────────────────────────────────────────────────────────────────────────────────────────────────

interface Looked {
  readonly holders: ReadonlyMap<string, KeyHolder>;
  /** Of debounce keys, with the states of their runs. */
  readonly debounced: ReadonlyMap<string, KeyHolder>;
  readonly sizes: Map<string, number>;
}

async function look(context: Context, items: readonly InsertRun[]): Promise<Looked> {
  const hashes = items.flatMap(({ run }) => run.key?.recordHash ?? []);
  const sized = items.filter(({ queueSizeMax }) => queueSizeMax !== undefined).map(({ run }) => run);
  const [records, sizes, debounced] = await Promise.all([
    context.keys.findByIds(hashes),
    queuedCounts(context, sized),
    lookForHolders(
      context,
      items.flatMap(({ debounce }) => debounce?.recordHash ?? []),
    ),
  ]);
  const runs = await context.runs.findByIds(
    [...records.values()].map(({ run }) => run),
    HOLDER_FIELDS,
  );
  const nowMs = items[0]?.nowMs ?? 0;
  const holders = new Map(
    hashes.map((hash): [string, KeyHolder] => {
      const record = records.get(hash);
      return [hash, holderOfKey(record, record === undefined ? undefined : runs.get(record.run), nowMs)];
    }),
  );
  return { holders, debounced, sizes: new Map(sizes) };
}

interface Decided {
  /** Position → the run there, of hits. */
  readonly hits: ReadonlyMap<number, string>;
  /** Runs made by others that may be live. */
  readonly liveHits: readonly string[];
  /** New runs, under the ids that they will have. */
  readonly inserts: readonly InsertRun[];
  readonly claims: readonly ItemClaim[];
  /** Debounced runs to be pushed, one push each. */
  readonly pushes: readonly DebouncePlan[];
  /** Position → run id. */
  readonly runIds: readonly string[];
}

interface ItemClaim {
  readonly recordHash: string;
  readonly runId: string;
  readonly untilMs: number;
  readonly holder: KeyHolder;
}

async function decide(
  context: Context,
  { batch, items, nowMs }: InsertBatch,
  { holders, debounced, sizes }: Looked,
  round: number,
): Promise<Decided | InsertBatchResult | "again"> {
  const pending = new Set<string>();
  let isPromised = false;
  for (const holder of [...holders.values(), ...debounced.values()]) {
    if (holder.kind !== "promised" || holder.record.batch === batch.id) continue;
    if (holder.record.batch !== undefined) pending.add(holder.record.batch);
    else isPromised = holder.record.untilMs > nowMs || isPromised;
  }
  if (pending.size > 0 && round < PROMISE_ROUNDS) {
    await awaitDecisions(context, [...pending]);
    return "again";
  }
  if (isPromised && round < PROMISE_ROUNDS) return "again";

  const hits = new Map<number, string>();
  const liveHits = new Set<string>();
  const inserts: InsertRun[] = [];
  const claims = new Map<string, ItemClaim>();
  const runIds: string[] = [];
  const pushing = new Map<string, InsertRun>();
  const delayed = new Map<string, number>();
  for (const [at, item] of items.entries()) {
    const { run } = item;
    const hash = run.key?.recordHash;
    const own = hash === undefined ? undefined : claims.get(hash)?.runId;
    const holder = hash === undefined ? undefined : holders.get(hash);
    const found = own ?? (holder?.kind === "held" && holder.keeps ? holder.run._id : undefined);
    if (found !== undefined) {
      hits.set(at, found);
      runIds.push(found);
      if (own === undefined) liveHits.add(found);
      continue;
    }
    const pushed = pushOf(item, { debounced, pushing, delayed, inserts });
    if (pushed !== undefined) {
      runIds.push(pushed.runId);
      if (pushed.isForeign) liveHits.add(pushed.runId);
      continue;
    }
    const queue = `${run.environment}|${run.queue}`;
    const size = sizes.get(queue) ?? 0;
    if (item.queueSizeMax !== undefined && size >= item.queueSizeMax) return { kind: "queueFull", index: at, size };
    if (run.status === "QUEUED") sizes.set(queue, size + 1);
    const debounceHash = item.debounce?.recordHash;
    const debounceHolder = debounceHash === undefined ? undefined : debounced.get(debounceHash);
    const runId = promisedBy(holder, nowMs) ?? promisedBy(debounceHolder, nowMs) ?? run.id;
    if (run.key !== undefined && hash !== undefined && holder !== undefined) {
      claims.set(hash, { recordHash: hash, runId, untilMs: run.key.expiresAtMs, holder });
    }
    if (debounceHash !== undefined && debounceHolder !== undefined) {
      const untilMs = run.dueMs ?? nowMs;
      claims.set(debounceHash, { recordHash: debounceHash, runId, untilMs, holder: debounceHolder });
      delayed.set(debounceHash, inserts.length);
    }
    inserts.push({ ...item, run: { ...run, id: runId } });
    runIds.push(runId);
  }
  const pushes = [...pushing].flatMap(([hash, item]) => debouncePlanOf(item, debounced.get(hash)) ?? []);
  return { hits, liveHits: [...liveHits], inserts, claims: [...claims.values()], pushes, runIds };
}

/** The run that a creation which was cut off promised. */
function promisedBy(holder: KeyHolder | undefined, nowMs: number): string | undefined {
  return holder?.kind === "promised" && holder.record.untilMs > nowMs ? holder.record.run : undefined;
}

interface Debouncing {
  readonly debounced: ReadonlyMap<string, KeyHolder>;
  /** Debounce key → what becomes of the calls that push its run. */
  readonly pushing: Map<string, InsertRun>;
  /** Debounce key → the new run of this call that holds it. */
  readonly delayed: ReadonlyMap<string, number>;
  readonly inserts: InsertRun[];
}

/** DEB-10: the run that a debounced item pushes, of others or of this very call; undefined: it makes a run. */
function pushOf(
  item: InsertRun,
  { debounced, pushing, delayed, inserts }: Debouncing,
): { readonly runId: string; readonly isForeign: boolean } | undefined {
  const { debounce, run, nowMs } = item;
  if (debounce === undefined) return undefined;
  const at = delayed.get(debounce.recordHash);
  const own = at === undefined ? undefined : inserts[at];
  if (own !== undefined && at !== undefined) {
    const { tags, maxAttempts, maxDurationSeconds } = run;
    const replacement = debounce.isTrailing ? { tags, maxAttempts, maxDurationSeconds } : undefined;
    const applied = applyPush(own.run, { ...debounce, nowMs, replacement });
    if (isRefused(applied)) return undefined;
    inserts[at] = { ...(debounce.isTrailing ? replaced(own, item) : own), run: applied.next };
    return { runId: own.run.id, isForeign: false };
  }
  const before = pushing.get(debounce.recordHash);
  const push = before === undefined ? item : debounce.isTrailing ? replaced(before, item) : before;
  const plan = debouncePlanOf(push, debounced.get(debounce.recordHash));
  if (plan === undefined) return undefined;
  pushing.set(debounce.recordHash, push);
  return { runId: plan.doc._id, isForeign: true };
}

/** DEB-3: what the later of two calls leaves of the earlier. */
function replaced(before: InsertRun, later: InsertRun): InsertRun {
  const { tags, maxAttempts, maxDurationSeconds } = before.run;
  const run = {
    ...later.run,
    tags: later.run.tags.length === 0 ? tags : later.run.tags,
    maxAttempts: later.run.maxAttempts ?? maxAttempts,
    maxDurationSeconds: later.run.maxDurationSeconds ?? maxDurationSeconds,
  };
  return { ...later, metadataJson: later.metadataJson ?? before.metadataJson, run };
}

// ── making ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

/** Enters this call as the maker. @returns false: somebody else was quicker. */
async function begin(
  context: Context,
  { batch, request, items }: InsertBatch,
  doc: BatchDoc | undefined,
  token: string,
): Promise<boolean> {
  const makingMs = context.databaseMs();
  if (doc !== undefined) {
    const filter = { _id: doc._id, by: doc.by, chunks: doc.chunks, sealedAtMs: { $exists: false } };
    const key = batch.key === undefined ? {} : { key: batch.key };
    return context.batches.updateOne(filterOf<BatchDoc>(filter), {
      $set: { by: token, makingMs, ...(doc.aborted === true ? key : {}) },
      $unset: { aborted: "" },
    });
  }
  const { environment, id, nowMs, opener } = batch;
  const made: BatchDoc = {
    _id: id,
    environment,
    ...(request === undefined ? {} : { req: request.hash }),
    streamed: batch.isStreamed,
    awaited: batch.isAwaited,
    ...(batch.key === undefined ? {} : { key: batch.key }),
    ...(opener === undefined ? {} : { opener, openerRun: opener.runId }),
    items: 0,
    chunks: 0,
    createdAtMs: nowMs,
    updatedAtMs: nowMs,
    ...(batch.isStreamed ? { openMs: nowMs } : {}),
    by: token,
    ...(items.length === 0 ? {} : { makingMs }),
  };
  return (await context.batches.insertMany([made])).size === 0;
}

/** BAT-20. @returns false: another batch was quicker; then nothing is left of this one. */
async function claimBatchKey(
  context: Context,
  { batch, chunk, nowMs }: InsertBatch,
  record: KeyDoc | undefined,
  token: string,
): Promise<boolean> {
  const { key, id, environment } = batch;
  if (key === undefined || chunk.index > 0 || record?.run === id) return true;
  const { recordHash, expiresAtMs: untilMs } = key;
  const expireAt = expiryDate(context, untilMs, nowMs);
  let isOurs: boolean;
  if (record === undefined) {
    const doc = { _id: recordHash, environment, run: id, untilMs, expireAt, by: token };
    isOurs = (await context.keys.insertMany([doc])).size === 0;
  } else {
    const update = { $set: { run: id, by: token }, $max: { untilMs, expireAt } };
    isOurs = await context.keys.updateOne(filterOf<KeyDoc>({ _id: recordHash, run: record.run }), update);
  }
  if (!isOurs) await context.batches.deleteMany(filterOf<BatchDoc>({ _id: id, by: token, chunks: 0 }));
  return isOurs;
}

/** @returns false: one is taken; then those that were claimed are as they were. */
async function claimItemKeys(
  context: Context,
  { claims }: Decided,
  { batch, nowMs }: InsertBatch,
  token: string,
): Promise<boolean> {
  if (claims.length === 0) return true;
  const { environment, id } = batch;
  await context.keys.bulk(
    claims.map(({ recordHash, runId, untilMs, holder }) => {
      const expireAt = expiryDate(context, untilMs, nowMs);
      const from = loserOf(holder);
      const ours = { run: runId, batch: id, by: token, ...(from === undefined ? {} : { from }) };
      if (holder.kind === "none") {
        return { insertOne: { document: { _id: recordHash, environment, untilMs, expireAt, ...ours } } };
      }
      const filter = filterOf<KeyDoc>({ _id: recordHash, run: holder.record.run });
      return { updateOne: { filter, update: { $set: ours, $max: { untilMs, expireAt } } } };
    }),
  );
  const present = await context.keys.findByIds(claims.map(({ recordHash }) => recordHash));
  const won = claims.filter(({ recordHash }) => present.get(recordHash)?.by === token);
  if (won.length === claims.length) return true;
  await giveBackKeys(context, won, token);
  return false;
}

async function giveBackKeys(context: Context, claims: readonly ItemClaim[], token: string): Promise<void> {
  await context.keys.bulk(
    claims.map(({ recordHash, holder }) => {
      const filter = filterOf<KeyDoc>({ _id: recordHash, by: token });
      if (holder.kind === "none") return { deleteOne: { filter } };
      return { updateOne: { filter, update: { $set: { run: holder.record.run }, $unset: { by: "", batch: "" } } } };
    }),
  );
}

function chunkOf(context: Context, { batch, chunk, items }: InsertBatch, decided: Decided, token: string): ChunkDoc {
  const { hits, claims, runIds, liveHits } = decided;
  const tasks = [...new Set(items.map(({ run }) => run.taskId))];
  const numbers = new Map(tasks.map((task, number) => [task, number]));
  const keys = items.map(({ run }) => run.key?.text ?? null);
  const dropped = claims.flatMap(({ recordHash, holder }) => {
    const runId = loserOf(holder);
    return runId === undefined ? [] : [{ runId, recordHash }];
  });
  return {
    _id: chunkId(batch.id, chunk.firstIndex, token),
    batch: batch.id,
    token,
    first: chunk.firstIndex,
    end: chunk.firstIndex + items.length,
    runs: runIds,
    tasks,
    ...(tasks.length === 1 ? {} : { task: items.map(({ run }) => numbers.get(run.taskId) ?? 0) }),
    ...(hits.size === 0 ? {} : { cached: [...hits.keys()] }),
    ...(keys.every((key) => key === null) ? {} : { keys }),
    ...(liveHits.length === 0 ? {} : { hits: liveHits }),
    ...(dropped.length === 0 ? {} : { dropped }),
    at: context.databaseMs(),
  };
}

/** The write that makes the chunk valid. @returns the record after it; undefined: this call makes it no longer. */
async function commit(
  context: Context,
  { batch, items, nowMs }: InsertBatch,
  doc: BatchDoc | undefined,
  token: string,
): Promise<{ readonly doc: Owing; readonly state: BatchState } | undefined> {
  const before = doc === undefined ? openBatch(batch) : batchState(doc);
  const next = withChunk(before, items.length, nowMs);
  const { sealedAtMs, updatedAtMs } = next;
  const filter = { _id: batch.id, by: token, chunks: before.chunkCount, makingMs: { $exists: true } };
  const set = {
    items: next.itemCount,
    chunks: next.chunkCount,
    updatedAtMs,
    ...(sealedAtMs === undefined ? { openMs: updatedAtMs } : { sealedAtMs, purgeKey: sealedAtMs }),
    owes: nowMs,
  };
  const isMade = await context.batches.updateOne(filterOf<BatchDoc>(filter), {
    $set: set,
    $unset: { makingMs: "" },
  });
  if (!isMade) return undefined;
  return { doc: { _id: batch.id, environment: batch.environment, by: token, owes: nowMs }, state: next };
}

/** For those who meet a key that names a run which is not there. @returns whether such a run may be there now. */
export async function settlePromises(
  context: Context,
  records: readonly KeyDoc[],
  runs: ReadonlyMap<string, RunDoc>,
): Promise<boolean> {
  const pending = records.flatMap(({ run, batch }) => (batch === undefined || runs.has(run) ? [] : [batch]));
  if (pending.length === 0) return false;
  await awaitDecisions(context, [...new Set(pending)]);
  return true;
}
