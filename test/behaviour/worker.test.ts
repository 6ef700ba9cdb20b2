/** What workers of the SDK do with runs: attempts, retries, cancels, limits of time, logs, stops. Server and worker share one time. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { text } from "node:stream/consumers";
import { fileURLToPath } from "node:url";
import { AbortTaskRunError, logger, queue, runs, tags, task, tasks } from "@hairtrigger/sdk";
import type { HookSet } from "@hairtrigger/sdk/worker";
import test, { type ExecutionContext } from "ava";
import { currentRun } from "#sdk/run-context.js";
import { adopt } from "../support/children.js";
import { flakyNetwork } from "../support/flaky-network.js";
import { startTestApp } from "../support/harness.js";
import { gate, startSdkWorld, turns, until } from "../support/sdk-world.js";

/** The id of a handle that came back as an output. */
function idIn(output: unknown): string {
  if (typeof output === "object" && output !== null && "id" in output) return String(output.id);
  throw new TypeError("the output is no handle");
}

const NO_JITTER = { minTimeoutInMs: 1_000, randomize: false } as const;

test("WRK-1: a triggered task runs with its payload, and its output is read back", async (t) => {
  const world = await startSdkWorld(t);
  const greet = task({
    id: "greet",
    run: (payload: { to: string }) => ({ text: `hello ${payload.to}`, at: new Date(5) }),
  });
  await world.worker({ tasks: [greet] });
  const handle = await world.as(() => greet.trigger({ to: "you" }));
  const run = await world.runWhen(handle, ({ isCompleted }) => isCompleted);
  t.is(run.status, "COMPLETED");
  t.deepEqual(run.output, { text: "hello you", at: new Date(5) });
  t.is(run.attemptCount, 1);
});

test("WRK-1: module namespaces are accepted; malformed tasks, two tasks of one id and a bad key reject", async (t) => {
  const world = await startSdkWorld(t);
  const one = task({ id: "same", run: () => 1 });
  const other = task({ id: "same", run: () => 2 });
  await t.throwsAsync(world.worker({ tasks: [one, { other }] }), { message: /same/ });
  await t.throwsAsync(world.worker({ tasks: [{ nothing: 1 }] }), { instanceOf: TypeError });
  await t.throwsAsync(world.worker({ tasks: [] }), { instanceOf: TypeError });
  await t.throwsAsync(world.worker({ tasks: [task({ id: "x", ttl: "1 hour", run: () => 1 })] }), {
    message: /Invalid ttl/,
  });
  await t.throwsAsync(world.worker({ tasks: [one], accessToken: "tr_dev_wrongwrongwrongwrong" }), {
    name: "TriggerApiError",
  });
  const { id } = await world.worker({ tasks: [{ one, text: "is ignored" }] });
  t.regex(id, /^session_/);
});

test("HOK-10, HOK-11: ctx says all about the run, the attempt, the queue", async (t) => {
  const world = await startSdkWorld(t);
  const seen = gate<unknown>();
  const child = task({
    id: "child",
    queue: { name: "narrow", concurrencyLimit: 2 },
    maxDuration: 60,
    run: (_: { n: number }, { ctx }) => seen.open(ctx),
  });
  const parent = task({
    id: "parent",
    run: () => child.trigger({ n: 1 }, { tags: ["a", "b"], idempotencyKey: "key", priority: 3, maxAttempts: 7 }),
  });
  await world.worker({ tasks: [child, parent] });
  const { id: parentId } = await world.as(() => parent.trigger());
  const ctx = await seen.promise;
  const { output } = await world.runWhen({ id: parentId }, ({ isCompleted }) => isCompleted);
  const run = await world.run(idIn(output));
  t.deepEqual(ctx, {
    task: { id: "child" },
    attempt: { number: 1, startedAt: new Date(world.server.clock.nowMs()) },
    run: {
      id: run.id,
      tags: ["a", "b"],
      isTest: false,
      isReplay: false,
      createdAt: run.createdAt,
      startedAt: run.startedAt,
      idempotencyKey: "key",
      idempotencyKeyScope: "run",
      maxAttempts: 7,
      maxDuration: 60,
      priority: 3,
      parentTaskRunId: parentId,
      rootTaskRunId: parentId,
      durationMs: 0,
    },
    queue: run.queue,
    environment: { id: "dev", slug: "dev" },
  });
});

test("HOK-10: a run of its own has no parent, no key, no limit of time", async (t) => {
  const world = await startSdkWorld(t);
  const plain = task({ id: "plain", run: (_: undefined, { ctx }) => Object.keys(ctx.run).toSorted() });
  await world.worker({ tasks: [plain] });
  const handle = await world.as(() => plain.trigger());
  const { output } = await world.runWhen(handle, ({ isCompleted }) => isCompleted);
  t.deepEqual(output, [
    "createdAt",
    "durationMs",
    "id",
    "isReplay",
    "isTest",
    "maxAttempts",
    "priority",
    "startedAt",
    "tags",
  ]);
});

