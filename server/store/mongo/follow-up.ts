/**
 * Follow-ups of changed runs: slots to be freed and heads to be made. The run says in its own write that they are owed (`owes`, `free`),
 * they are done, then the marks are cleared under the count of them that was read, so that a late clearer never clears a newer one.
 * Whatever is left by a crash is found by `repair`.
 */

import type { RunState } from "../../domain/run.js";
import type { Context } from "./context.js";
import { raiseHeads, type Waiting } from "./heads.js";
import { headId, partitionOf, type RunDoc, slotHolder } from "./run-doc.js";
import { freeSlots } from "./slots.js";

export interface FollowUp {
  readonly run: Pick<RunDoc, "_id" | "environment" | "l" | "pos"> & Pick<RunState, "queue" | "concurrencyKey">;
  /** Generations of slots to be freed. */
  readonly free: readonly number[];
  /** The count of marks after the write that owes this. */
  readonly owed: number;
}

export async function followUp(context: Context, owed: readonly FollowUp[], nowMs: number): Promise<void> {
  if (owed.length === 0) return;
  const holders = new Map<string, string[]>();
  const waiting: Waiting[] = [];
  for (const { run, free } of owed) {
    const partition = partitionOf(run);
    if (free.length > 0) {
      const freed = holders.get(partition) ?? [];
      freed.push(...free.map((generation) => slotHolder(run._id, generation)));
      holders.set(partition, freed);
    }
    if (run.l !== undefined) {
      const target = run.l.slice(headId(partition, "").length);
      waiting.push({ environment: run.environment, queue: run.queue, partition, target, pos: run.pos });
    }
  }
  await Promise.all([raiseHeads(context, waiting), freeSlots(context, { holders, nowMs })]);
  await context.runs.bulk(
    owed.map(({ run, owed: count }) => ({
      updateOne: { filter: { _id: run._id, owed: count }, update: { $unset: { owes: "", free: "" } } },
    })),
  );
}
