/** Payloads and outputs above the inline limit, from end to end: SDK, server, worker of the SDK. */
import { runs, task, tasks } from "@hairtrigger/sdk";
import test from "ava";
import { startSdkWorld } from "../support/sdk-world.js";

const INLINE_MAX = 524_288;
const text = (bytes: number): string => "abcdefgh".repeat(Math.ceil(bytes / 8)).slice(0, bytes);

test("PAY-3: a task gets a large payload and returns a large output without noticing", async (t) => {
  const world = await startSdkWorld(t);
  const seen: unknown[] = [];
  const echo = task({
    id: "echo",
    run: async (payload: unknown) => {
      seen.push(payload);
      return payload;
    },
  });
  await world.worker({ tasks: [echo] });
  const values: readonly unknown[] = [
    { list: [text(2_000_000)], at: new Date(5), big: 12n },
    text(INLINE_MAX + 1),
    `${text(INLINE_MAX)}\ud800`,
    `\u{1f600}\ufeff${text(INLINE_MAX)}`,
  ];
  for (const value of values) {
    const handle = await world.as(() => tasks.trigger("echo", value));
    const run = await world.runWhen(handle, ({ isCompleted }) => isCompleted);
    t.is(run.status, "COMPLETED", JSON.stringify(run.error));
    t.true(Buffer.from(JSON.stringify(seen.at(-1), plain)).equals(Buffer.from(JSON.stringify(value, plain))));
    t.deepEqual(run.payload, value);
    t.deepEqual(run.output, value);
    t.regex(run.payloadPresignedUrl ?? "", /^http:/, "PAY-4");
    t.regex(run.outputPresignedUrl ?? "", /^http:/, "PAY-5");
  }
});

async function all<T>(states: AsyncIterable<T>): Promise<readonly T[]> {
  const seen: T[] = [];
  for await (const state of states) seen.push(state);
  return seen;
}

function plain(_: string, value: unknown): unknown {
  return typeof value === "bigint" ? String(value) : value;
}

test("PAY-3: up to 524,288 bytes nothing leaves the run", async (t) => {
  const world = await startSdkWorld(t);
  const echo = task({ id: "echo", run: async (payload: string) => payload });
  await world.worker({ tasks: [echo] });
  const handle = await world.as(() => tasks.trigger("echo", text(INLINE_MAX)));
  const run = await world.runWhen(handle, ({ isCompleted }) => isCompleted);
  t.is(run.output, text(INLINE_MAX));
  t.is(run.payloadPresignedUrl, undefined, "PAY-4: inline payloads have no URL");
  t.is(run.outputPresignedUrl, undefined);
});

test("PAY-4: the URL of a text gives the text, that of anything else its JSON", async (t) => {
  const world = await startSdkWorld(t);
  for (const [value, type, body] of [
    [text(600_000), "text/plain; charset=utf-8", text(600_000)],
    [[text(600_000)], "application/json", JSON.stringify([text(600_000)])],
  ] as const) {
    const run = await world.run(await world.as(() => tasks.trigger("nobody", value)));
    const response = await fetch(run.payloadPresignedUrl ?? "");
    t.is(response.headers.get("content-type"), type);
    t.is(response.headers.get("access-control-allow-origin"), null);
    t.true((await response.text()) === body);
    const cors = await fetch(run.payloadPresignedUrl ?? "", { headers: { origin: "https://app.example.com" } });
    t.is(cors.headers.get("access-control-allow-origin"), "*", "AUT-7");
    await cors.body?.cancel();
  }
});

test("RUN-25: poll and subscriptions show large data too, and leave it out when asked", async (t) => {
  const world = await startSdkWorld(t);
  const echo = task({ id: "echo", run: async (payload: string) => payload });
  await world.worker({ tasks: [echo] });
  const value = text(700_000);
  const handle = await world.as(() => tasks.trigger("echo", value));
  const polled = await world.as(() => runs.poll(handle, { pollIntervalMs: 1 }));
  t.true(polled.payload === value && polled.output === value);
  const states = await world.as(() => all(runs.subscribeToRun(handle)));
  t.true(states.at(-1)?.payload === value && states.at(-1)?.output === value);
  const bare = await world.as(() => all(runs.subscribeToRun(handle, { skipColumns: ["payload", "output"] })));
  t.false("payload" in (bare.at(-1) ?? {}) || "payloadPresignedUrl" in (bare.at(-1) ?? {}));
});

test("PAY-11: a replay gets the payload of the run that it replays", async (t) => {
  const world = await startSdkWorld(t);
  const seen: string[] = [];
  const count = task({ id: "count", run: async (payload: string) => void seen.push(payload) });
  await world.worker({ tasks: [count] });
  const value = text(800_000);
  const handle = await world.as(() => tasks.trigger("count", value));
  await world.runWhen(handle, ({ isCompleted }) => isCompleted);
  const replayed = await world.as(() => runs.replay(handle));
  const run = await world.runWhen(replayed, ({ isCompleted }) => isCompleted);
  t.is(run.status, "COMPLETED");
  t.true(seen.length === 2 && seen.every((each) => each === value));
});

test("PAY-3: each attempt gets a payload of its own, also long after its URL has expired", async (t) => {
  const world = await startSdkWorld(t);
  const attempts: unknown[] = [];
  const flaky = task({
    id: "flaky",
    retry: { maxAttempts: 2, minTimeoutInMs: 1_000, randomize: false },
    run: async (payload: { list: string[] }, { ctx }) => {
      attempts.push(payload.list.length);
      payload.list.push("changed by the first attempt");
      if (ctx.attempt.number > 1) return;
      await new Promise<void>((resolve) => world.server.clock.setTimer(400_000, resolve));
      throw new Error("again");
    },
  });
  await world.worker({ tasks: [flaky] });
  const handle = await world.as(() => tasks.trigger("flaky", { list: [text(900_000)] }));
  await world.runWhen(handle, ({ status }) => status === "EXECUTING" && attempts.length === 1);
  await world.pass(402_000);
  const run = await world.runWhen(handle, ({ isCompleted }) => isCompleted);
  t.is(run.status, "COMPLETED");
  t.deepEqual(attempts, [1, 1]);
});

test("TAW-2: a parent gets the large output of its child", async (t) => {
  const world = await startSdkWorld(t);
  const child = task({ id: "child", run: async () => text(1_000_000) });
  const parent = task({ id: "parent", run: async () => (await child.triggerAndWait().unwrap()).length });
  await world.worker({ tasks: [child, parent] });
  const handle = await world.as(() => parent.trigger());
  const run = await world.runWhen(handle, ({ isCompleted }) => isCompleted);
  t.is(run.output, 1_000_000, JSON.stringify(run.error));
});

test("PAY-7: an output above the limit fails the run for good", async (t) => {
  const world = await startSdkWorld(t, { limits: { outputBytesMax: 2_000_000 } });
  let attempts = 0;
  const big = task({
    id: "big",
    run: async (bytes: number) => {
      attempts += 1;
      return text(bytes);
    },
  });
  await world.worker({ tasks: [big] });
  const within = await world.as(() => big.trigger(2_000_000));
  t.is((await world.runWhen(within, ({ isCompleted }) => isCompleted)).status, "COMPLETED");
  attempts = 0;
  const above = await world.as(() => big.trigger(2_000_001));
  const run = await world.runWhen(above, ({ isCompleted }) => isCompleted);
  t.is(run.status, "FAILED");
  t.is(run.error?.code, "TASK_OUTPUT_ERROR");
  t.is(attempts, 1);
});
