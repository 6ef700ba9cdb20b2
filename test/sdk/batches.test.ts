/** Batches by the SDK's functions (sections 4.2, 4.5, 11), against a real server over a socket. */
import { ReadableStream } from "node:stream/web";
import {
  type BatchRunHandle,
  BatchTriggerError,
  batch,
  configure,
  NotFoundError,
  runs,
  schemaTask,
  task,
  tasks,
} from "@hairtrigger/sdk";
import { startWorker, type Worker } from "@hairtrigger/sdk/worker";
import test from "ava";
import { decodeJwt } from "jose";
import * as z from "zod";
import { startTestApp, type TestApp } from "../support/harness.js";

const double = task({ id: "double", run: async (payload: { n: number }, { ctx }) => [payload.n * 2, ctx.batch?.id] });
const shout = task({ id: "shout", run: async (payload: string) => payload.toUpperCase() });
const nothing = task({ id: "nothing", run: async () => 5 });
const strict = schemaTask({ id: "strict", schema: z.object({ n: z.number() }), run: async ({ n }) => n });

let server: TestApp;
let worker: Worker;

test.before(async () => {
  server = await startTestApp({ isRealTime: true });
  configure(server.sdk);
  worker = await startWorker({ tasks: [double, shout, nothing, strict], ...server.sdk, handleSignals: false });
});

test.after.always(async () => {
  await worker.stop();
  await server.stop();
});

async function batchError(call: Promise<unknown>): Promise<BatchTriggerError> {
  try {
    await call;
  } catch (error) {
    if (error instanceof BatchTriggerError) return error;
    throw error;
  }
  throw new Error("the call was not refused");
}

async function done(id: string) {
  for (;;) {
    const found = await batch.retrieve(id);
    if (found.status !== "PENDING" && found.status !== "PROCESSING") return found;
    await new Promise((resolve) => setImmediate(resolve));
  }
}

test("BAT-1, BAT-2, BAT-13: a task's batch gives a handle with its runs in order, and each knows its batch", async (t) => {
  const handle = await double.batchTrigger([1, 2, 3].map((n) => ({ payload: { n } })));
  t.regex(handle.batchId, /^batch_/);
  t.like(handle, { id: handle.batchId, isCached: false, runCount: 3 });
  t.false("idempotencyKey" in handle);
  t.deepEqual(
    handle.runs.map(({ taskIdentifier, isCached }) => [taskIdentifier, isCached]),
    [1, 2, 3].map(() => ["double", false]),
  );
  t.like(await done(handle.id), { status: "COMPLETED", runCount: 3, runs: handle.runs.map(({ id }) => id) });
  const outputs = await Promise.all(handle.runs.map(async (run) => (await runs.retrieve(run)).output));
  t.deepEqual(
    outputs,
    [2, 4, 6].map((n) => [n, handle.batchId]),
  );
  const listed: string[] = [];
  for await (const run of runs.list({ batch: handle.batchId })) listed.push(run.id);
  t.deepEqual(
    listed.toReversed(),
    handle.runs.map(({ id }) => id),
  );
  t.is((await runs.retrieve(handle.runs[0]?.id ?? "")).batchId, handle.batchId);
});

test("BT-1, BT-2: batch.trigger mixes tasks by id, batch.triggerByTask by object, as a tuple", async (t) => {
  const mixed = await batch.trigger<typeof double | typeof shout>([
    { id: "double", payload: { n: 4 } },
    { id: "shout", payload: "hey", options: { tags: ["loud"] } },
  ]);
  t.deepEqual(
    mixed.runs.map(({ taskIdentifier }) => taskIdentifier),
    ["double", "shout"],
  );
  const { runs: made } = await batch.triggerByTask([
    { task: shout, payload: "a" },
    { task: double, payload: { n: 1 } },
    { task: nothing },
  ]);
  await done((await batch.retrieve(mixed)).id);
  t.is((await runs.poll(made[0])).output, "A");
  t.is((await runs.poll(made[1])).output?.[0], 2);
  t.is((await runs.poll(made[2])).output, 5);
  t.deepEqual([...(await runs.retrieve(mixed.runs[1]?.id ?? "")).tags], ["loud"]);
});

