/** The SDK's functions against a real server and a real worker, over a socket. */
import { execFile } from "node:child_process";
import { promisify } from "node:util";
import {
  AbortError,
  AbortTaskRunError,
  AuthenticationError,
  BadRequestError,
  configure,
  heartbeats,
  idempotencyKeys,
  logger,
  NotFoundError,
  PermissionDeniedError,
  queues,
  type RunStatus,
  runs,
  tags,
  task,
  tasks,
  UnprocessableEntityError,
} from "@hairtrigger/sdk";
import { startWorker, type Worker } from "@hairtrigger/sdk/worker";
import test from "ava";
import { startTestApp, type TestApp } from "../support/harness.js";

const echo = task({ id: "echo", run: async (payload: unknown) => payload });

const limited = task({ id: "limited", queue: { concurrencyLimit: 2 }, run: async () => 1 });

const fails = task({
  id: "fails",
  run: async (payload: { kind: "error" | "text" | "value" | "abort" }) => {
    if (payload.kind === "error") throw new RangeError("out of luck");
    if (payload.kind === "abort") throw new AbortTaskRunError("no use");
    const thrown: unknown = payload.kind === "text" ? "just text" : { code: 7 };
    throw thrown;
  },
  retry: { maxAttempts: 1 },
});

const family = task({
  id: "family",
  retry: { maxAttempts: 2, minTimeoutInMs: 0 },
  run: async (payload: { name: string }, { ctx }) => {
    logger.info("in the family", { name: payload.name });
    await tags.add(["grown", payload.name]);
    const child = await echo.trigger("child");
    const keyed = await tasks.trigger<typeof echo>("echo", 1, { idempotencyKey: payload.name });
    const again = await tasks.trigger<typeof echo>("echo", 2, { idempotencyKey: payload.name });
    const other = await tasks.trigger<typeof echo>("echo", 3, {
      idempotencyKey: await idempotencyKeys.create(payload.name, { scope: "attempt" }),
    });
    await heartbeats.yield();
    if (ctx.attempt.number === 1) throw new Error(JSON.stringify([keyed.id, other.id]));
    const polled = await tasks.triggerAndPoll<typeof echo>("echo", "polled", { pollIntervalMs: 20 });
    return { child: child.id, keyed, again, other, polled: polled.output };
  },
});

let app: TestApp;
let worker: Worker;

test.before(async () => {
  app = await startTestApp({ isRealTime: true });
  configure(app.sdk);
  worker = await startWorker({ tasks: [echo, limited, fails, family], handleSignals: false });
});

test.after.always(async () => {
  await worker.stop();
  await app.stop();
});

const fast = { pollIntervalMs: 20 };

test("PAY-1, TAP-1: a value goes in, through the worker, and comes out as it was", async (t) => {
  const value = {
    at: new Date(0),
    sums: new Map([["a", 12n]]),
    none: undefined,
    odd: [Number.NaN, -0],
    text: "ä😀\u0000",
  };
  const run = await tasks.triggerAndPoll<typeof echo>("echo", value, fast);
  t.is(run.status, "COMPLETED");
  t.deepEqual(run.payload, value);
  t.deepEqual(run.output, value);
  t.true(run.isCompleted && run.isSuccess && !run.isFailed);
  t.true(run.startedAt instanceof Date && run.finishedAt instanceof Date);
  t.is(run.attemptCount, 1);
  t.is(run.attempts[0]?.outcome, "COMPLETED");
  t.is((await tasks.triggerAndPoll<typeof echo>("echo", undefined, fast)).output, undefined);
  t.is((await tasks.triggerAndPoll<typeof echo>("echo", null, fast)).output, null);
});

test("PAY-9: a payload of megabytes goes inside the request", async (t) => {
  const text = "x".repeat(400_000);
  t.is((await tasks.triggerAndPoll<typeof echo>("echo", text, fast)).output, text);
});