// ── retries ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

test("RTY-4, RTY-5, RTY-14: short pauses are spent on the worker, EXECUTING, and each attempt starts anew", async (t) => {
  const world = await startSdkWorld(t);
  const attempts: unknown[] = [];
  const flaky = task({
    id: "flaky",
    retry: NO_JITTER,
    run: (payload: { list: number[] }, { ctx }) => {
      attempts.push([ctx.attempt.number, [...payload.list], ctx.run.id]);
      payload.list.push(9);
      if (ctx.attempt.number < 3) throw new RangeError(`attempt ${ctx.attempt.number}`);
      return "at last";
    },
  });
  const { id: workerId } = await world.worker({ tasks: [flaky] });
  const handle = await world.as(() => flaky.trigger({ list: [1] }));
  const pausing = await world.runWhen(handle, ({ nextAttemptAt }) => nextAttemptAt !== undefined);
  t.is(pausing.status, "EXECUTING");
  t.is(pausing.attemptCount, 1);
  await world.pass(1_000);
  await world.runWhen(handle, ({ attempts: { length } }) => length > 1);
  t.is(attempts.length, 2);
  await world.pass(2_000);
  const run = await world.runWhen(handle, ({ isCompleted }) => isCompleted);
  t.is(run.output, "at last");
  t.is(run.attemptCount, 3);
  t.deepEqual(
    attempts,
    [1, 2, 3].map((number) => [number, [1], handle.id]),
  );
  t.deepEqual(
    run.attempts.map(({ outcome, worker, error }) => [outcome, worker, error?.message]),
    [
      ["FAILED", workerId, "attempt 1"],
      ["FAILED", workerId, "attempt 2"],
      ["COMPLETED", workerId, undefined],
    ],
  );
});

test("RTY-5: from 30 s on the run is QUEUED meanwhile, without place or slot", async (t) => {
  const world = await startSdkWorld(t);
  const slow = task({
    id: "slow",
    retry: { minTimeoutInMs: 45_000, randomize: false },
    run: (_: undefined, { ctx }) => {
      if (ctx.attempt.number === 1) throw new Error("later");
      return ctx.attempt.number;
    },
  });
  const other = task({ id: "other", run: () => "ran" });
  await world.worker({ tasks: [slow, other], concurrency: 1 });
  const handle = await world.as(() => slow.trigger());
  await world.runWhen(handle, ({ status, attemptCount }) => status === "QUEUED" && attemptCount === 1);
  const second = await world.as(() => other.trigger());
  t.is((await world.runWhen(second, ({ isCompleted }) => isCompleted)).output, "ran");
  await world.pass(44_000);
  t.is((await world.run(handle)).status, "QUEUED");
  await world.pass(2_000);
  t.is((await world.runWhen(handle, ({ isCompleted }) => isCompleted)).output, 2);
});

test("RTY-6, RES-5: without any setting there are three attempts, and the last error is the run's", async (t) => {
  const world = await startSdkWorld(t);
  const failing = task({
    id: "failing",
    run: () => {
      throw new SyntaxError("nope");
    },
  });
  await world.worker({ tasks: [failing] });
  const handle = await world.as(() => failing.trigger());
  await world.pass(10_000);
  const run = await world.runWhen(handle, ({ isCompleted }) => isCompleted);
  t.is(run.status, "FAILED");
  t.is(run.attemptCount, 3);
  t.is(run.error?.name, "SyntaxError");
  t.is(run.error?.message, "nope");
  t.regex(run.error?.stackTrace ?? "", /worker\.test/);
  t.is(run.error?.code, undefined);
});

test("ATT-1, RTY-10, RTY-11: one attempt where the trigger says so; an abort ends at once; a swallowed error is success", async (t) => {
  const world = await startSdkWorld(t);
  const failing = task({
    id: "failing",
    run: () => {
      // oxlint-disable-next-line typescript/only-throw-error -- RES-5 is about what is no Error, too
      throw "a text";
    },
  });
  const aborting = task({
    id: "aborting",
    run: () => {
      throw new AbortTaskRunError("give up");
    },
  });
  const swallowing = task({
    id: "swallowing",
    run: async () => {
      await Promise.reject(new Error("inner")).catch(() => undefined);
    },
  });
  await world.worker({ tasks: [failing, aborting, swallowing] });
  const single = await world.as(() => failing.trigger(undefined, { maxAttempts: 1 }));
  const aborted = await world.as(() => aborting.trigger());
  const fine = await world.as(() => swallowing.trigger());
  const run = await world.runWhen(single, ({ isCompleted }) => isCompleted);
  t.deepEqual([run.status, run.attemptCount, run.error], ["FAILED", 1, { message: "a text" }]);
  const second = await world.runWhen(aborted, ({ isCompleted }) => isCompleted);
  t.deepEqual([second.status, second.attemptCount, second.error?.message], ["FAILED", 1, "give up"]);
  t.is((await world.runWhen(fine, ({ isCompleted }) => isCompleted)).status, "COMPLETED");
});

