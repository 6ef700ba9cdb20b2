/** Defines tasks, and finds definitions among what a program exports. */

import type { ApiPromise } from "./api-promise.js";
import { triggerBatchAndWait } from "./batch-and-wait.js";
import type { BatchItem, BatchOptions, BatchStream } from "./batch-handle.js";
import type { BatchResult } from "./batch-result.js";
import type { RunHandle } from "./handle.js";
import type { Queue, QueueOptions } from "./queue.js";
import type { RequestOptions } from "./request-options.js";
import type { RetryOptions } from "./retry-options.js";
import type { RunData } from "./run.js";
import { type ParseValue, parserOf, type Schema, type SchemaInput, type SchemaOutput } from "./schema.js";
import { type BatchTrigger, batchTriggerOf, type OwnItem } from "./task-batch.js";
import type { TaskRunContext } from "./task-context.js";
import { type AnyTaskHooks, type TaskHooks, untypedHooks } from "./task-hooks.js";
import type { TaskRunPromise, TaskRunResult } from "./task-run.js";
import { triggerTask } from "./trigger.js";
import { triggerAndSubscribe } from "./trigger-and-subscribe.js";
import { taskRunResult, triggerAndWait } from "./trigger-and-wait.js";
import type { TriggerAndSubscribeOptions, TriggerOptions } from "./trigger-options.js";

/** Second argument of a run function (HOK-11). */
export interface RunParams {
  readonly ctx: TaskRunContext;
  /** Aborted when the run is cancelled, exceeds its `maxDuration`, or has to leave this worker. */
  readonly signal: AbortSignal;
}

/** What `catchError` is asked (RTY-8). */
export interface CatchErrorParams<TPayload = unknown> {
  readonly payload: TPayload;
  /** What the attempt threw. */
  readonly error: unknown;
  readonly ctx: TaskRunContext;
  /** The policy in force, every member set. */
  readonly retry: Required<RetryOptions>;
  /** When the next attempt would start; undefined on the last attempt. */
  readonly retryAt: Date | undefined;
  /** The same as a pause in milliseconds. */
  readonly retryDelayInMs: number | undefined;
  /** Id of the task. */
  readonly task: string;
  readonly signal: AbortSignal;
}

/** What `catchError` answers (RTY-9); undefined: the next handler, then the policy. `error` replaces the recorded one. */
export type CatchErrorResult =
  | { readonly skipRetrying: true; readonly error?: unknown }
  | { readonly retryAt: Date; readonly error?: unknown }
  | { readonly retryDelayInMs: number; readonly error?: unknown }
  | { readonly retry: RetryOptions; readonly error?: unknown }
  | { readonly error?: unknown }
  | undefined;

/** What `onCancel` is told (CAN-3, HOK-8). */
export interface CancelParams<TPayload = unknown, TOutput = unknown> {
  readonly payload: TPayload;
  readonly ctx: TaskRunContext;
  /** Aborted already. */
  readonly signal: AbortSignal;
  /** Id of the task. */
  readonly task: string;
  /** Settles when the run function does; it may be awaited, for 30 seconds at most. */
  readonly runPromise: Promise<TOutput>;
}

