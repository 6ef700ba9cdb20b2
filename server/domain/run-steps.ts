/**
 * One step per event of the run machine: the state after it. The event is legal in the run's place, and a report's fence is the present
 * one; what else guards an event stands in its step. Pure.
 */
import { engineFailure } from "./failure.js";
import { orderOf } from "./queue.js";
import { retryDelayMs } from "./retry.js";
import { attemptActiveMs, durationMs, isPausing, type RunState, TODO } from "./run.js";
import type {
  AddTags,
  ApplyResult,
  Await,
  Cancel,
  Claim,
  Complete,
  Confirm,
  Due,
  Expire,
  Fail,
  Interrupt,
  Lose,
  Release,
  Reschedule,
  RetryLater,
  RetrySoon,
  Settle,
  TimeOut,
  Wait,
  Wake,
} from "./run-change.js";
import {
  attemptsMax,
  CONFIRMED,
  deadlineMs,
  finished,
  freed,
  kept,
  moved,
  parked,
  reported,
  summary,
  touched,
  UNHELD,
} from "./run-moves.js";

export function becomeDue(run: RunState, change: Due): ApplyResult {
  if (run.dueMs === undefined || run.dueMs > change.nowMs) return { refused: "notYet" };
  const base = { ...moved(run, "QUEUED_WAITING", change.nowMs), dueMs: undefined };
  if (run.status !== "DELAYED") return freed({ ...base, retryAtMs: undefined });
  return freed({
    ...base,
    orderMs: orderOf(run.dueMs, run.prioritySeconds),
    expireAtMs: run.ttlMs === undefined ? undefined : run.dueMs + run.ttlMs,
  });
}

export function reschedule(run: RunState, change: Reschedule): ApplyResult {
  return freed({ ...touched(run, change.nowMs), dueMs: change.dueMs, delayedUntilMs: change.dueMs });
}

export function claim(run: RunState, change: Claim): ApplyResult {
  const isResume = run.readiness === "bound";
  if (isResume && run.sessionId !== change.sessionId) return { refused: "stale" };
  const maxSeconds = run.maxDurationSeconds ?? change.maxDurationSeconds;
  const usedMs = isResume ? run.attemptActiveMs : 0;
  return kept({
    ...moved(run, "EXECUTING", change.nowMs),
    sessionId: change.sessionId,
    fence: run.fence + 1,
    pickUpDeadlineMs: change.pickUpDeadlineMs,
    attempt: isResume ? run.attempt : run.attempt + 1,
    policyMaxAttempts: change.policyMaxAttempts,
    attemptMaxDurationSeconds: maxSeconds,
    deadlineMs: deadlineMs(change.nowMs, maxSeconds, usedMs),
    retryAtMs: undefined,
    // Until the worker confirms, a resume can be taken back to where it was.
    waitingFor: isResume ? run.waitingFor : undefined,
    startedAtMs: run.startedAtMs ?? change.nowMs,
    attemptStartedAtMs: isResume ? run.attemptStartedAtMs : change.nowMs,
    activeSinceMs: change.nowMs,
    attemptActiveMs: usedMs,
  });
}

export function confirm(run: RunState, change: Confirm): ApplyResult {
  if (run.pickUpDeadlineMs === undefined) return { refused: "unchanged" };
  return kept({ ...touched(run, change.nowMs), ...CONFIRMED });
}

export function release(run: RunState, change: Release): ApplyResult {
  if (run.pickUpDeadlineMs === undefined || run.fence !== change.fence) return { refused: "stale" };
  if (!change.force && run.pickUpDeadlineMs > change.nowMs) return { refused: "notYet" };
  const failures = change.counts ? run.pickUpFailures + 1 : run.pickUpFailures;
  if (failures >= change.pickUpFailuresMax) {
    const failure = engineFailure(
      "TASK_RUN_PICKUP_FAILED",
      `No worker confirmed the run after ${failures} pick-ups in a row`,
    );
    return finished(unbegun(run, change.nowMs), "SYSTEM_FAILURE", change.nowMs, { failure });
  }
  if (isUnconfirmedResume(run)) return freed({ ...unresumed(run, change.nowMs), pickUpFailures: failures });
  return freed({ ...unbegun(run, change.nowMs), ...UNHELD, pickUpFailures: failures, sessionId: undefined });
}

