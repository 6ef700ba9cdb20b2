/** Declares queues. */

/** A queue with its limit (QUE-2). */
export interface QueueOptions {
  /**
   * Letters, digits, `_`, `-` and `/` are kept, other characters removed; at most 128 characters (QUE-3). Left out on a task: the task's own
   * queue.
   */
  readonly name?: string;
  /** How many runs may execute at once, per concurrency key: 0 (nothing starts) to 100,000. Default: unlimited. */
  readonly concurrencyLimit?: number;
}

/** A declared queue. */
export interface Queue extends QueueOptions {
  readonly name: string;
}

/**
 * Declares a queue that tasks share, by `task({queue: …})`. The workers of those tasks register it; declaring makes no request.
 * @throws TypeError without a name.
 */
export function queue(options: Queue): Queue {
  if (typeof options.name !== "string" || options.name === "") {
    throw new TypeError('queue() needs a name: queue({ name: "emails", concurrencyLimit: 10 })');
  }
  return Object.freeze({ ...options });
}