/** How a task is defined. */
export interface TaskOptions<TIdentifier extends string, TPayload, TOutput> extends TaskHooks<TPayload, TOutput> {
  /** Unique in the environment, 1 to 256 characters. */
  readonly id: TIdentifier;
  /** For people and dashboards. */
  readonly description?: string;
  /** Default: the task's own queue `task/<id>`, unlimited. */
  readonly queue?: Queue | QueueOptions;
  /** Default: the worker configuration, then 3 attempts. */
  readonly retry?: RetryOptions;
  /** Longest wait before the first start, for triggers that give none: a duration string or whole seconds. Default: none. */
  readonly ttl?: string | number;
  /** Longest active time of an attempt in seconds, at least 5, for triggers that give none; `timeout.None`: no limit. Default: none. */
  readonly maxDuration?: number;
  /**
   * Whether code that is executed again, after a deploy or a lost worker, re-joins what it waited for before, in the order of its waits
   * (TAW-10a). Default true.
   */
  readonly rejoin?: boolean;
  /**
   * `"process"`: attempts run in child processes of the worker, so that a blocked loop, a crash or a want of memory costs one attempt
   * (`TASK_PROCESS_EXITED`) and no other run; code that does not end in time is ended with its process. The program that called `startWorker`
   * is started again for it: what it does before that call happens in every such process, too. Default: in the worker process.
   */
  readonly isolation?: "process";
  /** The work. What it returns (or resolves to) is the output; what it throws fails the attempt. */
  readonly run: (payload: TPayload, params: RunParams) => Promise<TOutput> | TOutput;
  /** Asked after each failed attempt whether and when there is another (RTY-8). */
  readonly catchError?: (params: CatchErrorParams<TPayload>) => CatchErrorResult | Promise<CatchErrorResult>;
  /** Alias of `catchError`, which wins. */
  readonly handleError?: (params: CatchErrorParams<TPayload>) => CatchErrorResult | Promise<CatchErrorResult>;
  /** Called when the run is cancelled while its code is active (CAN-3). */
  readonly onCancel?: (params: CancelParams<TPayload, TOutput>) => void | Promise<void>;
}

/** Carries payload and output types of a task; no such member exists at run time. */
declare const taskTypes: unique symbol;

/** Arguments of a trigger: the payload may be left out only if its type is `void`, `undefined` or optional (TYP-4). */
export type TriggerArguments<TPayload> = void extends TPayload
  ? [payload?: TPayload, options?: TriggerOptions, requestOptions?: RequestOptions]
  : undefined extends TPayload
    ? [payload?: TPayload, options?: TriggerOptions, requestOptions?: RequestOptions]
    : [payload: TPayload, options?: TriggerOptions, requestOptions?: RequestOptions];

/** The same, with what following takes. */
export type SubscribeArguments<TPayload> = void extends TPayload
  ? [payload?: TPayload, options?: TriggerAndSubscribeOptions, requestOptions?: RequestOptions]
  : undefined extends TPayload
    ? [payload?: TPayload, options?: TriggerAndSubscribeOptions, requestOptions?: RequestOptions]
    : [payload: TPayload, options?: TriggerAndSubscribeOptions, requestOptions?: RequestOptions];

