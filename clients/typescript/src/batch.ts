/** Batches: many runs by one call, of one task or of several (sections 4.2, 4.5). */

import type { ApiPromise } from "./api-promise.js";
import { triggerBatchAndWait } from "./batch-and-wait.js";
import type {
  BatchByIdItem,
  BatchByTaskItem,
  BatchOptions,
  BatchRunHandle,
  BatchRunOf,
  BatchStream,
  RetrievedBatch,
  StreamedBatchHandle,
} from "./batch-handle.js";
import type { BatchResult, TaskRunResultOf, TaskRunResultsOf } from "./batch-result.js";
import { triggerBatch } from "./batch-trigger.js";
import { call } from "./call.js";
import { retrievedBatch } from "./convert/batch.js";
import type { RequestOptions } from "./request-options.js";
import { type AnyTask, taskDefinition } from "./task.js";
import { taskRunResult } from "./trigger-and-wait.js";
import type { TriggerOptions } from "./trigger-options.js";

/**
 * Triggers runs of any tasks, each item naming its own by id: all or none, at most 500 items and 1 MB of payload in an array. An `AsyncIterable`, a
 * generator or a `ReadableStream` may have any number of items, and is read as they are sent.
 *
 * ```ts
 * await batch.trigger<typeof resize | typeof publish>([
 *   { id: "resize", payload: { url, width: 200 } },
 *   { id: "publish", payload: { url }, options: { delay: "1h" } },
 * ]);
 * ```
 * @throws BatchTriggerError where the server refuses the batch, or its input ended early (RES-13).
 */
function trigger<T extends AnyTask>(
  items: readonly BatchByIdItem<T>[],
  options?: BatchOptions,
  requestOptions?: RequestOptions,
): Promise<BatchRunHandle<readonly BatchRunOf<T>[]>>;
function trigger<T extends AnyTask>(
  items: BatchStream<BatchByIdItem<T>>,
  options?: BatchOptions,
  requestOptions?: RequestOptions,
): Promise<StreamedBatchHandle>;
function trigger(
  items: readonly ByIdItem[] | BatchStream<ByIdItem>,
  options?: BatchOptions,
  requestOptions?: RequestOptions,
): Promise<BatchRunHandle | StreamedBatchHandle> {
  return triggerBatch<ByIdItem>({
    items,
    read: ({ id: taskId, payload, options: own }) => ({ taskId, payload, options: own, check: undefined }),
    options,
    requestOptions,
  });
}

interface ByIdItem {
  readonly id: string;
  readonly payload?: unknown;
  readonly options?: TriggerOptions;
}

/** The runs of a list of tasks, position by position. */
type RunsOf<T extends readonly AnyTask[]> = { readonly [K in keyof T]: BatchRunOf<T[K]> };

/**
 * The same with task objects: the handle's `runs` is a tuple, `runs[i]` typed from the task of `items[i]`.
 *
 * ```ts
 * const { runs: [image, page] } = await batch.triggerByTask([
 *   { task: resize, payload: { url, width: 200 } },
 *   { task: publish, payload: { url } },
 * ]);
 * ```
 * @throws as `trigger`; what the schema of a task throws (SCH-5).
 */
function triggerByTask<T extends readonly AnyTask[]>(
  items: readonly [...{ readonly [K in keyof T]: BatchByTaskItem<T[K]> }],
  options?: BatchOptions,
  requestOptions?: RequestOptions,
): Promise<BatchRunHandle<RunsOf<T>>>;
function triggerByTask<T extends AnyTask>(
  items: BatchStream<BatchByTaskItem<T>>,
  options?: BatchOptions,
  requestOptions?: RequestOptions,
): Promise<StreamedBatchHandle>;
function triggerByTask(
  items: readonly ByTaskItem[] | BatchStream<ByTaskItem>,
  options?: BatchOptions,
  requestOptions?: RequestOptions,
): Promise<BatchRunHandle | StreamedBatchHandle> {
  return triggerBatch<ByTaskItem>({
    items,
    read: ({ task, payload, options: own }) => {
      return { taskId: task.id, payload, options: own, check: taskDefinition(task)?.parse };
    },
    options,
    requestOptions,
  });
}

