/** How one run is to be started (section 6). */
import type { IdempotencyKey } from "./idempotency-key.js";

/** All members are optional; an invalid one refuses the trigger and leaves nothing behind. Unknown keys have no effect (CFG-6). */
export interface TriggerOptions {
  /**
   * When the run may be queued: a duration such as `"1h30m"` or `"88s"`, a date-time (`"2030-12-01T00:00:00"`, UTC unless it names an
   * offset), or a `Date`. An instant that is not in the future means at once. Default: at once.
   */
  readonly delay?: string | Date;
  /**
   * Longest wait before the first start, counted from when the run is queued: a duration string or whole seconds. `0` means none and
   * overrides the task. Default: the task's ttl, then the worker's, then none.
   */
  readonly ttl?: string | number;
  /**
   * While the key lives, a trigger of this task with the same key answers with the run that holds it. A string or array means
   * `idempotencyKeys.create(key)`: within the run inside a task, global outside (IDM-5). At most 2,048 characters.
   */
  readonly idempotencyKey?: string | readonly string[] | IdempotencyKey;
  /** How long the key names the run, a duration of at least `"1s"`. Default 30 days. Ignored without a key. */
  readonly idempotencyKeyTTL?: string;
  /**
   * Lets calls that follow each other quickly share one run: while it is delayed, each call with the key moves its due time to now + `delay`.
   */
  readonly debounce?: DebounceOptions;
  /**
   * The queue for this run: a name, or a name with a limit. A limit becomes the base limit of a queue that no worker declares. Default: the
   * task's queue.
   */
  readonly queue?: string | { readonly name?: string | { readonly name: string }; readonly concurrencyLimit?: number };
  /** Each distinct key is a partition of the queue with the queue's limit. Numbers become strings; at most 512 characters. */
  readonly concurrencyKey?: string | number;
  /** Attempts in all for this run, an integer; below 1 is 1, above 250 is 250. Default: the task's retry policy. */
  readonly maxAttempts?: number;
  /** At most 10 labels of 1 to 128 characters, to find runs by. Blank ones are dropped, equal ones merged. */
  readonly tags?: string | readonly string[];
  /** Initial metadata: a plain object of at most 262,144 bytes of JSON. */
  readonly metadata?: Readonly<Record<string, unknown>>;
  /** Longest active time of one attempt in whole seconds, at least 5; `timeout.None`: no limit. Default: the task's. */
  readonly maxDuration?: number | null;
  /** Head start in seconds within the queue; may be negative or a fraction. Default 0. */
  readonly priority?: number;
}

/** Debouncing (section 9). A malformed member refuses the trigger: `BadRequestError`, `INVALID_DEBOUNCE`. */
export interface DebounceOptions {
  /** 1 to 512 characters; unique within the task. */
  readonly key: string;
  /** How long the run waits after each call: a duration such as `"5s"`, at least `"1s"`. */
  readonly delay: string;
  /**
   * Whose payload and options run: those of the first call (`leading`), or those of the last (`trailing`: payload, and where given metadata,
   * tags, maxAttempts and maxDuration). Default `leading`.
   */
  readonly mode?: "leading" | "trailing";
  /** Longest postponement, counted from the run's creation; longer than `delay`. A call that would pass it makes a new run. Default none. */
  readonly maxDelay?: string;
}

/** Options of the trigger, and of the following; the latter are not sent. */
export interface TriggerAndSubscribeOptions extends TriggerOptions {
  /** Ends the waiting with an AbortError. */
  readonly signal?: AbortSignal;
  /** Whether the signal cancels the run, too. Default true. */
  readonly cancelOnAbort?: boolean;
}
