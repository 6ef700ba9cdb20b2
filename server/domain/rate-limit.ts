/**
 * Rate limits (BAT-5, BAT-6): a token bucket as a value. It starts full and is refilled at whole intervals, counted from the moment at which
 * it was full last.
 */
import { type AppError, rateLimited } from "./error.js";

export interface Rate {
  /** Tokens of a full bucket. */
  readonly limit: number;
  /** Tokens that come back with every interval. */
  readonly refill: number;
  readonly intervalMs: number;
}

/** BAT-5, where it is switched on: 5,000 items, refilled by 500 every 5 s. */
export const ITEM_RATE: Rate = { limit: 5_000, refill: 500, intervalMs: 5_000 };
/** BAT-6, where it is switched on: 1,500 requests a minute. */
export const REQUEST_RATE: Rate = { limit: 1_500, refill: 1_500, intervalMs: 60_000 };

export interface Bucket {
  readonly tokens: number;
  /** Unix milliseconds from which its intervals are counted. */
  readonly sinceMs: number;
}

export function fullBucket({ limit }: Rate, nowMs: number): Bucket {
  return { tokens: limit, sinceMs: nowMs };
}

/** The bucket as it is now. A clock that went backwards takes nothing away. */
export function refilled(rate: Rate, { tokens, sinceMs }: Bucket, nowMs: number): Bucket {
  const intervals = Math.max(0, Math.floor((nowMs - sinceMs) / rate.intervalMs));
  const filled = tokens + intervals * rate.refill;
  if (filled >= rate.limit) return fullBucket(rate, nowMs);
  return { tokens: filled, sinceMs: sinceMs + intervals * rate.intervalMs };
}

/** The refusal of a call that costs more than is there; undefined: there is enough. @param bucket as it is now. */
export function shortage(rate: Rate, bucket: Bucket, cost: number, nowMs: number): AppError | undefined {
  if (bucket.tokens >= cost) return undefined;
  /** Of a cost above the limit, which is never there: until the bucket is full. */
  const retryMs = reachedMs(rate, bucket, Math.min(cost, rate.limit));
  return rateLimited({
    limit: rate.limit,
    remaining: bucket.tokens,
    resetMs: reachedMs(rate, bucket, rate.limit),
    retryAfterMs: Math.max(1, retryMs - nowMs),
  });
}

/** When the bucket holds that many tokens, if nobody takes any. */
function reachedMs({ refill, intervalMs }: Rate, { tokens, sinceMs }: Bucket, wanted: number): number {
  return sinceMs + Math.ceil(Math.max(0, wanted - tokens) / refill) * intervalMs;
}
