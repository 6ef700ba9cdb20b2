/** What the record says a worker should do about a lease that it names: in answer to a repeated or late report, and to each lease of a hello. */

import type { Lease } from "../../domain/lease.js";
import { isPausing, type RunState } from "../../domain/run.js";
import { holdsLease } from "../../domain/run-apply.js";
import { placeOf } from "../../domain/run-machine.js";
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
  if (holdsLease(run, { fence: lease.fence, sessionId })) {
    // A resume that was taken back, because nothing confirmed it in time: it comes again.
    return run.status === "EXECUTING" ? { kind: "goOn" } : { kind: "lost" };
  }
  if (isReported) return run.finishedAtMs === undefined ? { kind: "released" } : { kind: "finished" };
  if (run.status === "CANCELED") return { kind: "cancel", reason: "" };
  return { kind: "lost" };
}

/** The lease was the last to be reported under, and the run has a new fence: by a short retry, if the pause belongs to this worker, or a wait. */
function afterReport(run: RunState, lease: Lease, nowMs: number): Instruction {
  const isRetry = run.status === "EXECUTING" && run.fence === lease.fence + 1 && run.retryAtMs !== undefined;
  if (!isRetry) return afterWait(run, lease) ?? { kind: "released" };
  const delayMs = isPausing(run, nowMs) ? (run.retryAtMs ?? nowMs) - nowMs : 0;
  return { kind: "retry", lease: { runId: run.id, fence: run.fence }, attempt: run.attempt, delayMs };
}

/** Undefined: the run neither waits nor goes on after the wait that was reported under this lease. */
function afterWait(run: RunState, lease: Lease): Instruction | undefined {
  switch (placeOf(run)) {
    case "WAITING":
    case "QUEUED_BOUND":
      return { kind: "keepWaiting" };
    case "EXECUTING":
      // Claimed to go on, and nothing has confirmed yet that the worker does.
      return run.waitingFor !== undefined && run.pickUpDeadlineMs !== undefined && run.fence > lease.fence + 1
        ? { kind: "resume", lease: { runId: run.id, fence: run.fence } }
        : undefined;
    case "CANCELED":
      return { kind: "cancel", reason: "" };
    default:
      return run.finishedAtMs === undefined ? undefined : { kind: "finished" };
  }
}
