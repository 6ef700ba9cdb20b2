/** Triggers tasks by id: the task's code is imported as a type only (TRG-11). */
import type { ApiPromise } from "./api-promise.js";
import { triggerBatchAndWait } from "./batch-and-wait.js";
import type { BatchItem, BatchOptions, BatchRunHandle, BatchStream, StreamedBatchHandle } from "./batch-handle.js";
import type { BatchResult } from "./batch-result.js";
import { triggerBatch } from "./batch-trigger.js";
import { hookRegistrars } from "./global-hooks.js";
import type { BatchedRunHandle } from "./handle.js";
import type { RequestOptions } from "./request-options.js";
import type { RetrievedRun } from "./run.js";
import { type PollOptions, runs } from "./runs.js";
import type { AnyTask, TaskIdentifier, TaskOutput, TaskOutputHandle, TaskPayload } from "./task.js";
import type { TaskRunPromise, TaskRunResult } from "./task-run.js";
import { triggerTask } from "./trigger.js";
import { triggerAndSubscribe } from "./trigger-and-subscribe.js";
import { taskRunResult, triggerAndWait } from "./trigger-and-wait.js";
import type { TriggerAndSubscribeOptions, TriggerOptions } from "./trigger-options.js";

/** Payload, options and request options; the payload may be left out only if its type is `void`, `undefined` or optional (TYP-4). */
export type ByIdArguments<TPayload, TOptions> = void extends TPayload
  ? [payload?: TPayload, options?: TOptions, requestOptions?: RequestOptions]
  : undefined extends TPayload
    ? [payload?: TPayload, options?: TOptions, requestOptions?: RequestOptions]
    : [payload: TPayload, options?: TOptions, requestOptions?: RequestOptions];

/**
 * Triggers a task by id: resolves once the run is stored, without waiting for it.
 *
 * ```ts
 * import type { resize } from "./tasks.js";
 * const handle = await tasks.trigger<typeof resize>("resize", { url, width: 200 }, { delay: "10m" });
 * ```
 * @throws as `yourTask.trigger` does.
 */
function trigger<T extends AnyTask>(
  id: TaskIdentifier<T>,
  ...args: ByIdArguments<TaskPayload<T>, TriggerOptions>
): ApiPromise<TaskOutputHandle<T>> {
  const [payload, options, requestOptions] = args;
  return triggerTask<TaskIdentifier<T>, TaskPayload<T>, TaskOutput<T>>({
    taskId: id,
    payload,
    options,
    requestOptions,
  });
}

/**
 * Triggers a task by id and waits for its run, inside a task only: `yourTask.triggerAndWait` without the task's code.
 * @throws as `yourTask.triggerAndWait` does.
 */
function triggerAndWaitById<T extends AnyTask>(
  id: TaskIdentifier<T>,
  ...args: ByIdArguments<TaskPayload<T>, TriggerOptions>
): TaskRunPromise<TaskIdentifier<T>, TaskOutput<T>> {
  const [payload, options, requestOptions] = args;
  return triggerAndWait<TaskIdentifier<T>, TaskOutput<T>>("tasks.triggerAndWait", {
    taskId: id,
    payload,
    options,
    requestOptions,
  });
}

/**
 * Triggers a task by id and follows its run, inside a task only: `yourTask.triggerAndSubscribe` without the task's code.
 * @throws as `yourTask.triggerAndSubscribe` does.
 */
function triggerAndSubscribeById<T extends AnyTask>(
  id: TaskIdentifier<T>,
  ...args: ByIdArguments<TaskPayload<T>, TriggerAndSubscribeOptions>
): TaskRunPromise<TaskIdentifier<T>, TaskOutput<T>> {
  const [payload, options, requestOptions] = args;
  const params = { taskId: id, payload, options, requestOptions };
  return triggerAndSubscribe<TaskIdentifier<T>, TaskOutput<T>>("tasks.triggerAndSubscribe", params);
}

