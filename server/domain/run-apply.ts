/**
 * `applyChange`: the one place where a run's state is computed from the state before and a {@link RunChange}. Pure; both stores call it
 * inside their guarded write, so a guard can neither be forgotten nor differ between them.
 */
import type { RunState } from "./run.js";
import type { AddTags, ApplyResult, Await, Refusal, RunChange, Settle } from "./run-change.js";
import { isLegal, placeOf, type RunEvent } from "./run-machine.js";
import {
  addTags,
  becomeDue,
  cancel,
  claim,
  complete,
  confirm,
  expire,
  fail,
  interrupt,
  lose,
  markAwaited,
  release,
  reschedule,
  retryLater,
  retrySoon,
  settle,
  timeOut,
  wait,
  wake,
} from "./run-steps.js";

export function applyChange(run: RunState, change: RunChange): ApplyResult {
  switch (change.event) {
    case "addTags":
      return addTags(run, change);
    case "settle":
      return settle(run, change);
    case "await":
      return markAwaited(run, change);
    case "confirm":
    case "complete":
    case "fail":
    case "retrySoon":
    case "retryLater":
    case "wait":
    case "interrupt": {
      const isOfWait = change.event !== "wait" && change.event !== "confirm" && isWaitLease(run, change);
      const refusal = isOfWait ? undefined : refusedReport(run, change);
      if (refusal !== undefined) return { refused: refusal };
      break;
    }
    case "timeOut": {
      const { fence, sessionId } = change;
      const isReport = fence !== undefined && sessionId !== undefined;
      const isOfWait = isReport && isWaitLease(run, { fence, sessionId });
      const refusal = isReport && !isOfWait ? refusedReport(run, { fence, sessionId }) : undefined;
      if (refusal !== undefined) return { refused: refusal };
      break;
    }
    default:
  }
  const event: RunEvent = change.event === "claim" && placeOf(run) === "QUEUED_BOUND" ? "resume" : change.event;
  if (!isLegal(event, placeOf(run))) return { refused: "illegal" };
  return applyLegal(run, change);
}

function applyLegal(run: RunState, change: Exclude<RunChange, AddTags | Await | Settle>): ApplyResult {
  switch (change.event) {
    case "due":
      return becomeDue(run, change);
    case "reschedule":
      return reschedule(run, change);
    case "claim":
      return claim(run, change);
    case "confirm":
      return confirm(run, change);
    case "release":
      return release(run, change);
    case "complete":
      return complete(run, change);
    case "fail":
      return fail(run, change);
    case "retrySoon":
      return retrySoon(run, change);
    case "retryLater":
      return retryLater(run, change);
    case "wait":
      return wait(run, change);
    case "wake":
      return wake(run, change);
    case "timeOut":
      return timeOut(run, change);
    case "interrupt":
      return interrupt(run, change);
    case "lose":
      return lose(run, change);
    case "cancel":
      return cancel(run, change);
    case "expire":
      return expire(run, change);
  }
}

/** RUN-8: only the present fence of the present session counts; a repeat of the last applied report is told apart. */
function refusedReport(
  run: RunState,
  report: { readonly fence: number; readonly sessionId: string },
): Refusal | undefined {
  if (report.sessionId !== run.sessionId) return "stale";
  if (report.fence === run.reportFence) return "repeat";
  return report.fence === run.fence ? undefined : "stale";
}

/**
 * A wait is reported under the lease of the code before it, and the worker has no other until it resumes: what ends the waiting run
 * (its code ended, a second wait, an interruption) is reported under that lease too.
 */
export function isWaitLease(run: RunState, lease: { readonly fence: number; readonly sessionId: string }): boolean {
  const place = placeOf(run);
  const isWaiting = place === "WAITING" || place === "QUEUED_BOUND";
  return isWaiting && lease.sessionId === run.sessionId && lease.fence === run.reportFence && lease.fence < run.fence;
}

/** Whether the worker reports (or the record shows) a code that is still allowed to speak for this run. */
export function holdsLease(run: RunState, lease: { readonly fence: number; readonly sessionId: string }): boolean {
  const isLive = isLegal("interrupt", placeOf(run));
  return isLive && run.sessionId === lease.sessionId && run.fence === lease.fence;
}