test("TRG-1, TRG-2: a handle has id, task, token, and whether the run existed before", async (t) => {
  const options = { idempotencyKey: "handle", delay: "1h" };
  const first = await echo.trigger("a", options);
  t.regex(first.id, /^run_[0-9a-z]{26}$/);
  t.is(first.taskIdentifier, "echo");
  t.false(first.isCached);
  const second = await tasks.trigger<typeof echo>("echo", "b", options);
  t.like(second, { id: first.id, isCached: true });
  const run = await runs.retrieve(first);
  t.is(run.payload, "a");
  t.is(run.idempotencyKey, "handle");
});

test("TRG-3, AUT-5: a handle's token reads its run and nothing else", async (t) => {
  const handle = await echo.trigger(1, { delay: "1h" });
  const other = await echo.trigger(1, { delay: "1h" });
  const clientConfig = { accessToken: handle.publicAccessToken };
  t.is((await runs.retrieve(handle, { clientConfig })).id, handle.id);
  await t.throwsAsync(runs.retrieve(other, { clientConfig }), { instanceOf: PermissionDeniedError });
  await t.throwsAsync(async () => runs.list({}, { clientConfig }), { instanceOf: PermissionDeniedError });
  await t.throwsAsync(runs.cancel(handle, {}, { clientConfig }), { instanceOf: PermissionDeniedError });
  const expired = await echo.trigger(1, { delay: "1h" }, { publicAccessToken: { expirationTime: 1 } });
  const late = runs.retrieve(expired, { clientConfig: { accessToken: expired.publicAccessToken } });
  const error = await t.throwsAsync(late, { instanceOf: AuthenticationError });
  t.is(error.reason, "TOKEN_EXPIRED");
});

test("RUN-12, RES-9: an unknown run, a run of another environment and a wrong key are told apart", async (t) => {
  const unknown = "run_00000000000000000000000000";
  const missing = await t.throwsAsync(runs.retrieve(unknown), { instanceOf: NotFoundError });
  t.is(missing.reason, "RUN_NOT_FOUND");
  t.is(missing.message, `Run ${unknown} not found`);
  const handle = await echo.trigger(1, { delay: "1h" });
  const clientConfig = { accessToken: app.prodKey };
  await t.throwsAsync(runs.retrieve(handle, { clientConfig }), { instanceOf: NotFoundError });
  const wrong = { clientConfig: { accessToken: "tr_dev_wrongwrongwrongwrong" } };
  const refused = await t.throwsAsync(runs.retrieve(handle, wrong), { instanceOf: AuthenticationError });
  t.is(refused.reason, "INVALID_CREDENTIALS");
  await t.throwsAsync(runs.poll(unknown), { instanceOf: NotFoundError });
});

test("DLY-1, TTL-1, QUE-26, MET-1, TAG-4: options read back from the run", async (t) => {
  const due = new Date(Date.now() + 3_600_000);
  const handle = await echo.trigger(1, {
    delay: due,
    ttl: 5_400,
    priority: -1.5,
    metadata: { customer: "acme", at: new Date(0) },
    tags: ["b", "a", "b", " "],
    queue: "options",
    concurrencyKey: 42,
    maxAttempts: 1_000,
    maxDuration: 60,
  });
  const run = await runs.retrieve(handle);
  t.like(run, {
    status: "DELAYED",
    isQueued: true,
    ttl: "1h30m",
    priority: -1.5,
    metadata: { customer: "acme", at: "1970-01-01T00:00:00.000Z" },
    tags: ["b", "a"],
    concurrencyKey: "42",
    maxAttempts: 250,
    depth: 0,
    triggerFunction: "trigger",
  });
  t.deepEqual(run.delayedUntil, due);
  t.is(run.queue.name, "options");
  const refused = await t.throwsAsync(echo.trigger(1, { delay: "10" }), { instanceOf: BadRequestError });
  t.is(refused.reason, "INVALID_DELAY");
  t.true(refused.message.includes("Invalid delay: 10"));
});