/** A defined task. */
export interface Task<TIdentifier extends string, TPayload = void, TOutput = unknown> {
  readonly id: TIdentifier;
  readonly description?: string;
  /**
   * Triggers the task: resolves once the run is stored (TRG-7), without waiting for it. Works in workers and in any backend.
   * @throws TypeError naming the path, without a request, if the payload cannot be serialised (PAY-2).
   * @throws ApiClientMissingError without credentials (CFG-4); a subclass of ApiError if the call is refused (RES-9).
   */
  trigger(...args: TriggerArguments<TPayload>): ApiPromise<RunHandle<TIdentifier, TPayload, TOutput>>;
  /**
   * Triggers the task and waits for its run, inside a task only. The waiting run is WAITING: it gives up its slot and its place in the worker,
   * its code goes on in the same attempt when the other is over. A failed run is a value, see `TaskRunResult`; `.unwrap()` gives the output.
   * One wait at a time: to wait for several runs use `batchTriggerAndWait`.
   * @throws Error outside of a task (TAW-1); what `trigger` throws (TAW-8).
   */
  triggerAndWait(...args: TriggerArguments<TPayload>): TaskRunPromise<TIdentifier, TOutput>;
  /**
   * Triggers many runs of the task by one call and waits for all of them, inside a task only: `runs[i]` of the result belongs to `items[i]`. At most
   * 500 items and 1 MB of payload in an array; of a stream any number, and the run waits once its input has ended.
   * @throws BatchTriggerError where the server refuses the batch; what is wrong with an item as `trigger`; Error outside of a task.
   */
  batchTriggerAndWait(
    items: readonly BatchItem<TPayload>[] | BatchStream<BatchItem<TPayload>>,
    options?: BatchOptions,
    requestOptions?: RequestOptions,
  ): Promise<BatchResult<readonly TaskRunResult<TIdentifier, TOutput>[]>>;
  /**
   * Triggers the task and follows its run, inside a task only, while the caller stays EXECUTING with its slot: in a limited queue the two can
   * block each other. For long runs use `triggerAndWait`.
   * @throws Error outside of a task; AbortError once `options.signal` aborts, which cancels the run unless `cancelOnAbort` is false.
   */
  triggerAndSubscribe(...args: SubscribeArguments<TPayload>): TaskRunPromise<TIdentifier, TOutput>;
  /**
   * Triggers many runs of the task by one call, all or none: at most 500 items and 1 MB of payload in an array. An `AsyncIterable`, a generator or a
   * `ReadableStream` may have any number of items.
   * @throws BatchTriggerError where the server refuses the batch, or its input ended early (RES-13); what is wrong with an item as `trigger`.
   */
  readonly batchTrigger: BatchTrigger<TIdentifier, TPayload, TOutput>;
  readonly [taskTypes]?: { readonly payload: TPayload; readonly output: TOutput };
}

/** Any task. */
export interface AnyTask {
  readonly id: string;
  readonly [taskTypes]?: { readonly payload: unknown; readonly output: unknown };
}

/** Payload type of `typeof myTask`. */
export type TaskPayload<T extends AnyTask> = T extends { readonly [taskTypes]?: { readonly payload: infer P } }
  ? P
  : never;

/** Output type of `typeof myTask`. */
export type TaskOutput<T extends AnyTask> = T extends { readonly [taskTypes]?: { readonly output: infer O } }
  ? O
  : never;

/** Id of `typeof myTask`. */
export type TaskIdentifier<T extends AnyTask> = T["id"];

/** Handle of a run of `typeof myTask`. */
export type TaskOutputHandle<T extends AnyTask> = RunHandle<TaskIdentifier<T>, TaskPayload<T>, TaskOutput<T>>;

/** A run of `typeof myTask` as subscriptions show it (TYP-2). */
export type RealtimeRun<T extends AnyTask> = RunData<TaskPayload<T>, TaskOutput<T>>;

/** A definition as workers see it: the payload has any form until the run function has it. */
export interface TaskDefinition {
  readonly id: string;
  readonly description: string | undefined;
  readonly queue: QueueOptions | undefined;
  readonly retry: RetryOptions | undefined;
  readonly ttl: string | number | undefined;
  readonly maxDuration: number | undefined;
  /** Of schema tasks: checks the payload and gives what `run` gets (SCH-3). */
  readonly parse: ParseValue | undefined;
  readonly rejoin?: boolean | undefined;
  readonly isolation?: "process" | undefined;
  run(payload: unknown, params: RunParams): unknown;
  readonly catchError: ((params: CatchErrorParams) => unknown) | undefined;
  readonly onCancel: ((params: CancelParams) => unknown) | undefined;
  readonly hooks: AnyTaskHooks | undefined;
}

/** Found by this name, so that tasks defined with another copy of the package are recognised. */
const DEFINITION = Symbol.for("hairtrigger.task");

/**
 * Defines a task. Export it and give it to `startWorker`; call `trigger` on it anywhere.
 *
 * ```ts
 * export const resize = task({
 *   id: "resize",
 *   run: async (payload: { url: string; width: number }, { ctx, signal }) => ({ url: await resizeImage(payload, signal) }),
 * });
 * ```
 * @throws TypeError for a definition without id or run function.
 */
