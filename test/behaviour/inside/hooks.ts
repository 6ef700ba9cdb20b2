/** Global hooks, locals, and hooks that a run registers for itself (§19). */
import { locals, runs, task, tasks } from "@hairtrigger/sdk";
import test from "ava";
import { gate, startSdkWorld } from "../../support/sdk-world.js";

export function registerHooks(): void {
  test.serial(
    "HOK-2: hooks registered for the process run before those of the worker and of the task, in order",
    async (t) => {
      const world = await startSdkWorld(t);
      const order: string[] = [];
      const note =
        (name: string) =>
        ({ task: id }: { readonly task: string }): void => {
          if (id === "everything") order.push(name);
        };
      tasks.onStart(note("first"));
      tasks.onStart(note("second"));
      tasks.middleware(async ({ next, task: id }) => {
        note("outer")({ task: id });
        await next();
      });
      const everything = task({
        id: "everything",
        run: () => void order.push("run"),
        onStart: note("own"),
        middleware: async ({ next }) => {
          order.push("inner");
          await next();
        },
        cleanup: note("own cleanup"),
      });
      await world.worker({ tasks: [everything], hooks: { onStart: note("worker") } });
      tasks.cleanup(note("cleanup, registered late"));
      const handle = await world.as(() => everything.trigger());
      await world.runWhen(handle, ({ isCompleted }) => isCompleted);
      t.deepEqual(order, [
        "outer",
        "inner",
        "first",
        "second",
        "worker",
        "own",
        "run",
        "cleanup, registered late",
        "own cleanup",
      ]);
    },
  );

  test("HOK-2: what is no function is refused when it is registered", (t) => {
    t.throws(() => Reflect.apply(tasks.onFailure, undefined, ["log it"]), {
      instanceOf: TypeError,
      message: "tasks.onFailure takes a function, got string",
    });
  });

  test("HOK-9: locals belong to an attempt and are shared by middleware, hooks and run", async (t) => {
    const world = await startSdkWorld(t);
    const counter = locals.create<{ value: number }>("counter");
    const unset = locals.create<string>("unset");
    const seen: unknown[] = [];
    const counting = task({
      id: "counting",
      retry: { maxAttempts: 2, minTimeoutInMs: 100, randomize: false },
      run: (_: undefined, { ctx }) => {
        locals.getOrThrow(counter).value += 1;
        t.throws(() => locals.getOrThrow(unset), { message: /no value for "unset"/ });
        if (ctx.attempt.number === 1) throw new Error("again");
      },
      middleware: async ({ next, ctx }) => {
        seen.push(locals.get(counter));
        locals.set(counter, { value: ctx.attempt.number * 10 });
        await next().catch(() => undefined);
        seen.push(locals.getOrThrow(counter).value);
      },
      onStartAttempt: () => void (locals.getOrThrow(counter).value += 1),
      cleanup: () => void seen.push(`cleanup ${locals.get(counter)?.value}`),
    });
    await world.worker({ tasks: [counting] });
    const handle = await world.as(() => counting.trigger());
    await world.pass(1_000);
    t.is((await world.runWhen(handle, ({ isCompleted }) => isCompleted)).status, "COMPLETED");
    t.deepEqual(seen, [undefined, 12, "cleanup 12", undefined, 22, "cleanup 22"]);
    t.is(locals.get(counter), undefined, "outside of a run there is nothing");
    t.throws(() => locals.set(counter, { value: 1 }), { message: /inside a task\.run/ });
  });

  test("HOK-9a: tasks.onCancel inside a run is for that attempt only", async (t) => {
    const world = await startSdkWorld(t);
    const calls: unknown[] = [];
    const held = task({
      id: "held",
      run: async (name: string, { signal }) => {
        tasks.onCancel(({ payload, signal: own }) => void calls.push([payload, own.aborted]));
        await new Promise((resolve) => signal.addEventListener("abort", resolve));
        return name;
      },
    });
    const other = gate();
    const bystander = task({ id: "bystander", run: () => other.promise });
    await world.worker({ tasks: [held, bystander] });
    const [first, second, third] = await world.as(() =>
      Promise.all([held.trigger("first"), held.trigger("second"), bystander.trigger()]),
    );
    for (const handle of [first, second, third]) await world.runWhen(handle, ({ status }) => status === "EXECUTING");
    await world.as(() => runs.cancel(first));
    await world.as(() => runs.cancel(third));
    await world.pass(1_000);
    t.deepEqual(calls, [["first", true]]);
    await world.as(() => runs.cancel(second));
    await world.pass(1_000);
    t.deepEqual(calls, [
      ["first", true],
      ["second", true],
    ]);
    other.open();
  });

  test("HOK-5, HOK-7: after a time-out no hook runs, and hooks count against maxDuration", async (t) => {
    const world = await startSdkWorld(t);
    const calls: string[] = [];
    const release = gate();
    const slow = task({
      id: "slow",
      maxDuration: 5,
      run: () => "output",
      onSuccess: () => release.promise,
      onComplete: () => void calls.push("onComplete"),
      onFailure: () => void calls.push("onFailure"),
      cleanup: () => void calls.push("cleanup"),
    });
    await world.worker({ tasks: [slow] });
    const handle = await world.as(() => slow.trigger());
    await world.runWhen(handle, ({ status }) => status === "EXECUTING");
    await world.pass(6_000);
    const run = await world.runWhen(handle, ({ isCompleted }) => isCompleted);
    t.deepEqual([run.status, run.output], ["TIMED_OUT", undefined]);
    release.open();
    await world.pass(1_000);
    t.deepEqual(calls, []);
  });

  test("HOK-6, HOK-8: cleanup runs after failed attempts too; every hook gets one object", async (t) => {
    const world = await startSdkWorld(t);
    const seen: Record<string, readonly string[]> = {};
    const keys = (name: string) => (params: object) => {
      seen[name] = Object.keys(params).toSorted();
    };
    const hooked = task({
      id: "hooked",
      retry: { maxAttempts: 1 },
      run: (fails: boolean) => {
        if (fails) throw new Error("failed");
      },
      onStart: keys("onStart"),
      onStartAttempt: keys("onStartAttempt"),
      onSuccess: keys("onSuccess"),
      onFailure: keys("onFailure"),
      onComplete: keys("onComplete"),
      cleanup: keys("cleanup"),
      catchError: (params) => {
        keys("catchError")(params);
        return undefined;
      },
    });
    await world.worker({ tasks: [hooked] });
    const failed = await world.as(() => hooked.trigger(true));
    await world.runWhen(failed, ({ isCompleted }) => isCompleted);
    const common = ["ctx", "payload", "signal", "task"];
    t.deepEqual(seen.cleanup, common);
    const fine = await world.as(() => hooked.trigger(false));
    await world.runWhen(fine, ({ isCompleted }) => isCompleted);
    t.deepEqual(seen, {
      onStart: common,
      onStartAttempt: common,
      onSuccess: [...common, "output"].toSorted(),
      onFailure: [...common, "error"].toSorted(),
      onComplete: [...common, "result"].toSorted(),
      cleanup: common,
      catchError: [...common, "error", "retry", "retryAt", "retryDelayInMs"].toSorted(),
    });
  });
}
