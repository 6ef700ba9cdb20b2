/** What the record says a worker should do about a lease that it names: in answer to a repeated or late report, and to each lease of a hello. */

import type { Lease } from "../../domain/lease.js";
import { isPausing, type RunState } from "../../domain/run.js";
import { holdsLease } from "../../domain/run-apply.js";
import type { Instruction } from "../engine.js";

/** @param run the present state; undefined where the run is unknown. */
export function instructionFor(
  run: RunState | undefined,
  held: { readonly lease: Lease; readonly sessionId: string },
  nowMs: number,
): Instruction {
  const { lease, sessionId } = held;
  if (run === undefined || run.sessionId !== sessionId) return { kind: "lost" };
  const isReported = run.reportFence === lease.fence;
  if (isReported && run.fence !== lease.fence) return afterReport(run, lease, nowMs);
  if (run.fence !== lease.fence) return { kind: "lost" };
  if (holdsLease(run, { fence: lease.fence, sessionId })) return { kind: "goOn" };
  if (isReported) return run.finishedAtMs === undefined ? { kind: "released" } : { kind: "finished" };
  if (run.status === "CANCELED") return { kind: "cancel", reason: "" };
  return { kind: "lost" };
}

/** The lease's last report was applied and gave the run a new fence: a short retry, if the pause belongs to this worker. */
function afterReport(run: RunState, lease: Lease, nowMs: number): Instruction {
  const isRetry = run.status === "EXECUTING" && run.fence === lease.fence + 1 && run.retryAtMs !== undefined;
  if (!isRetry) return { kind: "released" };
  const delayMs = isPausing(run, nowMs) ? (run.retryAtMs ?? nowMs) - nowMs : 0;
  return { kind: "retry", lease: { runId: run.id, fence: run.fence }, attempt: run.attempt, delayMs };
}
