/**
 * Batches: runs made by one call (section 11). The record of a batch says what joined and when its input ended; which of its runs are live is
 * asked, and only a batch that is asked about pays for the answer, so that the end of a run costs nothing more for being a member.
 */
import { createHash } from "node:crypto";
import { shown, type Violation } from "./error.js";
import type { CheckedKey } from "./idempotency.js";
import type { Limits } from "./limits.js";
import { type PayloadInput, payloadBytes } from "./payload.js";
import type { RunKey } from "./run.js";
import type { AttemptRef } from "./run-change.js";

/** PROCESSING: input open. The last three are final (BAT-26). */
export type BatchStatus = "PROCESSING" | "PENDING" | "COMPLETED" | "PARTIAL_FAILED" | "ABORTED";

/** What ended the input of a streamed batch early (BAT-19, BAT-25). */
export interface BatchFailure {
  readonly message: string;
  /** A reason of the catalogue, {@link BATCH_STREAM_TIMEOUT}, or a name of the caller's. */
  readonly code: string | undefined;
  /** Position of the item that was the cause. */
  readonly index: number | undefined;
  readonly taskId: string | undefined;
}

/** The attempt of a run that opened a streamed batch: once it is over, the batch is sealed (BAT-18). */
export interface BatchOpener extends AttemptRef {
  readonly runId: string;
  /** Start of that attempt: an interrupted attempt and the one that follows have the same number. */
  readonly startedAtMs: number;
}

/** What a call decides about a batch that does not exist yet. */
export interface NewBatch {
  readonly environment: string;
  readonly id: string;
  readonly isStreamed: boolean;
  /** A run may wait for it; its runs are stored as awaited. */
  readonly isAwaited: boolean;
  /** `expiresAtMs`: end of the window, as for runs (IDM-19). */
  readonly key: RunKey | undefined;
  /** Only of a streamed batch that is opened inside a run. */
  readonly opener: BatchOpener | undefined;
  readonly nowMs: number;
}

export interface BatchState {
  readonly environment: string;
  readonly id: string;
  readonly isStreamed: boolean;
  readonly isAwaited: boolean;
  /** Undefined: none, or lost (BAT-21). */
  readonly key: RunKey | undefined;
  readonly opener: BatchOpener | undefined;
  /** Positions; runs and hits. */
  readonly itemCount: number;
  /** Chunks taken in: the index of the next one. */
  readonly chunkCount: number;
  readonly createdAtMs: number;
  /** When items were last accepted, or the batch was sealed. */
  readonly updatedAtMs: number;
  /** Undefined: the input is open. */
  readonly sealedAtMs: number | undefined;
  readonly failure: BatchFailure | undefined;
}

/** A position of a batch. */
export interface BatchItem {
  readonly index: number;
  readonly runId: string;
  readonly taskId: string;
  /** The run was made by someone else, or by an earlier position. */
  readonly isCached: boolean;
  /** Of the position, as the user wrote it. */
  readonly keyText: string | undefined;
}

/** BAT-18. */
export const BATCH_STREAM_TIMEOUT = "BATCH_STREAM_TIMEOUT";

/** @param hasLiveRun whether some run that the batch created, or hit, is live. */
export function batchStatus(batch: BatchState, hasLiveRun: boolean): BatchStatus {
  if (batch.sealedAtMs === undefined) return "PROCESSING";
  if (batch.itemCount === 0) return "ABORTED";
  if (hasLiveRun) return "PENDING";
  return batch.failure === undefined ? "COMPLETED" : "PARTIAL_FAILED";
}

/** BAT-9. An ABORTED batch is as complete as it will ever be. */
export function isBatchDone(batch: BatchState, hasLiveRun: boolean): boolean {
  return batch.sealedAtMs !== undefined && !hasLiveRun;
}

/** The record of a batch before its first chunk. */
export function openBatch(batch: NewBatch): BatchState {
  const { environment, id, isStreamed, isAwaited, key, opener, nowMs } = batch;
  return {
    environment,
    id,
    isStreamed,
    isAwaited,
    key,
    opener,
    itemCount: 0,
    chunkCount: 0,
    createdAtMs: nowMs,
    updatedAtMs: nowMs,
    sealedAtMs: undefined,
    failure: undefined,
  };
}

/** With one more chunk; a one-call batch is sealed by its only one. */
export function withChunk(batch: BatchState, itemCount: number, nowMs: number): BatchState {
  const updatedAtMs = Math.max(nowMs, batch.updatedAtMs);
  return {
    ...batch,
    itemCount: batch.itemCount + itemCount,
    chunkCount: batch.chunkCount + 1,
    updatedAtMs,
    sealedAtMs: batch.isStreamed ? undefined : updatedAtMs,
  };
}

/** The end of the input. A batch that got nothing, or not all, loses its key, so that the next call makes another (BAT-21). */
export function sealed(batch: BatchState, failure: BatchFailure | undefined, nowMs: number): BatchState {
  const updatedAtMs = Math.max(nowMs, batch.updatedAtMs);
  const keepsKey = failure === undefined && batch.itemCount > 0;
  return { ...batch, updatedAtMs, sealedAtMs: updatedAtMs, failure, key: keepsKey ? batch.key : undefined };
}

/** BAT-21: the key of an item without its own, from the key of its batch. */
export function itemKey(batchKey: CheckedKey, index: number): CheckedKey {
  const hash = createHash("sha256")
    .update(JSON.stringify([batchKey.hash, index]))
    .digest("hex");
  return { hash, text: `${batchKey.text}-${index}`, scope: batchKey.scope };
}

/** What is wrong with the number of items of one call, or of one chunk (BAT-3, BAT-4). */
export function batchCountViolations(count: number, limits: Pick<Limits, "batchItemsMax">): readonly Violation[] {
  if (count === 0) {
    return [{ field: "items", reason: "BATCH_EMPTY", message: "Batch cannot be triggered with no items" }];
  }
  if (count <= limits.batchItemsMax) return [];
  const message = `Batch runCount of ${count} exceeds maximum allowed of ${limits.batchItemsMax}.`;
  const metadata = { got: String(count), allowed: String(limits.batchItemsMax) };
  return [{ field: "items", reason: "BATCH_TOO_LARGE", message, metadata }];
}

/** What is wrong with their payloads together (PAY-8). */
export function batchBytesViolations(
  payloads: readonly PayloadInput[],
  limits: Pick<Limits, "batchPayloadBytesMax">,
): readonly Violation[] {
  const bytes = payloads.reduce((sum, payload) => sum + payloadBytes(payload), 0);
  if (bytes <= limits.batchPayloadBytesMax) return [];
  const message = `Batch payload of ${bytes} bytes exceeds maximum allowed of ${limits.batchPayloadBytesMax} bytes.`;
  const metadata = { got: String(bytes), allowed: String(limits.batchPayloadBytesMax) };
  return [{ field: "items", reason: "BATCH_PAYLOAD_TOO_LARGE", message, metadata }];
}

/** Code points of a failure's text and code that are kept with the batch. */
const MESSAGE_LENGTH_MAX = 1_000;

export function batchFailure(failure: BatchFailure): BatchFailure {
  const text = Array.from(failure.message.slice(0, 2 * MESSAGE_LENGTH_MAX));
  return {
    message: text.slice(0, MESSAGE_LENGTH_MAX).join(""),
    code: failure.code === undefined ? undefined : shown(failure.code),
    index: failure.index,
    taskId: failure.taskId === undefined ? undefined : shown(failure.taskId),
  };
}
