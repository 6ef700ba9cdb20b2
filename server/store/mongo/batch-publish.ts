/**
 * What follows the making of a batch, and what comes of a making that does not end. A chunk is valid once its batch's record says so; its
 * runs are then published, by the call that made it or by whoever comes first: a reader, a caller that met one of its keys, `repair`.
 */

import { Binary } from "mongodb";
import type { InsertRun } from "../store.js";
import { type BatchDoc, type ChunkDoc, type PendingDoc, pendingRuns } from "./batch-doc.js";
import { filterOf } from "./client.js";
import type { Context } from "./context.js";
import { newToken, pause, racesLost } from "./context.js";
import { type FollowUp, followUp } from "./follow-up.js";
import { dropKeys } from "./keys.js";
import { newRunDoc } from "./run-doc.js";

/** A making without an end for this long may be aborted by whoever waits for it (design 6). */
const STALLED_MS = 5_000;
/** Nobody waits: `repair` gives it this long. */
const ABANDONED_MS = 60_000;
/** A publishing under way is left alone for this long. */
const PATIENCE_MS = 5_000;
/** Documents of a making that came to nothing. */
const LEFTOVER_MS = 3_600_000;

const POLL_MS = 20;
const POLL_MAX_MS = 200;
/** More turns than ten makings that stall one after the other take. */
const POLLS_MAX = 500;

/** A batch with runs to be published. */
export type Owing = Pick<BatchDoc, "_id" | "environment" | "by" | "owes">;

interface Made {
  readonly inserts: readonly InsertRun[];
  readonly dropped: NonNullable<ChunkDoc["dropped"]>;
}

/**
 * Publishes the runs of the last chunk, made under `doc.by`. Safe to repeat, and by several at once.
 * @param made what is to be published, for the call that made it; default: it is read.
 */
export async function publishBatch(context: Context, doc: Owing, made?: Made): Promise<void> {
  if (doc.owes === undefined) return;
  const { _id: batch, by: token, owes: nowMs, environment } = doc;
  const { runs, dropped } = made === undefined ? await readMade(context, batch, token) : ofInserts(made);
  const snapshot = await context.settings.read(environment);
  const docs = runs.map(({ run, spec, metadataJson, debounceHash, objectKeys }) => {
    const isLimited = snapshot.of(run.queue).limit !== undefined;
    return newRunDoc(
      { run, spec, metadataJson, requestHash: undefined, objectKeys, nowMs },
      { isLimited, token, debounceHash },
    );
  });
  const duplicates = await context.runs.insertMany(docs);
  const owed = docs.flatMap((stored, index): readonly FollowUp[] => {
    const run = runs[index]?.run;
    if (run === undefined || stored.owes === undefined || duplicates.has(index)) return [];
    const { queue, concurrencyKey } = run;
    return [
      { run: { _id: run.id, environment, l: stored.l, pos: stored.pos, queue, concurrencyKey }, free: [], owed: 1 },
    ];
  });
  await Promise.all([
    followUp(context, owed, nowMs),
    dropKeys(context, dropped),
    context.chunks.updateMany(filterOf<ChunkDoc>({ batch, token }), { $set: { done: true }, $unset: { at: "" } }),
  ]);
  // The mark goes before what it stands for: without it nobody would look for the runs, with it nobody misses them.
  await context.batches.updateOne(filterOf<BatchDoc>({ _id: batch, by: token }), { $unset: { owes: "" } });
  await context.pendingRuns.deleteMany(filterOf<PendingDoc>({ batch, token }));
}

async function readMade(context: Context, batch: string, token: string) {
  const [pending, chunks] = await Promise.all([
    context.pendingRuns.find(filterOf<PendingDoc>({ batch, token })),
    context.chunks.find(filterOf<ChunkDoc>({ batch, token })),
  ]);
  return { runs: pendingRuns(pending), dropped: chunks.flatMap(({ dropped = [] }) => dropped) };
}

function ofInserts({ inserts, dropped }: Made) {
  const runs = inserts.map(({ run, spec, metadataJson, debounce, objectKeys }) => {
    return { run, spec: new Binary(spec), metadataJson, debounceHash: debounce?.recordHash, objectKeys };
  });
  return { runs, dropped };
}

/** Waits until none of these batches is being made, and publishes what was; a making that stalls is aborted. */
export async function awaitDecisions(context: Context, batchIds: readonly string[]): Promise<void> {
  for (let poll = 0; poll < POLLS_MAX; poll += 1) {
    const docs = [...(await context.batches.findByIds(batchIds)).values()];
    for (const doc of docs) await publishBatch(context, doc);
    const making = docs.filter(({ makingMs }) => makingMs !== undefined);
    if (making.length === 0) return;
    await abort(
      context,
      making.filter(({ makingMs = 0 }) => makingMs <= context.databaseMs() - STALLED_MS),
    );
    await pause(context, Math.min(POLL_MS * (poll + 1), POLL_MAX_MS));
  }
  throw racesLost("a batch");
}

/** Whoever makes one of these finds by the token that it may not end it, and begins anew. */
async function abort(context: Context, docs: readonly BatchDoc[]): Promise<void> {
  await context.batches.bulk(
    docs.map(({ _id, by, streamed }) => ({
      updateOne: {
        filter: filterOf<BatchDoc>({ _id, by, makingMs: { $exists: true } }),
        update: {
          $set: { by: newToken(context), ...(streamed ? {} : { aborted: true }) },
          $unset: { makingMs: "" },
        },
      },
    })),
  );
}

/** @returns how many were repaired. */
export async function repairBatches(
  context: Context,
  { nowMs, limit }: { readonly nowMs: number; readonly limit: number },
): Promise<number> {
  const [owing, abandoned, pending, chunks] = await Promise.all([
    context.batches.find(filterOf<BatchDoc>({ owes: { $exists: true, $lte: nowMs - PATIENCE_MS } }), { limit }),
    context.batches.find(filterOf<BatchDoc>({ makingMs: { $exists: true, $lte: nowMs - ABANDONED_MS } }), { limit }),
    context.pendingRuns.find(filterOf<PendingDoc>({ at: { $lte: nowMs - LEFTOVER_MS } }), {
      limit,
      projection: { batch: 1, token: 1 },
    }),
    context.chunks.find(filterOf<ChunkDoc>({ at: { $exists: true, $lte: nowMs - LEFTOVER_MS } }), {
      limit,
      projection: { batch: 1, token: 1 },
    }),
  ]);
  for (const doc of owing) await publishBatch(context, doc);
  await abort(context, abandoned);
  await removeLeftovers(context, [...pending, ...chunks]);
  return owing.length + abandoned.length;
}

/** Documents under a token that is not, or no longer, that of their batch. */
async function removeLeftovers(
  context: Context,
  found: readonly { readonly batch: string; readonly token: string }[],
): Promise<void> {
  if (found.length === 0) return;
  const docs = await context.batches.findByIds(found.map(({ batch }) => batch));
  const tokens = new Map(found.map(({ batch, token }) => [token, batch]));
  const unused = [...tokens].filter(([token, batch]) => docs.get(batch)?.by !== token).map(([token]) => token);
  await context.pendingRuns.deleteMany(filterOf<PendingDoc>({ token: { $in: unused } }));
  await context.chunks.deleteMany(filterOf<ChunkDoc>({ token: { $in: unused }, done: { $exists: false } }));
}