interface ByTaskItem {
  readonly task: AnyTask;
  readonly payload?: unknown;
  readonly options?: TriggerOptions;
}

/**
 * Returns a batch, readable from the moment its trigger was answered.
 * @throws NotFoundError BATCH_NOT_FOUND.
 */
function retrieve(
  batchOrId: string | { readonly id: string },
  requestOptions?: RequestOptions,
): ApiPromise<RetrievedBatch> {
  const batchId = typeof batchOrId === "string" ? batchOrId : batchOrId.id;
  return call(
    requestOptions,
    () => ({ batchId }),
    async ({ batches }, request, options) => retrievedBatch((await batches.retrieveBatch(request, options)).batch),
  );
}

/**
 * Triggers runs of any tasks and waits for all of them, inside a task only; the result's `runs` are in the order of the items, told apart by
 * `taskIdentifier`.
 *
 * ```ts
 * const { runs } = await batch.triggerAndWait<typeof resize | typeof publish>([{ id: "resize", payload: { url, width: 200 } }]);
 * for (const run of runs) if (run.ok && run.taskIdentifier === "resize") console.log(run.output.url);
 * ```
 * @throws as `trigger`; Error outside of a task.
 */
function triggerAndWait<T extends AnyTask>(
  items: readonly BatchByIdItem<T>[] | BatchStream<BatchByIdItem<T>>,
  options?: BatchOptions,
  requestOptions?: RequestOptions,
): Promise<BatchResult<readonly TaskRunResultOf<T>[]>>;
function triggerAndWait(
  items: readonly ByIdItem[] | BatchStream<ByIdItem>,
  options?: BatchOptions,
  requestOptions?: RequestOptions,
): Promise<BatchResult> {
  const read = ({ id: taskId, payload, options: own }: ByIdItem) => ({
    taskId,
    payload,
    options: own,
    check: undefined,
  });
  return triggerBatchAndWait("batch.triggerAndWait", { items, read, options, requestOptions }, (taskId, ended, runId) =>
    taskRunResult(taskId, runId, ended),
  );
}

/**
 * The same with task objects: `runs` is a tuple, `runs[i]` typed from the task of `items[i]`.
 * @throws as `triggerByTask`; Error outside of a task.
 */
function triggerByTaskAndWait<T extends readonly AnyTask[]>(
  items: readonly [...{ readonly [K in keyof T]: BatchByTaskItem<T[K]> }],
  options?: BatchOptions,
  requestOptions?: RequestOptions,
): Promise<BatchResult<TaskRunResultsOf<T>>>;
function triggerByTaskAndWait<T extends AnyTask>(
  items: BatchStream<BatchByTaskItem<T>>,
  options?: BatchOptions,
  requestOptions?: RequestOptions,
): Promise<BatchResult<readonly TaskRunResultOf<T>[]>>;
function triggerByTaskAndWait(
  items: readonly ByTaskItem[] | BatchStream<ByTaskItem>,
  options?: BatchOptions,
  requestOptions?: RequestOptions,
): Promise<BatchResult> {
  const read = ({ task, payload, options: own }: ByTaskItem) => {
    return { taskId: task.id, payload, options: own, check: taskDefinition(task)?.parse };
  };
  return triggerBatchAndWait(
    "batch.triggerByTaskAndWait",
    { items, read, options, requestOptions },
    (taskId, ended, runId) => taskRunResult(taskId, runId, ended),
  );
}

/** Triggers and reads batches, and waits for them. */
export const batch = { trigger, triggerAndWait, triggerByTask, triggerByTaskAndWait, retrieve } as const;