test("RTY-8, RTY-9: catchError decides about the retry and may replace the error", async (t) => {
  const world = await startSdkWorld(t);
  const asked: unknown[] = [];
  const caught = task({
    id: "caught",
    retry: NO_JITTER,
    run: (payload: string) => {
      throw new Error(payload);
    },
    catchError: ({ payload, error, retryDelayInMs, ctx, task: taskId }) => {
      asked.push([payload, String(error), retryDelayInMs, ctx.attempt.number, taskId]);
      if (payload === "skip") return { skipRetrying: true, error: new TypeError("replaced") };
      return payload === "wait" ? { retryDelayInMs: 5_000 } : undefined;
    },
  });
  const global: HookSet = { catchError: () => ({ skipRetrying: true }) };
  await world.worker({ tasks: [caught], hooks: global });
  const skipped = await world.as(() => caught.trigger("skip"));
  const run = await world.runWhen(skipped, ({ isCompleted }) => isCompleted);
  t.deepEqual(
    [run.status, run.attemptCount, run.error?.name, run.error?.message],
    ["FAILED", 1, "TypeError", "replaced"],
  );
  t.deepEqual(asked, [["skip", "Error: skip", 1_000, 1, "caught"]]);

  const undecided = await world.as(() => caught.trigger("global decides"));
  t.is((await world.runWhen(undecided, ({ isCompleted }) => isCompleted)).attemptCount, 1);

  const waiting = await world.as(() => caught.trigger("wait"));
  const paused = await world.runWhen(waiting, ({ nextAttemptAt }) => nextAttemptAt !== undefined);
  t.is(paused.nextAttemptAt?.getTime(), world.server.clock.nowMs() + 5_000);
});

test("§12.3: a catchError that throws crashes the run", async (t) => {
  const world = await startSdkWorld(t);
  const broken = task({
    id: "broken",
    run: () => {
      throw new Error("first");
    },
    handleError: () => {
      throw new Error("handler broke");
    },
  });
  await world.worker({ tasks: [broken] });
  const handle = await world.as(() => broken.trigger());
  const run = await world.runWhen(handle, ({ isCompleted }) => isCompleted);
  t.deepEqual([run.status, run.error?.code, run.error?.message], ["CRASHED", "HANDLE_ERROR_ERROR", "handler broke"]);
});

test("PAY-2: an output that cannot be serialised fails the run without retry, before onSuccess", async (t) => {
  const world = await startSdkWorld(t);
  const calls: string[] = [];
  const odd = task({
    id: "odd",
    run: () => ({ deep: { fn: () => 1 } }),
    onSuccess: () => void calls.push("onSuccess"),
    onFailure: () => void calls.push("onFailure"),
  });
  await world.worker({ tasks: [odd] });
  const handle = await world.as(() => odd.trigger());
  const run = await world.runWhen(handle, ({ isCompleted }) => isCompleted);
  t.deepEqual([run.status, run.attemptCount, run.error?.code], ["FAILED", 1, "TASK_OUTPUT_ERROR"]);
  t.regex(run.error?.message ?? "", /output\.deep\.fn/);
  t.deepEqual(calls, ["onFailure"]);
});

test("PAY-7: an output above the limit fails the run without retry", async (t) => {
  const world = await startSdkWorld(t, { limits: { outputBytesMax: 100 } });
  const large = task({ id: "large", run: (length: number) => "x".repeat(length) });
  await world.worker({ tasks: [large] });
  const over = await world.as(() => large.trigger(200));
  const run = await world.runWhen(over, ({ isCompleted }) => isCompleted);
  t.deepEqual([run.status, run.error?.code], ["FAILED", "TASK_OUTPUT_ERROR"]);
  const fits = await world.as(() => large.trigger(90));
  t.is((await world.runWhen(fits, ({ isCompleted }) => isCompleted)).status, "COMPLETED");
});

test("RES-8, PAY-13: an output of undefined is none, null is null", async (t) => {
  const world = await startSdkWorld(t);
  const nothing = task({ id: "nothing", run: (payload: null | undefined) => payload });
  await world.worker({ tasks: [nothing] });
  const [first, second] = await world.as(() => Promise.all([nothing.trigger(undefined), nothing.trigger(null)]));
  t.is((await world.runWhen(first, ({ isCompleted }) => isCompleted)).output, undefined);
  t.is((await world.runWhen(second, ({ isCompleted }) => isCompleted)).output, null);
});

