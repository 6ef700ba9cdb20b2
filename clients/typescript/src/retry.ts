/** Retries in place, inside a run (RTY-12, RTY-13). Every pause is a wait: it takes no slot and no place in the worker. */
import { systemClock } from "./clock.js";
import { type FetchRetryOptions, fetchWithRetries } from "./retry-fetch.js";
import type { RetryOptions } from "./retry-options.js";
import { resolveRetryPolicy, retryDelayMs, retryPolicyMistake } from "./retry-policy.js";
import { wait } from "./wait.js";

/** What `retry.onThrow` tells its function. */
export interface RetryTry {
  /** From 1. */
  readonly attempt: number;
  readonly maxAttempts: number;
}

/**
 * Calls `fn` until it does not throw, at most `maxAttempts` times (default 3), with the pauses of a retry policy, spent by `wait.for`. It is no
 * attempt of the run. Resolves to what `fn` returned.
 * @throws what `fn` threw last; an AbortTaskRunError at once.
 * @throws TypeError for a malformed policy.
 */
async function onThrow<T>(fn: (params: RetryTry) => T | Promise<T>, options: RetryOptions = {}): Promise<T> {
  const mistake = retryPolicyMistake(options);
  if (mistake !== undefined) throw new TypeError(mistake);
  const policy = resolveRetryPolicy(options);
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await fn({ attempt, maxAttempts: policy.maxAttempts });
    } catch (error) {
      const pauseMs = isAbort(error) ? undefined : retryDelayMs(policy, attempt, systemClock.random());
      if (pauseMs === undefined) throw error;
      await pauseFor(pauseMs);
    }
  }
}

/**
 * `fetch`, repeated where its answer or failure is of a kind that passes: by default 408, 409, 429, 5xx and connection errors, three times
 * in all. Out of tries it resolves to the last answer, or rejects with the last error. Pauses are spent by `wait.for`.
 * @throws TypeError for malformed options; AbortError of `init.signal`, at once.
 */
function retryFetch(input: string | URL | Request, init: FetchRetryOptions = {}): Promise<Response> {
  return fetchWithRetries(input, init, {
    pauseFor,
    nowMs: () => systemClock.nowMs(),
    random: () => systemClock.random(),
  });
}

/** Recognised by name, so that several copies of the package work together (RTY-10). */
function isAbort(error: unknown): boolean {
  return error instanceof Error && error.name === "AbortTaskRunError";
}

async function pauseFor(pauseMs: number): Promise<void> {
  await wait.for({ seconds: pauseMs / 1_000 });
}

export const retry = { onThrow, fetch: retryFetch } as const;