/**
 * Triggers many runs of a task by its id, by one call: `yourTask.batchTrigger` without the task's code.
 *
 * ```ts
 * await tasks.batchTrigger<typeof resize>("resize", urls.map((url) => ({ payload: { url, width: 200 } })));
 * ```
 * @throws as `yourTask.batchTrigger` does.
 */
function batchTrigger<T extends AnyTask>(
  id: TaskIdentifier<T>,
  items: readonly BatchItem<TaskPayload<T>>[],
  options?: BatchOptions,
  requestOptions?: RequestOptions,
): Promise<BatchRunHandle<readonly BatchedRunHandle<TaskIdentifier<T>, TaskPayload<T>, TaskOutput<T>>[]>>;
function batchTrigger<T extends AnyTask>(
  id: TaskIdentifier<T>,
  items: BatchStream<BatchItem<TaskPayload<T>>>,
  options?: BatchOptions,
  requestOptions?: RequestOptions,
): Promise<StreamedBatchHandle>;
function batchTrigger(
  id: string,
  items: readonly UntypedItem[] | BatchStream<UntypedItem>,
  options?: BatchOptions,
  requestOptions?: RequestOptions,
): Promise<BatchRunHandle | StreamedBatchHandle> {
  return triggerBatch<UntypedItem>({
    items,
    read: ({ payload, options: own }) => ({ taskId: id, payload, options: own, check: undefined }),
    options,
    requestOptions,
  });
}

/**
 * Triggers many runs of a task by its id and waits for all of them, inside a task only: `yourTask.batchTriggerAndWait` without the task's code.
 * @throws as `yourTask.batchTriggerAndWait` does.
 */
function batchTriggerAndWait<T extends AnyTask>(
  id: TaskIdentifier<T>,
  items: readonly BatchItem<TaskPayload<T>>[] | BatchStream<BatchItem<TaskPayload<T>>>,
  options?: BatchOptions,
  requestOptions?: RequestOptions,
): Promise<BatchResult<readonly TaskRunResult<TaskIdentifier<T>, TaskOutput<T>>[]>> {
  const read = ({ payload, options: own }: UntypedItem) => ({ taskId: id, payload, options: own, check: undefined });
  return triggerBatchAndWait("tasks.batchTriggerAndWait", { items, read, options, requestOptions }, (_, ended, runId) =>
    taskRunResult<TaskIdentifier<T>>(id, runId, ended),
  );
}

interface UntypedItem {
  readonly payload?: unknown;
  readonly options?: TriggerOptions;
}

/** Options of the trigger, and of the polling; the latter are not sent. */
export type TriggerAndPollOptions = TriggerOptions & PollOptions;

/**
 * Triggers a task by id and polls its run until it is final, whatever its status; resolves to the run, as `runs.retrieve` does. Inside a task it is
 * no wait: the run stays EXECUTING with its slot.
 * @throws Error after `maxPolls` polls; otherwise as `tasks.trigger` does.
 */
async function triggerAndPoll<T extends AnyTask>(
  id: TaskIdentifier<T>,
  ...args: ByIdArguments<TaskPayload<T>, TriggerAndPollOptions>
): Promise<RetrievedRun<TaskPayload<T>, TaskOutput<T>>> {
  const [payload, options, requestOptions] = args;
  const params = { taskId: id, payload, options, requestOptions };
  const handle = await triggerTask<TaskIdentifier<T>, TaskPayload<T>, TaskOutput<T>>(params);
  return runs.poll<T>(handle.id, options, requestOptions);
}

/** Triggers tasks by id; hooks for all tasks of the process. */
export const tasks = {
  trigger,
  triggerAndWait: triggerAndWaitById,
  triggerAndSubscribe: triggerAndSubscribeById,
  batchTrigger,
  batchTriggerAndWait,
  triggerAndPoll,
  ...hookRegistrars,
} as const;
