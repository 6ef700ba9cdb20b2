/** Waits for batches in task code (sections 4.4, 4.5, 8.3). */
import { BatchTriggerError, batch, idempotencyKeys, runs as runsApi, schemaTask, task, tasks } from "@hairtrigger/sdk";
import test from "ava";
import * as z from "zod";
import { gate, startSdkWorld, turns } from "../../support/sdk-world.js";

const double = task({ id: "double", run: (n: number) => 2 * n });
const upper = task({
  id: "upper",
  retry: { maxAttempts: 1 },
  run: (text: string) => {
    if (text === "") throw new Error("nothing to raise");
    return text.toUpperCase();
  },
});

test("BAT-10, BT-3, BT-4, RES-2: results keep the order of items, ok and failed mixed, and are iterable", async (t) => {
  const world = await startSdkWorld(t);
  const parent = task({
    id: "parent",
    run: async () => {
      const own = await upper.batchTriggerAndWait([{ payload: "a" }, { payload: "" }, { payload: "c" }]);
      const byName = await tasks.batchTriggerAndWait<typeof double>("double", [{ payload: 1 }, { payload: 2 }]);
      const mixed = await batch.triggerAndWait<typeof double | typeof upper>([
        { id: "double", payload: 5 },
        { id: "upper", payload: "x" },
      ]);
      const tuple = await batch.triggerByTaskAndWait([
        { task: upper, payload: "y" },
        { task: double, payload: 7 },
      ]);
      return {
        isBatch: own.id.startsWith("batch_"),
        own: [...own].map((run) => (run.ok ? run.output : run.error instanceof Error && run.error.message)),
        byName: byName.runs.map((run) => run.ok && run.output),
        mixed: mixed.runs.map((run) => [run.taskIdentifier, run.ok && run.output]),
        tuple: tuple.runs.map((run) => run.ok && run.output),
      };
    },
  });
  await world.worker({ tasks: [parent, double, upper], concurrency: 2 });
  const handle = await world.as(() => parent.trigger());
  const run = await world.runWhen(handle, ({ isCompleted }) => isCompleted);
  t.deepEqual(run.output, {
    isBatch: true,
    own: ["A", "nothing to raise", "C"],
    byName: [2, 4],
    mixed: [
      ["double", 10],
      ["upper", "X"],
    ],
    tuple: ["Y", 14],
  });
});

test("BAT-14, HOK-9a: members wait for batches of their own, in a queue of limit 1; hooks are told of the batch", async (t) => {
  const world = await startSdkWorld(t);
  const waits: unknown[] = [];
  const tree = task({
    id: "tree",
    queue: { concurrencyLimit: 1 },
    onWait: ({ wait }) => void waits.push(wait.type === "batch" && wait.runCount),
    run: async (depth: number): Promise<number> => {
      if (depth === 0) return 1;
      const { runs } = await tasks.batchTriggerAndWait("tree", [{ payload: depth - 1 }, { payload: depth - 1 }]);
      return runs.reduce((sum, run) => sum + (run.ok ? Number(run.output) : 0), 0);
    },
  });
  await world.worker({ tasks: [tree], concurrency: 1 });
  const handle = await world.as(() => tree.trigger(3));
  t.is((await world.runWhen(handle, ({ isCompleted }) => isCompleted)).output, 8);
  t.deepEqual(
    waits,
    Array.from({ length: 7 }, () => 2),
  );
});

test("IDM-17, IDM-18, BAT-11: equal keys give each position the same result; a new attempt re-joins by keys, finished ones at once", async (t) => {
  const world = await startSdkWorld(t);
  const waits: string[] = [];
  const parent = task({
    id: "parent",
    retry: { maxAttempts: 2, minTimeoutInMs: 1, randomize: false },
    onWait: ({ wait }) => void waits.push(wait.type),
    run: async (_payload: void, { ctx }) => {
      const key = await idempotencyKeys.create("k");
      const item = { payload: 4, options: { idempotencyKey: key } };
      const { runs } = await double.batchTriggerAndWait([item, item]);
      if (ctx.attempt.number === 1) throw new Error("again");
      return runs.map((run) => [run.id === runs[0]?.id, run.ok && run.output]);
    },
  });
  await world.worker({ tasks: [parent, double] });
  const handle = await world.as(() => parent.trigger());
  await world.runWhen(handle, ({ attempts }) => attempts[0]?.outcome === "FAILED");
  await world.pass(2_000);
  const run = await world.runWhen(handle, ({ isCompleted }) => isCompleted);
  t.deepEqual(run.output, [
    [true, 8],
    [true, 8],
  ]);
  t.deepEqual(waits, ["batch"]);
  t.is(run.relatedRuns.children.length, 1);
});

