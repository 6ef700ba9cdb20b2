/** Batches as readers, duties and those who wait see them. */
import { type BatchItem, type BatchState, sealed } from "../../domain/batch.js";
import { isFinal, RUN_STATUSES } from "../../domain/run-status.js";
import type { BatchRef, BatchView, FindBatches, ReadBatchItems, RunRef, SealBatch, Store } from "../store.js";
import { type BatchDoc, batchState, type ChunkDoc, chunkItems, isVisible } from "./batch-doc.js";
import { publishBatch } from "./batch-publish.js";
import { filterOf } from "./client.js";
import { type Context, newToken, pause, ROUNDS_MAX, racesLost } from "./context.js";
import type { RunDoc } from "./run-doc.js";

const LIVE = RUN_STATUSES.filter((status) => !isFinal(status));

export async function readBatches(
  context: Context,
  refs: readonly BatchRef[],
): Promise<readonly (BatchView | undefined)[]> {
  const docs = await context.batches.findByIds(refs.map(({ batchId }) => batchId));
  return Promise.all(
    refs.map(async ({ environment, batchId }) => {
      const doc = docs.get(batchId);
      if (doc === undefined || doc.environment !== environment || !isVisible(doc)) return undefined;
      return { batch: batchState(doc), hasLiveRun: await hasLiveRun(context, doc) };
    }),
  );
}

/** Runs that are not published yet are as live as any. */
async function hasLiveRun(context: Context, doc: BatchDoc): Promise<boolean> {
  if (doc.owes !== undefined) return true;
  return (await hasLiveOwn(context, doc)) || (await liveHits(context, doc)).length > 0;
}

async function hasLiveOwn(context: Context, { environment, _id }: BatchDoc): Promise<boolean> {
  const filter = { environment, batchId: { $exists: true, $eq: _id }, status: { $in: LIVE } };
  return (await context.runs.find(filterOf<RunDoc>(filter), { limit: 1, projection: { _id: 1 } })).length > 0;
}

/** Hits that are live. */
async function liveHits(context: Context, { _id: batch }: BatchDoc): Promise<readonly string[]> {
  const chunks = await context.chunks.find(filterOf<ChunkDoc>({ batch, done: true, hits: { $exists: true } }), {
    projection: { hits: 1 },
  });
  const runs = await context.runs.findByIds(
    chunks.flatMap(({ hits = [] }) => hits),
    { status: 1 },
  );
  return [...runs.values()].filter(({ status }) => status !== undefined && !isFinal(status)).map(({ _id }) => _id);
}

/** Documents of one read: a page of 1,000 positions is two chunks of the largest size. */
const CHUNKS_READ = 8;

export async function readBatchItems(
  context: Context,
  { environment, batchId, fromIndex, limit }: ReadBatchItems,
): Promise<readonly BatchItem[]> {
  const doc = (await context.batches.findByIds([batchId])).get(batchId);
  if (doc === undefined || doc.environment !== environment) return [];
  await publishBatch(context, doc);
  const items: BatchItem[] = [];
  let next = fromIndex;
  while (items.length < limit && next < doc.items) {
    const filter = { batch: batchId, done: true, end: { $gt: next } };
    const chunks = await context.chunks.find(filterOf<ChunkDoc>(filter), { sort: { end: 1 }, limit: CHUNKS_READ });
    if (chunks.length === 0) break;
    items.push(...chunks.flatMap(chunkItems).filter(({ index }) => index >= next));
    next = chunks.at(-1)?.end ?? doc.items;
  }
  return items.slice(0, limit);
}

export async function sealBatches(
  context: Context,
  items: readonly SealBatch[],
): Promise<readonly (BatchState | undefined)[]> {
  return Promise.all(items.map((item) => sealBatch(context, item)));
}

async function sealBatch(context: Context, item: SealBatch): Promise<BatchState | undefined> {
  const { environment, batchId, failure, idleSinceMs, nowMs } = item;
  for (let round = 0; round < ROUNDS_MAX; round += 1) {
    const doc = (await context.batches.findByIds([batchId])).get(batchId);
    if (doc === undefined || doc.environment !== environment || !isVisible(doc)) return undefined;
    await publishBatch(context, doc);
    const state = batchState(doc);
    const isTooYoung = idleSinceMs !== undefined && state.updatedAtMs > idleSinceMs;
    if (state.sealedAtMs !== undefined || isTooYoung) return state;
    const next = sealed(state, failure, nowMs);
    // Whoever makes a chunk finds by the token that it comes too late.
    const set = {
      by: newToken(context),
      updatedAtMs: next.updatedAtMs,
      sealedAtMs: next.sealedAtMs,
      purgeKey: next.sealedAtMs,
      ...(failure === undefined ? {} : { failure }),
    };
    const unset: Record<string, ""> = {
      openMs: "",
      openerRun: "",
      makingMs: "",
      ...(next.key === undefined ? { key: "" } : {}),
    };
    const filter = {
      _id: batchId,
      by: doc.by,
      chunks: doc.chunks,
      owes: { $exists: false },
      sealedAtMs: { $exists: false },
    };
    if (await context.batches.updateOne(filterOf<BatchDoc>(filter), { $set: set, $unset: unset })) return next;
    await pause(context, round);
  }
  throw racesLost("a batch");
}

