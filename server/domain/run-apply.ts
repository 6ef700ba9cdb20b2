/**
 * `applyChange`: the one place where a run's state is computed from the state before and a {@link RunChange}. Pure; both stores call it
 * inside their guarded write, so a guard can neither be forgotten nor differ between them.
 */
import { engineFailure, type Failure } from "./failure.js";
import { orderOf } from "./queue.js";
import { retryDelayMs } from "./retry.js";
import {
  type AttemptOutcome,
  type AttemptSummary,
  attemptActiveMs,
  durationMs,
  isPausing,
  type RunState,
  TODO,
} from "./run.js";
import type {
  AddTags,
  Cancel,
  Claim,
  Complete,
  Due,
  Expire,
  Fail,
  Interrupt,
  Lose,
  Release,
  Reschedule,
  RetryLater,
  RetrySoon,
  RunChange,
  Settle,
  TimeOut,
  Wait,
  Wake,
} from "./run-change.js";
import { isLegal, placeOf, type RunEvent, type RunPlace, statusOfPlace } from "./run-machine.js";

/** What becomes of the slot that the run held; `linger`: code may still run, so it is kept for a while (QUE-4). */
export type SlotEffect = "keep" | "free" | "linger";

export interface Applied {
  readonly next: RunState;
  readonly slot: SlotEffect;
  /** Ended by this change; appended to the run's summaries. */
  readonly attempt?: AttemptSummary;
  readonly output?: Uint8Array;
  readonly failure?: Failure;
}

/**
 * Why a change does not apply. `stale`: old fence or other session. `repeat`: this very report was applied before.
 * `illegal`: not in the table for the present place. `notYet`: the guard's time has not come. `overLimit`: it would exceed a limit.
 * `unchanged`: nothing to do, which is no failure.
 */
export type Refusal = "stale" | "repeat" | "illegal" | "notYet" | "overLimit" | "unchanged";

export type ApplyResult = Applied | { readonly refused: Refusal };

export function isRefused(result: ApplyResult): result is { readonly refused: Refusal } {
  return "refused" in result;
}

export function applyChange(run: RunState, change: RunChange): ApplyResult {
  switch (change.event) {
    case "addTags":
      return addTags(run, change);
    case "settle":
      return settle(run, change);
    case "confirm":
    case "complete":
    case "fail":
    case "retrySoon":
    case "retryLater":
    case "wait":
    case "interrupt": {
      const refusal = refusedReport(run, change);
      if (refusal !== undefined) return { refused: refusal };
      break;
    }
    default:
  }
  const event: RunEvent = change.event === "claim" && placeOf(run) === "QUEUED_BOUND" ? "resume" : change.event;
  if (!isLegal(event, placeOf(run))) return { refused: "illegal" };
  return applyLegal(run, change);
}

function applyLegal(run: RunState, change: Exclude<RunChange, AddTags | Settle>): ApplyResult {
  switch (change.event) {
    case "due":
      return becomeDue(run, change);
    case "reschedule":
      return reschedule(run, change);
    case "claim":
      return claim(run, change);
    case "confirm":
      if (run.pickUpDeadlineMs === undefined) return { refused: "unchanged" };
      return kept({ ...touched(run, change.nowMs), ...CONFIRMED });
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

/** Whether the worker reports (or the record shows) a code that is still allowed to speak for this run. */
export function holdsLease(run: RunState, lease: { readonly fence: number; readonly sessionId: string }): boolean {
  const isLive = isLegal("interrupt", placeOf(run));
  return isLive && run.sessionId === lease.sessionId && run.fence === lease.fence;
}

// ── steps ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

const CONFIRMED = { pickUpDeadlineMs: undefined, pickUpFailures: 0 } as const;

/** Everything that belongs to a worker that no longer holds the run. */
const UNHELD = {
  pickUpDeadlineMs: undefined,
  deadlineMs: undefined,
  activeSinceMs: undefined,
  waitingFor: undefined,
} as const;

function becomeDue(run: RunState, change: Due): ApplyResult {
  if (run.dueMs === undefined || run.dueMs > change.nowMs) return { refused: "notYet" };
  const base = { ...moved(run, "QUEUED_WAITING", change.nowMs), dueMs: undefined };
  if (run.status !== "DELAYED") return freed({ ...base, retryAtMs: undefined });
  return freed({
    ...base,
    orderMs: orderOf(run.dueMs, run.prioritySeconds),
    expireAtMs: run.ttlMs === undefined ? undefined : run.dueMs + run.ttlMs,
  });
}

function reschedule(run: RunState, change: Reschedule): ApplyResult {
  return freed({ ...touched(run, change.nowMs), dueMs: change.dueMs, delayedUntilMs: change.dueMs });
}

function claim(run: RunState, change: Claim): ApplyResult {
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
    waitingFor: undefined,
    startedAtMs: run.startedAtMs ?? change.nowMs,
    attemptStartedAtMs: isResume ? run.attemptStartedAtMs : change.nowMs,
    activeSinceMs: change.nowMs,
    attemptActiveMs: usedMs,
  });
}

