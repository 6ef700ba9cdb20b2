/**
 * Housekeeping (RUN-9). `purgeKey` is the time a run finished, so that the retention can be changed; a run that must be kept longer (a day
 * from its creation, an hour after its key) gets a later one when purge meets it, and so does not stand in front of the others. What is to
 * go is marked with `purgeAt` first, so that the TTL index finishes what a crash left.
 */
import { purgeAtMs } from "../../domain/run.js";
import type { Purged, Store } from "../store.js";
import type { AnswerDoc } from "./answers.js";
import { purgeBatches } from "./batch-read.js";
import { filterOf } from "./client.js";
import type { Context } from "./context.js";
import type { HeadDoc } from "./heads.js";
import type { KeyDoc } from "./keys.js";
import { partitionOf, type RunDoc, readState, slotHolder, WITHOUT_BODIES } from "./run-doc.js";
import { freeSlots, type SlotsDoc } from "./slots.js";
import { purgeStreams } from "./streams.js";
import type { TokenUseDoc } from "./token-uses.js";
import { purgeWaitpoints } from "./waitpoints.js";

type Purge = Parameters<Store["purge"]>[0];

/** Runs outlive keys that name them, and key records the windows of their runs, by an hour (design 6). */
const KEY_LATER_MS = 3_600_000;

/** Where the searches for unused heads and slots go on. */
export interface PurgeCursor {
  head: string;
  slots: string;
}

export async function purge(context: Context, cursor: PurgeCursor, params: Purge): Promise<Purged> {
  const { nowMs, limit } = params;
  const purged = await purgeRuns(context, params);
  await purgeWaitpoints(context, params);
  await purgeStreams(context, nowMs, limit);
  await purgeBatches(context, params);
  await purgeAnswers(context, nowMs, limit);
  await purgeTokenUses(context, nowMs, limit);
  await purgeKeys(context, nowMs - KEY_LATER_MS, limit);
  await purgeHeads(context, cursor, limit);
  await purgeSlots(context, cursor, limit);
  return purged;
}

async function purgeRuns(context: Context, { nowMs, finishedRunsKeptMs, limit }: Purge): Promise<Purged> {
  const filter = { purgeKey: { $exists: true, $lte: nowMs - finishedRunsKeptMs } };
  const docs = await context.runs.find(filterOf<RunDoc>(filter), {
    sort: { purgeKey: 1 },
    limit,
    projection: WITHOUT_BODIES,
  });
  const due = docs.map((doc) => ({ doc, atMs: purgeAtMs(readState(doc), finishedRunsKeptMs) ?? nowMs }));
  const gone = due.filter(({ atMs }) => atMs <= nowMs).map(({ doc }) => doc);
  const kept = due.filter(({ atMs }) => atMs > nowMs);
  const purgeAt = new Date(context.databaseMs());
  await context.runs.bulk([
    ...kept.map(({ doc, atMs }) => ({
      updateOne: { filter: { _id: doc._id }, update: { $set: { purgeKey: atMs - finishedRunsKeptMs } } },
    })),
    ...gone.map(({ _id }) => ({ updateOne: { filter: { _id }, update: { $set: { purgeAt } } } })),
  ]);
  if (gone.length === 0) return { removed: 0, objectKeys: [] };
  const ids = gone.map(({ _id }) => _id);
  await context.logs.deleteMany({ _id: { $in: ids } });
  await freeSlots(context, { holders: holdersOf(gone), nowMs });
  const removed = await context.runs.deleteMany({ _id: { $in: ids } });
  return { removed, objectKeys: gone.flatMap(({ objects = [] }) => objects) };
}

/** Code that lingered has long ended (CAN-3); a slot that is owed to be freed is too. */
function holdersOf(docs: readonly RunDoc[]): ReadonlyMap<string, readonly string[]> {
  const holders = new Map<string, string[]>();
  for (const doc of docs) {
    const kept = [...(doc.linger ?? []).flatMap(({ g }) => (g === undefined ? [] : [g])), ...(doc.free ?? [])];
    if (kept.length === 0) continue;
    const partition = partitionOf(readState(doc));
    const freed = kept.map((generation) => slotHolder(doc._id, generation));
    holders.set(partition, [...(holders.get(partition) ?? []), ...freed]);
  }
  return holders;
}

async function purgeAnswers(context: Context, nowMs: number, limit: number): Promise<void> {
  const filter = filterOf<AnswerDoc>({ untilMs: { $lte: nowMs } });
  const docs = await context.answers.find(filter, { limit, projection: { _id: 1 } });
  if (docs.length > 0)
    await context.answers.deleteMany({ _id: { $in: docs.map(({ _id }) => _id) }, untilMs: { $lte: nowMs } });
}

async function purgeTokenUses(context: Context, nowMs: number, limit: number): Promise<void> {
  const filter = filterOf<TokenUseDoc>({ forgetAtMs: { $lte: nowMs } });
  const docs = await context.tokenUses.find(filter, { limit, projection: { _id: 1 } });
  if (docs.length > 0) await context.tokenUses.deleteMany({ _id: { $in: docs.map(({ _id }) => _id) } });
}

async function purgeKeys(context: Context, untilMs: number, limit: number): Promise<void> {
  const filter = filterOf<KeyDoc>({ untilMs: { $lte: untilMs } });
  const docs = await context.keys.find(filter, { limit, projection: { _id: 1 } });
  if (docs.length > 0)
    await context.keys.deleteMany({ _id: { $in: docs.map(({ _id }) => _id) }, untilMs: { $lte: untilMs } });
}

/** Heads without runs: of sessions that are gone, or that no claim has looked at since. */
async function purgeHeads(context: Context, cursor: PurgeCursor, limit: number): Promise<void> {
  const docs = await context.heads.aggregate<HeadDoc & { readonly runs: readonly unknown[] }>([
    { $match: { _id: { $gt: cursor.head } } },
    { $sort: { _id: 1 } },
    { $limit: limit },
    {
      $lookup: {
        from: context.runs.name,
        localField: "_id",
        foreignField: "l",
        pipeline: [{ $limit: 1 }, { $project: { _id: 1 } }],
        as: "runs",
      },
    },
  ]);
  const unused = docs.filter(({ runs }) => runs.length === 0);
  await context.heads.bulk(unused.map(({ _id, v }) => ({ deleteOne: { filter: { _id, v } } })));
  cursor.head = docs.length < limit ? "" : (docs.at(-1)?._id ?? "");
}

async function purgeSlots(context: Context, cursor: PurgeCursor, limit: number): Promise<void> {
  const filter = filterOf<SlotsDoc>({ _id: { $gt: cursor.slots } });
  const docs = await context.slots.find(filter, { sort: { _id: 1 }, limit });
  const empty = docs.filter(({ holders, opens }) => holders.length === 0 && opens === undefined);
  const headed =
    empty.length === 0
      ? []
      : await context.heads.findIn(
          "partition",
          empty.map(({ _id }) => _id),
          { partition: 1 },
        );
  const used = new Set(headed.map(({ partition }) => partition));
  await context.slots.bulk(
    empty.filter(({ _id }) => !used.has(_id)).map(({ _id, v }) => ({ deleteOne: { filter: { _id, v } } })),
  );
  cursor.slots = docs.length < limit ? "" : (docs.at(-1)?._id ?? "");
}
