/** What a worker reports about a run, and what the server answers; the wire's forms are in messages.ts. */
import type { Payload } from "../../gen/hairtrigger/v1/payload_pb.js";
import type { Failure, WaitingFor } from "../../gen/hairtrigger/v1/run_pb.js";
import type { WaitOutcome } from "../../gen/hairtrigger/worker/v1/worker_pb.js";

export type Report =
  /** Confirms a pick-up before any code runs (RUN-6). */
  | { readonly kind: "started" }
  /** `output` undefined: the run function returned `undefined` (RES-8). */
  | { readonly kind: "completed"; readonly output: Payload | undefined }
  | {
      readonly kind: "failed";
      readonly failure: Failure;
      /** Milliseconds; undefined: no further attempt. */
      readonly retryDelayMs: number | undefined;
      /** Of the policy in force. */
      readonly maxAttempts: number;
    }
  /** The run is blocked; a `resume` follows when it can go on. */
  | { readonly kind: "waiting"; readonly waitingFor: WaitingFor }
  /** An `ended` follows. */
  | { readonly kind: "timedOut" }
  | { readonly kind: "interrupted"; readonly codeRunsOn: boolean }
  /** Code that ran on after its run was over has ended. */
  | { readonly kind: "ended" };

export interface ReportEntry {
  readonly lease: Uint8Array;
  readonly report: Report;
}

/** How an attempt of which the worker decides ended. */
export type AttemptOutcome = Extract<Report, { readonly kind: "completed" | "failed" }>;

/** A waiting run goes on. */
export interface ResumeOrder {
  /** In place of the one that the wait was reported under. */
  readonly lease: Uint8Array;
  readonly runId: string;
  /** The code goes on only when `started` has been acknowledged. */
  readonly confirmFirst: boolean;
  /** Undefined: to be asked for. */
  readonly outcome: WaitOutcome | undefined;
}

/** What the server says about a lease: in answer to a report, or to its mention in a hello. */
export type Instruction =
  | { readonly kind: "goOn" }
  | { readonly kind: "keepWaiting" }
  | { readonly kind: "retry"; readonly lease: Uint8Array; readonly attempt: number; readonly delayMs: number }
  | ({ readonly kind: "resume" } & ResumeOrder)
  | { readonly kind: "cancel"; readonly reason: string }
  | { readonly kind: "finished" }
  | { readonly kind: "released" }
  | { readonly kind: "lost" };
