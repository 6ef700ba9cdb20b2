/**
 * Streams of runs (RUN-27). What came in one message is one document, and its `_id` is the place of its first chunk: of two writers that
 * saw the same last one, one inserts and the other looks again. A document says who wrote it up to which number, so a repeat after a crash
 * finds what is there.
 */
import { publish, type StreamChunk, streamsUntilMs } from "../../domain/run-streams.js";
import type { AppendStream, AppendStreamResult, Store } from "../store.js";
import { filterOf, type Identified } from "./client.js";
import { type Context, pause, ROUNDS_MAX, racesLost } from "./context.js";
import { type RunDoc, readState, WITHOUT_BODIES } from "./run-doc.js";

/** `_id`: the run, which has chunks. Written before the first of them. */
export interface StreamDoc extends Identified {
  /** When to look whether they can go. */
  readonly checkAtMs: number;
}

/** `_id`: run and position of the first chunk. */
export interface StreamChunksDoc extends Identified {
  readonly runId: string;
  readonly source: string;
  /** Number of the last chunk. */
  readonly last: number;
  readonly chunks: readonly { readonly k: string; readonly j: string }[];
  /** Chunks and bytes of the run, these included. */
  readonly total: number;
  readonly bytes: number;
}

export async function appendStreams(
  context: Context,
  items: readonly AppendStream[],
): Promise<readonly AppendStreamResult[]> {
  const runs = await context.runs.findByIds(
    items.map(({ runId }) => runId),
    WITHOUT_BODIES,
  );
  const results: AppendStreamResult[] = [];
  // One after the other: several of one run are in order.
  for (const item of items) results.push(await appendItem(context, runs.get(item.runId), item));
  return results;
}

/** UTF-16 units of JSON in one document: at three bytes each within its 16 MB, with a chunk to spare. */
const DOCUMENT_LENGTH = 4 * 1_024 * 1_024;

async function appendItem(context: Context, doc: RunDoc | undefined, item: AppendStream): Promise<AppendStreamResult> {
  let result: AppendStreamResult = { isChanged: false, refusal: undefined };
  for (let from = 0; from < item.chunks.length; ) {
    let to = from;
    for (let length = 0; to < item.chunks.length && length < DOCUMENT_LENGTH; to += 1) {
      length += item.chunks[to]?.json.length ?? 0;
    }
    const next = await appendOne(context, doc, { ...item, chunks: item.chunks.slice(from, to) });
    result = { isChanged: result.isChanged || next.isChanged, refusal: next.refusal ?? result.refusal };
    from = to;
  }
  return result;
}

async function appendOne(context: Context, doc: RunDoc | undefined, item: AppendStream): Promise<AppendStreamResult> {
  const run = doc === undefined ? undefined : readState(doc);
  if (run === undefined || run.environment !== item.environment) {
    return { isChanged: false, refusal: { reason: "unknown" } };
  }
  const { runId, source, nowMs } = item;
  for (let round = 0; ; round += 1) {
    if (round === ROUNDS_MAX) throw racesLost("a stream");
    if (round > 2) await pause(context, round);
    const newest = await newestOf(context, runId);
    const before = { chunks: newest?.total ?? 0, bytes: newest?.bytes ?? 0 };
    const appliedUpTo = newest === undefined ? 0 : await lastOf(context, runId, source);
    const { added, totals, refusal } = publish(run, before, { ...item, appliedUpTo });
    const last = added.at(-1);
    if (last === undefined) return { isChanged: false, refusal };
    if (newest === undefined) {
      const checkAtMs = streamsUntilMs(run, nowMs);
      const filter = { _id: runId };
      await context.streams.bulk([{ updateOne: { filter, update: { $set: { checkAtMs } }, upsert: true } }]);
    }
    const refused = await context.streamChunks.insertMany([
      {
        _id: idOf(runId, before.chunks + 1),
        runId,
        source,
        last: last.sequence,
        chunks: added.map(({ key, json }) => ({ k: key, j: json })),
        total: totals.chunks,
        bytes: totals.bytes,
      },
    ]);
    if (refused.size === 0) return { isChanged: true, refusal };
  }
}

