/** Waits as task code meets them: triggerAndWait, its results and errors, hooks, limits of time, deploys. Server and workers share one time. */
import {
  AbortTaskRunError,
  batch,
  idempotencyKeys,
  runs,
  SubtaskUnwrapError,
  TaskRunPromise,
  type TaskRunResult,
  task,
  tasks,
} from "@hairtrigger/sdk";
import test, { type ExecutionContext } from "ava";
import { gate, type SdkWorld, startSdkWorld, turns, until } from "../support/sdk-world.js";
import "./worker-waits/batches.js";
import "./worker-waits/subscribe.js";
import "./worker-waits/times.js";

const double = task({ id: "double", run: (n: number) => 2 * n });

/** The output of a run that completes. */
async function outputOf(world: SdkWorld, handle: { readonly id: string }): Promise<unknown> {
  const { output, status, error } = await world.runWhen(handle, ({ isCompleted }) => isCompleted);
  if (status !== "COMPLETED") throw new Error(`the run is ${status}: ${error?.message}`);
  return output;
}

test("TAW-2, RES-1, RES-3: the result of an awaited run comes to the code that waits, local variables intact", async (t) => {
  const world = await startSdkWorld(t);
  const parent = task({
    id: "parent",
    run: async (n: number, { ctx }) => {
      const before = { n };
      const promise = double.triggerAndWait(n);
      const isPromise = promise instanceof TaskRunPromise && promise instanceof Promise;
      const result = await promise;
      const unwrapped = await tasks.triggerAndWait<typeof double>("double", n + 1).unwrap();
      return { before, isPromise, result, unwrapped, attempt: ctx.attempt.number };
    },
  });
  await world.worker({ tasks: [parent, double] });
  const handle = await world.as(() => parent.trigger(4));
  const output = await outputOf(world, handle);
  const { relatedRuns, attemptCount } = await world.run(handle);
  const outputs = await Promise.all(relatedRuns.children.map(async (child) => (await world.run(child)).output));
  const first = relatedRuns.children[outputs.indexOf(8)];
  t.deepEqual(output, {
    before: { n: 4 },
    isPromise: true,
    result: { ok: true, id: first?.id, taskIdentifier: "double", output: 8 },
    unwrapped: 10,
    attempt: 1,
  });
  t.is(attemptCount, 1);
  t.deepEqual(
    relatedRuns.children.map(({ triggerFunction, depth }) => [triggerFunction, depth]),
    [
      ["triggerAndWait", 1],
      ["triggerAndWait", 1],
    ],
  );
});

test("QUE-22, QUE-25: runs that wait for each other in one queue of limit 1, in a worker of one place, finish at any depth", async (t) => {
  const world = await startSdkWorld(t);
  const nested = task({
    id: "nested",
    queue: { concurrencyLimit: 1 },
    run: async (depth: number): Promise<number> =>
      depth === 0 ? 0 : 1 + Number(await tasks.triggerAndWait("nested", depth - 1).unwrap()),
  });
  await world.worker({ tasks: [nested], concurrency: 1 });
  const handle = await world.as(() => nested.trigger(12));
  t.is(await outputOf(world, handle), 12);
});

test("TAW-3, RES-5, RES-8: a failed child is a value, rebuilt by kind; undefined is an output", async (t) => {
  const world = await startSdkWorld(t);
  class Special extends Error {
    override readonly name = "Special";
  }
  const child = task({
    id: "child",
    retry: { maxAttempts: 1 },
    run: (what: string) => {
      if (what === "error") throw new Special("oh");
      // oxlint-disable-next-line typescript/only-throw-error -- what user code may do
      if (what === "string") throw "plain";
      // oxlint-disable-next-line typescript/only-throw-error -- what user code may do
      if (what === "value") throw { code: 7 };
      if (what === "abort") throw new AbortTaskRunError("no more");
    },
  });
  const parent = task({
    id: "parent",
    run: async () => {
      const results: TaskRunResult[] = [];
      for (const what of ["error", "string", "value", "abort", "nothing"])
        results.push(await child.triggerAndWait(what));
      return results.map((result) => {
        if (result.ok) return ["output" in result, result.output];
        const { error } = result;
        return error instanceof Error ? [error.name, error.message, error.stack?.includes("waits")] : error;
      });
    },
  });
  await world.worker({ tasks: [parent, child] });
  const handle = await world.as(() => parent.trigger());
  t.deepEqual(await outputOf(world, handle), [
    ["Special", "oh", true],
    "plain",
    { code: 7 },
    ["AbortTaskRunError", "no more", true],
    [true, undefined],
  ]);
});

