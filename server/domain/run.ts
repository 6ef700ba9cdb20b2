/**
 * The state of a run: what guarded writes change. What the caller asked for (the spec) travels beside it as bytes that nobody here
 * opens (design 4). All times are Unix milliseconds.
 */
import type { Failure } from "./failure.js";
import { orderOf } from "./queue.js";
import type { Readiness } from "./run-machine.js";
import type { RunStatus } from "./run-status.js";

/** Follow-ups that a write still owes elsewhere; `settle` finishes what a crash left (design 5). */
export const TODO = {
  /** Live children have to be cancelled with the run (CAN-4). */
  cancelChildren: 1,
  /** Runs that wait for this one have to be woken (design 9). */
  wakeWaiting: 2,
  /** It has begun to wait; whether what it waits for is over already has to be looked at once more (design 9). */
  watch: 8,
} as const;

export type TriggerFunction = "trigger" | "triggerAndWait" | "batchTrigger" | "batchTriggerAndWait";
export type KeyScope = "run" | "attempt" | "global";

/** The idempotency key that names a run (IDM-8). */
export interface RunKey {
  /** SHA-256 over [kind, environment, task, key], hex; the id of the key record. */
  readonly recordHash: string;
  /** As the user wrote it; of a bare hash, the hash. */
  readonly text: string;
  readonly scope: KeyScope | undefined;
  /** End of the window (IDM-19); decided by comparing, never by housekeeping. */
  readonly expiresAtMs: number;
}

export type AttemptOutcome = "COMPLETED" | "FAILED" | "CRASHED" | "TIMED_OUT" | "CANCELED" | "INTERRUPTED";

/** One ended attempt, or the part of one that an interruption ended. */
export interface AttemptSummary {
  readonly number: number;
  readonly outcome: AttemptOutcome;
  readonly startedAtMs: number;
  readonly finishedAtMs: number;
  /** Session id of the worker. */
  readonly worker: string | undefined;
  readonly error: Failure | undefined;
}

export interface RunState {
  readonly environment: string;
  readonly id: string;
  readonly taskId: string;
  readonly status: RunStatus;
  /** Defined exactly while QUEUED. */
  readonly readiness: Readiness | undefined;
  /** Rises by one with every change; what lost-update guards compare. */
  readonly version: number;

  readonly queue: string;
  readonly concurrencyKey: string | undefined;
  /** Order value: queue time − priority × 1,000. Smaller starts first. */
  readonly orderMs: number;
  readonly prioritySeconds: number;

  /** When a DELAYED or parked run may queue. */
  readonly dueMs: number | undefined;
  /** The caller's delay (DLY-7); stays for readers after the run became due. */
  readonly delayedUntilMs: number | undefined;
  readonly ttlMs: number | undefined;
  /** As shown to readers (TTL-1). */
  readonly ttlText: string | undefined;
  /** While QUEUED with a ttl: when it expires, if it never started. */
  readonly expireAtMs: number | undefined;
  readonly expiredAtMs: number | undefined;

  /** Attempts begun, the present one included; during a retry pause, the coming one (see {@link attemptCount}). */
  readonly attempt: number;
  /** Fixed by the trigger; undefined: the policy of the worker that runs the attempt decides. */
  readonly maxAttempts: number | undefined;
  /** maxAttempts of the last worker's policy; what readers see where the trigger gave none. */
  readonly policyMaxAttempts: number | undefined;
  /** Fixed by the trigger, in seconds; `timeout.None` is 2,147,483,647. */
  readonly maxDurationSeconds: number | undefined;
  /** In force for the present attempt (DUR-2). */
  readonly attemptMaxDurationSeconds: number | undefined;
  /** While EXECUTING under a maxDuration: when its active time is used up. */
  readonly deadlineMs: number | undefined;
  /** End of the present retry pause, short or long. */
  readonly retryAtMs: number | undefined;

  /** The session that holds the run, or held it last. */
  readonly sessionId: string | undefined;
  /** Until when the worker must confirm; undefined once confirmed (RUN-6). */
  readonly pickUpDeadlineMs: number | undefined;
  /** Unconfirmed pick-ups in a row. */
  readonly pickUpFailures: number;
  /** Interruptions in a row (RUN-7). */
  readonly interruptions: number;
  /** Rises with every change that a worker takes part in (RUN-8). */
  readonly fence: number;
  /** Fence of the last applied report; a repeat of it is acknowledged again. */
  readonly reportFence: number | undefined;

  /** What a WAITING run waits for, as {@link waitTarget} (wait.ts) writes it. */
  readonly waitingFor: string | undefined;
  /** The attempt since which waits are re-joined, after an ordinary failure of those before (TAW-10a); undefined: the first. */
  readonly rejoinAttempt: number | undefined;
  /** Some run may wait for this one. */
  readonly awaited: boolean;
  /** Bits of {@link TODO}. */
  readonly todo: number;

  readonly key: RunKey | undefined;
  readonly batchId: string | undefined;
  readonly batchIndex: number | undefined;
  readonly parentRunId: string | undefined;
  readonly rootRunId: string | undefined;
  readonly depth: number;
  readonly replayOf: string | undefined;
  readonly triggerFunction: TriggerFunction;
  readonly isTest: boolean;
  readonly tags: readonly string[];