export function task<TIdentifier extends string, TPayload = void, TOutput = unknown>(
  options: TaskOptions<TIdentifier, TPayload, TOutput>,
): Task<TIdentifier, TPayload, TOutput> {
  checkOptions(options);
  const defined = triggerable<TIdentifier, TPayload, TOutput>(options, undefined);
  return Object.defineProperty(defined, DEFINITION, { value: definitionOf(options, undefined) });
}

/** How a task with a schema is defined. `run` and the hooks get the schema's output: defaults, coercions and transforms applied. */
export interface SchemaTaskOptions<TIdentifier extends string, TSchema extends Schema, TOutput>
  extends TaskOptions<TIdentifier, SchemaOutput<TSchema>, TOutput> {
  /** A Standard Schema (zod, valibot, arktype …), a schema of yup, superstruct or runtypes, or a function. It may be asynchronous. */
  readonly schema: TSchema;
}

/** A task with a schema; it is triggered with the schema's input. */
export interface SchemaTask<TIdentifier extends string, TSchema extends Schema, TOutput = unknown>
  extends Task<TIdentifier, SchemaInput<TSchema>, TOutput> {
  readonly schema: TSchema;
}

/**
 * Defines a task whose payload is checked: by `trigger` of this object before anything is sent, which rejects with the validator's own error,
 * and by the worker at the start of an attempt, where a failure ends the run as FAILED with `TASK_INPUT_ERROR` and no retry (SCH-2, SCH-3).
 * What is sent is the original input.
 *
 * ```ts
 * export const welcome = schemaTask({
 *   id: "welcome",
 *   schema: z.object({ name: z.string(), age: z.coerce.number().default(18) }),
 *   run: async ({ name, age }) => `${name} is ${age}`,
 * });
 * ```
 * @throws TypeError for a definition without id, run function or usable schema.
 */
export function schemaTask<TIdentifier extends string, TSchema extends Schema, TOutput = unknown>(
  options: SchemaTaskOptions<TIdentifier, TSchema, TOutput>,
): SchemaTask<TIdentifier, TSchema, TOutput> {
  checkOptions(options);
  const { schema } = options;
  const parse = parserOf(schema, options.id);
  const defined = { ...triggerable<TIdentifier, SchemaInput<TSchema>, TOutput>(options, parse), schema };
  return Object.defineProperty(defined, DEFINITION, { value: definitionOf(options, parse) });
}

function checkOptions({ id, run, isolation }: CheckedOptions): void {
  if (typeof id !== "string" || id === "") throw new TypeError("task() needs an id: a string of 1 to 256 characters");
  if (typeof run !== "function") throw new TypeError(`task "${id}" needs a run function`);
  if (isolation !== undefined && isolation !== "process") {
    throw new TypeError(`isolation of task "${id}" must be "process" or left out`);
  }
}

interface CheckedOptions {
  readonly id: unknown;
  readonly run: unknown;
  readonly isolation?: unknown;
}

/** What callers see of a task. @param check of the payload, before anything is sent (SCH-2). */
function triggerable<TIdentifier extends string, TPayload, TOutput>(
  { id, description }: { readonly id: TIdentifier; readonly description?: string },
  check: ParseValue | undefined,
): Task<TIdentifier, TPayload, TOutput> {
  return {
    id,
    ...(description === undefined ? {} : { description }),
    trigger(...[payload, triggerOptions, requestOptions]) {
      return triggerTask<TIdentifier, TPayload, TOutput>({
        taskId: id,
        payload,
        check,
        options: triggerOptions,
        requestOptions,
      });
    },
    batchTrigger: batchTriggerOf<TIdentifier, TPayload, TOutput>(id, check),
    batchTriggerAndWait(items, options, requestOptions) {
      const read = ({ payload, options: own }: OwnItem) => ({ taskId: id, payload, options: own, check });
      return triggerBatchAndWait("batchTriggerAndWait", { items, read, options, requestOptions }, (_, ended, runId) =>
        taskRunResult<TIdentifier>(id, runId, ended),
      );
    },
    triggerAndWait(...[payload, triggerOptions, requestOptions]) {
      return triggerAndWait<TIdentifier, TOutput>("triggerAndWait", {
        taskId: id,
        payload,
        check,
        options: triggerOptions,
        requestOptions,
      });
    },
    triggerAndSubscribe(...[payload, options, requestOptions]) {
      const params = { taskId: id, payload, check, options, requestOptions };
      return triggerAndSubscribe<TIdentifier, TOutput>("triggerAndSubscribe", params);
    },
  };
}