test("TAW-2, PAY-7: an output of any size comes to the run that waits for it", async (t) => {
  const world = await startSdkWorld(t);
  const fill = task({ id: "fill", run: (bytes: number) => "x".repeat(bytes) });
  const parent = task({
    id: "parent",
    run: async () => {
      const sizes: number[] = [];
      for (const bytes of [60_000, 100_000, 700_000]) sizes.push((await fill.triggerAndWait(bytes).unwrap()).length);
      return sizes;
    },
  });
  await world.worker({ tasks: [parent, fill] });
  const handle = await world.as(() => parent.trigger());
  t.deepEqual(await outputOf(world, handle), [60_000, 100_000, 700_000]);
});

test("RES-4: unwrap of a failed child throws a SubtaskUnwrapError that names task, run and cause", async (t) => {
  const world = await startSdkWorld(t);
  const child = task({
    id: "child",
    retry: { maxAttempts: 1 },
    run: (isError: boolean) => {
      if (isError) throw new RangeError("too far");
      // oxlint-disable-next-line typescript/only-throw-error -- what user code may do
      throw "text";
    },
  });
  const caught: unknown[] = [];
  const parent = task({
    id: "parent",
    retry: { maxAttempts: 1 },
    run: async () => {
      await child
        .triggerAndWait(true)
        .unwrap()
        .catch((error: unknown) => caught.push(error));
      await child.triggerAndWait(false).unwrap();
    },
  });
  await world.worker({ tasks: [parent, child] });
  const handle = await world.as(() => parent.trigger());
  const run = await world.runWhen(handle, ({ isCompleted }) => isCompleted);
  const [error] = caught;
  if (!(error instanceof SubtaskUnwrapError)) return t.fail("not the error that was promised");
  t.like(error, { name: "SubtaskUnwrapError", message: "Error in child: too far", taskId: "child" });
  t.regex(error.runId, /^run_/);
  t.like(error.cause, { name: "RangeError", message: "too far" });
  t.is(run.status, "FAILED");
  t.like(run.error, { name: "SubtaskUnwrapError", message: "Error in child" });
});

test("TAW-1: outside of a run it throws, and no run is created", async (t) => {
  const world = await startSdkWorld(t);
  const message = "triggerAndWait can only be used from inside a task.run()";
  await t.throwsAsync(
    world.as(async () => double.triggerAndWait(1)),
    { message },
  );
  await t.throwsAsync(
    world.as(async () => double.triggerAndWait(1).unwrap()),
    { message },
  );
  await t.throwsAsync(
    world.as(async () => tasks.triggerAndWait<typeof double>("double", 1)),
    { message: `tasks.${message}` },
  );
  const { data } = await world.as(() => runs.list());
  t.is(data.length, 0);
});

test("TAW-8: errors of the triggering are thrown at the call, and the run goes on", async (t) => {
  const world = await startSdkWorld(t);
  const any = task({ id: "any", run: (value: unknown) => value });
  const parent = task({
    id: "parent",
    run: async () => {
      const caught: unknown[] = [];
      const note = (error: unknown): number => caught.push(error instanceof Error ? error.name : error);
      await any.triggerAndWait(() => 1).catch(note);
      await double.triggerAndWait(1, { delay: "soon" }).catch(note);
      return [...caught, await double.triggerAndWait(1).unwrap()];
    },
  });
  await world.worker({ tasks: [parent, double] });
  const handle = await world.as(() => parent.trigger());
  t.deepEqual(await outputOf(world, handle), ["TypeError", "TriggerApiError", 2]);
});

test("TAW-7: two waits at once end the run as SYSTEM_FAILURE; the second creates nothing, the first child goes on", async (t) => {
  const world = await startSdkWorld(t);
  const open = gate();
  let attempts = 0;
  const slow = task({ id: "slow", run: () => open.promise });
  const parent = task({
    id: "parent",
    retry: { maxAttempts: 3 },
    run: async () => {
      attempts += 1;
      await Promise.all([slow.triggerAndWait(), slow.triggerAndWait()]);
    },
  });
  await world.worker({ tasks: [parent, slow] });
  const handle = await world.as(() => parent.trigger());
  const run = await world.runWhen(handle, ({ isCompleted }) => isCompleted);
  t.is(run.status, "SYSTEM_FAILURE");
  t.is(run.error?.code, "TASK_DID_CONCURRENT_WAIT");
  for (const words of ["Parallel waits are not supported", "batchTriggerAndWait", "batch.triggerByTaskAndWait"]) {
    t.true(run.error?.message.includes(words), words);
  }
  t.is(attempts, 1);
  const { children } = await world.run(handle).then(({ relatedRuns }) => relatedRuns);
  t.is(children.length, 1);
  t.is(children[0]?.status, "EXECUTING");
  open.open();
  await world.runWhen({ id: children[0]?.id ?? "" }, ({ isCompleted }) => isCompleted);
});

