/** Tries requests again (RES-10). */
import type { Clock } from "./clock.js";
import { isWorthAnotherTry } from "./convert/error.js";
import type { ApiError } from "./errors.js";
import type { RequestRetryOptions } from "./request-options.js";

const DEFAULTS: Required<RequestRetryOptions> = {
  maxAttempts: 5,
  minTimeoutInMs: 1_000,
  maxTimeoutInMs: 30_000,
  factor: 1.6,
};

/** Random part of a pause that the server asked for, so that callers it refused together do not come back together. */
const RETRY_INFO_SPREAD_MS = 2_000;

/** Options with all members. @throws TypeError naming a member that is no number in range. */
export function requestRetryPolicy(options: RequestRetryOptions = {}): Required<RequestRetryOptions> {
  const policy = { ...DEFAULTS };
  for (const name of ["maxAttempts", "minTimeoutInMs", "maxTimeoutInMs", "factor"] as const) {
    const value = options[name] ?? DEFAULTS[name];
    const isLegal =
      name === "maxAttempts" ? Number.isInteger(value) && value >= 1 : Number.isFinite(value) && value >= 0;
    if (!isLegal)
      throw new TypeError(
        `requestOptions.retry.${name} must be ${name === "maxAttempts" ? "an integer from 1" : "a number from 0"}, got ${value}`,
      );
    policy[name] = value;
  }
  return policy;
}

/**
 * Milliseconds to pause after a failed try.
 * @param tried number of that try, from 1.
 * @param random uniform in [0, 1).
 */
export function requestPauseMs(
  policy: Required<RequestRetryOptions>,
  tried: number,
  error: Pick<ApiError, "retryAfterMs">,
  random: number,
): number {
  if (error.retryAfterMs !== undefined) return error.retryAfterMs + random * RETRY_INFO_SPREAD_MS;
  return random * Math.min(policy.maxTimeoutInMs, policy.minTimeoutInMs * policy.factor ** (tried - 1));
}

/**
 * Sends until it succeeds, fails for good, or the tries are used up; rejects with the last error.
 * @param send one try; it must be the same request each time, with the same request id.
 */
export async function withRetries<T>(
  send: () => Promise<T>,
  options: RequestRetryOptions | undefined,
  clock: Pick<Clock, "random" | "sleep">,
): Promise<T> {
  const policy = requestRetryPolicy(options);
  for (let tried = 1; ; tried += 1) {
    try {
      return await send();
    } catch (error) {
      if (tried >= policy.maxAttempts || !isWorthAnotherTry(error)) throw error;
      await clock.sleep(requestPauseMs(policy, tried, error, clock.random()));
    }
  }
}