  readonly createdAtMs: number;
  readonly updatedAtMs: number;
  /** When attempt 1 was picked up (RUN-5). */
  readonly startedAtMs: number | undefined;
  readonly finishedAtMs: number | undefined;
  readonly attemptStartedAtMs: number | undefined;
  /** Start of the running stretch of active time; undefined while it does not count (DUR-3). */
  readonly activeSinceMs: number | undefined;
  /** Active time of the present attempt before `activeSinceMs`. */
  readonly attemptActiveMs: number;
  /** Active time of earlier attempts. */
  readonly earlierActiveMs: number;
}

/** What a trigger decides about a run that does not exist yet. */
export interface NewRunParams {
  readonly environment: string;
  readonly id: string;
  readonly taskId: string;
  readonly queue: string;
  readonly concurrencyKey: string | undefined;
  readonly prioritySeconds: number;
  /** In the future: the run is DELAYED until then (DLY-4). */
  readonly delayedUntilMs: number | undefined;
  readonly ttl: { readonly ms: number; readonly text: string } | undefined;
  readonly maxAttempts: number | undefined;
  readonly maxDurationSeconds: number | undefined;
  readonly key: RunKey | undefined;
  readonly parent: { readonly runId: string; readonly rootRunId: string; readonly depth: number } | undefined;
  readonly replayOf: string | undefined;
  readonly triggerFunction: TriggerFunction;
  readonly isTest: boolean;
  readonly tags: readonly string[];
  /** Some run is about to wait for it. */
  readonly awaited?: boolean;
  /** Queue time of the run that waits for it, which a run without a future delay takes over (TAW-6). */
  readonly queueTimeMs?: number | undefined;
  /** The batch that creates it, and its position there. */
  readonly batch?: { readonly id: string; readonly index: number };
  readonly nowMs: number;
}

/** The first state of a run: QUEUED waiting, or DELAYED. */
export function newRun(params: NewRunParams): RunState {
  const isDelayed = params.delayedUntilMs !== undefined && params.delayedUntilMs > params.nowMs;
  const queuedAtMs =
    isDelayed && params.delayedUntilMs !== undefined ? params.delayedUntilMs : (params.queueTimeMs ?? params.nowMs);
  return {
    environment: params.environment,
    id: params.id,
    taskId: params.taskId,
    status: isDelayed ? "DELAYED" : "QUEUED",
    readiness: isDelayed ? undefined : "waiting",
    version: 1,
    queue: params.queue,
    concurrencyKey: params.concurrencyKey,
    orderMs: orderOf(queuedAtMs, params.prioritySeconds),
    prioritySeconds: params.prioritySeconds,
    dueMs: isDelayed ? params.delayedUntilMs : undefined,
    delayedUntilMs: isDelayed ? params.delayedUntilMs : undefined,
    ttlMs: params.ttl?.ms,
    ttlText: params.ttl?.text,
    expireAtMs: params.ttl === undefined || isDelayed ? undefined : params.nowMs + params.ttl.ms,
    expiredAtMs: undefined,
    attempt: 0,
    maxAttempts: params.maxAttempts,
    policyMaxAttempts: undefined,
    maxDurationSeconds: params.maxDurationSeconds,
    attemptMaxDurationSeconds: undefined,
    deadlineMs: undefined,
    retryAtMs: undefined,
    sessionId: undefined,
    pickUpDeadlineMs: undefined,
    pickUpFailures: 0,
    interruptions: 0,
    fence: 0,
    reportFence: undefined,
    waitingFor: undefined,
    rejoinAttempt: undefined,
    awaited: params.awaited ?? false,
    todo: 0,
    key: params.key,
    batchId: params.batch?.id,
    batchIndex: params.batch?.index,
    parentRunId: params.parent?.runId,
    rootRunId: params.parent?.rootRunId,
    depth: params.parent === undefined ? 0 : params.parent.depth + 1,
    replayOf: params.replayOf,
    triggerFunction: params.triggerFunction,
    isTest: params.isTest,
    tags: params.tags,
    createdAtMs: params.nowMs,
    updatedAtMs: params.nowMs,
    startedAtMs: undefined,
    finishedAtMs: undefined,
    attemptStartedAtMs: undefined,
    activeSinceMs: undefined,
    attemptActiveMs: 0,
    earlierActiveMs: 0,
  };
}

/** Attempts begun, as readers see them: the one that a retry pause announces has not begun (§12.4). */
export function attemptCount(run: RunState, nowMs: number): number {
  return isPausing(run, nowMs) ? run.attempt - 1 : run.attempt;
}

/** In a short retry pause: EXECUTING, and the announced attempt has not begun. */
export function isPausing(run: RunState, nowMs: number): boolean {
  return run.status === "EXECUTING" && run.retryAtMs !== undefined && run.retryAtMs > nowMs;
}

/** Active time of the present attempt up to `nowMs` (DUR-3). */
export function attemptActiveMs(run: RunState, nowMs: number): number {
  const running = run.activeSinceMs === undefined ? 0 : Math.max(0, nowMs - run.activeSinceMs);
  return run.attemptActiveMs + running;
}

/** Active time of all attempts (§12.4). */
export function durationMs(run: RunState, nowMs: number): number {
  return run.earlierActiveMs + attemptActiveMs(run, nowMs);
}

/** When a finished run may be removed (RUN-9): after the retention, a day after creation, an hour after its key. */
export function purgeAtMs(run: RunState, finishedRunsKeptMs: number): number | undefined {
  if (run.finishedAtMs === undefined) return undefined;
  const keyEndMs = run.key === undefined ? 0 : run.key.expiresAtMs + 3_600_000;
  return Math.max(run.finishedAtMs + finishedRunsKeptMs, run.createdAtMs + 86_400_000, keyEndMs);
}