test("TAP-3, RES-7: a failed run resolves with its error: of an Error, a string, a value, an abort", async (t) => {
  const outcome = async (kind: "error" | "text" | "value" | "abort") => {
    const run = await tasks.triggerAndPoll<typeof fails>("fails", { kind }, fast);
    t.is(run.status, "FAILED");
    t.true(run.isFailed && run.isCompleted);
    t.is(run.output, undefined);
    return run.error;
  };
  t.like(await outcome("error"), { name: "RangeError", message: "out of luck", code: undefined });
  t.deepEqual(await outcome("text"), { message: "just text" });
  t.deepEqual(await outcome("value"), { message: '{"code":7}' });
  t.like(await outcome("abort"), { name: "AbortTaskRunError", message: "no use" });
});

test("TAP-4, TAP-2: polling gives up after maxPolls", async (t) => {
  const options = { delay: "1h", maxPolls: 2, pollIntervalMs: 1 };
  const error = await t.throwsAsync(tasks.triggerAndPoll<typeof echo>("echo", 1, options));
  t.regex(error.message, /^Run run_[0-9a-z]{26} did not complete after 2 attempts$/);
});

test("TAP-6: with the key of a finished run, the first poll has it", async (t) => {
  const first = await tasks.triggerAndPoll<typeof echo>("echo", "once", { ...fast, idempotencyKey: "tap-6" });
  const again = await tasks.triggerAndPoll<typeof echo>("echo", "twice", { idempotencyKey: "tap-6", maxPolls: 1 });
  t.is(again.id, first.id);
  t.is(again.output, "once");
});

test("CAN-1: a cancelled run has the reason as its error; cancelling again changes nothing", async (t) => {
  const handle = await echo.trigger(1, { delay: "1h" });
  t.deepEqual(await runs.cancel(handle, { reason: "changed my mind" }), { id: handle.id });
  t.deepEqual(await runs.cancel(handle.id), { id: handle.id });
  const run = await runs.poll(handle);
  t.is(run.status, "CANCELED");
  t.like(run.error, { message: "changed my mind", code: "TASK_RUN_CANCELLED", name: "TASK_RUN_CANCELLED" });
  t.true(run.isCancelled && run.isCanceled && !run.isFailed);
});

test("RUN-14: only a delayed run is rescheduled, earlier or later, never into the past", async (t) => {
  const handle = await echo.trigger("moved", { delay: "1h" });
  const moved = await runs.reschedule(handle, { delay: new Date(Date.now() + 7_200_000) });
  t.is(moved.status, "DELAYED");
  t.true((moved.delayedUntil?.getTime() ?? 0) > Date.now() + 7_000_000);
  const past = await t.throwsAsync(runs.reschedule(handle, { delay: new Date(0) }), { instanceOf: BadRequestError });
  t.is(past.reason, "INVALID_DELAY");
  await runs.reschedule(handle.id, { delay: "0s" });
  t.is((await runs.poll(handle, fast)).output, "moved");
  const late = await t.throwsAsync(runs.reschedule(handle, { delay: "1h" }), { instanceOf: UnprocessableEntityError });
  t.is(late.reason, "RUN_NOT_DELAYED");
});

test("RUN-15: a replay is a new run with the same payload", async (t) => {
  const handle = await echo.trigger({ n: 1n }, { tags: "replayed", priority: 5 });
  await runs.poll(handle, fast);
  const { id } = await runs.replay(handle);
  t.not(id, handle.id);
  const run = await runs.poll<typeof echo>(id, fast);
  t.deepEqual(run.output, { n: 1n });
  t.deepEqual(run.tags, ["replayed"]);
  t.is(run.priority, 0);
});