test("TAW-10a, BAT-22: a batch is re-joined after a deploy; BAT-4: a refused one rejects and the run goes on", async (t) => {
  const world = await startSdkWorld(t);
  const open = gate();
  const slow = task({ id: "slow", run: (n: number) => open.promise.then(() => n) });
  const parent = task({
    id: "parent",
    retry: { maxAttempts: 1 },
    run: async () => {
      const refused = await slow.batchTriggerAndWait([]).catch((error: unknown) => error);
      const { runs } = await slow.batchTriggerAndWait([{ payload: 1 }, { payload: 2 }]);
      return [refused instanceof Error && refused.name, ...runs.map((run) => run.ok && run.output)];
    },
  });
  await world.worker({ tasks: [slow] });
  const worker = await world.worker({ tasks: [parent] });
  const handle = await world.as(() => parent.trigger());
  const { waitingFor } = await world.runWhen(handle, ({ isWaiting }) => isWaiting);
  const next = world.worker({ tasks: [parent] });
  await worker.stop();
  await next;
  const again = await world.runWhen(handle, ({ isWaiting, attempts }) => isWaiting && attempts.length === 2);
  t.deepEqual(again.waitingFor, waitingFor);
  open.open();
  const run = await world.runWhen(handle, ({ isCompleted }) => isCompleted);
  t.deepEqual(run.output, ["BatchTriggerError", 1, 2]);
  t.is(run.relatedRuns.children.length, 2);
});

test("BAT-12, PAY-7: outputs of any size come to the run that waits for their batch, each in its place", async (t) => {
  const world = await startSdkWorld(t);
  const fill = task({ id: "fill", run: (bytes: number) => "x".repeat(bytes) });
  const parent = task({
    id: "parent",
    run: async () => {
      const { runs } = await fill.batchTriggerAndWait([{ payload: 700_000 }, { payload: 10 }, { payload: 150_000 }]);
      return runs.map((run) => run.ok && run.output.length);
    },
  });
  await world.worker({ tasks: [parent, fill] });
  const handle = await world.as(() => parent.trigger());
  t.deepEqual((await world.runWhen(handle, ({ isCompleted }) => isCompleted)).output, [700_000, 10, 150_000]);
});

test("SCH-5: one item that fails the schema of its task throws the validator's error, none is created, and the run goes on", async (t) => {
  const world = await startSdkWorld(t);
  const strict = schemaTask({ id: "strict", schema: z.object({ n: z.number() }), run: ({ n }) => n });
  // A caller whose data comes from elsewhere.
  const wrong: { n: number } = JSON.parse('{"n":"x"}');
  const good = { n: 1 };
  const parent = task({
    id: "parent",
    retry: { maxAttempts: 1 },
    run: async () => {
      const own = strict.batchTriggerAndWait([{ payload: good }, { payload: wrong }]);
      const ofOne = await own.catch((error: unknown) => error);
      const mixed = batch.triggerByTaskAndWait([
        { task: double, payload: 1 },
        { task: strict, payload: wrong },
      ]);
      const ofSeveral = await mixed.catch((error: unknown) => error);
      const { runs } = await strict.batchTriggerAndWait([{ payload: good }]);
      return [ofOne instanceof z.ZodError, ofSeveral instanceof z.ZodError, ...runs.map((run) => run.ok && run.output)];
    },
  });
  await world.worker({ tasks: [parent, strict, double] });
  const handle = await world.as(() => parent.trigger());
  const run = await world.runWhen(handle, ({ isCompleted }) => isCompleted);
  t.deepEqual(run.output, [true, true, 1]);
  const { data } = await world.as(() => runsApi.list({ taskIdentifier: ["strict", "double"] }));
  t.is(data.length, 1);
});

