/** Batches of one task: `yourTask.batchTrigger` and `tasks.batchTrigger`. */
import type { BatchItem, BatchOptions, BatchRunHandle, BatchStream, StreamedBatchHandle } from "./batch-handle.js";
import { triggerBatch } from "./batch-trigger.js";
import type { BatchedRunHandle } from "./handle.js";
import type { RequestOptions } from "./request-options.js";
import type { ParseValue } from "./schema.js";
import type { TriggerOptions } from "./trigger-options.js";

/** An array gives the runs, a stream does not (BAT-1). */
export interface BatchTrigger<TIdentifier extends string, TPayload, TOutput> {
  (
    items: readonly BatchItem<TPayload>[],
    options?: BatchOptions,
    requestOptions?: RequestOptions,
  ): Promise<BatchRunHandle<readonly BatchedRunHandle<TIdentifier, TPayload, TOutput>[]>>;
  (
    items: BatchStream<BatchItem<TPayload>>,
    options?: BatchOptions,
    requestOptions?: RequestOptions,
  ): Promise<StreamedBatchHandle>;
}

/** @param check of each payload, before anything is sent (SCH-5). */
export function batchTriggerOf<TIdentifier extends string, TPayload, TOutput>(
  taskId: TIdentifier,
  check: ParseValue | undefined,
): BatchTrigger<TIdentifier, TPayload, TOutput> {
  function batchTrigger(
    items: readonly BatchItem<TPayload>[],
    options?: BatchOptions,
    requestOptions?: RequestOptions,
  ): Promise<BatchRunHandle<readonly BatchedRunHandle<TIdentifier, TPayload, TOutput>[]>>;
  function batchTrigger(
    items: BatchStream<BatchItem<TPayload>>,
    options?: BatchOptions,
    requestOptions?: RequestOptions,
  ): Promise<StreamedBatchHandle>;
  function batchTrigger(
    items: readonly OwnItem[] | BatchStream<OwnItem>,
    options?: BatchOptions,
    requestOptions?: RequestOptions,
  ): Promise<BatchRunHandle | StreamedBatchHandle> {
    const read = ({ payload, options: own }: OwnItem) => ({ taskId, payload, options: own, check });
    return triggerBatch<OwnItem>({ items, read, options, requestOptions });
  }
  return batchTrigger;
}

export interface OwnItem {
  readonly payload?: unknown;
  readonly options?: TriggerOptions;
}
