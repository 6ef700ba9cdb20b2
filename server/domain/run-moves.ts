/**
 * The pieces that the steps of run-steps.ts are made of: each computes one aspect of a run's next state and knows no event. Pure.
 */
import type { Failure } from "./failure.js";
import {
  type AttemptOutcome,
  type AttemptSummary,
  attemptActiveMs,
  durationMs,
  isPausing,
  type RunState,
  TODO,
} from "./run.js";
import type { Applied } from "./run-change.js";
import { isLegal, placeOf, type RunPlace, statusOfPlace } from "./run-machine.js";

export const CONFIRMED = { pickUpDeadlineMs: undefined, pickUpFailures: 0, waitingFor: undefined } as const;

/** Everything that belongs to a worker that no longer holds the run. */
export const UNHELD = {
  pickUpDeadlineMs: undefined,
  deadlineMs: undefined,
  activeSinceMs: undefined,
  waitingFor: undefined,
} as const;

/** Next version; `updatedAt` rises with every change (RUN-5), also within one millisecond. */
export function touched(run: RunState, nowMs: number): RunState {
  return { ...run, version: run.version + 1, updatedAtMs: Math.max(nowMs, run.updatedAtMs + 1) };
}

export function moved(run: RunState, place: RunPlace, nowMs: number): RunState {
  // Nobody has to look after a wait that is over.
  const todo = run.todo & ~TODO.watch;
  return { ...touched(run, nowMs), ...statusOfPlace(place), todo };
}

export function reported(run: RunState, report: { readonly fence: number }): RunState {
  return { ...run, reportFence: report.fence };
}

/** QUEUED until `dueMs`, held by nobody, the ended attempt's time added up. */
export function parked(run: RunState, dueMs: number, nowMs: number): RunState {
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

export function finished(run: RunState, place: FinalPlace, nowMs: number, ending: Ending): Applied {
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
      todo: (run.todo & ~TODO.watch) | (run.awaited ? TODO.wakeWaiting : 0),
    },
  };
}

export function summary(
  run: RunState,
  outcome: AttemptOutcome,
  nowMs: number,
  error: Failure | undefined,
): AttemptSummary {
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

export function deadlineMs(fromMs: number, maxSeconds: number | undefined, usedMs: number): number | undefined {
  if (maxSeconds === undefined || maxSeconds >= NO_LIMIT_SECONDS) return undefined;
  return fromMs + maxSeconds * 1_000 - usedMs;
}

export function attemptsMax(run: RunState): number {
  return run.maxAttempts ?? run.policyMaxAttempts ?? 1;
}

export function kept(next: RunState): Applied {
  return { next, slot: "keep" };
}

export function freed(next: RunState): Applied {
  return { next, slot: "free" };
}