export async function findBatches(context: Context, query: FindBatches): Promise<readonly BatchState[]> {
  if (query.kind === "idle") {
    const filter = { openMs: { $exists: true, $lte: query.untilMs } };
    const docs = await context.batches.find(filterOf<BatchDoc>(filter), { sort: { openMs: 1 }, limit: query.limit });
    return docs.map(batchState);
  }
  const open = await context.batches.find(filterOf<BatchDoc>({ openerRun: { $exists: true } }));
  const runs = await context.runs.findByIds(
    open.flatMap(({ openerRun }) => openerRun ?? []),
    { status: 1, readiness: 1, sessionId: 1, attempt: 1, attemptStartedAtMs: 1 },
  );
  return open
    .filter((doc) => isOver(doc, runs.get(doc.openerRun ?? "")))
    .slice(0, query.limit)
    .map(batchState);
}

/** An attempt is over when its run is held by nobody, by another session, or in another attempt. */
function isOver({ opener }: BatchDoc, run: RunDoc | undefined): boolean {
  if (opener === undefined || run === undefined) return true;
  const { status, readiness } = run;
  const isHeld = status === "EXECUTING" || status === "WAITING" || (status === "QUEUED" && readiness === "bound");
  const isSame =
    run.sessionId === opener.sessionId &&
    run.attempt === opener.number &&
    run.attemptStartedAtMs === opener.startedAtMs;
  return !isHeld || !isSame;
}

export async function doneBatches(context: Context, refs: readonly RunRef[]): Promise<readonly BatchRef[]> {
  const ids = refs.map(({ runId }) => runId);
  const [runs, chunks] = await Promise.all([
    context.runs.findByIds(ids, { environment: 1, batchId: 1 }),
    context.chunks.find(filterOf<ChunkDoc>({ hits: { $in: ids } }), { projection: { batch: 1 } }),
  ]);
  const own = [...runs.values()].flatMap(({ batchId }) => batchId ?? []);
  const environments = new Set(refs.map(({ environment }) => environment));
  const docs = await context.batches.findByIds([...own, ...chunks.map(({ batch }) => batch)]);
  const asked = [...docs.values()].filter(
    ({ awaited, sealedAtMs, owes, environment }) =>
      awaited && sealedAtMs !== undefined && owes === undefined && environments.has(environment),
  );
  const done = await Promise.all(asked.map(async (doc) => ((await settleHits(context, doc)) ? [] : [doc])));
  return done.flat().map(({ environment, _id: batchId }) => ({ environment, batchId }));
}

/** Forgets hits that have ended, so that no look passes them twice. @returns whether some run of the batch is live. */
async function settleHits(context: Context, doc: BatchDoc): Promise<boolean> {
  if (await hasLiveOwn(context, doc)) return true;
  const live = await liveHits(context, doc);
  const filter = filterOf<ChunkDoc>({ batch: doc._id, done: true, hits: { $exists: true } });
  if (live.length === 0) await context.chunks.updateMany(filter, { $unset: { hits: "" } });
  else await context.chunks.updateMany(filter, { $pull: { hits: { $nin: live } } });
  return live.length > 0;
}

const DAY_MS = 86_400_000;
const KEY_LATER_MS = 3_600_000;

/** Batches whose runs are all purged, past their own time and an hour after their key (RUN-9), and creations given up a day ago. */
export async function purgeBatches(
  context: Context,
  { nowMs, finishedRunsKeptMs, limit }: Parameters<Store["purge"]>[0],
): Promise<void> {
  const [due, aborted] = await Promise.all([
    context.batches.find(filterOf<BatchDoc>({ purgeKey: { $exists: true, $lte: nowMs - finishedRunsKeptMs } }), {
      sort: { purgeKey: 1 },
      limit,
    }),
    context.batches.find(filterOf<BatchDoc>({ aborted: true, updatedAtMs: { $lte: nowMs - DAY_MS } }), { limit }),
  ]);
  const gone: string[] = aborted.map(({ _id }) => _id);
  for (const doc of due) {
    const keyEndMs = doc.key === undefined ? 0 : doc.key.expiresAtMs + KEY_LATER_MS;
    const ownMs = Math.max((doc.sealedAtMs ?? nowMs) + finishedRunsKeptMs, doc.createdAtMs + DAY_MS, keyEndMs);
    const own = { environment: doc.environment, batchId: { $exists: true, $eq: doc._id } };
    const runs = await context.runs.find(filterOf<RunDoc>(own), { limit: 1, projection: { _id: 1 } });
    const atMs = runs.length > 0 ? Math.max(ownMs, nowMs + DAY_MS) : ownMs;
    if (atMs <= nowMs) gone.push(doc._id);
    else await context.batches.updateOne({ _id: doc._id }, { $set: { purgeKey: atMs - finishedRunsKeptMs } });
  }
  if (gone.length === 0) return;
  await context.chunks.deleteMany(filterOf<ChunkDoc>({ batch: { $in: gone } }));
  await context.batches.deleteMany({ _id: { $in: gone } });
}
