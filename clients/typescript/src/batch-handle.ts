/** What a batch is made of, and what its trigger returns (sections 4.2, 11.1). */
import type { BatchedRunHandle } from "./handle.js";
import type { IdempotencyKey } from "./idempotency-key.js";
import type { AnyTask, TaskIdentifier, TaskOutput, TaskPayload } from "./task.js";
import type { TriggerOptions } from "./trigger-options.js";

/** Options of a batch as a whole (TRG-4); those of its runs are with its items. */
export interface BatchOptions {
  /**
   * While the key lives, a batch trigger with the same key answers with the batch that holds it, its items are discarded. Items without a key of
   * their own get `<key>-<position>`. Forms as in `TriggerOptions.idempotencyKey`.
   */
  readonly idempotencyKey?: string | readonly string[] | IdempotencyKey;
  /** How long the key names the batch, a duration of at least `"1s"`; also the default of its items. Default 30 days. */
  readonly idempotencyKeyTTL?: string;
  /** Without effect: items are always created in the order of the list. */
  readonly triggerSequentially?: boolean;
}

/** Payload of an item: it may be left out only if its type is `void`, `undefined` or optional (TYP-4). */
type ItemPayload<TPayload> = void extends TPayload
  ? { readonly payload?: TPayload }
  : undefined extends TPayload
    ? { readonly payload?: TPayload }
    : { readonly payload: TPayload };

/** One run of a batch, of a task that is named elsewhere. */
export type BatchItem<TPayload> = ItemPayload<TPayload> & { readonly options?: TriggerOptions };

/** One run of a batch, by the id of its task: of a union of tasks, the union of their items. */
export type BatchByIdItem<T extends AnyTask> = T extends AnyTask
  ? { readonly id: TaskIdentifier<T> } & BatchItem<TaskPayload<T>>
  : never;

/** One run of a batch, by its task. */
export type BatchByTaskItem<T extends AnyTask> = { readonly task: T } & BatchItem<TaskPayload<T>>;

/** A web stream, as far as it is read here. */
export interface ReadableItems<T> {
  getReader(): {
    read(): Promise<{ readonly done: boolean; readonly value?: T | undefined }>;
    cancel(reason?: unknown): Promise<void>;
  };
}

/** Items of any number, read as they are sent (BAT-15): an `AsyncIterable`, a generator, or a `ReadableStream`. */
export type BatchStream<T> = AsyncIterable<T> | Generator<T, unknown, unknown> | ReadableItems<T>;

/** A run of a batch of `typeof myTask`; of a union of tasks, the union of their runs. */
export type BatchRunOf<T extends AnyTask> = T extends AnyTask
  ? BatchedRunHandle<TaskIdentifier<T>, TaskPayload<T>, TaskOutput<T>>
  : never;

/** A batch that was streamed: its runs are read by `batch.retrieve` or `runs.list({ batch })`. */
export interface StreamedBatchHandle {
  /** `batch_` and 26 lower-case base32 characters. */
  readonly batchId: string;
  /** The same. */
  readonly id: string;
  /** The batch existed already, through its idempotency key. */
  readonly isCached: boolean;
  /** As it was written. */
  readonly idempotencyKey?: string;
  /** Positions of the batch. */
  readonly runCount: number;
  /** A token that reads the batch and its runs, for a browser: valid for 1 hour, or as asked for (TRG-3). */
  readonly publicAccessToken: string;
  /** What was accepted but ignored, in words. Absent: nothing. */
  readonly warnings?: readonly string[];
}

/** A batch of one call: `runs[i]` belongs to `items[i]` (BAT-2). */
export interface BatchRunHandle<TRuns extends readonly BatchedRunHandle[] = readonly BatchedRunHandle[]>
  extends StreamedBatchHandle {
  readonly runs: TRuns;
}

export type BatchStatus = "PROCESSING" | "PENDING" | "COMPLETED" | "PARTIAL_FAILED" | "ABORTED";

/** A batch as `batch.retrieve` shows it (BAT-25). */
export interface RetrievedBatch {
  readonly id: string;
  /** PROCESSING: input open. PENDING: some run is live. The others are final. */
  readonly status: BatchStatus;
  readonly idempotencyKey?: string;
  readonly createdAt: Date;
  readonly updatedAt: Date;
  readonly runCount: number;
  /** Ids of the runs at the first 1,000 positions, in order. */
  readonly runs: readonly string[];
  /** Of a streamed batch: when its input ended, and what ended it early. */
  readonly processing?: {
    readonly completedAt?: Date;
    readonly errors: readonly {
      readonly index?: number;
      readonly taskIdentifier?: string;
      readonly error: string;
      readonly errorCode?: string;
    }[];
  };
}