test("TAW-7: a second wait while the first is under way ends the run, wherever it waits; plain triggers may be parallel", async (t) => {
  const world = await startSdkWorld(t);
  const open = gate();
  const slow = task({ id: "slow", run: () => open.promise });
  const second = gate();
  const parent = task({
    id: "parent",
    run: async () => {
      await Promise.all([double.trigger(1), double.trigger(2)]);
      await Promise.all([
        slow.triggerAndWait(),
        (async () => {
          await second.promise;
          await double.triggerAndWait(3);
        })(),
      ]);
    },
  });
  await world.worker({ tasks: [parent, slow, double] });
  const handle = await world.as(() => parent.trigger());
  await world.runWhen(handle, ({ isWaiting }) => isWaiting);
  second.open();
  const run = await world.runWhen(handle, ({ isCompleted }) => isCompleted);
  t.is(run.status, "SYSTEM_FAILURE");
  t.is((await world.run(handle)).relatedRuns.children.length, 3);
  open.open();
  await turns();
});

test("IDM-15: with the key of a finished run the result comes at once, without WAITING", async (t) => {
  const world = await startSdkWorld(t);
  const waits: unknown[] = [];
  const parent = task({
    id: "parent",
    onWait: ({ wait }) => void waits.push(wait),
    run: async () => {
      const key = await idempotencyKeys.create("k", { scope: "global" });
      const first = await double.triggerAndWait(21, { idempotencyKey: key });
      const second = await double.triggerAndWait(1, { idempotencyKey: key });
      return [first, second];
    },
  });
  await world.worker({ tasks: [parent, double] });
  const handle = await world.as(() => parent.trigger());
  await world.runWhen(handle, ({ isCompleted }) => isCompleted);
  const child = (await world.run(handle)).relatedRuns.children[0]?.id;
  const result = { ok: true, id: child, taskIdentifier: "double", output: 42 };
  t.deepEqual(await outputOf(world, handle), [result, result]);
  t.deepEqual(waits, [{ type: "task", runId: child }]);
});

test("HOK-9a, HOK-3: onWait and onResume are called around a wait, of the worker and of the task; what they throw changes nothing", async (t) => {
  const world = await startSdkWorld(t);
  const seen: string[] = [];
  const parent = task({
    id: "parent",
    onWait: ({ wait }) => {
      seen.push(`task onWait ${wait.type}`);
      throw new Error("ignored");
    },
    onResume: ({ wait, payload }) => void seen.push(`task onResume ${wait.type} ${payload}`),
    run: async (n: number) => {
      const output = await double.triggerAndWait(n).unwrap();
      seen.push("after");
      return output;
    },
  });
  await world.worker({
    tasks: [parent, double],
    hooks: { onWait: () => void seen.push("global onWait"), onResume: () => void seen.push("global onResume") },
  });
  const handle = await world.as(() => parent.trigger(1));
  t.is(await outputOf(world, handle), 2);
  t.deepEqual(seen, ["global onWait", "task onWait task", "global onResume", "task onResume task 1", "after"]);
  t.true(world.log.some((line) => line.includes("onWait of task parent threw")));
});

test("CAN-2, CAN-5: a cancelled waiting run is dropped by its worker without a hook; who waits for it goes on with ok false", async (t) => {
  const world = await startSdkWorld(t);
  const open = gate();
  const seen: string[] = [];
  const leaf = task({ id: "leaf", run: () => open.promise });
  const middle = task({
    id: "middle",
    onCancel: () => void seen.push("onCancel"),
    cleanup: () => void seen.push("cleanup"),
    run: async (_payload: unknown, { signal }) => {
      signal.addEventListener("abort", () => seen.push("aborted"));
      await leaf.triggerAndWait();
      seen.push("went on");
    },
  });
  const top = task({ id: "top", run: async () => middle.triggerAndWait({}) });
  await world.worker({ tasks: [top, middle, leaf] });
  const handle = await world.as(() => top.trigger());
  const { relatedRuns } = await world.runWhen(
    handle,
    ({ relatedRuns: { children } }) => children[0]?.status === "WAITING",
  );
  await world.as(() => runs.cancel(relatedRuns.children[0]?.id ?? "", { reason: "enough" }));
  const result = await outputOf(world, handle);
  t.like(result, { ok: false, taskIdentifier: "middle" });
  await until(() => seen.length > 0);
  t.deepEqual(seen, ["aborted"]);
  open.open();
});