test("BAT-20, BAT-21, BAT-23: keys of batches and of items", async (t) => {
  const options = { idempotencyKey: ["order", "7"], idempotencyKeyTTL: "1h" };
  const first = await tasks.batchTrigger<typeof shout>("shout", [{ payload: "a" }, { payload: "b" }], options);
  t.like(first, { isCached: false, idempotencyKey: "order-7" });
  t.deepEqual(
    first.runs.map(({ idempotencyKey }) => idempotencyKey),
    ["order-7-0", "order-7-1"],
  );
  const second = await tasks.batchTrigger<typeof shout>("shout", [{ payload: "z" }], options);
  t.like(second, { isCached: true, batchId: first.batchId, runCount: 2 });
  t.deepEqual(second.runs, first.runs);
  const items = [{ payload: "x", options: { idempotencyKey: "one" } }, { payload: "y" }];
  const own = await shout.batchTrigger([...items, ...items]);
  t.deepEqual(
    own.runs.map(({ isCached, idempotencyKey }) => [isCached, idempotencyKey]),
    [
      [false, "one"],
      [false, undefined],
      [true, "one"],
      [false, undefined],
    ],
  );
});

test("TRG-3: the handle's token reads the batch and its runs for an hour", async (t) => {
  const handle = await shout.batchTrigger([{ payload: "a" }]);
  const claims = decodeJwt(handle.publicAccessToken);
  t.deepEqual(claims.scopes, [`read:batch:${handle.batchId}`]);
  t.is((claims.exp ?? 0) - (claims.iat ?? 0), 3_600);
  const asReader = { clientConfig: { ...server.sdk, accessToken: handle.publicAccessToken } };
  t.is((await batch.retrieve(handle.batchId, asReader)).id, handle.batchId);
  t.is((await runs.retrieve(handle.runs[0]?.id ?? "", asReader)).batchId, handle.batchId);
  const other = await shout.batchTrigger([{ payload: "a" }]);
  await t.throwsAsync(batch.retrieve(other.batchId, asReader), { message: /lacks the scope/ });
  const brief = await shout.batchTrigger([{ payload: "a" }], {}, { publicAccessToken: { expirationTime: "5m" } });
  const { exp = 0, iat = 0 } = decodeJwt(brief.publicAccessToken);
  t.is(exp - iat, 300);
});

test("RES-13, BAT-3, BAT-4: a refused batch is a BatchTriggerError of phase create", async (t) => {
  const none = await batchError(batch.trigger([]));
  t.like(none, { name: "BatchTriggerError", phase: "create", itemCount: 0, acceptedCount: 0, isRateLimited: false });
  t.is(none.message, "Failed to create batch with 0 items: Batch cannot be triggered with no items");
  const many = await batchError(nothing.batchTrigger(Array.from({ length: 501 }, () => ({}))));
  t.is(many.message, "Failed to create batch with 501 items: Batch runCount of 501 exceeds maximum allowed of 500.");
  t.is(many.apiError?.reason, "BATCH_TOO_LARGE");
  const bad = await batchError(shout.batchTrigger([{ payload: "a" }, { payload: "b", options: { delay: "soon" } }]));
  t.is(bad.apiError?.reason, "INVALID_DELAY");
});

test("PAY-2, SCH-5: one item that cannot be sent, or fails its schema, is thrown as it is, and none is created", async (t) => {
  const unsendable = { n: 1, fn: () => 1 };
  await t.throwsAsync(
    double.batchTrigger([{ payload: { n: 1 }, options: { tags: "unsent" } }, { payload: unsendable }]),
    {
      instanceOf: TypeError,
      message: /items\[1\]\.payload\.fn/,
    },
  );
  // A caller whose data comes from elsewhere.
  const wrong: { n: number } = JSON.parse('{"n":"x"}');
  await t.throwsAsync(strict.batchTrigger([{ payload: { n: 1 } }, { payload: wrong }]), { instanceOf: z.ZodError });
  await t.throwsAsync(batch.triggerByTask([{ task: strict, payload: wrong }]), { instanceOf: z.ZodError });
  t.is((await runs.list({ taskIdentifier: "strict" })).data.length, 0);
  t.is((await runs.list({ tag: "unsent" })).data.length, 0);
});

test("BAT-27: an unknown batch rejects with NotFoundError", async (t) => {
  await t.throwsAsync(batch.retrieve(`batch_${"0".repeat(26)}`), { instanceOf: NotFoundError });
});

// ── streams ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

function* letters(count: number) {
  for (let n = 0; n < count; n += 1) yield { payload: `item ${n}` };
}

async function* slowly(count: number) {
  for (const item of letters(count)) {
    await new Promise((resolve) => setImmediate(resolve));
    yield item;
  }
}