test("RUN-19: pages, both ways, and all items without awaiting first", async (t) => {
  const tag = "paged";
  const made: string[] = [];
  for (let index = 0; index < 5; index += 1) made.unshift((await echo.trigger(index, { delay: "1h", tags: tag })).id);
  const page = await runs.list({ tag, limit: 2 });
  t.deepEqual(
    page.data.map(({ id }) => id),
    made.slice(0, 2),
  );
  t.true(page.hasNextPage());
  t.false(page.hasPreviousPage());
  await t.throwsAsync(page.getPreviousPage(), { message: "No previous page available" });
  const second = await page.getNextPage();
  t.deepEqual(
    (await second.getPreviousPage()).data.map(({ id }) => id),
    made.slice(0, 2),
  );
  const last = await second.getNextPage();
  t.false(last.hasNextPage());
  await t.throwsAsync(last.getNextPage(), { message: "No next page available" });
  const sizes: number[] = [];
  for await (const { data } of page.iterPages()) sizes.push(data.length);
  t.deepEqual(sizes, [2, 2, 1]);
  const seen: string[] = [];
  for await (const run of runs.list({ tag, limit: 2 })) seen.push(run.id);
  t.deepEqual(seen, made);
  const after = await runs.list({ after: page.pagination.next, limit: 3 });
  t.deepEqual(
    after.data.map(({ id }) => id),
    made.slice(2),
  );
});

test("RUN-20: a bad limit and a forged cursor are refused", async (t) => {
  for (const options of [{ limit: 0 }, { limit: 101 }, { after: "forged" }]) {
    const error = await t.throwsAsync(async () => runs.list(options), { instanceOf: BadRequestError });
    t.is(error.reason, "INVALID_PAGE");
  }
});

test("RUN-23: a subscription shows the present state, then every change, and ends after the final one", async (t) => {
  const handle = await echo.trigger("watched", { delay: "1h" });
  const seen: RunStatus[] = [];
  for await (const run of runs.subscribeToRun(handle)) {
    seen.push(run.status);
    if (seen.length === 1) await runs.reschedule(handle, { delay: "0s" });
    if (run.isCompleted) t.is(run.output, "watched");
  }
  t.is(seen[0], "DELAYED");
  t.is(seen.at(-1), "COMPLETED");
  const order: readonly RunStatus[] = ["DELAYED", "QUEUED", "EXECUTING", "COMPLETED"];
  const ranks = seen.map((status) => order.indexOf(status));
  t.deepEqual(
    ranks,
    ranks.toSorted((a, b) => a - b),
  );
});

test("RUN-23, RUN-25: unsubscribe() ends quietly, a signal with an AbortError; skipped members are absent", async (t) => {
  const handle = await echo.trigger("skipped", { delay: "1h", tags: "x", metadata: { a: 1 } });
  const subscription = runs.subscribeToRun(handle, { skipColumns: ["payload", "metadata"] });
  const states = [];
  for await (const run of subscription) {
    states.push(run);
    subscription.unsubscribe();
  }
  t.is(states.length, 1);
  t.false("payload" in (states[0] ?? {}));
  t.false("metadata" in (states[0] ?? {}));
  t.is(states[0]?.id, handle.id);

  const controller = new AbortController();
  const aborted = async () => {
    for await (const _ of runs.subscribeToRun(handle, { signal: controller.signal })) controller.abort();
  };
  await t.throwsAsync(aborted, { instanceOf: AbortError });
  const unknown = async () => {
    for await (const _ of runs.subscribeToRun("run_00000000000000000000000000")) t.fail();
  };
  await t.throwsAsync(unknown, { instanceOf: NotFoundError });
});

test("IDM-28, IDM-30: a reset frees the key, whatever form it is given in", async (t) => {
  const trigger = (idempotencyKey: string | string[]) => echo.trigger(1, { idempotencyKey, delay: "1h" });
  const first = await trigger(["reset", "me"]);
  t.deepEqual(await idempotencyKeys.reset("echo", ["reset", "me"]), { id: first.id });
  const second = await trigger(["reset", "me"]);
  t.not(second.id, first.id);
  t.deepEqual(await idempotencyKeys.reset("echo", await idempotencyKeys.create(["reset", "me"])), { id: second.id });
  const error = await t.throwsAsync(idempotencyKeys.reset("echo", ["reset", "me"]), { instanceOf: NotFoundError });
  t.is(error.reason, "IDEMPOTENCY_KEY_NOT_FOUND");
});

