/** Claims: who gets which run, in which order, under which limit. */
import type { Promises } from "./store-contract.js";
import { ids, only, World } from "./world.js";

const OTHER = "session_00000000000000000000000002";

export function claimPromises(promise: Promises): void {
  promise("a claim gives a run with its spec, begins its attempt and starts its pick-up window", async (t, world) => {
    const runId = await world.trigger({ metadataJson: '{"m":1}', spec: new Uint8Array([5]) });
    await world.open();
    world.nowMs += 5;
    const claimed = await world.claimOne({ maxAttempts: 4 });
    t.is(claimed.run.id, runId);
    t.like(claimed.run, {
      status: "EXECUTING",
      attempt: 1,
      fence: 1,
      startedAtMs: world.nowMs,
      pickUpDeadlineMs: world.nowMs + 10_000,
      policyMaxAttempts: 4,
    });
    t.deepEqual([...claimed.spec], [5]);
    t.is(claimed.metadataJson, '{"m":1}');
    t.false(claimed.isLimited);
    t.false(claimed.isResume);
    t.deepEqual(await world.state(runId), claimed.run);
    t.like(await world.queue("task/job"), { running: 1, queued: 0 });
  });

  promise("two claimers never share a run", async (t, world) => {
    const triggered = await world.triggerMany(200);
    await world.open();
    await world.open({ id: OTHER });
    const claims = await Promise.all(
      Array.from({ length: 40 }, (_, index) => world.claim(7, index % 2 === 0 ? {} : { sessionId: OTHER })),
    );
    const given = claims.flatMap(ids);
    t.is(given.length, 200);
    t.deepEqual(new Set(given), new Set(triggered));
  });

  promise("several requests of one call share nothing either", async (t, world) => {
    await world.triggerMany(10);
    await world.open();
    await world.open({ id: OTHER });
    const request = (sessionId: string, places: number) => ({
      environment: "dev",
      sessionId,
      places,
      tasks: [{ taskId: "job", maxDurationSeconds: undefined, maxAttempts: 1 }],
      nowMs: world.nowMs,
      pickUpDeadlineMs: world.nowMs + 1,
    });
    const requests = [request(OTHER, 4), request("session_00000000000000000000000001", 4), request(OTHER, 4)];
    const claims = await world.store.claimRuns(requests);
    t.deepEqual(
      claims.map((claimed) => claimed.length),
      [4, 4, 2],
    );
    t.is(new Set(claims.flatMap(ids)).size, 10);
  });

  promise("a session that is unknown, of another environment, or without places gets nothing", async (t, world) => {
    await world.trigger();
    t.deepEqual(await world.claim(5), []);
    await new World(world.store, "prod").open();
    t.deepEqual(await world.claim(5), []);
    await world.open();
    t.deepEqual(await world.claim(0), []);
    t.is((await world.claim(5)).length, 1);
  });

  promise("a claim gives runs of its environment and of the tasks it names, and no others", async (t, world) => {
    await world.trigger({ taskId: "a" });
    const b = await world.trigger({ taskId: "b" });
    await new World(world.store, "prod").trigger({ taskId: "b" });
    await world.open();
    t.deepEqual(ids(await world.claim(10, { tasks: ["b", "unheard-of"] })), [b]);
  });

  promise("QUE-26: priority is a head start in seconds, to the millisecond", async (t, world) => {
    const old = await world.trigger();
    world.nowMs += 10_000;
    const tooLate = await world.trigger({ prioritySeconds: 9.999 });
    const ahead = await world.trigger({ prioritySeconds: 10.001 });
    const behind = await world.trigger({ prioritySeconds: -5 });
    const plain = await world.trigger();
    await world.open();
    t.deepEqual(ids(await world.claim(10)), [ahead, old, tooLate, plain, behind]);
  });

  promise("runs of one order value start by their id", async (t, world) => {
    const triggered = await world.triggerMany(50);
    await world.open();
    const claimed = [...ids(await world.claim(20)), ...ids(await world.claim(30))];
    t.deepEqual(claimed, triggered);
  });

  promise("QUE-9: between queues, partitions and tasks the order value decides", async (t, world) => {
    const expected: string[] = [];
    for (let index = 0; index < 60; index += 1) {
      world.nowMs += 1;
      expected.push(
        await world.trigger({
          taskId: `t${index % 3}`,
          queue: index % 2 === 0 ? "shared" : `q${index % 5}`,
          concurrencyKey: index % 4 === 0 ? undefined : `k${index % 7}`,
        }),
      );
    }
    await world.open();
    const claimed: string[] = [];
    for (const places of [1, 2, 5, 13, 39, 10])
      claimed.push(...ids(await world.claim(places, { tasks: ["t0", "t1", "t2"] })));
    t.deepEqual(claimed, expected);
  });

  promise("QUE-5: a limit of 1 serialises, by order value", async (t, world) => {
    await world.override("task/job", 1);
    const first = await world.trigger({ queueLimit: 1 });
    const second = await world.trigger();
    const urgent = await world.trigger({ prioritySeconds: 1 });
    await world.open();
    const claimed = only(await world.claim(10));
    t.is(claimed.run.id, urgent);
    t.true(claimed.isLimited);
    t.deepEqual(await world.claim(10), []);
    await world.complete(claimed);
    const next = only(await world.claim(10));
    t.is(next.run.id, first);
    await world.complete(next);
    t.is(only(await world.claim(10)).run.id, second);
  });

  promise("QUE-6: racing claimers never exceed a limit", async (t, world) => {
    await world.triggerMany(100, { queueLimit: 3 });
    await world.open();
    await world.open({ id: OTHER });
    let seen = 0;
    while (seen < 100) {
      const claims = await Promise.all(
        Array.from({ length: 12 }, (_, index) => world.claim(5, index % 2 === 0 ? {} : { sessionId: OTHER })),
      );
      const claimed = claims.flat();
      t.true(claimed.length <= 3 && claimed.length > 0);
      t.is((await world.queue("task/job")).running, claimed.length);
      await Promise.all(claimed.map((run) => world.complete(run)));
      seen += claimed.length;
    }
    t.like(await world.queue("task/job"), { running: 0, queued: 0 });
  });

  promise("QUE-16, QUE-17: each concurrency key has the limit to itself", async (t, world) => {
    const a = await world.triggerMany(3, { concurrencyKey: "a", queueLimit: 1 });
    const b = await world.triggerMany(3, { concurrencyKey: "b" });
    const none = await world.triggerMany(2);
    await world.open();
    t.deepEqual(ids(await world.claim(10)), [a[0], b[0], none[0]]);
    t.deepEqual(await world.claim(10), []);
  });

  promise("QUE-19: a thousand runs of one key do not starve another", async (t, world) => {
    await world.triggerMany(1_000, { concurrencyKey: "noisy", queueLimit: 2 });
    world.nowMs += 1;
    const quiet = await world.trigger({ concurrencyKey: "quiet" });
    await world.open();
    const claimed = await world.claim(10);
    t.is(claimed.length, 3);
    t.true(ids(claimed).includes(quiet));
  });

  promise(
    "QUE-9: runs of a full or paused partition hold back neither other partitions nor other queues",
    async (t, world) => {
      await world.triggerMany(20, { queue: "full", queueLimit: 0 });
      await world.triggerMany(20, { queue: "paused" });
      await world.setPaused("paused", true);
      world.nowMs += 1;
      const free = await world.trigger({ queue: "free" });
      await world.open();
      t.deepEqual(ids(await world.claim(5)), [free]);
    },
  );

  promise(
    "QUE-9: runs that only a full worker, or none, could start block nobody in their limited queue",
    async (t, world) => {
      await world.triggerMany(5, { queue: "q", taskId: "unserved", queueLimit: 2 });
      world.nowMs += 1;
      const served = await world.triggerMany(3, { queue: "q", taskId: "job" });
      await world.open();
      t.deepEqual(ids(await world.claim(10)), served.slice(0, 2));
      t.deepEqual(await world.claim(10, { tasks: ["unserved"] }), []);
    },
  );

  promise("QUE-9: a woken run of a full worker blocks nobody in its limited queue", async (t, world) => {
    await world.trigger({ queue: "q", queueLimit: 1 });
    await world.open();
    const waiting = await world.claimOne();
    await world.apply(waiting.run.id, { event: "wait", ...world.lease(waiting), waitingFor: "run_x" });
    await world.apply(waiting.run.id, { event: "wake", waitingFor: "run_x" });
    world.nowMs += 1;
    const next = await world.trigger({ queue: "q" });
    await world.open({ id: OTHER });
    t.deepEqual(ids(await world.claim(1, { sessionId: OTHER })), [next]);
    // Its own worker finds no slot now, and the run when there is one.
    t.deepEqual(await world.claim(1), []);
    await world.apply(next, { event: "cancel", reason: "" });
    t.is(await world.store.endLingering({ kind: "run", environment: "dev", runId: next, fence: 1 }), 1);
    t.deepEqual(ids(await world.claim(1)), [waiting.run.id]);
  });

  promise(
    "QUE-23: a woken run is resumed by its own worker, ahead of newer runs, in the same attempt",
    async (t, world) => {
      const runId = await world.trigger();
      await world.open();
      await world.open({ id: OTHER });
      const first = await world.claimOne();
      await world.apply(runId, { event: "wait", ...world.lease(first), waitingFor: "run_x" });
      t.like(await world.queue("task/job"), { running: 0, queued: 0 });
      world.nowMs += 1;
      const newer = await world.trigger();
      await world.apply(runId, { event: "wake", waitingFor: "run_x" });
      t.deepEqual(ids(await world.claim(10, { sessionId: OTHER, tasks: [] })), []);
      const resumed = await world.claim(10, { tasks: ["job"] });
      t.deepEqual(ids(resumed), [runId, newer]);
      t.like(resumed[0], { isResume: true });
      t.like(resumed[0]?.run, { attempt: 1, fence: 3, status: "EXECUTING" });
    },
  );

  promise("a worker that no longer names the task of a bound run still resumes it", async (t, world) => {
    const runId = await world.trigger({ maxAttempts: undefined });
    await world.open();
    const first = await world.claimOne({ maxAttempts: 9 });
    await world.apply(runId, { event: "wait", ...world.lease(first), waitingFor: "w" });
    await world.apply(runId, { event: "wake", waitingFor: "w" });
    const resumed = only(await world.claim(1, { tasks: [] }));
    t.is(resumed.run.id, runId);
    t.is(resumed.run.policyMaxAttempts, 9);
  });

  promise("the cost of a claim does not hide runs: a thousand blocked heads in front of one open", async (t, world) => {
    await world.store.insertRuns(
      Array.from({ length: 1_000 }, (_, index) =>
        world.item({ queue: "blocked", concurrencyKey: `k${index}`, queueLimit: 0 }),
      ),
    );
    world.nowMs += 1;
    const open = await world.trigger();
    await world.open();
    t.deepEqual(ids(await world.claim(3)), [open]);
    await world.override("blocked", 1);
    const claimed = new Set<string>();
    for (let left = 1_000; left > 0; left -= 100) {
      for (const id of ids(await world.claim(100))) claimed.add(id);
    }
    t.is(claimed.size, 1_000);
  });
}