test("BAT-17: a streamed batch is waited for once its input has ended; its runs start before, while the parent is EXECUTING", async (t) => {
  const world = await startSdkWorld(t);
  const open = gate();
  const begun = gate();
  const member = task({
    id: "member",
    run: (n: number) => {
      begun.open();
      return 3 * n;
    },
  });
  async function* input() {
    yield { payload: 1 };
    await open.promise;
    for (let n = 2; n <= 520; n += 1) yield { payload: n };
  }
  const parent = task({
    id: "parent",
    run: async () => {
      const { runs } = await member.batchTriggerAndWait(input());
      const byName = await tasks.batchTriggerAndWait<typeof member>("member", input());
      const mixed = await batch.triggerByTaskAndWait(
        (async function* () {
          yield { task: member, payload: 2 };
        })(),
      );
      const byId = await batch.triggerAndWait<typeof member>(
        (async function* () {
          yield { id: "member" as const, payload: 3 };
        })(),
      );
      const sum = runs.reduce((total, run) => total + (run.ok ? run.output : 0), 0);
      return [
        runs.length,
        sum,
        runs[519]?.ok && runs[519].output,
        byName.runs.length,
        ...[...mixed, ...byId].map((run) => run.ok && run.output),
      ];
    },
  });
  await world.worker({ tasks: [parent, member], concurrency: 50 });
  const handle = await world.as(() => parent.trigger());
  await begun.promise;
  t.is((await world.run(handle)).status, "EXECUTING");
  open.open();
  const run = await world.runWhen(handle, ({ isCompleted }) => isCompleted);
  t.deepEqual(run.output, [520, (3 * 520 * 521) / 2, 1_560, 520, 6, 9]);
  t.is(run.relatedRuns.children[0]?.triggerFunction, "batchTriggerAndWait");
});

test("BAT-19, RES-13: a streamed batch whose input throws rejects, and nobody waits for what was accepted", async (t) => {
  const world = await startSdkWorld(t);
  const never = task({ id: "never", run: () => new Promise<void>(() => undefined) });
  async function* input() {
    yield {};
    throw new RangeError("no more");
  }
  const parent = task({
    id: "parent",
    retry: { maxAttempts: 1 },
    run: async () => {
      const error = await never.batchTriggerAndWait(input()).catch((thrown: unknown) => thrown);
      return (
        error instanceof BatchTriggerError && [error.phase, error.acceptedCount, error.cause instanceof RangeError]
      );
    },
  });
  await world.worker({ tasks: [parent] });
  const handle = await world.as(() => parent.trigger());
  const run = await world.runWhen(handle, ({ isCompleted }) => isCompleted);
  t.deepEqual(run.output, ["stream", 1, true]);
});

test("BAT-17, TAW-10a: code that is executed again waits for a streamed batch that was whole, and does not read its input again", async (t) => {
  const world = await startSdkWorld(t);
  const open = gate();
  const slow = task({ id: "slow", run: (n: number) => open.promise.then(() => n) });
  let reads = 0;
  const parent = task({
    id: "parent",
    retry: { maxAttempts: 1 },
    run: async () => {
      async function* input() {
        reads += 1;
        yield { payload: 1 };
        yield { payload: 2 };
      }
      const { runs } = await slow.batchTriggerAndWait(input());
      return runs.map((run) => run.ok && run.output);
    },
  });
  await world.worker({ tasks: [slow] });
  const worker = await world.worker({ tasks: [parent] });
  const handle = await world.as(() => parent.trigger());
  const { waitingFor } = await world.runWhen(handle, ({ isWaiting }) => isWaiting);
  const next = world.worker({ tasks: [parent] });
  await worker.stop();
  await next;
  const again = await world.runWhen(handle, ({ isWaiting, attempts }) => isWaiting && attempts.length === 2);
  t.deepEqual(again.waitingFor, waitingFor);
  t.is(reads, 1);
  open.open();
  t.deepEqual((await world.runWhen(handle, ({ isCompleted }) => isCompleted)).output, [1, 2]);
});

test("BAT-18, TAW-10a: a stream that its attempt left unfinished is sealed; code that is executed again fills another batch", async (t) => {
  const world = await startSdkWorld(t);
  const begun = gate();
  let executions = 0;
  const member = task({
    id: "member",
    run: (n: number) => {
      begun.open();
      return n;
    },
  });
  const parent = task({
    id: "parent",
    retry: { maxAttempts: 1 },
    run: async () => {
      executions += 1;
      const isFirst = executions === 1;
      async function* input() {
        yield { payload: 1 };
        if (isFirst) await new Promise<void>(() => undefined);
        yield { payload: 2 };
      }
      const { runs } = await member.batchTriggerAndWait(input());
      return runs.map((run) => run.ok && run.output);
    },
  });
  await world.worker({ tasks: [member] });
  const worker = await world.worker({ tasks: [parent] });
  const handle = await world.as(() => parent.trigger());
  await begun.promise;
  const next = world.worker({ tasks: [parent] });
  const stopped = worker.stop().then(() => true);
  // It gives back what it executes at its time, which has to be played.
  while ((await Promise.race([stopped, turns()])) === undefined) await world.pass(1_000);
  await next;
  const run = await world.runWhen(handle, ({ isCompleted }) => isCompleted);
  t.deepEqual(run.output, [1, 2]);
  t.is(run.relatedRuns.children.length, 3);
});
