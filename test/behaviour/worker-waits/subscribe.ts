/** triggerAndSubscribe (TAW-12): following a run without waiting for it. */
import { AbortError, runs, task, tasks } from "@hairtrigger/sdk";
import test from "ava";
import { gate, startSdkWorld } from "../../support/sdk-world.js";

test("TAW-12: the parent stays EXECUTING with its slot and gets the result of the run that it follows", async (t) => {
  const world = await startSdkWorld(t);
  const open = gate();
  const child = task({ id: "child", run: async (n: number) => open.promise.then(() => n + 1) });
  const parent = task({
    id: "parent",
    run: async () => {
      const result = await child.triggerAndSubscribe(1);
      const unwrapped = await tasks.triggerAndSubscribe<typeof child>("child", 2).unwrap();
      return [result.ok && result.output, unwrapped];
    },
  });
  await world.worker({ tasks: [parent, child] });
  const handle = await world.as(() => parent.trigger());
  const { relatedRuns, status } = await world.runWhen(handle, ({ relatedRuns: { children } }) => children.length === 1);
  await world.runWhen({ id: relatedRuns.children[0]?.id ?? "" }, ({ isExecuting }) => isExecuting);
  t.is(status, "EXECUTING");
  t.is((await world.run(handle)).status, "EXECUTING");
  open.open();
  t.deepEqual((await world.runWhen(handle, ({ isCompleted }) => isCompleted)).output, [2, 3]);
});

test("TAW-12: the signal ends the following with an AbortError and cancels the run, unless told otherwise", async (t) => {
  const world = await startSdkWorld(t);
  const open = gate();
  const child = task({ id: "child", run: () => open.promise });
  const parent = task({
    id: "parent",
    run: async (cancelOnAbort: boolean) => {
      const controller = new AbortController();
      const following = child.triggerAndSubscribe(undefined, { signal: controller.signal, cancelOnAbort });
      for (;;) {
        const { data } = await runs.list({ taskIdentifier: "child", status: "EXECUTING" });
        if (data.length === 1) break;
      }
      controller.abort();
      const error = await following.catch((thrown: unknown) => thrown);
      const again = await child
        .triggerAndSubscribe(undefined, { signal: controller.signal })
        .catch((thrown: unknown) => thrown);
      return error instanceof AbortError && again instanceof AbortError;
    },
  });
  await world.worker({ tasks: [parent, child] });
  for (const [cancelOnAbort, status] of [
    [true, "CANCELED"],
    [false, "EXECUTING"],
  ] as const) {
    const handle = await world.as(() => parent.trigger(cancelOnAbort));
    const run = await world.runWhen(handle, ({ isCompleted }) => isCompleted);
    t.is(run.output, true);
    t.is(run.relatedRuns.children.length, 1, "nothing is triggered once the signal has aborted");
    t.is(run.relatedRuns.children[0]?.status, status);
  }
  open.open();
  await t.throwsAsync(
    world.as(async () => child.triggerAndSubscribe()),
    { message: "triggerAndSubscribe can only be used from inside a task.run()" },
  );
});
