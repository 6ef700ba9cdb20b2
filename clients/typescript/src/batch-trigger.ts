/** Triggers batches: an array by one call, anything else by a stream (batch-stream.ts). */
import { create } from "@bufbuild/protobuf";
import { BatchTriggerError } from "./batch-error.js";
import type { BatchOptions, BatchRunHandle, BatchStream, StreamedBatchHandle } from "./batch-handle.js";
import { streamBatch } from "./batch-stream.js";
import { sendOnce } from "./call.js";
import { systemClock } from "./clock.js";
import { type CallSettings, callSettings } from "./configuration.js";
import { type AnyBatchItem, batchOptionsMessage, itemMessage } from "./convert/batch.js";
import { ApiError, badRequest } from "./errors.js";
import {
  type BatchTriggerRequest,
  BatchTriggerRequestSchema,
  type BatchTriggerResponse,
} from "./gen/hairtrigger/v1/batch_service_pb.js";
import type { BatchedRunHandle } from "./handle.js";
import { newRequestId } from "./request-id.js";
import type { RequestOptions } from "./request-options.js";
import { withRetries } from "./request-retry.js";
import { currentRun } from "./run-context.js";
import { handleToken, tokenEndMs, warnUnknownTask } from "./trigger.js";

/** Bytes of one call: above what a batch may have, and far below the server's transport limit, which would say less. */
const ITEMS_MAX = 500;

export interface BatchParams<TItem> {
  readonly items: readonly TItem[] | BatchStream<TItem>;
  /** Where the item's task is named, and its payload checked. */
  readonly read: (item: TItem) => AnyBatchItem;
  readonly options: BatchOptions | undefined;
  readonly requestOptions: RequestOptions | undefined;
}

/**
 * @throws BatchTriggerError where the server refuses; what is wrong with an item in this process is thrown as it is (RES-13).
 */
export async function triggerBatch<TItem>(params: BatchParams<TItem>): Promise<BatchRunHandle | StreamedBatchHandle> {
  const { items } = params;
  const settings = callSettings(params.requestOptions);
  if (!isArray(items)) return streamBatch({ ...params, items }, settings);
  return sendArray({ ...params, items }, settings);
}

export function isArray<TItem>(items: readonly TItem[] | BatchStream<TItem>): items is readonly TItem[] {
  return Array.isArray(items);
}

async function sendArray<TItem>(
  { items, read, options }: Omit<BatchParams<TItem>, "items"> & { readonly items: readonly TItem[] },
  settings: CallSettings,
): Promise<BatchRunHandle> {
  const issuedAtMs = systemClock.nowMs();
  const expiresAtMs = tokenEndMs(settings, issuedAtMs);
  const request = await batchRequest({ items, read, options });
  const { requestId } = request;
  const data = await sendBatch(settings, request, items.length);
  const scope = `read:batch:${data.batchId}`;
  const token = { scope, issuedAtMs, expiresAtMs, tokenId: requestId };
  return {
    batchId: data.batchId,
    id: data.batchId,
    isCached: data.isCached,
    ...(data.idempotencyKey === "" ? {} : { idempotencyKey: data.idempotencyKey }),
    runCount: data.runCount,
    runs: data.runs.map(
      ({ runId, taskId, isCached, idempotencyKey }): BatchedRunHandle => ({
        id: runId,
        taskIdentifier: taskId,
        isCached,
        ...(idempotencyKey === "" ? {} : { idempotencyKey }),
      }),
    ),
    publicAccessToken: await handleToken(settings, data.publicAccessToken, token),
    ...(data.warnings.length === 0 ? {} : { warnings: data.warnings }),
  };
}

/** A batch as it travels, under a request id of its own. @throws what is wrong with an item in this process. */
export async function batchRequest<TItem>({
  items,
  read,
  options,
}: {
  readonly items: readonly TItem[];
  readonly read: (item: TItem) => AnyBatchItem;
  readonly options: BatchOptions | undefined;
}): Promise<BatchTriggerRequest> {
  const batchOptions = await batchOptionsMessage(options);
  // Limits are the server's; items beyond any limit are not encoded to be refused.
  const sent = items.length > 100 * ITEMS_MAX ? items.slice(0, 100 * ITEMS_MAX) : items;
  const wireItems = await Promise.all(sent.map((item, index) => itemMessage(read(item), `items[${index}]`)));
  return create(BatchTriggerRequestSchema, {
    items: wireItems,
    options: batchOptions,
    requestId: newRequestId(systemClock),
    parentRunId: currentRun()?.ctx.run.id,
  });
}

/** Sends a batch, as often as it takes. @throws BatchTriggerError */
export async function sendBatch(
  settings: CallSettings,
  request: BatchTriggerRequest,
  itemCount: number,
): Promise<BatchTriggerResponse> {
  let data: BatchTriggerResponse;
  try {
    if (itemCount === 0) throw badRequest("BATCH_EMPTY", "Batch cannot be triggered with no items");
    const send = () => sendOnce(settings, ({ batches }, callOptions) => batches.batchTrigger(request, callOptions));
    data = (await withRetries(send, settings.options.retry, systemClock)).data;
  } catch (error) {
    throw refused(error, itemCount);
  }
  for (const { taskId, similarTaskIds } of data.unknownTasks) warnUnknownTask(settings, taskId, similarTaskIds);
  return data;
}

/** Mistakes that were found here are the caller's, and stay as they are. */
function refused(error: unknown, itemCount: number): unknown {
  if (!(error instanceof ApiError)) return error;
  const phase = error.reason === "PAYLOAD_STORE_UNAVAILABLE" ? "offload" : "create";
  return new BatchTriggerError({ phase, itemCount, acceptedCount: 0, cause: error, apiError: error });
}
