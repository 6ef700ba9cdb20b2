/** Optional rate limits (BAT-5, BAT-6), as callers see them. */
import type { MessageInitShape } from "@bufbuild/protobuf";
import { create } from "@bufbuild/protobuf";
import { BatchTriggerError, batch, RateLimitError, tasks } from "@hairtrigger/sdk";
import test from "ava";
import { type StreamBatchRequest, StreamBatchRequestSchema } from "#proto/hairtrigger/v1/batch_service_pb.js";
import { type JsonObject, refusal, startApi, type TestApi } from "../support/api.js";

const SECOND = 1_000;
/** As with `on`; a test of settings holds the two together. */
const ITEM_RATE = { limit: 5_000, refill: 500, intervalMs: 5_000 };
const REQUEST_RATE = { limit: 1_500, refill: 1_500, intervalMs: 60_000 };

function jobs(count: number, options: JsonObject = {}): readonly JsonObject[] {
  return Array.from({ length: count }, () => ({ taskId: "work", options }));
}

type Message = NonNullable<MessageInitShape<typeof StreamBatchRequestSchema>["message"]>;

const open: Message = { case: "open", value: { requestId: "r" } };
const seal: Message = { case: "seal", value: {} };
const chunk = (index: number, count: number): Message => ({
  case: "chunk",
  value: { index: BigInt(index), items: Array.from({ length: count }, () => ({ taskId: "work" })) },
});

async function* messages(list: readonly Message[]): AsyncGenerator<StreamBatchRequest> {
  for (const message of list) yield create(StreamBatchRequestSchema, { message });
}

function stream(api: TestApi, ...list: readonly Message[]) {
  return api.batches.streamBatch(messages(list));
}

test("BAT-5: with the rate of the rules 5,000 items pass, the next batch is refused whole, and 500 pass each 5 s", async (t) => {
  const api = await startApi(t, { limits: { batchItemRate: ITEM_RATE } });
  const startMs = api.nowMs();
  // Cached items count: they are charged before keys are looked up.
  const keyed = jobs(500, { idempotencyKey: "same" });
  for (let call = 0; call < 10; call += 1) await api.batch(keyed);
  t.is(await api.count(), 1);
  const refused = await refusal(api.batch(jobs(500)));
  t.like(refused, {
    code: "RESOURCE_EXHAUSTED",
    reason: "RATE_LIMITED",
    message: "Rate limit exceeded",
    retryAfterMs: 5_000,
    metadata: { limit: "5000", remaining: "0", reset: String(startMs + 50 * SECOND) },
  });
  t.is(await api.count(), 1, "nothing was created");
  await api.trigger("work");
  await api.advance(5 * SECOND - 1);
  t.is((await refusal(api.batch(jobs(1)))).retryAfterMs, 1);
  await api.advance(1);
  t.like(await refusal(api.batch(jobs(501, {}))), { reason: "BATCH_TOO_LARGE" });
  t.is((await api.batch(keyed)).runCount, 500);
  t.is((await refusal(api.batch(jobs(1)))).reason, "RATE_LIMITED");
});

test("BAT-5, TRG-10: environments have buckets of their own, and refused and invalid batches take nothing", async (t) => {
  const api = await startApi(t, { limits: { batchItemRate: { limit: 3, refill: 3, intervalMs: 5_000 } } });
  const invalid = await refusal(api.batch([...jobs(2), { taskId: "work", options: { delay: "soon" } }]));
  t.is(invalid.reason, "INVALID_DELAY");
  t.is((await refusal(api.batch(jobs(4)))).metadata.remaining, "3");
  await api.batch(jobs(2));
  t.is((await refusal(api.batch(jobs(2)))).metadata.remaining, "1");
  await api.batch(jobs(1));
  t.is((await refusal(api.batch(jobs(4, { delay: "soon" })))).reason, "INVALID_DELAY", "first what is wrong");
  const prod = api.as(api.server.prodKey);
  t.is((await prod.batches.batchTrigger({ items: [{ taskId: "work" }] })).runCount, 1);
  t.is(await api.count(), 3);
});

test("BAT-5: a chunk of a stream is refused whole; those before it stay, known ones cost nothing, and it goes on later", async (t) => {
  const api = await startApi(t, { limits: { batchItemRate: { limit: 4, refill: 4, intervalMs: 5_000 } } });
  const refused = await refusal(stream(api, open, chunk(0, 3), chunk(1, 2), seal));
  t.like(refused, { reason: "RATE_LIMITED", retryAfterMs: 5_000, metadata: { limit: "4", remaining: "1" } });
  t.is(await api.count(), 3);
  await api.advance(5 * SECOND);
  const answer = await stream(api, open, chunk(0, 3), chunk(1, 2), chunk(2, 2), seal);
  t.like(answer, { itemsAccepted: 4n, itemsDeduplicated: 3n, sealed: true, runCount: 7n });
});

