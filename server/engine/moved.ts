/** What follows every committed move of a run: the event for telemetry and the signals for watchers and claimers. */
import type { RunState } from "../domain/run.js";
import type { RunEvent } from "../domain/run-machine.js";
import { isFinal } from "../domain/run-status.js";
import type { Signal } from "../signals/signals.js";
import type { ChangeResult } from "../store/store.js";
import type { EngineDeps } from "./engine.js";

export type AppliedChange = Extract<ChangeResult, { kind: "applied" }>;

/** Emits `run.moved` and tells watchers. Call only after the commit. */
export function emitMoved(deps: EngineDeps, event: RunEvent, run: RunState): void {
  const { environment, id: runId, taskId, status, attempt } = run;
  deps.events.emit("run.moved", { environment, runId, taskId, event, status, attempt });
  emitChanged(deps, run);
}

/** A change that is no move, or a new run: only watchers care. */
export function emitChanged(deps: Pick<EngineDeps, "signals">, run: RunState): void {
  const { environment, id: runId, version, tags, batchId } = run;
  deps.signals.publish([
    {
      kind: "changed",
      environment,
      runId,
      version,
      ...(tags.length === 0 ? {} : { tags }),
      ...(batchId === undefined ? {} : { batchId }),
    },
  ]);
}

/** {@link emitMoved} for the result of a change; also says so when runs became claimable by it. */
export function announce(deps: EngineDeps, event: RunEvent, applied: AppliedChange): void {
  emitMoved(deps, event, applied.run);
  if (isFinal(applied.run.status)) deps.wakes.ended(applied.run);
  if (applied.isClaimable) deps.signals.publish([claimable(applied.run.environment)]);
}

/** Of the lease under which a worker held the run before the change: while it waits, that of the wait. */
export function heldFence({ before, run }: AppliedChange): number {
  return before === "WAITING" || before === "QUEUED_BOUND" ? (run.reportFence ?? run.fence) : run.fence;
}

function claimable(environment: string): Signal {
  return { kind: "claimable", environment, taskId: undefined };
}