test("HOK-1, HOK-4, RTY-15: hooks run in order; those about the end once, at the last attempt", async (t) => {
  const world = await startSdkWorld(t);
  const order: string[] = [];
  const note =
    (name: string) =>
    ({ ctx }: { ctx: { attempt: { number: number } } }) =>
      void order.push(`${name} ${ctx.attempt.number}`);
  const hooked = task({
    id: "hooked",
    retry: { ...NO_JITTER, maxAttempts: 2 },
    run: (_: undefined, { ctx }) => {
      order.push(`run ${ctx.attempt.number}`);
      throw new Error("always");
    },
    middleware: async ({ next, ctx }) => {
      order.push(`in ${ctx.attempt.number}`);
      await next().catch(() => order.push(`failed ${ctx.attempt.number}`));
    },
    onStart: note("onStart"),
    onStartAttempt: note("onStartAttempt"),
    onSuccess: note("onSuccess"),
    onFailure: note("onFailure"),
    onComplete: ({ result, ctx }) => void order.push(`onComplete ${ctx.attempt.number} ${result.ok}`),
    cleanup: note("cleanup"),
    catchError: ({ ctx }) => void order.push(`catchError ${ctx.attempt.number}`),
  });
  await world.worker({ tasks: [hooked] });
  const handle = await world.as(() => hooked.trigger());
  await world.pass(3_000);
  await world.runWhen(handle, ({ isCompleted }) => isCompleted);
  const first = ["in 1", "onStart 1", "onStartAttempt 1", "run 1", "failed 1", "catchError 1", "cleanup 1"];
  const last = ["in 2", "onStartAttempt 2", "run 2", "failed 2", "catchError 2", "onFailure 2", "onComplete 2 false"];
  t.deepEqual(order, [...first, ...last, "cleanup 2"]);
});

// ── uncaught errors ──────────────────────────────────────────────────────────────────────────────────────────────────────────────

test("§12.3: an uncaught error that belongs to a run fails it; any other is logged, and fails none", async (t) => {
  const server = await startTestApp({ isRealTime: true });
  t.teardown(() => server.stop());
  const script = fileURLToPath(new URL("../support/stray-worker.js", import.meta.url));
  const child = adopt(spawn(process.execPath, [script, server.url, server.key], { stdio: ["ignore", "pipe", "pipe"] }));
  const [output, errors] = await Promise.all([text(child.stdout), text(child.stderr)]);
  t.deepEqual(
    output
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line)),
    [
      ["FAILED", "nobody awaits me"],
      ["FAILED", "nobody catches me"],
      ["COMPLETED", "unharmed"],
    ],
  );
  t.regex(errors, /Uncaught exception that belongs to no run; the worker goes on: Error: of no run/);
  t.notRegex(errors, /nobody/);
});

// ── cancel and limits of time ────────────────────────────────────────────────────────────────────────────────────────────────────

test("CAN-3: a cancel aborts the signal, calls onCancel, and drops what the code returns", async (t) => {
  const world = await startSdkWorld(t);
  const calls: unknown[] = [];
  const release = gate();
  const long = task({
    id: "long",
    run: async (_: undefined, { signal }) => {
      await release.promise;
      return signal.aborted;
    },
    onCancel: async ({ runPromise, signal }) => void calls.push([signal.aborted, await runPromise]),
    onSuccess: () => void calls.push("onSuccess"),
    onComplete: () => void calls.push("onComplete"),
    cleanup: () => void calls.push("cleanup"),
  });
  const narrow = queue({ name: "narrow", concurrencyLimit: 1 });
  const next = task({ id: "next", queue: narrow, run: () => "ran" });
  await world.worker({ tasks: [long, next] });
  const handle = await world.as(() => long.trigger(undefined, { queue: "narrow" }));
  await world.runWhen(handle, ({ status }) => status === "EXECUTING");
  const second = await world.as(() => next.trigger());
  await turns();
  await world.as(() => runs.cancel(handle, { reason: "changed my mind" }));
  t.is((await world.run(handle)).status, "CANCELED", "at once for readers");
  await turns();
  t.is((await world.run(second)).status, "QUEUED", "the slot is taken until the code has ended");
  release.open();
  t.is((await world.runWhen(second, ({ isCompleted }) => isCompleted)).output, "ran");
  const run = await world.run(handle);
  t.deepEqual([run.status, run.output, run.error?.message], ["CANCELED", undefined, "changed my mind"]);
  t.deepEqual(calls, [[true, true]]);
});

test("CAN-3: code that ignores its signal keeps its place and slot for 30 s at most", async (t) => {
  const world = await startSdkWorld(t);
  const release = gate();
  t.teardown(() => release.open());
  const deaf = task({ id: "deaf", run: () => release.promise });
  const next = task({ id: "next", run: () => "ran" });
  await world.worker({ tasks: [deaf, next], concurrency: 1 });
  const handle = await world.as(() => deaf.trigger());
  await world.runWhen(handle, ({ status }) => status === "EXECUTING");
  const second = await world.as(() => next.trigger());
  await world.as(() => runs.cancel(handle));
  await world.pass(28_000);
  t.is((await world.run(second)).status, "QUEUED");
  await world.pass(4_000);
  t.is((await world.runWhen(second, ({ isCompleted }) => isCompleted)).output, "ran");
});

