/** Runs as the SDK shows them (RUN-10). */

import type { RunStatus, StatusHelpers } from "./run-status.js";
import type { LogLevel } from "./task-context.js";

/** Of a run that is named by its id alone, nothing is known about payload and output. */
// oxlint-disable-next-line typescript/no-explicit-any -- TYP-3 says so: `runs.retrieve("run_…")` gives `any`
export type UntypedValue = any;

/** Why a run or an attempt did not succeed (RES-7). */
export interface RunError {
  /** Name of the error's class; of an engine error its code; absent if what was thrown was no Error. */
  readonly name?: string;
  /** The error's message; of a thrown string that string, of another value its JSON text. */
  readonly message: string;
  readonly stackTrace?: string;
  /** Set for what the engine found, such as `"MAX_DURATION_EXCEEDED"` (§12.3). */
  readonly code?: string;
}

/** The function that a run was triggered by. */
export type TriggerFunctionName = "trigger" | "triggerAndWait" | "batchTrigger" | "batchTriggerAndWait";

/** What lists, subscriptions and `runs.retrieve` all show of a run. */
export interface RunSummary extends StatusHelpers {
  readonly id: string;
  readonly status: RunStatus;
  readonly taskIdentifier: string;
  /** As the caller wrote it; absent: none, or lost since. */
  readonly idempotencyKey?: string;
  readonly isTest: boolean;
  readonly createdAt: Date;
  /** Rises with every change. */
  readonly updatedAt: Date;
  /** When the first attempt was picked up. */
  readonly startedAt?: Date;
  /** Set exactly in final statuses. */
  readonly finishedAt?: Date;
  /** The due time that the delay gave. */
  readonly delayedUntil?: Date;
  readonly expiredAt?: Date;
  /** In force, as a duration string. */
  readonly ttl?: string;
  /** Unique, in the order first set. */
  readonly tags: readonly string[];
  readonly queue: { readonly id: string; readonly name: string };
  readonly concurrencyKey?: string;
  /** Seconds of head start. */
  readonly priority: number;
  /** Attempts in all; absent: not known before the first pick-up. */
  readonly maxAttempts?: number;
  /** Attempts begun. */
  readonly attemptCount: number;
  /** Active milliseconds of all attempts, without waits and retry pauses. */
  readonly durationMs: number;
  /** 0 for a root, else the parent's depth + 1. */
  readonly depth: number;
  readonly batchId?: string;
  readonly triggerFunction: TriggerFunctionName;
}

/** An item of `runs.list`: without payload, output and error. */
export interface ListedRun extends RunSummary {
  readonly parentRunId?: string;
  readonly rootRunId?: string;
}

/** A run with its data, as subscriptions show it (RUN-25). */
export interface RunData<TPayload = unknown, TOutput = unknown> extends RunSummary {
  /** The present metadata. */
  readonly metadata?: Readonly<Record<string, unknown>>;
  readonly payload?: TPayload;
  /** Set for a payload that is kept outside the run; valid for 5 minutes. */
  readonly payloadPresignedUrl?: string;
  /** Set only if COMPLETED. */
  readonly output?: TOutput;
  readonly outputPresignedUrl?: string;
  /** Set in every final status but COMPLETED. */
  readonly error?: RunError;
  /** Seconds that an attempt may be active; absent: no limit, or not known before the first pick-up. */
  readonly maxDuration?: number;
  /** During a retry pause: when the next attempt may start. */
  readonly nextAttemptAt?: Date;
  /** What a WAITING run waits for. */
  readonly waitingFor?: WaitingFor;
  /** Session of the worker that holds the run, or held it last. */
  readonly workerId?: string;
  /** The last 10, oldest first, the present one included. */
  readonly attempts: readonly RunAttempt[];
}

/** A retrieved run. */
export interface RetrievedRun<TPayload = unknown, TOutput = unknown> extends RunData<TPayload, TOutput> {
  /** The last 200 lines (16 KB), oldest first. */
  readonly logs: readonly RunLogLine[];
  readonly relatedRuns: {
    readonly root?: RelatedRun;
    readonly parent?: RelatedRun;
    /** The first 100, oldest first. */
    readonly children: readonly RelatedRun[];
  };
}

/** What blocks a run. */
export type WaitingFor =
  | { readonly type: "task"; readonly runId: string }
  | { readonly type: "batch"; readonly batchId: string }
  | { readonly type: "duration"; readonly date: Date }
  | { readonly type: "token"; readonly id: string };

/** One execution of a run. */
export interface RunAttempt {
  /** From 1. An interrupted attempt and the one that replaces it have the same number. */
  readonly number: number;
  readonly outcome: AttemptOutcome;
  readonly startedAt: Date;
  /** Absent while it executes. */
  readonly finishedAt?: Date;
  /** Session of the worker. */
  readonly worker?: string;
  readonly error?: RunError;
}

/** How an attempt ended; EXECUTING: it has not. */
export type AttemptOutcome =
  | "EXECUTING"
  | "COMPLETED"
  | "FAILED"
  | "CRASHED"
  | "TIMED_OUT"
  | "CANCELED"
  | "INTERRUPTED";

/** A line that a task logged. */
export interface RunLogLine {
  readonly time: Date;
  readonly level: LogLevel;
  readonly message: string;
  /** Attempt in which it was logged. */
  readonly attempt: number;
  readonly properties?: Readonly<Record<string, unknown>>;
}

/** A neighbour of a run, in short. */
export interface RelatedRun {
  readonly id: string;
  readonly status: RunStatus;
  readonly taskIdentifier: string;
  readonly depth: number;
  readonly triggerFunction: TriggerFunctionName;
  readonly batchId?: string;
}
