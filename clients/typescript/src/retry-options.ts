/** How failed attempts of a task are repeated. */

/** Members left out come from the worker configuration, then from the defaults (RTY-1). */
export interface RetryOptions {
  /** Attempts in all, the first included; 1: no retry. Default 3; an integer from 1 to 250. */
  readonly maxAttempts?: number;
  /** Growth of the pause from attempt to attempt. Default 2. */
  readonly factor?: number;
  /** First pause in milliseconds. Default 1,000. */
  readonly minTimeoutInMs?: number;
  /** Longest pause in milliseconds, jitter included. Default 60,000. */
  readonly maxTimeoutInMs?: number;
  /** Multiply each pause by a random number from [1, 2), so that what failed together does not come back together. Default true. */
  readonly randomize?: boolean;
}
