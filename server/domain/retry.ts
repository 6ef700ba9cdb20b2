/** How often and when a failed run is tried again (section 13). */
import type { Violation } from "./error.js";
import { defaultLimits } from "./limits.js";

export interface RetryPolicy {
  /** Attempts in all, the first included; 1 means no retry (ATT-1). */
  readonly maxAttempts: number;
  /** Growth of the pause from attempt to attempt. */
  readonly factor: number;
  /** Milliseconds of the first pause, before jitter. */
  readonly minTimeoutMs: number;
  /** Milliseconds that no pause exceeds, jitter included. */
  readonly maxTimeoutMs: number;
  /** Whether a pause is multiplied by a random number from [1, 2). */
  readonly randomize: boolean;
}

/** A policy that leaves members to the next layer. */
export type PartialRetryPolicy = Partial<RetryPolicy>;

/** RTY-1: what holds where neither task nor worker configuration says anything. */
export const defaultRetryPolicy: RetryPolicy = {
  maxAttempts: 3,
  factor: 2,
  minTimeoutMs: 1_000,
  maxTimeoutMs: 60_000,
  randomize: true,
};

/**
 * Each member from the first layer that has it, else from the defaults (RTY-1, ATT-2). The layers stay as they are: a
 * trigger's `maxAttempts` never leaks into another run (ATT-1).
 * @param layers strongest first: `{maxAttempts}` of the trigger, the task's policy, the worker configuration's.
 */
export function resolveRetryPolicy(...layers: readonly (PartialRetryPolicy | undefined)[]): RetryPolicy {
  const pick = <K extends keyof RetryPolicy>(member: K): RetryPolicy[K] =>
    layers.find((layer) => layer?.[member] !== undefined)?.[member] ?? defaultRetryPolicy[member];
  return {
    maxAttempts: clampAttempts(pick("maxAttempts")),
    factor: pick("factor"),
    minTimeoutMs: pick("minTimeoutMs"),
    maxTimeoutMs: pick("maxTimeoutMs"),
    randomize: pick("randomize"),
  };
}

/** ATT-3: below 1 is 1, above the maximum is the maximum. */
export function clampAttempts(maxAttempts: number, attemptsMax: number = defaultLimits.attemptsMax): number {
  return Math.min(Math.max(maxAttempts, 1), attemptsMax);
}

/**
 * Milliseconds to pause after a failed attempt, or undefined if no attempt is left (RTY-2).
 * @param failedAttempt number of the attempt that failed, from 1.
 * @param random uniform in [0, 1); not looked at without `randomize`.
 */
export function retryDelayMs(policy: RetryPolicy, failedAttempt: number, random: number): number | undefined {
  if (failedAttempt >= policy.maxAttempts) {
    return undefined;
  }
  const { minTimeoutMs, maxTimeoutMs, factor, randomize } = policy;
  const growth = factor ** (failedAttempt - 1);
  // A first pause of 0 stays 0, also when the growth has become infinite.
  const pauseMs = minTimeoutMs === 0 ? 0 : minTimeoutMs * growth * (randomize ? 1 + random : 1);
  return Math.round(Math.min(maxTimeoutMs, pauseMs));
}

/** What is wrong with a policy that a worker registers; sums of pauses that are no numbers would never come due. */
export function retryPolicyViolations(field: string, policy: PartialRetryPolicy): readonly Violation[] {
  const { maxAttempts, factor, minTimeoutMs, maxTimeoutMs } = policy;
  const violations: Violation[] = [];
  const require = (member: string, value: number | undefined, allowed: string, isFine: (value: number) => boolean) => {
    if (value !== undefined && !isFine(value)) {
      violations.push({
        field: `${field}.${member}`,
        reason: "INVALID_REQUEST",
        message: `${member} must be ${allowed}, got ${value}`,
        metadata: { got: String(value), allowed },
      });
    }
  };
  require("maxAttempts", maxAttempts, "an integer", Number.isInteger);
  require("factor", factor, "a finite number above 0", (value) => Number.isFinite(value) && value > 0);
  require("minTimeout", minTimeoutMs, "a finite time of 0 or more", isPause);
  require("maxTimeout", maxTimeoutMs, "a finite time of 0 or more", isPause);
  return violations;
}

function isPause(ms: number): boolean {
  return ms >= 0 && ms <= defaultLimits.durationMaxMs;
}
