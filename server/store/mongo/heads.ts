/**
 * Heads: what a claim looks at instead of the runs of a limited partition. One for each (partition, target) with waiting runs, with the
 * position of the best. Heads are hints, the slots and the runs are the truth, and these rules keep a head from hiding a run:
 *
 * - A run that starts to wait makes its head, or betters its position, and opens it, before its `owes` is cleared. So a position is never
 *   worse than that of the best run; claimers correct one that is better.
 * - Whoever makes, betters or opens a head gives it a new version, unlike every one before. A claimer moves, deletes or closes a head only
 *   under the version that it read before it read runs and slots; what it learned of them cannot be older than the head.
 * - Settings are cached, so a claimer may think of an older limit when it finds a partition full. A head therefore remembers the version of
 *   the settings that it was opened for (`qv`), and is not closed by an older one; for heads made meanwhile a last pass opens the queue
 *   once more (queues.ts).
 */
import type { AnyBulkWriteOperation } from "mongodb";
import type { Identified } from "./client.js";
import { type Context, newToken } from "./context.js";

/** `_id`: partition and target. */
export interface HeadDoc extends Identified {
  readonly environment: string;
  readonly queue: string;
  readonly partition: string;
  readonly target: string;
  readonly pos: string;
  readonly open: boolean;
  readonly v: string;
  readonly qv: number;
}

/** A run that waits behind a head. */
export interface Waiting {
  readonly environment: string;
  readonly queue: string;
  readonly partition: string;
  readonly target: string;
  readonly pos: string;
}

/** Makes or betters the heads of runs that begin to wait. */
export async function raiseHeads(context: Context, waiting: readonly Waiting[]): Promise<void> {
  const best = new Map<string, Waiting>();
  for (const run of waiting) {
    const id = `${run.partition}|${run.target}`;
    const known = best.get(id);
    if (known === undefined || run.pos < known.pos) best.set(id, run);
  }
  const v = newToken(context);
  const writes = (heads: readonly [string, Waiting][]): readonly AnyBulkWriteOperation<HeadDoc>[] =>
    heads.map(([id, { environment, queue, partition, target, pos }]) => ({
      updateOne: {
        filter: { _id: id },
        update: {
          $min: { pos },
          $set: { open: true, v },
          $max: { qv: 0 },
          $setOnInsert: { environment, queue, partition, target },
        },
        upsert: true,
      },
    }));
  const heads = [...best];
  const { duplicates } = await context.heads.bulk(writes(heads));
  // Two upserts of one document: the loser finds it now.
  if (duplicates.size > 0) await context.heads.bulk(writes(heads.filter((_, index) => duplicates.has(index))));
}

/** Opens the heads of partitions where a slot was freed. */
export async function reopenHeads(context: Context, partitions: readonly string[]): Promise<void> {
  if (partitions.length === 0) return;
  await context.heads.updateMany(
    { partition: { $in: [...partitions] } },
    { $set: { open: true, v: newToken(context) } },
  );
}

/** Opens the heads of a queue after its settings changed to this version. */
export async function openQueue(
  context: Context,
  queue: { readonly environment: string; readonly name: string; readonly version: number },
): Promise<void> {
  await context.heads.updateMany(
    { environment: queue.environment, queue: queue.name },
    { $set: { open: true, v: newToken(context) }, $max: { qv: queue.version } },
  );
}

/** What a claimer learned of heads. */
export interface HeadMoves {
  /** The best run left behind it; undefined: none. Guarded by the version read before. */
  readonly moved: readonly { readonly head: HeadDoc; readonly pos: string | undefined }[];
  /** Heads of partitions known full, under these settings. */
  readonly full: readonly { readonly head: HeadDoc; readonly settings: number }[];
}

export async function moveHeads(context: Context, { moved, full }: HeadMoves): Promise<void> {
  const moves = moved
    .filter(({ head, pos }) => head.pos !== pos)
    .map(({ head, pos }): AnyBulkWriteOperation<HeadDoc> => {
      const filter = { _id: head._id, v: head.v };
      return pos === undefined ? { deleteOne: { filter } } : { updateOne: { filter, update: { $set: { pos } } } };
    });
  const closes = full.map(({ head, settings }): AnyBulkWriteOperation<HeadDoc> => {
    const filter = { _id: head._id, v: head.v, qv: { $lte: settings } };
    return { updateOne: { filter, update: { $set: { open: false } } } };
  });
  await context.heads.bulk([...moves, ...closes]);
}
