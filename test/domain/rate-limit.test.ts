/** Token buckets (BAT-5, BAT-6) by themselves: time is an argument. */
import test from "ava";
import { ITEM_RATE, type Rate, REQUEST_RATE, refilled, shortage } from "../../server/domain/rate-limit.js";

const RATE: Rate = { limit: 10, refill: 4, intervalMs: 5_000 };

test("BAT-5, BAT-6: the rates of the rules", (t) => {
  t.deepEqual(ITEM_RATE, { limit: 5_000, refill: 500, intervalMs: 5_000 });
  t.deepEqual(REQUEST_RATE, { limit: 1_500, refill: 1_500, intervalMs: 60_000 });
});

test("BAT-5: tokens come back at whole intervals and never above the limit; time that went backwards takes none", (t) => {
  const empty = { tokens: 0, sinceMs: 100_000 };
  t.deepEqual(refilled(RATE, empty, 104_999), empty);
  t.deepEqual(refilled(RATE, empty, 105_000), { tokens: 4, sinceMs: 105_000 });
  t.deepEqual(refilled(RATE, empty, 114_999), { tokens: 8, sinceMs: 110_000 });
  t.deepEqual(refilled(RATE, empty, 116_000), { tokens: 10, sinceMs: 116_000 });
  t.deepEqual(refilled(RATE, empty, 50_000), empty);
});

test("BAT-5: what is there passes; a refusal says what is left, when enough is there and when all is", (t) => {
  const bucket = { tokens: 3, sinceMs: 100_000 };
  t.is(shortage(RATE, bucket, 3, 101_000), undefined);
  const refusal = shortage(RATE, bucket, 9, 101_000);
  t.is(refusal?.reason, "RATE_LIMITED");
  t.is(refusal?.retryAfterMs, 9_000);
  t.deepEqual(refusal?.metadata, { limit: "10", remaining: "3", reset: "110000" });
  t.is(shortage(RATE, bucket, 11, 101_000)?.retryAfterMs, 9_000, "what never fits is told when the bucket is full");
});
