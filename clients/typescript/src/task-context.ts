/** What users' code is told about its run. */

/** What run functions and hooks are told about their run (HOK-10): values at the start of the attempt, never changed afterwards. */
export interface TaskRunContext {
  readonly task: { readonly id: string };
  readonly attempt: {
    /** From 1. */
    readonly number: number;
    readonly startedAt: Date;
  };
  readonly run: {
    readonly id: string;
    /** As at the start of the attempt (TAG-3). */
    readonly tags: readonly string[];
    readonly isTest: boolean;
    readonly isReplay: boolean;
    readonly createdAt: Date;
    /** When the first attempt was picked up. */
    readonly startedAt: Date;
    /** As the caller wrote it (IDM-8). */
    readonly idempotencyKey?: string;
    readonly idempotencyKeyScope?: "run" | "attempt" | "global";
    /** Attempts in all, the first included. */
    readonly maxAttempts: number;
    /** Seconds of active time that an attempt may take; absent: no limit (DUR-5). */
    readonly maxDuration?: number;
    /** Seconds of head start (QUE-28). */
    readonly priority: number;
    readonly parentTaskRunId?: string;
    readonly rootTaskRunId?: string;
    /** Active milliseconds of earlier attempts. */
    readonly durationMs: number;
  };
  readonly queue: { readonly id: string; readonly name: string };
  /** Both the slug of the environment. */
  readonly environment: { readonly id: string; readonly slug: string };
  readonly batch?: { readonly id: string };
}

export type LogLevel = "trace" | "debug" | "log" | "info" | "warn" | "error";

/** What a run waits for, as hooks are told (HOK-9a). */
export type WaitDescription =
  | { readonly type: "duration"; readonly date: Date }
  | { readonly type: "token"; readonly id: string }
  | { readonly type: "task"; readonly runId: string }
  | { readonly type: "batch"; readonly batchId: string; readonly runCount: number };
