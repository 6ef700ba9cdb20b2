/**
 * Batches that a run waits for (BAT-10, BAT-11): the batch and every run of it is marked as awaited before the run waits, so that the end of
 * the last one asks for those who wait for the batch.
 */
import { type BatchState, isBatchDone } from "../../domain/batch.js";
import type { Lease } from "../../domain/lease.js";
import type { EngineDeps } from "../engine.js";
import { attachWaiters } from "./awaited.js";
import { cancelChildrenOf } from "./cancel.js";

/** Positions of a batch that are looked at together. */
const PAGE = 500;

export interface AwaitedBatch {
  readonly batch: BatchState;
  /** Made for this run: what it did not join is awaited already. */
  readonly isNew: boolean;
  readonly lease: Lease;
}

/** @returns whether all runs are final, so that there is nothing to wait for. */
export async function attachBatchWaiter(deps: EngineDeps, awaited: AwaitedBatch): Promise<boolean> {
  const { store } = deps;
  const { batch, isNew, lease } = awaited;
  const { environment, id: batchId } = batch;
  // One that its key found may have been made without anybody who waits.
  if (!batch.isAwaited) await store.awaitBatches([{ environment, batchId }]);
  for (let fromIndex = 0; fromIndex < batch.itemCount; fromIndex += PAGE) {
    const items = await store.readBatchItems({ environment, batchId, fromIndex, limit: PAGE });
    const joined = new Set(items.filter(({ isCached }) => isCached || !isNew).map(({ runId }) => runId));
    await attachWaiters(
      deps,
      [...joined].map((runId) => ({ environment, runId, isNew: false, parentRunId: lease.runId })),
    );
  }
  const [[view], [parent]] = await Promise.all([
    store.readBatches([{ environment, batchId }]),
    store.readRuns([{ environment, runId: lease.runId }]),
  ]);
  if (parent?.status === "CANCELED") await cancelChildrenOf(deps, parent);
  return view !== undefined && isBatchDone(view.batch, view.hasLiveRun);
}