test("IDM-12: triggers with one key in one turn make one run", async (t) => {
  const handles = await Promise.all(
    Array.from({ length: 64 }, (_, index) => echo.trigger(index, { idempotencyKey: "stampede", delay: "1h" })),
  );
  t.is(new Set(handles.map(({ id }) => id)).size, 1);
  t.is(handles.filter(({ isCached }) => !isCached).length, 1);
});

test("QUE-29 to QUE-33: queues are listed, read, paused, limited and reset", async (t) => {
  const name = "managed";
  const queue = { type: "custom", name } as const;
  await t.throwsAsync(queues.retrieve(queue), { instanceOf: NotFoundError });
  await echo.trigger(1, { queue: { name, concurrencyLimit: 3 }, delay: "1h" });
  const item = await queues.retrieve(queue);
  t.like(item, { name, type: "custom", running: 0, queued: 0, paused: false, concurrencyLimit: 3, unservedTasks: [] });
  t.deepEqual(item.concurrency, { current: 3, base: 3, override: null, overriddenAt: null, overriddenBy: null });
  t.deepEqual(await queues.retrieve(item.id), item);
  t.true((await queues.pause(queue)).paused);
  const waiting = await echo.trigger("paused", { queue: name });
  t.is((await queues.retrieve(queue)).queued, 1);
  t.false((await queues.resume(item.id)).paused);
  t.is((await runs.poll(waiting, fast)).output, "paused");
  const overridden = await queues.overrideConcurrencyLimit(queue, 7);
  t.like(overridden.concurrency, { current: 7, base: 3, override: 7 });
  t.true(overridden.concurrency.overriddenAt instanceof Date);
  t.is(typeof overridden.concurrency.overriddenBy, "string");
  t.is((await queues.resetConcurrencyLimit(queue)).concurrencyLimit, 3);
  const twice = await t.throwsAsync(queues.resetConcurrencyLimit(queue), { instanceOf: UnprocessableEntityError });
  t.is(twice.reason, "QUEUE_NOT_OVERRIDDEN");
  for (const limit of [-1, 0.5, 100_001]) {
    const error = await t.throwsAsync(queues.overrideConcurrencyLimit(queue, limit), { instanceOf: BadRequestError });
    t.is(error.reason, "INVALID_CONCURRENCY_LIMIT");
  }
  const { data, pagination } = await queues.list({ perPage: 1, page: 1 });
  t.is(data.length, 1);
  t.is(pagination.currentPage, 1);
  t.is(pagination.totalPages, pagination.count);
  await t.throwsAsync(queues.list({ page: 0 }), { instanceOf: BadRequestError });
});

test("QUE-11: a limit for a declared queue is ignored, and the handle says so", async (t) => {
  const plain = await limited.trigger(undefined, { delay: "1h" });
  t.false("warnings" in plain);
  const handle = await limited.trigger(undefined, { delay: "1h", queue: { concurrencyLimit: 1 } });
  t.is(handle.warnings?.length, 1);
});

