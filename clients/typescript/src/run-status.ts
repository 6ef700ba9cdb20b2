/** Where a run is (§12.1). */

export const RUN_STATUSES = [
  "DELAYED",
  "QUEUED",
  "EXECUTING",
  "WAITING",
  "COMPLETED",
  "CANCELED",
  "FAILED",
  "CRASHED",
  "SYSTEM_FAILURE",
  "EXPIRED",
  "TIMED_OUT",
] as const;

/**
 * DELAYED: due later · QUEUED: waits for room · EXECUTING: picked up · WAITING: blocked on a wait · COMPLETED, CANCELED, and the failures
 * FAILED, CRASHED, SYSTEM_FAILURE, EXPIRED, TIMED_OUT are final.
 */
export type RunStatus = (typeof RUN_STATUSES)[number];

/** What a status says in short. Exactly one of isQueued, isExecuting, isWaiting, isCompleted is true (RUN-2). */
export interface StatusHelpers {
  readonly isQueued: boolean;
  readonly isExecuting: boolean;
  readonly isWaiting: boolean;
  /** Final, whatever the outcome. */
  readonly isCompleted: boolean;
  /** COMPLETED. */
  readonly isSuccess: boolean;
  /** FAILED, CRASHED, SYSTEM_FAILURE, EXPIRED, TIMED_OUT; a cancelled run did not fail (RUN-3). */
  readonly isFailed: boolean;
  readonly isCancelled: boolean;
  /** Alias of `isCancelled`. */
  readonly isCanceled: boolean;
}

type Group = "queued" | "executing" | "waiting" | "success" | "cancelled" | "failed";

const GROUPS = {
  DELAYED: "queued",
  QUEUED: "queued",
  EXECUTING: "executing",
  WAITING: "waiting",
  COMPLETED: "success",
  CANCELED: "cancelled",
  FAILED: "failed",
  CRASHED: "failed",
  SYSTEM_FAILURE: "failed",
  EXPIRED: "failed",
  TIMED_OUT: "failed",
} as const satisfies Readonly<Record<RunStatus, Group>>;

export function statusHelpers(status: RunStatus): StatusHelpers {
  const group: Group = GROUPS[status];
  const isCancelled = group === "cancelled";
  return {
    isQueued: group === "queued",
    isExecuting: group === "executing",
    isWaiting: group === "waiting",
    isCompleted: group === "success" || group === "failed" || isCancelled,
    isSuccess: group === "success",
    isFailed: group === "failed",
    isCancelled,
    isCanceled: isCancelled,
  };
}

export function isFinal(status: RunStatus): boolean {
  return statusHelpers(status).isCompleted;
}