/** The types of payload and output end here: whoever calls `run` has decoded what a trigger of unknown origin sent. */
function definitionOf<TPayload, TOutput>(
  options: TaskOptions<string, TPayload, TOutput>,
  parse: ParseValue | undefined,
): TaskDefinition {
  const { id, description, queue, retry, ttl, maxDuration, rejoin, isolation, run, onCancel } = options;
  const catchError = options.catchError ?? options.handleError;
  // Methods compare their parameters in both directions: the one place where a payload of any form is taken for TPayload.
  const typed: Untyped<TPayload, TOutput> = {
    run: (payload, params) => run(payload, params),
    catchError: (params) => catchError?.(params),
    onCancel: (params) => onCancel?.(params),
  };
  const untyped: Untyped<unknown, unknown> = typed;
  return {
    id,
    description,
    queue,
    retry,
    ttl,
    maxDuration,
    parse,
    rejoin,
    isolation,
    run: (payload, params) => untyped.run(payload, params),
    catchError: catchError === undefined ? undefined : (params) => untyped.catchError(params),
    onCancel: onCancel === undefined ? undefined : (params) => untyped.onCancel(params),
    hooks: untypedHooks(options),
  };
}

interface Untyped<TPayload, TOutput> {
  run(payload: TPayload, params: RunParams): unknown;
  catchError(params: CatchErrorParams<TPayload>): unknown;
  onCancel(params: CancelParams<TPayload, TOutput>): unknown;
}

/** The definition behind a task object, or undefined if the value is none. */
export function taskDefinition(value: unknown): TaskDefinition | undefined {
  if (typeof value !== "object" || value === null || !(DEFINITION in value)) return undefined;
  const definition = value[DEFINITION];
  return isDefinition(definition) ? definition : undefined;
}

function isDefinition(value: unknown): value is TaskDefinition {
  return (
    typeof value === "object" && value !== null && "id" in value && "run" in value && typeof value.run === "function"
  );
}

/** A task, or a module namespace (any object) of which every exported task is taken (WRK-1). */
export type TaskSource = AnyTask | Readonly<Record<string, unknown>>;

/**
 * All tasks of these sources by id, in order.
 * @throws TypeError for a source that is neither a task nor an object that holds one.
 * @throws Error naming the id, for two different tasks of one id (section 2). One task found twice, such as one exported under two names,
 * counts once.
 */
export function collectTasks(sources: readonly TaskSource[]): ReadonlyMap<string, TaskDefinition> {
  const tasks = new Map<string, TaskDefinition>();
  for (const definition of sources.flatMap(definitionsIn)) {
    const known = tasks.get(definition.id);
    if (known !== undefined && known !== definition) throw new Error(`Two tasks have the id "${definition.id}"`);
    tasks.set(definition.id, definition);
  }
  return tasks;
}

function definitionsIn(source: unknown, index: number): readonly TaskDefinition[] {
  const single = taskDefinition(source);
  if (single !== undefined) return [single];
  const values = typeof source === "object" && source !== null ? Object.values(source) : [];
  const found = values.flatMap((value) => taskDefinition(value) ?? []);
  if (found.length === 0)
    throw new TypeError(`tasks[${index}] is no task and exports none; make tasks with task({ id, run })`);
  return found;
}