test("CAN-7: no attempt follows a cancel in a retry pause", async (t) => {
  const world = await startSdkWorld(t);
  let attempts = 0;
  const failing = task({
    id: "failing",
    retry: NO_JITTER,
    run: () => {
      attempts += 1;
      throw new Error("again");
    },
    onCancel: () => t.fail("no code is active"),
  });
  await world.worker({ tasks: [failing] });
  const handle = await world.as(() => failing.trigger());
  await world.runWhen(handle, ({ nextAttemptAt }) => nextAttemptAt !== undefined);
  await world.as(() => runs.cancel(handle));
  await world.pass(30_000);
  t.is(attempts, 1);
  t.is((await world.run(handle)).status, "CANCELED");
});

test("DUR-4, DUR-6: at its limit a run is TIMED_OUT, not retried; no hook runs and its result is dropped", async (t) => {
  const world = await startSdkWorld(t);
  const calls: string[] = [];
  const release = gate();
  const reasons: unknown[] = [];
  const long = task({
    id: "long",
    maxDuration: 60,
    run: async (_: undefined, { signal, ctx }) => {
      signal.addEventListener("abort", () => reasons.push(signal.reason));
      await release.promise;
      return ctx.run.maxDuration;
    },
    cleanup: () => void calls.push("cleanup"),
    onFailure: () => void calls.push("onFailure"),
    onComplete: () => void calls.push("onComplete"),
  });
  await world.worker({ tasks: [long] });
  const handle = await world.as(() => long.trigger(undefined, { maxDuration: 7 }));
  await world.runWhen(handle, ({ status }) => status === "EXECUTING");
  await world.pass(6_900);
  t.is((await world.run(handle)).status, "EXECUTING");
  await world.pass(200);
  const run = await world.runWhen(handle, ({ isCompleted }) => isCompleted);
  t.deepEqual([run.status, run.error?.code, run.attemptCount], ["TIMED_OUT", "MAX_DURATION_EXCEEDED", 1]);
  t.is(reasons.length, 1);
  release.open();
  await turns();
  t.deepEqual(calls, []);
  t.is((await world.run(handle)).status, "TIMED_OUT");
});

test("DUR-5: what is in force is in ctx: trigger, then task, then worker", async (t) => {
  const world = await startSdkWorld(t);
  const limit = (_: undefined, { ctx }: { ctx: { run: { maxDuration?: number } } }) => ctx.run.maxDuration ?? "none";
  const own = task({ id: "own", maxDuration: 60, run: limit });
  const open = task({ id: "open", run: limit });
  await world.worker({ tasks: [own, open], maxDuration: 90 });
  const output = async (handle: { id: string }) =>
    (await world.runWhen(handle, ({ isCompleted }) => isCompleted)).output;
  t.is(await output(await world.as(() => own.trigger())), 60);
  t.is(await output(await world.as(() => open.trigger())), 90);
  t.is(await output(await world.as(() => open.trigger(undefined, { maxDuration: 1 }))), 5);
  t.is(await output(await world.as(() => open.trigger(undefined, { maxDuration: 2_147_483_647 }))), "none");
});

// ── logs and tags ────────────────────────────────────────────────────────────────────────────────────────────────────────────────

test("LOG-1: lines that a run logs are kept with it, by attempt", async (t) => {
  const world = await startSdkWorld(t);
  const talking = task({
    id: "talking",
    retry: NO_JITTER,
    run: async (_: undefined, { ctx }) => {
      logger.info(`attempt ${ctx.attempt.number}`, { deep: { n: 1 } });
      await turns(1);
      logger.warn("after an await");
      if (ctx.attempt.number === 1) throw new Error("again");
    },
  });
  await world.worker({ tasks: [talking] });
  logger.debug("outside of any run");
  const handle = await world.as(() => talking.trigger());
  await world.pass(1_000);
  const run = await world.runWhen(handle, ({ isCompleted, logs }) => isCompleted && logs.length >= 4);
  t.deepEqual(
    run.logs.map(({ level, message, attempt, properties }) => [level, message, attempt, properties]),
    [
      ["info", "attempt 1", 1, { deep: { n: 1 } }],
      ["warn", "after an await", 1, undefined],
      ["info", "attempt 2", 2, { deep: { n: 1 } }],
      ["warn", "after an await", 2, undefined],
    ],
  );
});

