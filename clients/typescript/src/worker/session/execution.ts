/** A run in a worker: what it is made of. How it changes is in executions.ts. */
import type { WaitingFor } from "../../gen/hairtrigger/v1/run_pb.js";
import type { Assignment, WaitOutcome } from "../../gen/hairtrigger/worker/v1/worker_pb.js";
import type { Deadline } from "../deadlines.js";
import { leaseKey } from "./held-leases.js";
import { msOf } from "./messages.js";
import type { AttemptOutcome, Report } from "./report.js";

/** The code of one attempt, under way. */
export interface RunningAttempt {
  readonly taskId: string;
  /** Aborts the signal; what the code does from now on is its own affair. */
  abort(reason: Error): void;
  /** Aborts the signal and runs `onCancel` (CAN-3); the code has ended when both have. */
  cancel(reason: string): void;
}

export interface AttemptInput {
  readonly assignment: Assignment;
  /** From 1. */
  readonly attempt: number;
  /** Milliseconds of active time of earlier attempts. */
  readonly activeBeforeMs: number;
  /** The run's lease at the moment; undefined once it must make no further call (RUN-6). */
  readonly lease: () => Uint8Array | undefined;
  /** The attempt since which waits are re-joined (TAW-10a). */
  readonly rejoinAttempt: number;
  /**
   * Blocks the run, which gives up its slot and its place; `onResume` is called when it goes on, or never. Without effect for an attempt
   * that is over, or waits already.
   */
  readonly wait: (waitingFor: WaitingFor, onResume: OnResume) => void;
  /** These are all tags of the run; its next attempt here sees them (TAG-3). */
  readonly tagsChanged: (tags: readonly string[]) => void;
  /** Called once, unless the attempt was aborted or cancelled before. */
  readonly onOutcome: (outcome: AttemptOutcome) => void;
  /** Called once, when no code of the attempt goes on. */
  readonly onEnded: () => void;
}

/** @param outcome what came of that which the run waited for; undefined: to be asked for. */
export type OnResume = (outcome: WaitOutcome | undefined) => void;

/** Starts the code of an attempt; `maxDurationMs` undefined: no limit. Must not throw. */
export type StartAttempt = (input: AttemptInput) => {
  readonly attempt: RunningAttempt;
  readonly maxDurationMs: number | undefined;
};

/** Where a run is; the picture is in executions.ts. */
export type Phase =
  | { readonly kind: "confirming" }
  | {
      readonly kind: "running";
      readonly attempt: RunningAttempt;
      readonly limit: Deadline | undefined;
      /** Of its maxDuration, at `sinceMs`; undefined: no limit. */
      readonly leftMs: number | undefined;
      readonly sinceMs: number;
    }
  | ({ readonly kind: "waiting" } & Wait)
  | ({ readonly kind: "resuming"; readonly outcome: WaitOutcome | undefined } & Wait)
  | { readonly kind: "reporting" }
  | { readonly kind: "pausing"; readonly until: Deadline }
  | { readonly kind: "lingering"; readonly grace: Deadline | undefined };

/** A blocked run: its code goes on when `onResume` is called, and is forgotten with it otherwise. */
interface Wait {
  readonly attempt: RunningAttempt;
  readonly onResume: OnResume;
  /** What is left of its maxDuration, in milliseconds; undefined: no limit. */
  readonly leftMs: number | undefined;
}

export interface Execution {
  readonly runId: string;
  readonly lease: Uint8Array;
  readonly attempt: number;
}

/** A run that the worker holds, with all that is known of it here. Changed by executions.ts and report-queue.ts alone. */
export interface Held {
  readonly runId: string;
  lease: Uint8Array;
  attempt: number;
  readonly assignment: Assignment;
  key: string;
  phase: Phase;
  /** Numbers the attempts that were started here, so that late callbacks of an earlier one are told apart. */
  starts: number;
  codeRuns: boolean;
  activeBeforeMs: number;
  /** Of the present attempt; undefined: no limit. */
  maxDurationMs: number | undefined;
  assignedAtMs: number;
  isConfirmed: boolean;
  takesPlace: boolean;
  /** Fenced by the worker itself; the next hello says so. */
  isFenced: boolean;
  /** Named in a hello that has not been answered. */
  isListed: boolean;
  report: Report | undefined;
  isQueued: boolean;
  /** How the attempt ended while it waited, kept until the server has said where the run is. */
  outcome: AttemptOutcome | undefined;
  rejoinAttempt: number;
  /** A `started` or a `waiting` was sent and then overtaken by another report: its answer is still to come, and says nothing any more. */
  isStartStale: boolean;
  /** The server was told that code goes on, or may think so: it waits for `ended` to free the slot. */
  owesEnded: boolean;
}

/** A run that was assigned just now. */
export function newHeld(assignment: Assignment, nowMs: number): Held {
  return {
    runId: assignment.runId,
    assignment,
    lease: assignment.lease,
    key: leaseKey(assignment.lease),
    attempt: assignment.attempt,
    phase: { kind: "confirming" },
    starts: 0,
    codeRuns: false,
    activeBeforeMs: msOf(assignment.activeBefore) ?? 0,
    maxDurationMs: undefined,
    assignedAtMs: nowMs,
    isConfirmed: false,
    takesPlace: false,
    isFenced: false,
    isListed: false,
    report: undefined,
    isQueued: false,
    outcome: undefined,
    rejoinAttempt: Math.max(1, assignment.rejoinAttempt),
    isStartStale: false,
    owesEnded: false,
  };
}

/** Nothing that was sent has confirmed its pick-up. */
export function isUnconfirmed(run: Held, assignedUntilMs: number): boolean {
  return !run.isConfirmed && !run.isListed && run.phase.kind === "running" && run.assignedAtMs <= assignedUntilMs;
}