test("TRG-5, IDM-3, TAG-2, LOG-1, TAP-5: inside a task, functions know their run", async (t) => {
  const run = await tasks.triggerAndPoll<typeof family>("family", { name: "ann" }, fast);
  t.is(run.status, "COMPLETED", run.error?.message);
  t.is(run.attemptCount, 2);
  const { child = "", keyed, again, other, polled } = run.output ?? {};
  t.is(polled, "polled");
  t.deepEqual(run.tags, ["grown", "ann"]);
  const lines = run.logs.filter(({ message }) => message === "in the family");
  t.deepEqual(
    lines.map(({ level, attempt, properties }) => [level, attempt, properties]),
    [
      ["info", 1, { name: "ann" }],
      ["info", 2, { name: "ann" }],
    ],
  );

  const retrieved = await runs.retrieve<typeof echo>(child);
  t.is(retrieved.depth, 1);
  t.is(retrieved.relatedRuns.parent?.id, run.id);
  t.is(retrieved.relatedRuns.root?.id, run.id);
  t.true(run.relatedRuns.children.some(({ id }) => id === child));

  // The first attempt's error names what it triggered: run keys last over attempts, attempt keys do not.
  const [keyedBefore, otherBefore]: string[] = JSON.parse(run.attempts[0]?.error?.message ?? "[]");
  t.is(keyed?.id, keyedBefore);
  t.true(keyed?.isCached);
  t.is(again?.id, keyedBefore);
  t.not(other?.id, otherBefore);
  t.false(other?.isCached);
  t.is((await runs.retrieve(keyed?.id ?? "")).idempotencyKey, "ann");
});

/** The package as a bundler for browsers resolves it, which Node can do too: `fetch`, the Connect protocol, Web Crypto. */
const BROWSER_PROGRAM = `
import { auth, configure, idempotencyKeys, runs, tasks } from "@hairtrigger/sdk";
const [baseURL, accessToken, deadURL] = process.argv.slice(1);
configure({ baseURL, accessToken });
const handle = await tasks.trigger("echo", { at: new Date(0) }, { idempotencyKey: ["browser", "1"] });
const seen = [];
for await (const { status } of runs.subscribeToRun(handle)) seen.push(status);
const { output } = await runs.retrieve(handle, { clientConfig: { accessToken: handle.publicAccessToken } });
const dead = await tasks
  .trigger("echo", 1, {}, { clientConfig: { baseURL: deadURL }, retry: { maxAttempts: 1 } })
  .catch((error) => [error.constructor.name, error.message.includes(deadURL)]);
let scoped = "";
try {
  auth.withAuth({ accessToken }, () => undefined);
} catch (error) {
  scoped = error.message;
}
const key = String(await idempotencyKeys.create("order-1"));
console.log(JSON.stringify({ last: seen.at(-1), isDate: output.at instanceof Date, dead, scoped, key }));
`;

test("TRG-11, CFG-3: the browser's half triggers, subscribes and reads, and refuses to scope credentials", async (t) => {
  const dead = await startTestApp();
  const deadURL = dead.url;
  await dead.stop();
  const args = ["--conditions=browser", "--input-type=module", "-e", BROWSER_PROGRAM, app.url, app.key, deadURL];
  const { stdout } = await promisify(execFile)(process.execPath, args, { timeout: 60_000 });
  const { scoped, ...rest }: Record<string, unknown> = JSON.parse(stdout.trim().split("\n").at(-1) ?? "");
  t.deepEqual(rest, {
    last: "COMPLETED",
    isDate: true,
    dead: ["ApiConnectionError", true],
    key: "2f0427f3c479d57238a796881b10f6c35f5af271a2933dbd7483b73e25e7e7b8",
  });
  t.regex(String(scoped), /clientConfig/);
});

test.serial("TRG-6, TRG-6a: an unknown task is accepted, and warned about once, with ids like it", async (t) => {
  const printed: string[] = [];
  const { error: original } = console;
  console.error = (line: string) => printed.push(line);
  t.teardown(() => {
    console.error = original;
  });
  const handles = [await tasks.trigger("ecko", 1), await tasks.trigger("ecko", 2)];
  console.error = original;
  const warnings = printed.filter((line) => line.includes("ecko"));
  t.is(warnings.length, 1);
  t.regex(warnings[0] ?? "", /\\"echo\\"/);
  t.is((await runs.retrieve(handles[0]?.id ?? "")).status, "QUEUED");
  t.deepEqual((await queues.retrieve({ type: "task", name: "ecko" })).unservedTasks, ["ecko"]);
});
