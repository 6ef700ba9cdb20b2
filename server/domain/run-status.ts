/**
 * The statuses of a run and what each is to a reader (section 12.1). How a run moves between them is in
 * `run-machine.ts`; there are no other statuses (RUN-4).
 */

interface StatusRow {
  /** A final status never changes. */
  readonly final: boolean;
  /** The one of queued, executing, waiting, completed that is true (RUN-2). */
  readonly phase: "queued" | "executing" | "waiting" | "completed";
  /** How a completed run ended; none for a live one. CANCELED is no failure (RUN-3). */
  readonly outcome: "success" | "cancelled" | "failed" | "none";
}

const STATUS_TABLE = {
  DELAYED: { final: false, phase: "queued", outcome: "none" },
  QUEUED: { final: false, phase: "queued", outcome: "none" },
  EXECUTING: { final: false, phase: "executing", outcome: "none" },
  WAITING: { final: false, phase: "waiting", outcome: "none" },
  COMPLETED: { final: true, phase: "completed", outcome: "success" },
  CANCELED: { final: true, phase: "completed", outcome: "cancelled" },
  FAILED: { final: true, phase: "completed", outcome: "failed" },
  CRASHED: { final: true, phase: "completed", outcome: "failed" },
  SYSTEM_FAILURE: { final: true, phase: "completed", outcome: "failed" },
  EXPIRED: { final: true, phase: "completed", outcome: "failed" },
  TIMED_OUT: { final: true, phase: "completed", outcome: "failed" },
} as const satisfies Readonly<Record<string, StatusRow>>;

type StatusTable = typeof STATUS_TABLE;

export type RunStatus = keyof StatusTable;
/** A status that never changes again. */
export type FinalStatus = { [S in RunStatus]: StatusTable[S]["final"] extends true ? S : never }[RunStatus];
export type LiveStatus = Exclude<RunStatus, FinalStatus>;

/** Every status, in the order of section 12.1. */
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
] as const satisfies readonly RunStatus[];

export const FINAL_STATUSES: readonly FinalStatus[] = RUN_STATUSES.filter(isFinal);
export const LIVE_STATUSES: readonly LiveStatus[] = RUN_STATUSES.filter(isLive);

export function isFinal(status: RunStatus): status is FinalStatus {
  return STATUS_TABLE[status].final;
}

export function isLive(status: RunStatus): status is LiveStatus {
  return !STATUS_TABLE[status].final;
}

/** Whether a text is the name of a status; for filters that callers write (RUN-20). */
export function isRunStatus(text: string): text is RunStatus {
  return Object.hasOwn(STATUS_TABLE, text);
}

/** The booleans that readers get with a status. Exactly one of the first four is true (RUN-2). */
export interface StatusHelpers {
  readonly isQueued: boolean;
  readonly isExecuting: boolean;
  readonly isWaiting: boolean;
  /** Final, however it ended. */
  readonly isCompleted: boolean;
  readonly isSuccess: boolean;
  readonly isFailed: boolean;
  readonly isCancelled: boolean;
  /** The other spelling of `isCancelled` (RUN-1). */
  readonly isCanceled: boolean;
}

export function statusHelpers(status: RunStatus): StatusHelpers {
  const { phase, outcome }: StatusRow = STATUS_TABLE[status];
  return {
    isQueued: phase === "queued",
    isExecuting: phase === "executing",
    isWaiting: phase === "waiting",
    isCompleted: phase === "completed",
    isSuccess: outcome === "success",
    isFailed: outcome === "failed",
    isCancelled: outcome === "cancelled",
    isCanceled: outcome === "cancelled",
  };
}