test("TAG-2, TAG-3: tags.add adds to the run; ctx shows them from the next attempt on; too many are refused and logged", async (t) => {
  const world = await startSdkWorld(t);
  const seen: unknown[] = [];
  const tagging = task({
    id: "tagging",
    retry: NO_JITTER,
    run: async (_: undefined, { ctx }) => {
      seen.push(ctx.run.tags);
      await tags.add(["b", "c"]);
      seen.push(ctx.run.tags);
      await tags.add(Array.from({ length: 11 }, (__, index) => `t${index}`));
      if (ctx.attempt.number === 1) throw new Error("again");
    },
  });
  await world.worker({ tasks: [tagging] });
  const handle = await world.as(() => tagging.trigger(undefined, { tags: ["a"] }));
  await world.runWhen(handle, ({ nextAttemptAt }) => nextAttemptAt !== undefined);
  await world.pass(1_000);
  const run = await world.runWhen(handle, ({ isCompleted }) => isCompleted);
  t.deepEqual(run.tags, ["a", "b", "c"]);
  t.deepEqual(seen, [["a"], ["a"], ["a", "b", "c"], ["a", "b", "c"]]);
  t.is(run.status, "COMPLETED");
  await t.throwsAsync(tags.add("x"), { message: "Can't set tags outside of a run" });
});

// ── limits ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

test("QUE-4, QUE-6: neither a queue's limit nor a worker's places are ever exceeded, and everything runs", async (t) => {
  const world = await startSdkWorld(t);
  let inQueue = 0;
  let inWorker = 0;
  let mostInQueue = 0;
  let mostInWorker = 0;
  const busy = async (isLimited: boolean) => {
    inWorker += 1;
    if (isLimited) inQueue += 1;
    mostInQueue = Math.max(mostInQueue, inQueue);
    mostInWorker = Math.max(mostInWorker, inWorker);
    // The first ones wait for each other, so that both limits are reached.
    await until(() => mostInQueue >= 3 && mostInWorker >= 8);
    await turns(3);
    inWorker -= 1;
    if (isLimited) inQueue -= 1;
  };
  const limited = task({ id: "limited", queue: { concurrencyLimit: 3 }, run: () => busy(true) });
  const free = task({ id: "free", run: () => busy(false) });
  await world.worker({ tasks: [limited, free], concurrency: 8 });
  const handles = await world.as(() =>
    Promise.all(Array.from({ length: 120 }, (_, index) => (index % 2 === 0 ? limited.trigger() : free.trigger()))),
  );
  for (const handle of handles) await world.runWhen(handle, ({ isSuccess }) => isSuccess);
  t.is(mostInQueue, 3);
  t.is(mostInWorker, 8);
});

// ── sessions ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

test("RUN-6: heartbeats keep a session and its runs for as long as they last", async (t) => {
  const world = await startSdkWorld(t);
  const release = gate<string>();
  const long = task({ id: "long", run: () => release.promise });
  const { id: workerId } = await world.worker({ tasks: [long] });
  const handle = await world.as(() => long.trigger());
  await world.runWhen(handle, ({ status }) => status === "EXECUTING");
  await world.pass(120_000);
  const run = await world.run(handle);
  t.deepEqual([run.status, run.attemptCount, run.workerId], ["EXECUTING", 1, workerId]);
  release.open("still here");
  t.is((await world.runWhen(handle, ({ isCompleted }) => isCompleted)).output, "still here");
  t.deepEqual(world.log, []);
});

test("RUN-8: after a broken connection what was not acknowledged is reported again, and runs go on", async (t) => {
  const world = await startSdkWorld(t);
  const network = await flakyNetwork(world.server.url);
  t.teardown(() => network.stop());
  const [short, long] = [gate<string>(), gate<string>()];
  const waiting = task({ id: "waiting", run: (which: "short" | "long") => (which === "short" ? short : long).promise });
  const { id: workerId } = await world.worker({ tasks: [waiting], baseURL: network.url });
  const first = await world.as(() => waiting.trigger("short"));
  const second = await world.as(() => waiting.trigger("long"));
  await world.runWhen(second, ({ status }) => status === "EXECUTING");
  network.cut();
  await turns();
  short.open("while nobody listened");
  await world.pass(10_000);
  t.is((await world.run(first)).status, "EXECUTING");
  network.heal();
  await world.pass(4_000);
  t.is((await world.runWhen(first, ({ isCompleted }) => isCompleted)).output, "while nobody listened");
  long.open("through both connections");
  const run = await world.runWhen(second, ({ isCompleted }) => isCompleted);
  t.deepEqual([run.output, run.attemptCount, run.workerId], ["through both connections", 1, workerId]);
});

test("RUN-6: a connection that has gone silent is replaced after 20 s, before anything is lost", async (t) => {
  const world = await startSdkWorld(t);
  const network = await flakyNetwork(world.server.url);
  t.teardown(() => network.stop());
  const release = gate<string>();
  const aborts: unknown[] = [];
  const long = task({
    id: "long",
    run: (_: undefined, { signal }) => {
      signal.addEventListener("abort", () => aborts.push(signal.reason));
      return release.promise;
    },
  });
  await world.worker({ tasks: [long], baseURL: network.url });
  const handle = await world.as(() => long.trigger());
  await world.runWhen(handle, ({ status }) => status === "EXECUTING");
  // Time in which a heartbeat confirms the pick-up; an unconfirmed one goes back after 10 s.
  await world.pass(4_000);
  network.freeze();
  await world.pass(15_000);
  network.heal();
  await world.pass(10_000);
  release.open("untouched");
  const run = await world.runWhen(handle, ({ isCompleted }) => isCompleted);
  t.deepEqual([run.output, run.attemptCount, aborts], ["untouched", 1, []]);
});