function release(run: RunState, change: Release): ApplyResult {
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
  return freed({ ...unbegun(run, change.nowMs), ...UNHELD, pickUpFailures: failures, sessionId: undefined });
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

function complete(run: RunState, change: Complete): ApplyResult {
  const extra = change.output === undefined ? {} : { output: change.output };
  return finished(reported(run, change), "COMPLETED", change.nowMs, extra);
}

function fail(run: RunState, change: Fail): ApplyResult {
  return finished(reported(run, change), change.status, change.nowMs, { failure: change.failure });
}

function retrySoon(run: RunState, change: RetrySoon): ApplyResult {
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

function retryLater(run: RunState, change: RetryLater): ApplyResult {
  if (run.attempt >= attemptsMax(run)) return { refused: "overLimit" };
  return {
    slot: "free",
    attempt: summary(run, "FAILED", change.nowMs, change.failure),
    next: { ...parked(reported(run, change), change.nowMs + change.delayMs, change.nowMs), interruptions: 0 },
  };
}

function wait(run: RunState, change: Wait): ApplyResult {
  return freed({
    ...reported(moved(run, "WAITING", change.nowMs), change),
    ...CONFIRMED,
    fence: run.fence + 1,
    interruptions: 0,
    waitingFor: change.waitingFor,
    attemptActiveMs: attemptActiveMs(run, change.nowMs),
    activeSinceMs: undefined,
    deadlineMs: undefined,
  });
}

function wake(run: RunState, change: Wake): ApplyResult {
  if (run.waitingFor !== change.waitingFor) return { refused: "illegal" };
  return freed(moved(run, "QUEUED_BOUND", change.nowMs));
}

function timeOut(run: RunState, change: TimeOut): ApplyResult {
  if (change.fence === undefined || change.sessionId === undefined) {
    if (run.deadlineMs === undefined || run.deadlineMs > change.nowMs) return { refused: "notYet" };
  } else {
    const refusal = refusedReport(run, { fence: change.fence, sessionId: change.sessionId });
    if (refusal !== undefined) return { refused: refusal };
  }
  const failure = engineFailure(
    "MAX_DURATION_EXCEEDED",
    `Run exceeded its maxDuration of ${run.attemptMaxDurationSeconds ?? 0} seconds`,
  );
  const before = change.fence === undefined ? run : { ...run, reportFence: change.fence };
  return finished(before, "TIMED_OUT", change.nowMs, { failure, codeEnded: change.codeEnded });
}

function interrupt(run: RunState, change: Interrupt): ApplyResult {
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

function lose(run: RunState, change: Lose): ApplyResult {
  if (run.sessionId !== change.sessionId) return { refused: "stale" };
  if (run.pickUpDeadlineMs !== undefined && run.status === "EXECUTING") {
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

function cancel(run: RunState, change: Cancel): ApplyResult {
  const failure = engineFailure("TASK_RUN_CANCELLED", change.reason);
  const result = finished(run, "CANCELED", change.nowMs, { failure, codeEnded: false });
  return { ...result, next: { ...result.next, todo: result.next.todo | TODO.cancelChildren } };
}

function expire(run: RunState, change: Expire): ApplyResult {
  if (run.startedAtMs !== undefined || run.expireAtMs === undefined) return { refused: "illegal" };
  if (run.expireAtMs > change.nowMs) return { refused: "notYet" };
  const failure = engineFailure("TASK_RUN_EXPIRED", `Run expired because the TTL (${run.ttlText ?? ""}) was reached`);
  const result = finished(run, "EXPIRED", change.nowMs, { failure });
  return { ...result, next: { ...result.next, expiredAtMs: change.nowMs } };
}

function addTags(run: RunState, change: AddTags): ApplyResult {
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

function settle(run: RunState, change: Settle): ApplyResult {
  if (run.version !== change.version) return { refused: "stale" };
  // No new version: readers see no difference, and a second follow-up may still be under way under this version.
  return kept({ ...run, todo: run.todo & ~change.bits });
}

// ── pieces ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

/** Next version; `updatedAt` rises with every change (RUN-5), also within one millisecond. */
function touched(run: RunState, nowMs: number): RunState {
  return { ...run, version: run.version + 1, updatedAtMs: Math.max(nowMs, run.updatedAtMs + 1) };
}

function moved(run: RunState, place: RunPlace, nowMs: number): RunState {
  return { ...touched(run, nowMs), ...statusOfPlace(place) };
}

function reported(run: RunState, report: { readonly fence: number }): RunState {
  return { ...run, reportFence: report.fence };
}

/** QUEUED until `dueMs`, held by nobody, the ended attempt's time added up. */
function parked(run: RunState, dueMs: number, nowMs: number): RunState {
  return {
    ...moved(run, "QUEUED_PARKED", nowMs),
    ...UNHELD,
    ...CONFIRMED,
    dueMs,
    retryAtMs: dueMs,
    earlierActiveMs: durationMs(run, nowMs),
    attemptActiveMs: 0,
    attemptStartedAtMs: undefined,
  };
}

interface Ending {
  readonly failure?: Failure;
  readonly output?: Uint8Array;
  /** False: code of the run may still be running. */
  readonly codeEnded?: boolean;
}

const OUTCOMES: Readonly<Record<string, AttemptOutcome>> = {
  COMPLETED: "COMPLETED",
  FAILED: "FAILED",
  CRASHED: "CRASHED",
  SYSTEM_FAILURE: "FAILED",
  TIMED_OUT: "TIMED_OUT",
  CANCELED: "CANCELED",
};

type FinalPlace = Exclude<
  RunPlace,
  "DELAYED" | "QUEUED_PARKED" | "QUEUED_WAITING" | "QUEUED_BOUND" | "EXECUTING" | "WAITING"
>;

function finished(run: RunState, place: FinalPlace, nowMs: number, ending: Ending): Applied {
  const wasHeld = isLegal("interrupt", placeOf(run));
  const isBegun = wasHeld && !isPausing(run, nowMs);
  const mayLinger = ending.codeEnded === false && run.status === "EXECUTING";
  const outcome = OUTCOMES[place] ?? "FAILED";
  return {
    slot: mayLinger ? "linger" : "free",
    ...(isBegun ? { attempt: summary(run, outcome, nowMs, ending.failure) } : {}),
    ...(ending.output === undefined ? {} : { output: ending.output }),
    ...(ending.failure === undefined ? {} : { failure: ending.failure }),
    next: {
      ...moved(run, place, nowMs),
      ...UNHELD,
      attempt: wasHeld && !isBegun ? run.attempt - 1 : run.attempt,
      dueMs: undefined,
      expireAtMs: undefined,
      retryAtMs: undefined,
      finishedAtMs: nowMs,
      earlierActiveMs: run.earlierActiveMs + (isBegun ? attemptActiveMs(run, nowMs) : 0),
      attemptActiveMs: 0,
      todo: run.awaited ? run.todo | TODO.wakeWaiting : run.todo,
    },
  };
}

function summary(run: RunState, outcome: AttemptOutcome, nowMs: number, error: Failure | undefined): AttemptSummary {
  return {
    number: run.attempt,
    outcome,
    startedAtMs: run.attemptStartedAtMs ?? run.startedAtMs ?? nowMs,
    finishedAtMs: nowMs,
    worker: run.sessionId,
    error,
  };
}

/** `timeout.None` (DUR-1): the largest number of seconds means no limit. */
const NO_LIMIT_SECONDS = 2_147_483_647;

function deadlineMs(fromMs: number, maxSeconds: number | undefined, usedMs: number): number | undefined {
  if (maxSeconds === undefined || maxSeconds >= NO_LIMIT_SECONDS) return undefined;
  return fromMs + maxSeconds * 1_000 - usedMs;
}

function attemptsMax(run: RunState): number {
  return run.maxAttempts ?? run.policyMaxAttempts ?? 1;
}

function kept(next: RunState): Applied {
  return { next, slot: "keep" };
}

function freed(next: RunState): Applied {
  return { next, slot: "free" };
}