/** Digits of a position: ids sort as positions do. */
const DIGITS = 9;

function idOf(runId: string, position: number): string {
  return `${runId}|${String(position).padStart(DIGITS, "0")}`;
}

/** Ids of chunks of the run, from a position on. */
function idsFrom(runId: string, position: number): { readonly $gte: string; readonly $lt: string } {
  return { $gte: idOf(runId, position), $lt: `${runId}}` };
}

async function newestOf(context: Context, runId: string): Promise<StreamChunksDoc | undefined> {
  const filter = filterOf<StreamChunksDoc>({ _id: idsFrom(runId, 0) });
  const [newest] = await context.streamChunks.find(filter, { sort: { _id: -1 }, limit: 1, projection: { chunks: 0 } });
  return newest;
}

async function lastOf(context: Context, runId: string, source: string): Promise<number> {
  const filter = filterOf<StreamChunksDoc>({ runId, source });
  const [found] = await context.streamChunks.find(filter, { sort: { last: -1 }, limit: 1, projection: { last: 1 } });
  return found?.last ?? 0;
}

/** Documents of one read; each is what a worker sent in one message, 4 MB at most but for a single chunk. */
const PAGE = 4;

export async function readStream(
  context: Context,
  { environment, runId, after, limit, bytesMax }: Parameters<Store["readStream"]>[0],
): Promise<readonly StreamChunk[]> {
  const run = (await context.runs.findByIds([runId], { environment: 1 })).get(runId);
  if (run?.environment !== environment) return [];
  const { streamChunks } = context;
  // The next one may begin in the middle of a document.
  const upTo = filterOf<StreamChunksDoc>({ _id: { $gte: idOf(runId, 0), $lte: idOf(runId, after + 1) } });
  const [first] = await streamChunks.find(upTo, { sort: { _id: -1 }, limit: 1, projection: { _id: 1 } });
  if (first === undefined) return [];
  const filter = filterOf<StreamChunksDoc>({ _id: { $gte: first._id, $lt: `${runId}}` } });
  const docs = await streamChunks.find(filter, { sort: { _id: 1 }, limit: PAGE });
  const found: StreamChunk[] = [];
  let bytes = 0;
  for (const { total, chunks } of docs) {
    for (const [index, { k: key, j: json }] of chunks.entries()) {
      const position = total - chunks.length + index + 1;
      if (position <= after) continue;
      if (found.length >= limit || bytes >= bytesMax) return found;
      bytes += json.length;
      found.push({ position, key, json });
    }
  }
  return found;
}

export async function purgeStreams(context: Context, nowMs: number, limit: number): Promise<void> {
  const filter = filterOf<StreamDoc>({ checkAtMs: { $lte: nowMs } });
  const docs = await context.streams.find(filter, { sort: { checkAtMs: 1 }, limit });
  if (docs.length === 0) return;
  const ids = docs.map(({ _id }) => _id);
  const runs = await context.runs.findByIds(ids, WITHOUT_BODIES);
  const looked = ids.map((_id) => {
    const doc = runs.get(_id);
    return { _id, untilMs: streamsUntilMs(doc === undefined ? undefined : readState(doc), nowMs) };
  });
  for (const { _id, untilMs } of looked) {
    if (untilMs <= nowMs) await context.streamChunks.deleteMany(filterOf<StreamChunksDoc>({ _id: idsFrom(_id, 0) }));
  }
  await context.streams.bulk(
    looked.map(({ _id, untilMs }) => {
      const one = { _id };
      if (untilMs <= nowMs) return { deleteOne: { filter: one } };
      return { updateOne: { filter: one, update: { $set: { checkAtMs: untilMs } } } };
    }),
  );
}