test("RUN-6: 28 s without an answer fence a worker: signals abort, and its runs are executed elsewhere while it is away", async (t) => {
  const world = await startSdkWorld(t);
  const network = await flakyNetwork(world.server.url);
  t.teardown(() => network.stop());
  const abortedAtMs: number[] = [];
  const numbers: number[] = [];
  let isActive: boolean | undefined;
  const long = task({
    id: "long",
    retry: NO_JITTER,
    run: (_: undefined, { signal, ctx }) => {
      numbers.push(ctx.attempt.number);
      if (numbers.length > 1) return "by another worker";
      return new Promise((resolve) => {
        signal.addEventListener("abort", () => {
          abortedAtMs.push(world.server.clock.nowMs());
          isActive = currentRun()?.isActive();
          resolve("too late");
        });
      });
    },
  });
  await world.worker({ tasks: [long], baseURL: network.url });
  const handle = await world.as(() => long.trigger());
  await world.runWhen(handle, ({ status }) => status === "EXECUTING");
  // Time in which a heartbeat confirms the pick-up; an unconfirmed one goes back after 10 s.
  await world.pass(4_000);
  network.freeze();
  const frozenAtMs = world.server.clock.nowMs();
  await world.pass(30_000);
  // Counted from the sending of the heartbeat that confirmed, about a second before.
  t.is(abortedAtMs.length, 1);
  const silentMs = (abortedAtMs[0] ?? 0) - frozenAtMs;
  t.true(silentMs > 26_000 && silentMs <= 28_000, `${silentMs} ms`);
  t.false(isActive ?? false, "no further call is made in its name");
  await world.worker({ tasks: [long] });
  await world.pass(60_000);
  const run = await world.runWhen(handle, ({ isCompleted }) => isCompleted);
  t.deepEqual([run.output, run.attemptCount, numbers], ["by another worker", 2, [1, 2]]);
  t.is(run.attempts[0]?.error?.code, "TASK_RUN_STALLED_EXECUTING");
  t.true(world.log.some((line) => /giving up what runs/.test(line)));
});

test("RUN-7: what a worker fenced is interrupted, uncounted, if it is back before its session has lapsed", async (t) => {
  const world = await startSdkWorld(t, { limits: { sessionMs: 300_000 } });
  const network = await flakyNetwork(world.server.url);
  t.teardown(() => network.stop());
  const numbers: number[] = [];
  const long = task({
    id: "long",
    run: (_: undefined, { signal, ctx }) => {
      numbers.push(ctx.attempt.number);
      if (numbers.length > 1) return "again";
      return new Promise((resolve) => signal.addEventListener("abort", () => resolve("too late")));
    },
  });
  await world.worker({ tasks: [long], baseURL: network.url });
  const handle = await world.as(() => long.trigger());
  await world.runWhen(handle, ({ status }) => status === "EXECUTING");
  // Time in which a heartbeat confirms the pick-up; an unconfirmed one goes back after 10 s.
  await world.pass(4_000);
  network.freeze();
  await world.pass(40_000);
  network.heal();
  await world.pass(30_000);
  const run = await world.runWhen(handle, ({ isCompleted }) => isCompleted);
  t.deepEqual([run.output, run.attemptCount, numbers], ["again", 1, [1, 1]]);
  t.deepEqual(
    run.attempts.map(({ outcome }) => outcome),
    ["INTERRUPTED", "COMPLETED"],
  );
});

test("WRK-1: a server that cannot be reached is tried for ever, with one warning per 10 s naming it", async (t) => {
  const world = await startSdkWorld(t);
  const network = await flakyNetwork(world.server.url);
  t.teardown(() => network.stop());
  network.cut();
  const echo = task({ id: "echo", run: (payload: string) => payload });
  const starting = world.worker({ tasks: [echo], baseURL: network.url });
  await world.pass(35_000);
  t.true(world.log.length >= 3 && world.log.length <= 4, world.log.join("\n"));
  for (const line of world.log) t.true(line.startsWith("warn ") && line.includes(network.url), line);
  network.heal();
  await world.pass(4_000);
  await starting;
  const handle = await world.as(() => echo.trigger("at last"));
  t.is((await world.runWhen(handle, ({ isCompleted }) => isCompleted)).output, "at last");
});

