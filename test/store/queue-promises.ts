/** Queues: settings, figures and limits that change while runs execute (section 14). */
import type { Promises } from "./store-contract.js";
import { ids, only } from "./world.js";

export function queuePromises(promise: Promises): void {
  promise("QUE-31: nothing of a paused queue starts, its runs go on, and resume drains in order", async (t, world) => {
    const [first = "", ...rest] = await world.triggerMany(4);
    await world.open();
    const running = await world.claimOne();
    t.is(running.run.id, first);
    t.like(await world.setPaused("task/job", true), { kind: "changed", queue: { isPaused: true, running: 1 } });
    t.like(await world.setPaused("task/job", true), { kind: "changed", queue: { isPaused: true } });
    t.deepEqual(await world.claim(10), []);
    const last = await world.trigger();
    await world.complete(running);
    t.deepEqual(await world.claim(10), []);
    t.like(await world.setPaused("task/job", false), { kind: "changed", queue: { isPaused: false, queued: 4 } });
    t.deepEqual(ids(await world.claim(10)), [...rest, last]);
  });

  promise("QUE-31: a woken run of a paused queue stays QUEUED", async (t, world) => {
    const runId = await world.trigger();
    await world.open();
    const claimed = await world.claimOne();
    await world.setPaused("task/job", true);
    await world.apply(runId, { event: "wait", ...world.lease(claimed), waitingFor: "w" });
    await world.apply(runId, { event: "wake", waitingFor: "w" });
    t.deepEqual(await world.claim(10), []);
    t.is((await world.state(runId)).status, "QUEUED");
    await world.setPaused("task/job", false);
    t.deepEqual(ids(await world.claim(10)), [runId]);
  });

  promise("QUE-7: with limit 0 nothing starts", async (t, world) => {
    await world.trigger({ queueLimit: 0 });
    await world.open();
    t.deepEqual(await world.claim(10), []);
  });

  promise(
    "QUE-8: a limit lowered below the number executing lets them finish and starts none before",
    async (t, world) => {
      await world.triggerMany(10, { queueLimit: 4 });
      await world.open();
      const running = [...(await world.claim(10))];
      t.is(running.length, 4);
      await world.override("task/job", 2);
      for (const left of [3, 2]) {
        const run = running.pop();
        if (run !== undefined) await world.complete(run);
        t.deepEqual(await world.claim(10), []);
        t.is((await world.queue("task/job")).running, left);
      }
      const run = running.pop();
      if (run !== undefined) await world.complete(run);
      t.is((await world.claim(10)).length, 1);
      t.is((await world.queue("task/job")).running, 2);
    },
  );

  promise("QUE-4: a limit turned on counts the runs that started without one", async (t, world) => {
    await world.triggerMany(10);
    await world.open();
    const running = await world.claim(5);
    t.true(running.every(({ isLimited }) => !isLimited));
    await world.override("task/job", 6);
    t.is((await world.claim(10)).length, 1);
    await world.complete(only(running.slice(0, 1)));
    t.is((await world.claim(10)).length, 1);
    t.is((await world.queue("task/job")).running, 6);
  });

  promise("QUE-32: raising a limit starts more at once, and lifting it starts all", async (t, world) => {
    await world.triggerMany(10, { queueLimit: 1 });
    await world.open();
    t.is((await world.claim(10)).length, 1);
    await world.override("task/job", 3);
    t.is((await world.claim(10)).length, 2);
    await world.trigger({ queueLimit: 100 });
    t.is((await world.claim(10)).length, 0);
    const reset = { environment: "dev", name: "task/job", nowMs: world.nowMs, kind: "reset" } as const;
    t.like(await world.store.changeQueue(reset), { kind: "changed", queue: { override: undefined, baseLimit: 100 } });
    t.is((await world.claim(10)).length, 8);
  });

  promise(
    "QUE-32: an override shows who set it and when, survives registrations, and its reset returns to the base",
    async (t, world) => {
      await world.register({ id: "job", concurrencyLimit: 5 });
      const reset = { environment: "dev", name: "task/job", nowMs: world.nowMs, kind: "reset" } as const;
      t.deepEqual(await world.store.changeQueue(reset), { kind: "notOverridden" });
      await world.override("task/job", 2);
      await world.register({ id: "job", concurrencyLimit: 9 });
      const view = await world.queue("task/job");
      t.like(view, { baseLimit: 9, isDeclared: true });
      t.deepEqual(view.override, { limit: 2, atMs: world.nowMs, by: "test" });
      await world.triggerMany(20);
      await world.open();
      t.is((await world.claim(20)).length, 2);
      t.is((await world.store.changeQueue(reset)).kind, "changed");
      t.is((await world.claim(20)).length, 7);
    },
  );

  promise(
    "QUE-33: a change of an unknown queue, or of one of another environment, changes nothing",
    async (t, world) => {
      await world.trigger();
      t.deepEqual(await world.setPaused("nobody", true), { kind: "unknown" });
      const view = await world.queue("task/job");
      const foreign = { environment: "prod", queueId: view.queueId, nowMs: world.nowMs, kind: "pause" } as const;
      t.deepEqual(await world.store.changeQueue(foreign), { kind: "unknown" });
      t.false((await world.queue("task/job")).isPaused);
    },
  );

  promise(
    "QUE-30: a queue shows its running and QUEUED runs, parked ones too, and the tasks of the latter",
    async (t, world) => {
      await world.trigger({ queue: "q", taskId: "a" });
      await world.trigger({ queue: "q", taskId: "b", concurrencyKey: "k" });
      await world.trigger({ queue: "q", taskId: "c", delayedUntilMs: world.nowMs + 1 });
      await world.open();
      const claimed = await world.claimOne({ tasks: ["a"] });
      t.like(await world.queue("q"), { running: 1, queued: 1, queuedTaskIds: ["b"] });
      const failure = { kind: "error", message: "no" } as const;
      await world.apply(claimed.run.id, { event: "retryLater", ...world.lease(claimed), failure, delayMs: 60_000 });
      t.like(await world.queue("q"), { running: 0, queued: 2, queuedTaskIds: ["a", "b"] });
    },
  );

  promise("QUE-29: queues are paged by name, within their environment", async (t, world) => {
    for (const queue of ["b", "d", "a", "c"]) await world.trigger({ queue });
    await world.register({ id: "job" });
    const page = (number: number) => world.store.listQueues({ environment: "dev", page: number, perPage: 2 });
    const names = [];
    for (const number of [1, 2, 3, 4]) {
      const { queues, count } = await page(number);
      t.is(count, 5);
      names.push(queues.map(({ name }) => name));
    }
    t.deepEqual(names, [["a", "b"], ["c", "d"], ["task/job"], []]);
    t.deepEqual(await world.store.listQueues({ environment: "prod", page: 1, perPage: 2 }), { queues: [], count: 0 });
  });

  promise("a registration is read as it was declared, by id, and the latest wins", async (t, world) => {
    const retry = { maxAttempts: 4 };
    await world.register({ id: "b", description: "B", retry, ttl: "1h", maxDurationSeconds: 60 }, { id: "a" });
    world.nowMs += 1_000;
    await world.register({ id: "b", description: "B2" });
    t.deepEqual(await world.store.listTasks({ environment: "dev" }), [
      { id: "a", environment: "dev", registeredAtMs: world.nowMs - 1_000 },
      { id: "b", description: "B2", environment: "dev", registeredAtMs: world.nowMs },
    ]);
    t.deepEqual(await world.store.listTasks({ environment: "prod" }), []);
  });

  promise("a task that only a trigger named is not a registered one", async (t, world) => {
    await world.trigger({ taskId: "ghost" });
    t.deepEqual(await world.store.listTasks({ environment: "dev" }), []);
  });

  promise(
    "QUE-2, QUE-33: a registration makes the queues it names; without a limit a queue keeps its own",
    async (t, world) => {
      await world.register({ id: "a", queueName: "shared", concurrencyLimit: 4 });
      await world.register({ id: "b", queueName: "shared" });
      t.like(await world.queue("shared"), { baseLimit: 4, isDeclared: true });
      await world.register({ id: "b", queueName: "shared", concurrencyLimit: 2 });
      t.like(await world.queue("shared"), { baseLimit: 2 });
      t.like(await world.queue("task/a"), { baseLimit: undefined, isDeclared: false, queued: 0 });
    },
  );

  promise("QUE-15: a registration takes over the limit that triggers had set", async (t, world) => {
    await world.trigger({ queue: "q", queueLimit: 7 });
    await world.register({ id: "job", queueName: "q", concurrencyLimit: 1 });
    t.like(await world.queue("q"), { baseLimit: 1, isDeclared: true });
    await world.trigger({ queue: "q" });
    await world.open();
    t.is((await world.claim(10)).length, 1);
  });
}