test("BAT-15, BAT-17: generators, AsyncIterables and ReadableStreams of any number are one batch", async (t) => {
  const stream = new ReadableStream({
    start(controller) {
      for (const item of letters(1_100)) controller.enqueue(item);
      controller.close();
    },
  });
  for (const items of [letters(1_100), slowly(1_100), stream]) {
    const handle = await shout.batchTrigger(items);
    t.is(handle.runCount, 1_100);
    t.false("runs" in handle);
    const found = await batch.retrieve(handle.batchId);
    t.is(found.runs.length, 1_000);
    t.truthy(found.processing?.completedAt);
    const run = await runs.retrieve(found.runs[999] ?? "");
    t.is(run.payload, "item 999");
  }
});

test("BAT-15: the input is read no faster than chunks are acknowledged, and a partial chunk leaves by itself", async (t) => {
  const input = { read: 0 };
  let release: () => void = () => undefined;
  const gate = new Promise<void>((resolve) => {
    release = resolve;
  });
  async function* counted() {
    for (const item of letters(6_000)) {
      input.read += 1;
      yield item;
    }
  }
  let isFirst = true;
  // The first answer is held back in the server's own store.
  const { store } = server.app;
  const insertBatch = store.insertBatch.bind(store);
  store.insertBatch = async (params) => {
    if (params.items.length > 0 && isFirst) {
      isFirst = false;
      await gate;
    }
    return insertBatch(params);
  };
  t.teardown(() => {
    store.insertBatch = insertBatch;
  });
  const handle = shout.batchTrigger(counted());
  let seen = -1;
  while (seen !== input.read || input.read === 0) {
    seen = input.read;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  t.true(input.read <= 5 * 500, `${input.read} items were read while nothing was acknowledged`);
  release();
  t.is((await handle).runCount, 6_000);

  async function* pausing() {
    yield { payload: "early", options: { tags: "early" } };
    while ((await runs.list({ tag: "early" })).data.length === 0) await new Promise((resolve) => setImmediate(resolve));
    yield { payload: "late" };
  }
  t.is((await shout.batchTrigger(pausing())).runCount, 2);
});

test("BAT-19, RES-13: an input that throws seals the batch with what was accepted", async (t) => {
  const cause = new RangeError("no more");
  async function* broken() {
    yield* letters(700);
    throw cause;
  }
  const error = await batchError(shout.batchTrigger(broken()));
  t.like(error, { phase: "stream", itemCount: 700, acceptedCount: 700, apiError: undefined });
  t.is(error.cause, cause);
  t.is(error.message, `Failed to stream batch ${error.batchId}, 700 items were accepted: no more`);
  const found = await done(error.batchId ?? "");
  t.is(found.status, "PARTIAL_FAILED");
  t.is(found.processing?.errors[0]?.error, "no more");
});

test("BAT-19: a chunk that the server refuses ends the stream, tells its reason, and stops the input", async (t) => {
  let isLeft = false;
  async function* input() {
    try {
      yield* letters(600);
      yield { payload: "bad", options: { delay: "soon" } };
      yield* letters(100_000);
    } finally {
      isLeft = true;
    }
  }
  const error = await batchError(shout.batchTrigger(input()));
  t.like(error, { phase: "stream", acceptedCount: 500 });
  t.is(error.apiError?.reason, "INVALID_DELAY");
  t.is(error.cause, error.apiError);
  t.true(isLeft);
  t.is((await batch.retrieve(error.batchId ?? "")).processing?.errors[0]?.errorCode, "INVALID_DELAY");
});

test("BAT-4, BAT-19: a stream without items rejects, and its batch is ABORTED", async (t) => {
  const error = await batchError(shout.batchTrigger(letters(0)));
  t.true(error.message.includes("Batch cannot be triggered with no items"));
  t.is((await batch.retrieve(error.batchId ?? "")).status, "ABORTED");
});

test("RES-13: what is wrong with an item of a stream is thrown as it is; items before it stay", async (t) => {
  async function* input() {
    yield { payload: { n: 1 } };
    yield { payload: { n: 2, fn: () => 1 } };
  }
  await t.throwsAsync(double.batchTrigger(input()), { instanceOf: TypeError, message: /items\[1\]\.payload\.fn/ });
});

test("BAT-20: a stream whose key names a batch is not read", async (t) => {
  const options = { idempotencyKey: "streamed once" };
  const first = await shout.batchTrigger(letters(3), options);
  let isRead = false;
  async function* unread() {
    isRead = true;
    yield { payload: "x" };
  }
  const second = await shout.batchTrigger(unread(), options);
  t.like(second, { isCached: true, batchId: first.batchId, runCount: 3 });
  t.false(isRead);
});

/** The kinds of handles differ in their types as in their members. */
export function typed(handle: BatchRunHandle): number {
  return handle.runs.length;
}
