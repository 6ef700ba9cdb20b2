/**
 * Slots of limited partitions (design 7): one document per partition lists who holds a slot, changed by compare-and-set on its version.
 *
 * A slot is taken *pending* by a claimer, as (run, generation + 1) under the claimer's token; then the run is claimed, guarded by its
 * generation; then the mark `at` goes. So no slot is counted free while its run executes, whoever stops wherever. A holder that stays
 * pending is looked at by `repair`, which fences the run first: a claim that comes later fails.
 *
 * A version is a time when its document is made, and rises by one with every taking and freeing: so a document that was purged and made
 * anew is not taken for the one before.
 */
import type { AnyBulkWriteOperation } from "mongodb";
import type { Identified } from "./client.js";
import type { Context } from "./context.js";
import { reopenHeads } from "./heads.js";

export interface Holder {
  /** Run and generation: {@link slotHolder}. */
  readonly i: string;
  /** Token of the claim that took it. */
  readonly k: string;
  /** Since when it is pending; absent once the claim is known to have succeeded. */
  readonly at?: number;
}

/** `_id`: the partition. */
export interface SlotsDoc extends Identified {
  readonly environment: string;
  readonly queue: string;
  readonly v: number;
  readonly holders: readonly Holder[];
  /** A holder was removed at this time, and heads have yet to be opened for it. */
  readonly opens?: number;
}

export interface Taking {
  readonly partition: string;
  readonly environment: string;
  readonly queue: string;
  /** What the claimer read; undefined: no document. */
  readonly known: SlotsDoc | undefined;
  readonly holders: readonly Holder[];
}

/** Takes slots, all or none of a partition. @returns the version of each partition where they were taken. */
export async function takeSlots(context: Context, takings: readonly Taking[]): Promise<ReadonlyMap<string, number>> {
  const firstVersion = Math.floor(context.databaseMs());
  const versions = new Map(takings.map(({ partition, known }) => [partition, (known?.v ?? firstVersion - 1) + 1]));
  const writes = takings.map(({ partition, environment, queue, known, holders }): AnyBulkWriteOperation<SlotsDoc> => {
    if (known === undefined) {
      return { insertOne: { document: { _id: partition, environment, queue, v: firstVersion, holders } } };
    }
    return {
      updateOne: {
        filter: { _id: partition, v: known.v },
        update: { $push: { holders: { $each: [...holders] } }, $inc: { v: 1 } },
      },
    };
  });
  const { matched, made } = await context.slots.bulk(writes);
  if (matched + made === takings.length) return versions;
  const present = await context.slots.findByIds(takings.map(({ partition }) => partition));
  const lost = takings.filter(({ partition, holders }) => {
    const there = present.get(partition)?.holders ?? [];
    return !holders.every((own) => there.some(({ i, k }) => i === own.i && k === own.k));
  });
  for (const { partition } of lost) versions.delete(partition);
  return versions;
}

/** The claims of these holders are known to have succeeded. Holds nobody up: the version stays. */
export async function confirmSlots(
  context: Context,
  confirmed: ReadonlyMap<string, readonly string[]>,
  token: string,
): Promise<void> {
  await context.slots.bulk(
    [...confirmed].map(([partition, holders]) => ({
      updateOne: {
        filter: { _id: partition },
        update: { $unset: { "holders.$[own].at": "" } },
        arrayFilters: [{ "own.k": token, "own.i": { $in: holders } }],
      },
    })),
  );
}

export interface Freeing {
  /** Partition → holders. */
  readonly holders: ReadonlyMap<string, readonly string[]>;
  /** Only those that this claim took. */
  readonly token?: string;
  readonly nowMs: number;
}

/**
 * Removes exactly these holders, and opens the heads of their partitions. A removal says in the same write that heads are to be opened,
 * so that a crash in between is found.
 */
export async function freeSlots(context: Context, { holders, token, nowMs }: Freeing): Promise<void> {
  if (holders.size === 0) return;
  await context.slots.bulk(
    [...holders].map(([partition, freed]) => {
      const which = { i: { $in: [...freed] }, ...(token === undefined ? {} : { k: { $in: [token] } }) };
      return {
        updateOne: {
          filter: { _id: partition, holders: { $elemMatch: which } },
          update: { $pull: { holders: which }, $inc: { v: 1 }, $set: { opens: nowMs } },
        },
      };
    }),
  );
  await openPartitions(context, [...holders.keys()]);
}

/** Opens the heads of partitions, and clears the mark that asked for it where no further holder was removed meanwhile. */
export async function openPartitions(context: Context, partitions: readonly string[]): Promise<void> {
  const present = await context.slots.findByIds(partitions, { v: 1 });
  await reopenHeads(context, partitions);
  await context.slots.bulk(
    [...present.values()].map(({ _id, v }) => ({
      updateOne: { filter: { _id, v }, update: { $unset: { opens: "" } } },
    })),
  );
}
