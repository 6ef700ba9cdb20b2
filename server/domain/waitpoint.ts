/** Waitpoints: what a run can wait for beside runs and batches: a token that an outsider completes, or an instant (section 15). */
import { shown, type Violation } from "./error.js";
import type { RunKey } from "./run.js";
import { waitTarget } from "./wait.js";

/** `time`: made for one wait, over at its instant · `token`: anybody may wait for it and complete it, until its timeout. */
export type WaitpointKind = "token" | "time";

export const WAITPOINT_STATUSES = ["WAITING", "COMPLETED", "TIMED_OUT"] as const;
export type WaitpointStatus = (typeof WAITPOINT_STATUSES)[number];

export interface Waitpoint {
  readonly environment: string;
  readonly id: string;
  readonly kind: WaitpointKind;
  readonly status: WaitpointStatus;
  readonly createdAtMs: number;
  /** When a token times out, or the instant of a time. */
  readonly timeoutAtMs: number;
  /** Set exactly when it is not WAITING any more. */
  readonly completedAtMs: number | undefined;
  /** Of a COMPLETED token: an encoded hairtrigger.v1.Payload; undefined: completed with `undefined`. */
  readonly output: Uint8Array | undefined;
  readonly key: RunKey | undefined;
  readonly tags: readonly string[];
}

/** `complete`: somebody has the data · `timeout`: its time has come. */
export type WaitpointEnd =
  | { readonly kind: "complete"; readonly output: Uint8Array | undefined; readonly nowMs: number }
  | { readonly kind: "timeout"; readonly nowMs: number };

/**
 * The waitpoint after its end, or undefined where nothing changes: it is over already (WAI-7: the first end wins), or its time has not come.
 * From the instant of its timeout on a token is timed out, whether or not the clock's duty has been by: so there is one outcome, whoever
 * comes first.
 */
export function endWaitpoint(waitpoint: Waitpoint, end: WaitpointEnd): Waitpoint | undefined {
  if (waitpoint.status !== "WAITING") return undefined;
  const isDue = waitpoint.timeoutAtMs <= end.nowMs;
  if (isDue) {
    const status = waitpoint.kind === "time" ? "COMPLETED" : "TIMED_OUT";
    return { ...waitpoint, status, completedAtMs: end.nowMs };
  }
  if (end.kind === "timeout" || waitpoint.kind === "time") return undefined;
  return { ...waitpoint, status: "COMPLETED", completedAtMs: end.nowMs, output: end.output };
}

/** As runs that wait for it are recorded and found. */
export function targetOf({ kind, id, timeoutAtMs }: Waitpoint): string {
  return kind === "token"
    ? waitTarget({ kind, waitpointId: id })
    : waitTarget({ kind, waitpointId: id, untilMs: timeoutAtMs });
}

/** The refusal of a timeout, or of the length of a wait. */
export function waitTimeViolation(field: string, got: string): Violation {
  return {
    field,
    reason: "INVALID_DURATION",
    message: `Invalid ${field}: ${shown(got)}`,
    metadata: { got: shown(got), allowed: "a duration such as 1h30m, or a date-time, at most 100 years ahead" },
  };
}