test("DUR-3: waiting does not count against maxDuration, the time before and after does", async (t) => {
  const world = await startSdkWorld(t);
  const [open, before, after] = [gate(), gate(), gate()];
  const slow = task({ id: "slow", run: () => open.promise });
  const parent = task({
    id: "parent",
    maxDuration: 10,
    retry: { maxAttempts: 1 },
    run: async () => {
      await before.promise;
      await slow.triggerAndWait();
      await after.promise;
    },
  });
  await world.worker({ tasks: [parent, slow] });
  const handle = await world.as(() => parent.trigger());
  await world.runWhen(handle, ({ isExecuting }) => isExecuting);
  await world.pass(4_000);
  before.open();
  await world.runWhen(handle, ({ isWaiting }) => isWaiting);
  await world.pass(60_000);
  open.open();
  await world.runWhen(handle, ({ isExecuting }) => isExecuting);
  await world.pass(5_000);
  t.is((await world.run(handle)).status, "EXECUTING");
  await world.pass(2_000);
  const run = await world.runWhen(handle, ({ isCompleted }) => isCompleted);
  t.is(run.status, "TIMED_OUT");
  after.open();
});

test("§12.2: a run whose function returns beside a wait completes", async (t) => {
  const world = await startSdkWorld(t);
  const open = gate();
  const [waits, returns] = [gate(), gate()];
  const slow = task({ id: "slow", run: () => open.promise });
  const parent = task({
    id: "parent",
    onWait: () => waits.open(),
    run: async () => {
      void slow.triggerAndWait();
      await returns.promise;
      return "returned";
    },
  });
  await world.worker({ tasks: [parent, slow] });
  const handle = await world.as(() => parent.trigger());
  await waits.promise;
  await world.runWhen(handle, ({ isWaiting }) => isWaiting);
  returns.open();
  t.is(await outputOf(world, handle), "returned");
  open.open();
});

/** A task that waits for a child which does not end, and a worker that serves it until a deploy. */
async function startDeploys(t: ExecutionContext, rejoin?: boolean) {
  const world = await startSdkWorld(t);
  const open = gate<number>();
  let executions = 0;
  const slow = task({ id: "slow", run: ({ n }: { readonly n: number }) => open.promise.then((by) => n * by) });
  const parent = task({
    id: "parent",
    retry: { maxAttempts: 1 },
    ...(rejoin === undefined ? {} : { rejoin }),
    run: async (n: number, { ctx }) => {
      executions += 1;
      const doubled = await double.triggerAndWait(n).unwrap();
      const output = await slow.triggerAndWait({ n: doubled }).unwrap();
      return { output, attempt: ctx.attempt.number };
    },
  });
  const children = await world.worker({ tasks: [slow, double] });
  return { world, open, parent, children, executions: () => executions };
}

test("TAW-10a, RUN-7: a run that waits through ten deploys makes no second child and loses no attempt", async (t) => {
  const { world, open, parent, executions } = await startDeploys(t);
  let worker = await world.worker({ tasks: [parent] });
  const handle = await world.as(() => parent.trigger(3));
  for (let deploy = 0; deploy < 10; deploy += 1) {
    const isBlocked = ({ isWaiting, relatedRuns }: Awaited<ReturnType<SdkWorld["run"]>>): boolean =>
      isWaiting && relatedRuns.children.length === 2;
    await world.runWhen(handle, isBlocked);
    await world.pass(60_000);
    const next = world.worker({ tasks: [parent] });
    await worker.stop();
    worker = await next;
    await until(() => executions() === deploy + 2);
  }
  await world.runWhen(handle, ({ isWaiting }) => isWaiting);
  open.open(7);
  t.deepEqual(await outputOf(world, handle), { output: 42, attempt: 1 });
  const { relatedRuns, attemptCount, attempts } = await world.run(handle);
  t.is(relatedRuns.children.length, 2, "one of each");
  t.is(attemptCount, 1);
  t.is(attempts.filter(({ outcome }) => outcome === "INTERRUPTED").length, 9, "of the last ten");
  t.is(executions(), 11);
});

