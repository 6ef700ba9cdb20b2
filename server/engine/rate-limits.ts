/** How much each environment may still trigger at this server (BAT-5, BAT-6). Kept in memory: every server counts by itself. */
import type { Limits } from "../domain/limits.js";
import { type Bucket, fullBucket, type Rate, refilled, shortage } from "../domain/rate-limit.js";
import type { Clock } from "./clock.js";

export interface RateLimits {
  /**
   * One request, after everything else about it is found to be right. A refused one takes nothing.
   * @param batchItems items of a batch or of a chunk; 0: a trigger.
   * @throws AppError RATE_LIMITED.
   */
  charge(environment: string, batchItems: number): void;
}

export function createRateLimits({
  clock,
  limits,
}: {
  readonly clock: Clock;
  readonly limits: Pick<Limits, "batchItemRate" | "requestRate">;
}): RateLimits {
  const requests = counterOf(limits.requestRate);
  const items = counterOf(limits.batchItemRate);
  return {
    charge(environment, batchItems) {
      const nowMs = clock.nowMs();
      // Both are looked at before either takes.
      const taken = [requests(environment, 1, nowMs), items(environment, batchItems, nowMs)];
      for (const take of taken) take();
    },
  };
}

/** Looks whether so much is there, and gives what takes it. @throws AppError RATE_LIMITED. */
type Counter = (environment: string, cost: number, nowMs: number) => () => void;

function counterOf(rate: Rate | undefined): Counter {
  if (rate === undefined) return () => () => undefined;
  // Environments are those of keys: few.
  const buckets = new Map<string, Bucket>();
  return (environment, cost, nowMs) => {
    const known = buckets.get(environment);
    const bucket = known === undefined ? fullBucket(rate, nowMs) : refilled(rate, known, nowMs);
    const refusal = shortage(rate, bucket, cost, nowMs);
    if (refusal !== undefined) throw refusal;
    return () => void buckets.set(environment, { ...bucket, tokens: bucket.tokens - cost });
  };
}
