/** Batches: items and options → messages, answers → handles and batches. */
import { create } from "@bufbuild/protobuf";
import { timestampDate } from "@bufbuild/protobuf/wkt";
import type { BatchOptions, BatchStatus, RetrievedBatch } from "../batch-handle.js";
import { InternalServerError } from "../errors.js";
import {
  type Batch,
  BatchItemSchema,
  BatchOptionsSchema,
  type BatchItem as WireItem,
  type BatchOptions as WireOptions,
  BatchStatus as WireStatus,
} from "../gen/hairtrigger/v1/batch_pb.js";
import { currentRun } from "../run-context.js";
import type { ParseValue } from "../schema.js";
import type { TriggerOptions } from "../trigger-options.js";
import { payloadMessage } from "./payload.js";
import { triggerOptionsMessage } from "./trigger-options.js";

/** An item, wherever its task is named. */
export interface AnyBatchItem {
  readonly taskId: string;
  readonly payload: unknown;
  readonly options: TriggerOptions | undefined;
  /** Of the payload, before anything is sent (SCH-5). */
  readonly check: ParseValue | undefined;
}

/**
 * An item as it travels.
 * @param root what the item is called in errors, such as `items[3]`.
 * @throws TypeError naming the path of what cannot be serialised; what `check` throws.
 */
export async function itemMessage(item: AnyBatchItem, root: string): Promise<WireItem> {
  const { taskId, payload, options, check } = item;
  if (typeof taskId !== "string") throw new TypeError(`${root}: a task id is a string, got ${typeof taskId}`);
  if (check !== undefined) await check(payload);
  return create(BatchItemSchema, {
    taskId,
    payload: payloadMessage(payload, `${root}.payload`),
    options: await triggerOptionsMessage(options, currentRun()),
  });
}

/** Undefined for none. */
export async function batchOptionsMessage(options: BatchOptions | undefined): Promise<WireOptions | undefined> {
  if (options === undefined) return undefined;
  if (typeof options !== "object" || options === null) {
    throw new TypeError(`Batch options must be an object, got ${typeof options}`);
  }
  const { idempotencyKey, idempotencyKeyTTL } = options;
  // A batch takes two of the options of a trigger, in the same forms.
  const message = await triggerOptionsMessage({ idempotencyKey, idempotencyKeyTTL }, currentRun());
  return create(BatchOptionsSchema, {
    idempotencyKey: message?.idempotencyKey,
    idempotencyKeyTtl: message?.idempotencyKeyTtl,
    idempotencyKeyText: message?.idempotencyKeyText,
    idempotencyKeyScope: message?.idempotencyKeyScope,
  });
}

const STATUSES: Readonly<Record<number, BatchStatus>> = {
  [WireStatus.PROCESSING]: "PROCESSING",
  [WireStatus.PENDING]: "PENDING",
  [WireStatus.COMPLETED]: "COMPLETED",
  [WireStatus.PARTIAL_FAILED]: "PARTIAL_FAILED",
  [WireStatus.ABORTED]: "ABORTED",
};

/** @throws InternalServerError for an answer that cannot be understood. */
export function retrievedBatch(batch: Batch | undefined): RetrievedBatch {
  const status = batch === undefined ? undefined : STATUSES[batch.status];
  if (batch?.createTime === undefined || batch.updateTime === undefined || status === undefined) {
    throw new InternalServerError({
      code: "internal",
      message: "The answer has no batch that this version understands",
    });
  }
  const { processing } = batch;
  return {
    id: batch.id,
    status,
    ...(batch.idempotencyKey === "" ? {} : { idempotencyKey: batch.idempotencyKey }),
    createdAt: timestampDate(batch.createTime),
    updatedAt: timestampDate(batch.updateTime),
    runCount: Number(batch.runCount),
    runs: batch.runIds,
    ...(processing === undefined ? {} : { processing: processingOf(processing) }),
  };
}

function processingOf({ completeTime, errors }: NonNullable<Batch["processing"]>): RetrievedBatch["processing"] {
  return {
    ...(completeTime === undefined ? {} : { completedAt: timestampDate(completeTime) }),
    errors: errors.map(({ index, taskId, error, errorCode }) => ({
      ...(index === undefined ? {} : { index: Number(index) }),
      ...(taskId === "" ? {} : { taskIdentifier: taskId }),
      error,
      ...(errorCode === "" ? {} : { errorCode }),
    })),
  };
}