/** Claimed after a wait, and the worker has not yet said that it goes on. */
function isUnconfirmedResume(run: RunState): boolean {
  return run.pickUpDeadlineMs !== undefined && run.waitingFor !== undefined;
}

/** Bound to its session again, in the same attempt (RUN-6: a resume goes back unchanged). */
function unresumed(run: RunState, nowMs: number): RunState {
  return {
    ...moved(run, "QUEUED_BOUND", nowMs),
    pickUpDeadlineMs: undefined,
    deadlineMs: undefined,
    activeSinceMs: undefined,
  };
}

/** The run as if the pick-up that nobody confirmed had not been: no attempt counted, and no start if it was the first. */
function unbegun(run: RunState, nowMs: number): RunState {
  const attempt = run.attempt - 1;
  return {
    ...moved(run, "QUEUED_WAITING", nowMs),
    attempt,
    startedAtMs: attempt === 0 && run.interruptions === 0 ? undefined : run.startedAtMs,
    attemptStartedAtMs: undefined,
    activeSinceMs: undefined,
    attemptActiveMs: 0,
  };
}

export function complete(run: RunState, change: Complete): ApplyResult {
  const extra = change.output === undefined ? {} : { output: change.output };
  return finished(reported(run, change), "COMPLETED", change.nowMs, extra);
}

export function fail(run: RunState, change: Fail): ApplyResult {
  return finished(reported(run, change), change.status, change.nowMs, { failure: change.failure });
}

export function retrySoon(run: RunState, change: RetrySoon): ApplyResult {
  if (run.attempt >= attemptsMax(run)) return { refused: "overLimit" };
  const retryAtMs = change.nowMs + change.delayMs;
  return {
    slot: "keep",
    attempt: summary(run, "FAILED", change.nowMs, change.failure),
    next: {
      ...reported(touched(run, change.nowMs), change),
      ...CONFIRMED,
      fence: run.fence + 1,
      attempt: run.attempt + 1,
      rejoinAttempt: run.attempt + 1,
      interruptions: 0,
      retryAtMs,
      earlierActiveMs: durationMs(run, change.nowMs),
      attemptActiveMs: 0,
      activeSinceMs: retryAtMs,
      attemptStartedAtMs: retryAtMs,
      deadlineMs: deadlineMs(retryAtMs, run.attemptMaxDurationSeconds, 0),
    },
  };
}

export function retryLater(run: RunState, change: RetryLater): ApplyResult {
  if (run.attempt >= attemptsMax(run)) return { refused: "overLimit" };
  return {
    slot: "free",
    attempt: summary(run, "FAILED", change.nowMs, change.failure),
    next: {
      ...parked(reported(run, change), change.nowMs + change.delayMs, change.nowMs),
      rejoinAttempt: run.attempt + 1,
      interruptions: 0,
    },
  };
}

export function wait(run: RunState, change: Wait): ApplyResult {
  return freed({
    ...reported(moved(run, "WAITING", change.nowMs), change),
    todo: run.todo | TODO.watch,
    ...CONFIRMED,
    fence: run.fence + 1,
    interruptions: 0,
    waitingFor: change.waitingFor,
    attemptActiveMs: attemptActiveMs(run, change.nowMs),
    activeSinceMs: undefined,
    deadlineMs: undefined,
  });
}

export function wake(run: RunState, change: Wake): ApplyResult {
  if (run.waitingFor !== change.waitingFor) return { refused: "illegal" };
  return freed(moved(run, "QUEUED_BOUND", change.nowMs));
}

export function timeOut(run: RunState, change: TimeOut): ApplyResult {
  const isVerdictOfServer = change.fence === undefined;
  if (isVerdictOfServer && (run.deadlineMs === undefined || run.deadlineMs > change.nowMs))
    return { refused: "notYet" };
  const failure = engineFailure(
    "MAX_DURATION_EXCEEDED",
    `Run exceeded its maxDuration of ${run.attemptMaxDurationSeconds ?? 0} seconds`,
  );
  const before = change.fence === undefined ? run : { ...run, reportFence: change.fence };
  return finished(before, "TIMED_OUT", change.nowMs, { failure, codeEnded: change.codeEnded });
}