test("RUN-7: stop() lets runs finish within the grace period, and takes nothing new", async (t) => {
  const world = await startSdkWorld(t);
  const release = gate<string>();
  const long = task({ id: "long", run: () => release.promise });
  const worker = await world.worker({ tasks: [long], gracePeriodMs: 25_000 });
  const handle = await world.as(() => long.trigger());
  await world.runWhen(handle, ({ status }) => status === "EXECUTING");
  const stopped = worker.stop();
  t.is(worker.stop() instanceof Promise, true);
  await world.pass(2_000);
  const second = await world.as(() => long.trigger());
  await world.pass(20_000);
  release.open("finished in time");
  await stopped;
  t.is((await world.run(handle)).output, "finished in time");
  t.is((await world.run(second)).status, "QUEUED");
});

test("RUN-7: what has not finished is interrupted: its signal aborts, the attempt is not counted, another worker goes on", async (t) => {
  const world = await startSdkWorld(t);
  const reasons: string[] = [];
  const numbers: number[] = [];
  const release = gate<string>();
  const long = task({
    id: "long",
    run: (_: undefined, { ctx, signal }) => {
      numbers.push(ctx.attempt.number);
      signal.addEventListener("abort", () => reasons.push(String(signal.reason)));
      return release.promise;
    },
  });
  const worker = await world.worker({ tasks: [long], gracePeriodMs: 5_000 });
  const handle = await world.as(() => long.trigger());
  await world.runWhen(handle, ({ status }) => status === "EXECUTING");
  const stopped = worker.stop();
  await world.pass(5_000);
  await stopped;
  const queued = await world.run(handle);
  t.deepEqual([queued.status, queued.attempts.map(({ outcome }) => outcome)], ["QUEUED", ["INTERRUPTED"]]);
  t.is(reasons.length, 1);
  t.regex(reasons[0] ?? "", /The worker stops/);
  release.open("by the second worker");
  await world.worker({ tasks: [long] });
  const run = await world.runWhen(handle, ({ isCompleted }) => isCompleted);
  t.deepEqual([run.output, run.attemptCount, numbers], ["by the second worker", 1, [1, 1]]);
});

test("RUN-7: a stopping worker without runs ends at once", async (t) => {
  const world = await startSdkWorld(t);
  const worker = await world.worker({ tasks: [task({ id: "x", run: () => 1 })], gracePeriodMs: 25_000 });
  // The clock stands still: an end that waited for the grace period would never come.
  await worker.stop();
  await t.notThrowsAsync(worker.closed);
});

/** A worker process with an executing run that does not heed its signal; what it prints tells when. */
async function signalled(t: ExecutionContext, mode: "ends soon" | "never ends") {
  const server = await startTestApp({ isRealTime: true });
  t.teardown(() => server.stop());
  const script = fileURLToPath(new URL("../support/signal-worker.js", import.meta.url));
  const child = adopt(
    spawn(process.execPath, [script, server.url, server.key, mode], { stdio: ["ignore", "pipe", "ignore"] }),
  );
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const exited = once(child, "exit");
  const runId = String((await lines.next()).value);
  return { child, exited, lines, run: () => runs.retrieve(runId, { clientConfig: server.sdk }) };
}

test("WRK-2: on a signal the worker finishes what runs, and the process ends", async (t) => {
  const { child, exited, run } = await signalled(t, "ends soon");
  child.kill("SIGTERM");
  t.deepEqual(await exited, [0, null]);
  const { status, output } = await run();
  t.deepEqual([status, output], ["COMPLETED", "after the signal"]);
});

test("WRK-2: a second signal ends the process at once", async (t) => {
  const { child, exited, lines, run } = await signalled(t, "never ends");
  child.kill("SIGINT");
  t.regex(String((await lines.next()).value), /SIGINT: finishing what runs/);
  child.kill("SIGTERM");
  t.deepEqual(await exited, [143, null]);
  t.is((await run()).status, "EXECUTING");
});

test("WRK-4: a blocked event loop is told with the runs that were executing", async (t) => {
  const world = await startSdkWorld(t);
  const release = gate();
  const long = task({ id: "long", run: () => release.promise });
  await world.worker({ tasks: [long] });
  const handle = await world.as(() => long.trigger());
  await world.runWhen(handle, ({ status }) => status === "EXECUTING");
  await world.server.clock.jump(7_000);
  await until(() => world.log.length > 0);
  t.regex(
    world.log[0] ?? "",
    new RegExp(`event loop was blocked for [67]\\.\\d s .*${handle.id}.*isolation: "process"`),
  );
  release.open();
});

test("TAP-5: tasks.trigger works inside a run with the worker's credentials", async (t) => {
  const world = await startSdkWorld(t);
  const inner = task({ id: "inner", run: () => "inner ran" });
  const outer = task({ id: "outer", run: () => tasks.trigger<typeof inner>("inner", undefined) });
  await world.worker({ tasks: [inner, outer] });
  const handle = await world.as(() => outer.trigger());
  const { output } = await world.runWhen(handle, ({ isCompleted }) => isCompleted);
  const run = await world.runWhen({ id: idIn(output) }, ({ isCompleted }) => isCompleted);
  t.deepEqual([run.output, run.depth], ["inner ran", 1]);
});
