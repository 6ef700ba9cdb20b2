/** How long to pause after a failed attempt (RTY-1…3). Pure. */
export interface RetryPolicy {
  /** Attempts in all, the first included. Default 3; 1 to 250 (ATT-3). */
  readonly maxAttempts: number;
  /** Growth of the pause from attempt to attempt. Default 2. */
  readonly factor: number;
  /** First pause in milliseconds, before jitter. Default 1,000. */
  readonly minTimeoutInMs: number;
  /** No pause is longer, jitter included. Default 60,000. */
  readonly maxTimeoutInMs: number;
  /** Whether a pause is multiplied by a random number from [1, 2). Default true. */
  readonly randomize: boolean;
}

/** RTY-1. */
const DEFAULT_RETRY_POLICY: RetryPolicy = {
  maxAttempts: 3,
  factor: 2,
  minTimeoutInMs: 1_000,
  maxTimeoutInMs: 60_000,
  randomize: true,
};

/** ATT-3. */
const ATTEMPTS_MAX = 250;

/** Each member from the first layer that has it, else the default (RTY-1). Strongest layer first. */
export function resolveRetryPolicy(...layers: readonly (Partial<RetryPolicy> | undefined)[]): RetryPolicy {
  const pick = <K extends keyof RetryPolicy>(member: K): RetryPolicy[K] => {
    for (const layer of layers) {
      const value = layer?.[member];
      if (value !== undefined) return value;
    }
    return DEFAULT_RETRY_POLICY[member];
  };
  return {
    maxAttempts: Math.min(Math.max(pick("maxAttempts"), 1), ATTEMPTS_MAX),
    factor: pick("factor"),
    minTimeoutInMs: pick("minTimeoutInMs"),
    maxTimeoutInMs: pick("maxTimeoutInMs"),
    randomize: pick("randomize"),
  };
}

/**
 * Milliseconds to pause after a failed attempt; undefined if no attempt is left (RTY-2).
 * @param failedAttempt number of the attempt that failed, from 1.
 * @param random uniform in [0, 1).
 */
export function retryDelayMs(policy: RetryPolicy, failedAttempt: number, random: number): number | undefined {
  if (failedAttempt >= policy.maxAttempts) return undefined;
  const { factor, minTimeoutInMs, maxTimeoutInMs, randomize } = policy;
  if (minTimeoutInMs === 0) return 0;
  const pauseMs = minTimeoutInMs * factor ** (failedAttempt - 1) * (randomize ? 1 + random : 1);
  return Math.round(Math.min(maxTimeoutInMs, pauseMs));
}

/** What is wrong with a policy that a task or the worker configuration gives; undefined: nothing. */
export function retryPolicyMistake(policy: Partial<RetryPolicy>): string | undefined {
  const { maxAttempts, factor, minTimeoutInMs, maxTimeoutInMs } = policy;
  if (maxAttempts !== undefined && !Number.isInteger(maxAttempts)) {
    return `retry.maxAttempts must be an integer, got ${maxAttempts}`;
  }
  if (factor !== undefined && !(Number.isFinite(factor) && factor > 0)) {
    return `retry.factor must be a finite number above 0, got ${factor}`;
  }
  for (const [name, value] of Object.entries({ minTimeoutInMs, maxTimeoutInMs })) {
    if (value !== undefined && !(Number.isFinite(value) && value >= 0)) {
      return `retry.${name} must be a number of milliseconds from 0, got ${value}`;
    }
  }
  return undefined;
}