export function interrupt(run: RunState, change: Interrupt): ApplyResult {
  const interruptions = run.status === "EXECUTING" ? run.interruptions + 1 : run.interruptions;
  const base = reported(run, change);
  if (interruptions >= change.interruptionsMax) {
    const failure = engineFailure("TASK_RUN_INTERRUPTED", `Run was interrupted ${interruptions} times in a row`);
    return finished(base, "CRASHED", change.nowMs, { failure, codeEnded: change.codeEnded });
  }
  const isBegun = !isPausing(run, change.nowMs);
  return {
    slot: change.codeEnded || run.status !== "EXECUTING" ? "free" : "linger",
    ...(isBegun ? { attempt: summary(run, "INTERRUPTED", change.nowMs, undefined) } : {}),
    next: {
      ...moved(base, "QUEUED_WAITING", change.nowMs),
      ...UNHELD,
      pickUpFailures: 0,
      retryAtMs: undefined,
      attempt: run.attempt - 1,
      interruptions,
      earlierActiveMs: durationMs(run, change.nowMs),
      attemptActiveMs: 0,
      attemptStartedAtMs: undefined,
    },
  };
}

export function lose(run: RunState, change: Lose): ApplyResult {
  if (run.sessionId !== change.sessionId) return { refused: "stale" };
  if (run.pickUpDeadlineMs !== undefined && run.status === "EXECUTING" && !isUnconfirmedResume(run)) {
    return freed({ ...unbegun(run, change.nowMs), ...UNHELD, sessionId: undefined });
  }
  if (isPausing(run, change.nowMs) && run.retryAtMs !== undefined) {
    return freed({
      ...parked({ ...run, attempt: run.attempt - 1 }, run.retryAtMs, change.nowMs),
      sessionId: undefined,
    });
  }
  const failure = engineFailure("TASK_RUN_STALLED_EXECUTING", "The worker that held the run was lost");
  const maxAttempts = run.maxAttempts ?? change.policy.maxAttempts;
  const delayMs = retryDelayMs({ ...change.policy, maxAttempts }, run.attempt, change.random);
  if (delayMs === undefined) return finished(run, "CRASHED", change.nowMs, { failure });
  return {
    slot: "free",
    attempt: summary(run, "CRASHED", change.nowMs, failure),
    next: parked(run, change.nowMs + delayMs, change.nowMs),
  };
}

export function cancel(run: RunState, change: Cancel): ApplyResult {
  const failure = engineFailure("TASK_RUN_CANCELLED", change.reason);
  const result = finished(run, "CANCELED", change.nowMs, { failure, codeEnded: false });
  return { ...result, next: { ...result.next, todo: result.next.todo | TODO.cancelChildren } };
}

export function expire(run: RunState, change: Expire): ApplyResult {
  if (run.startedAtMs !== undefined || run.expireAtMs === undefined) return { refused: "illegal" };
  if (run.expireAtMs > change.nowMs) return { refused: "notYet" };
  const failure = engineFailure("TASK_RUN_EXPIRED", `Run expired because the TTL (${run.ttlText ?? ""}) was reached`);
  const result = finished(run, "EXPIRED", change.nowMs, { failure });
  return { ...result, next: { ...result.next, expiredAtMs: change.nowMs } };
}

/** The mark is a change like any other, so that whoever is about to end the run has to look again. */
export function markAwaited(run: RunState, change: Await): ApplyResult {
  if (run.finishedAtMs !== undefined) return { refused: "illegal" };
  if (run.awaited) return { refused: "unchanged" };
  return kept({ ...touched(run, change.nowMs), awaited: true });
}

export function addTags(run: RunState, change: AddTags): ApplyResult {
  if (run.finishedAtMs !== undefined) return { refused: "illegal" };
  const { attempt } = change;
  if (attempt !== undefined && (attempt.sessionId !== run.sessionId || attempt.number !== run.attempt)) {
    return { refused: "stale" };
  }
  const tags = [...new Set([...run.tags, ...change.tags])];
  if (tags.length === run.tags.length) return { refused: "unchanged" };
  if (tags.length > change.tagsMax) return { refused: "overLimit" };
  return kept({ ...touched(run, change.nowMs), tags });
}

export function settle(run: RunState, change: Settle): ApplyResult {
  if (run.version !== change.version) return { refused: "stale" };
  // No new version: readers see no difference, and a second follow-up may still be under way under this version.
  return kept({ ...run, todo: run.todo & ~change.bits });
}
