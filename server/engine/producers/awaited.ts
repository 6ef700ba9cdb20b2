/**
 * Triggers that a run waits for (section 4.4). Before the insert: the run must still be executed under the lease that it names. After it:
 * a run that existed before is marked as awaited, and a child whose parent was cancelled meanwhile is cancelled with it (design 9), so that
 * a cancel that came between reading the parent and storing the child misses nobody.
 */
import { appError, runNotFound, staleLease } from "../../domain/error.js";
import type { Lease } from "../../domain/lease.js";
import type { RunState } from "../../domain/run.js";
import { isLegal, placeOf } from "../../domain/run-machine.js";
import { isFinal } from "../../domain/run-status.js";
import type { EngineDeps } from "../engine.js";
import { cancelReason } from "../workers/leases.js";
import { cancelAsChild } from "./cancel.js";

/** @throws AppError RUN_NOT_FOUND, PARENT_RUN_FINAL, STALE_LEASE. */
export function requireWaiter(parent: RunState | undefined, lease: Lease, taskId: string): RunState {
  if (parent === undefined) throw runNotFound(lease.runId);
  if (isFinal(parent.status)) throw parentRunFinal(parent, taskId);
  if (parent.fence !== lease.fence || !isLegal("wait", placeOf(parent))) throw staleLease(lease.runId);
  return parent;
}

/** TAW-6: what the awaited run takes over from the run that waits for it. */
export function queueTimeOf(parent: RunState): number {
  return parent.orderMs + Math.round(parent.prioritySeconds * 1_000);
}

function parentRunFinal(parent: RunState, taskId: string) {
  return appError("PARENT_RUN_FINAL", `Cannot trigger ${taskId} as the parent run has a status of ${parent.status}`, {
    metadata: { id: parent.id, task: taskId, got: parent.status },
  });
}

export interface AwaitedRun {
  readonly environment: string;
  readonly runId: string;
  /** Stored by this very call, as a child of the run that waits. */
  readonly isNew: boolean;
  readonly parentRunId: string;
}

/** @returns for each whether the run is over already, so that there is nothing to wait for. */
export async function attachWaiters(deps: EngineDeps, awaited: readonly AwaitedRun[]): Promise<readonly boolean[]> {
  const { store, clock } = deps;
  const joined = awaited.filter(({ isNew }) => !isNew);
  const nowMs = clock.nowMs();
  const marks = await store.changeRuns(
    joined.map(({ environment, runId }) => ({ event: "await", environment, runId, nowMs })),
  );
  await cancelOrphans(
    deps,
    awaited.filter(({ isNew }) => isNew),
  );
  return awaited.map((item) => {
    const mark = marks[joined.indexOf(item)];
    return mark?.kind === "refused" && mark.refusal === "illegal";
  });
}

async function cancelOrphans(deps: EngineDeps, children: readonly AwaitedRun[]): Promise<void> {
  if (children.length === 0) return;
  const parents = await deps.store.readRuns(
    children.map(({ environment, parentRunId: runId }) => ({ environment, runId })),
  );
  for (const [index, { environment, runId, parentRunId }] of children.entries()) {
    if (parents[index]?.status !== "CANCELED") continue;
    await cancelAsChild(deps, { environment, runId, reason: await cancelReason(deps, environment, parentRunId) });
  }
}