test("TAW-10a: with rejoin false every execution makes children of its own", async (t) => {
  const { world, open, parent, executions } = await startDeploys(t, false);
  const worker = await world.worker({ tasks: [parent] });
  const handle = await world.as(() => parent.trigger(3));
  await world.runWhen(handle, ({ isWaiting, relatedRuns }) => isWaiting && relatedRuns.children.length === 2);
  const next = world.worker({ tasks: [parent] });
  await worker.stop();
  await next;
  await until(() => executions() === 2);
  await world.runWhen(handle, ({ isWaiting, relatedRuns }) => isWaiting && relatedRuns.children.length === 4);
  open.open(1);
  t.like(await outputOf(world, handle), { output: 6 });
});

test("RUN-7: a stopping worker does not wait for waiting runs, and finishes what executes", async (t) => {
  const world = await startSdkWorld(t);
  const [open, done] = [gate(), gate()];
  const slow = task({ id: "slow", run: () => open.promise });
  const waiting = task({ id: "waiting", run: async () => slow.triggerAndWait() });
  const busy = task({ id: "busy", run: () => done.promise });
  await world.worker({ tasks: [slow] });
  const worker = await world.worker({ tasks: [waiting, busy], gracePeriodMs: 25_000 });
  const [blocked, executing] = await Promise.all([world.as(() => waiting.trigger()), world.as(() => busy.trigger())]);
  await world.runWhen(blocked, ({ isWaiting }) => isWaiting);
  await world.runWhen(executing, ({ isExecuting }) => isExecuting);
  const stopped = worker.stop();
  await turns();
  t.is((await world.run(blocked)).status, "WAITING", "while something executes it may still go on here");
  done.open();
  await stopped;
  t.is((await world.run(executing)).status, "COMPLETED");
  t.is((await world.run(blocked)).status, "QUEUED", "without the grace period being over");
  open.open();
});

test("TAW-11, RTY-16: a parent is blocked for its child's delay and retries, and gets what came of the last attempt", async (t) => {
  const world = await startSdkWorld(t);
  const flaky = task({
    id: "flaky",
    retry: { maxAttempts: 2, minTimeoutInMs: 5_000, randomize: false },
    run: (_: undefined, { ctx }) => {
      if (ctx.attempt.number === 1) throw new Error("again");
      return "worked";
    },
  });
  const parent = task({ id: "parent", run: () => flaky.triggerAndWait(undefined, { delay: "10s" }).unwrap() });
  await world.worker({ tasks: [parent, flaky] });
  const handle = await world.as(() => parent.trigger());
  const { relatedRuns } = await world.runWhen(
    handle,
    (run) => run.isWaiting && run.relatedRuns.children[0]?.status === "DELAYED",
  );
  await world.pass(11_000);
  const [child] = relatedRuns.children;
  if (child === undefined) throw new Error("there is a child");
  await world.runWhen(child, ({ attemptCount }) => attemptCount > 0);
  t.true((await world.run(handle)).isWaiting, "its first attempt has failed, which is no result");
  await world.pass(6_000);
  t.is(await outputOf(world, handle), "worked");
});

test("TAW-5: a child runs on any worker that serves its task", async (t) => {
  const world = await startSdkWorld(t);
  const parent = task({ id: "parent", run: () => double.triggerAndWait(21).unwrap() });
  const first = await world.worker({ tasks: [parent] });
  const handle = await world.as(() => parent.trigger());
  await world.runWhen(handle, ({ isWaiting }) => isWaiting);
  const second = await world.worker({ tasks: [double] });
  t.is(await outputOf(world, handle), 42);
  const run = await world.run(handle);
  const [child] = run.relatedRuns.children;
  t.is(run.workerId, first.id);
  t.is(child === undefined ? undefined : (await world.run(child)).workerId, second.id);
});

test("TRG-4, BT-5: items take the options of a single trigger; a batch is retrieved by its handle's id", async (t) => {
  const world = await startSdkWorld(t);
  await world.worker({ tasks: [double] });
  const handle = await world.as(() =>
    double.batchTrigger(
      [
        { payload: 1, options: { tags: "first", priority: 3, delay: "1h" } },
        { payload: 2, options: { maxAttempts: 1 } },
      ],
      { triggerSequentially: true },
    ),
  );
  t.is(handle.id, handle.batchId);
  const [first, second] = await Promise.all(handle.runs.map((run) => world.run(run)));
  t.like(first, { status: "DELAYED", tags: ["first"], priority: 3 });
  t.like(second, { maxAttempts: 1, tags: [] });
  const found = await world.as(() => batch.retrieve(handle.id));
  t.deepEqual([found.id, found.runs], [handle.id, handle.runs.map(({ id }) => id)]);
});
