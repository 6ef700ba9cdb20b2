/**
 * What a worker and its task processes say to each other. Both run one version of this code; what else is sent over the channel, by user code
 * for example, is none of it and is passed over.
 */
import { fromBinary, toBinary } from "@bufbuild/protobuf";
import { ApiError, type ApiErrorCode } from "../../errors.js";
import { PayloadSchema } from "../../gen/hairtrigger/v1/payload_pb.js";
import { FailureSchema } from "../../gen/hairtrigger/v1/run_pb.js";
import type { LogRecord } from "../../run-context.js";
import type { SessionFacts } from "../session/facts.js";
import type { TargetedOperation } from "../session/metadata-ledger.js";
import type { AttemptOutcome } from "../session/report.js";

/** Worker → task process. Bytes are messages of the protocol. */
export type ToProcess =
  | {
      readonly kind: "start";
      readonly assignment: Uint8Array;
      readonly attempt: number;
      readonly activeBeforeMs: number;
      readonly rejoinAttempt: number;
      /** Not the first attempt of this assignment: a URL that came with it may be too old. */
      readonly isRepeated: boolean;
      readonly lease: Uint8Array;
      readonly facts: SessionFacts;
    }
  /** Aborts the signal with an error of this name and message. */
  | { readonly kind: "abort"; readonly name: string; readonly message: string }
  /** Aborts the signal and runs `onCancel`. */
  | { readonly kind: "cancel"; readonly reason: string }
  /** Changes of metadata up to this number were applied, or refused. */
  | {
      readonly kind: "settled";
      readonly runId: string;
      readonly attempt: number;
      readonly sequence: number;
      readonly refusal: Refusal | undefined;
    }
  /** The wait is over. `outcome` undefined: to be asked for. */
  | { readonly kind: "resume"; readonly lease: Uint8Array | undefined; readonly outcome: Uint8Array | undefined };

/** Task process → worker. */
export type FromProcess =
  /** The code is loaded; an attempt may come. */
  | { readonly kind: "ready" }
  | { readonly kind: "waiting"; readonly waitingFor: Uint8Array }
  /** @member metadataJson as the attempt sees it; undefined: it never looked. */
  | { readonly kind: "outcome"; readonly outcome: PackedOutcome; readonly metadataJson: string | undefined }
  /** Changes of metadata, the last of which has this number, and what they make of it. */
  | {
      readonly kind: "metadata";
      readonly changes: readonly TargetedOperation[];
      readonly sequence: number;
      readonly metadataJson: string | undefined;
    }
  /** No code of the attempt goes on; another may come. */
  | { readonly kind: "ended" }
  | { readonly kind: "log"; readonly runId: string; readonly attempt: number; readonly line: LogRecord }
  | { readonly kind: "tags"; readonly tags: readonly string[] };

/** Of changes of metadata; errors themselves lose their members on the way. */
export interface Refusal {
  readonly code: ApiErrorCode;
  readonly message: string;
  readonly reason?: string;
}

export function packRefusal({ code, message, reason }: ApiError): Refusal {
  return { code, message, ...(reason === undefined ? {} : { reason }) };
}

export function unpackRefusal(refusal: Refusal | undefined): ApiError | undefined {
  return refusal === undefined ? undefined : new ApiError(refusal);
}

export type PackedOutcome =
  | { readonly kind: "completed"; readonly output: Uint8Array | undefined }
  | {
      readonly kind: "failed";
      readonly failure: Uint8Array;
      readonly retryDelayMs: number | undefined;
      readonly maxAttempts: number;
    };

/** Told from what others send over the channel by its only member. */
export interface Envelope<T> {
  readonly hairtrigger: T;
}

export function isFromWorker(value: unknown): value is Envelope<ToProcess> {
  return isEnvelope(value);
}

export function isFromProcess(value: unknown): value is Envelope<FromProcess> {
  return isEnvelope(value);
}

function isEnvelope(value: unknown): boolean {
  if (typeof value !== "object" || value === null || !("hairtrigger" in value)) return false;
  const { hairtrigger } = value;
  return typeof hairtrigger === "object" && hairtrigger !== null && "kind" in hairtrigger;
}

export function packOutcome(outcome: AttemptOutcome): PackedOutcome {
  if (outcome.kind === "completed") {
    const { output } = outcome;
    return { kind: "completed", output: output === undefined ? undefined : toBinary(PayloadSchema, output) };
  }
  const { kind, failure, retryDelayMs, maxAttempts } = outcome;
  return { kind, failure: toBinary(FailureSchema, failure), retryDelayMs, maxAttempts };
}

export function unpackOutcome(outcome: PackedOutcome): AttemptOutcome {
  if (outcome.kind === "completed") {
    const { output } = outcome;
    return { kind: "completed", output: output === undefined ? undefined : fromBinary(PayloadSchema, output) };
  }
  const { kind, failure, retryDelayMs, maxAttempts } = outcome;
  return { kind, failure: fromBinary(FailureSchema, failure), retryDelayMs, maxAttempts };
}