test("BAT-6: with the rate of the rules 1,500 requests pass, the next is refused until the minute is over", async (t) => {
  const api = await startApi(t, { limits: { requestRate: REQUEST_RATE } });
  const startMs = api.nowMs();
  const items = Array.from({ length: 500 }, () => ({ taskId: "work", options: { idempotencyKey: "same" } }));
  for (let call = 0; call < 3; call += 1) {
    const { results } = await api.runs.triggerTasks({ items });
    t.true(results.every(({ result }) => result.case === "triggered"));
  }
  const refused = await refusal(api.trigger("work"));
  t.like(refused, {
    code: "RESOURCE_EXHAUSTED",
    reason: "RATE_LIMITED",
    message: "Rate limit exceeded",
    retryAfterMs: 60_000,
    metadata: { limit: "1500", remaining: "0", reset: String(startMs + 60 * SECOND) },
  });
  t.is((await refusal(api.batch(jobs(1)))).reason, "RATE_LIMITED");
  t.is(await api.count(), 1);
  await api.advance(60 * SECOND);
  await api.trigger("work");
  t.is(await api.count(), 2);
});

test("BAT-6: a batch counts once, a streamed one once per chunk; reads and replays do not count", async (t) => {
  const api = await startApi(t, { limits: { requestRate: { limit: 4, refill: 4, intervalMs: 60_000 } } });
  t.is((await refusal(api.trigger("work", { options: { delay: "soon" } }))).reason, "INVALID_DELAY");
  await api.batch(jobs(5));
  const runId = await api.triggered("work");
  t.like(await stream(api, open, chunk(0, 3), chunk(1, 3), seal), { runCount: 6n });
  t.is((await refusal(api.trigger("work"))).metadata.remaining, "0");
  t.is((await refusal(api.batch(jobs(1)))).reason, "RATE_LIMITED");
  await api.runs.replayRun({ runId });
  t.is(await api.count(), 13);
});

test("BAT-6: a batch that its items forbid takes no request, and the other way round", async (t) => {
  const api = await startApi(t, {
    limits: {
      batchItemRate: { limit: 2, refill: 2, intervalMs: 60_000 },
      requestRate: { limit: 1, refill: 1, intervalMs: 5_000 },
    },
  });
  t.is((await refusal(api.batch(jobs(3)))).metadata.limit, "2");
  await api.trigger("work");
  t.is((await refusal(api.batch(jobs(2)))).metadata.limit, "1");
  await api.advance(5 * SECOND);
  t.is((await api.batch(jobs(2))).runCount, 2);
});

test("BAT-5, BAT-6: both are off unless an operator switches them on", async (t) => {
  const api = await startApi(t);
  const keyed = jobs(500, { idempotencyKey: "same" });
  for (let call = 0; call < 11; call += 1) await api.batch(keyed);
  const items = Array.from({ length: 500 }, () => ({ taskId: "work", options: { idempotencyKey: "same" } }));
  for (let call = 0; call < 4; call += 1) {
    const { results } = await api.runs.triggerTasks({ items });
    t.true(results.every(({ result }) => result.case === "triggered"));
  }
  t.is(await api.count(), 1);
});

test("BAT-5, BAT-6, RES-13: the SDK tells a limit from other refusals, and when to try again", async (t) => {
  const { server } = await startApi(t, {
    limits: {
      batchItemRate: { limit: 2, refill: 1, intervalMs: 5_000 },
      requestRate: { limit: 2, refill: 2, intervalMs: 60_000 },
    },
  });
  const once = { clientConfig: server.sdk, retry: { maxAttempts: 1 } };
  const items = [1, 2, 3].map((payload) => ({ id: "work", payload }));
  const ofBatch = await t.throwsAsync(batch.trigger(items, undefined, once), { instanceOf: BatchTriggerError });
  t.like(ofBatch, { phase: "create", isRateLimited: true, retryAfterMs: 1, itemCount: 3, acceptedCount: 0 });
  await tasks.trigger("work", 1, undefined, once);
  await tasks.trigger("work", 1, undefined, once);
  const ofTrigger = await t.throwsAsync(tasks.trigger("work", 1, undefined, once), { instanceOf: RateLimitError });
  t.like(ofTrigger, { retryAfterMs: 60_000, reason: "RATE_LIMITED" });
  const limited = await t.throwsAsync(batch.trigger([{ id: "work", payload: 1 }], undefined, once), {
    instanceOf: BatchTriggerError,
    message: "Failed to create batch with 1 items: Rate limit exceeded - retry after 60s",
  });
  t.like(limited, { isRateLimited: true, retryAfterMs: 60_000 });
});
