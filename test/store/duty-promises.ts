/** What the clock asks: finders, lingering holders, logs, housekeeping. */
import type { FindRuns } from "../../server/store/store.js";
import type { Promises } from "./store-contract.js";
import type { World } from "./world.js";
import { DAY_MS, hashOf, only, START_MS } from "./world.js";

const FAILURE = { kind: "error", name: "Error", message: "no" } as const;

async function found(world: World, query: FindRuns): Promise<readonly string[]> {
  return (await world.store.findRuns(query)).map(({ id }) => id);
}

export function dutyPromises(promise: Promises): void {
  promise("DLY-4: runs that are due are found at their time, oldest first, by pages", async (t, world) => {
    const late = await world.trigger({ delayedUntilMs: world.nowMs + 2_000 });
    const soon = await world.trigger({ delayedUntilMs: world.nowMs + 1_000 });
    await world.trigger();
    const due = (nowMs: number, limit = 10) => found(world, { kind: "due", nowMs, limit });
    t.deepEqual(await due(world.nowMs + 999), []);
    t.deepEqual(await due(world.nowMs + 1_000), [soon]);
    t.deepEqual(await due(world.nowMs + 2_000), [soon, late]);
    t.deepEqual(await due(world.nowMs + 2_000, 1), [soon]);
    world.nowMs += 1_000;
    await world.apply(soon, { event: "due" });
    t.deepEqual(await due(world.nowMs + 5_000), [late]);
  });

  promise("RTY-5: a run parked for a retry is due when its pause is over", async (t, world) => {
    await world.trigger();
    await world.open();
    const claimed = await world.claimOne();
    await world.apply(claimed.run.id, {
      event: "retryLater",
      ...world.lease(claimed),
      failure: FAILURE,
      delayMs: 60_000,
    });
    t.deepEqual(await found(world, { kind: "due", nowMs: world.nowMs + 59_999, limit: 10 }), []);
    t.deepEqual(await found(world, { kind: "due", nowMs: world.nowMs + 60_000, limit: 10 }), [claimed.run.id]);
    t.deepEqual(await world.claim(10), []);
  });

  promise(
    "TTL-2: a QUEUED run whose ttl passed is found, but never one that has started or is delayed",
    async (t, world) => {
      const ttl = { ms: 1_000, text: "1s" };
      const started = await world.trigger({ ttl });
      await world.open();
      await world.claimOne();
      const waiting = await world.trigger({ ttl });
      await world.trigger({ ttl, delayedUntilMs: world.nowMs + 5_000 });
      await world.trigger();
      const expired = (nowMs: number) => found(world, { kind: "expired", nowMs, limit: 10 });
      t.deepEqual(await expired(world.nowMs + 999), []);
      t.deepEqual(await expired(world.nowMs + 60_000), [waiting]);
      t.is((await world.state(started)).status, "EXECUTING");
    },
  );

  promise("RUN-6: a pick-up that was not confirmed in time is found, a confirmed one is not", async (t, world) => {
    await world.triggerMany(2);
    await world.open();
    const [silent, quick] = await world.claim(2);
    if (silent === undefined || quick === undefined) return t.fail();
    await world.apply(quick.run.id, { event: "confirm", ...world.lease(quick) });
    const unconfirmed = (nowMs: number) => found(world, { kind: "unconfirmed", nowMs, limit: 10 });
    t.deepEqual(await unconfirmed(world.nowMs + 9_999), []);
    t.deepEqual(await unconfirmed(world.nowMs + 10_000), [silent.run.id]);
  });

  promise("DUR-2: a run past its maxDuration is found, one without or within it is not", async (t, world) => {
    const short = await world.trigger({ maxDurationSeconds: 5 });
    await world.trigger({ maxDurationSeconds: 50 });
    await world.trigger();
    await world.open();
    await world.claim(3);
    const overrun = (nowMs: number) => found(world, { kind: "overrun", nowMs, limit: 10 });
    t.deepEqual(await overrun(world.nowMs + 4_999), []);
    t.deepEqual(await overrun(world.nowMs + 5_000), [short]);
  });

  promise("follow-ups that a write still owes are found until they are settled", async (t, world) => {
    const runId = await world.trigger();
    const canceled = await world.apply(runId, { event: "cancel", reason: "enough" });
    const todo = (untilMs: number) => found(world, { kind: "todo", untilMs, limit: 10 });
    t.deepEqual(await todo(canceled.updatedAtMs - 1), []);
    t.deepEqual(await todo(canceled.updatedAtMs), [runId]);
    t.like(await world.change(runId, { event: "settle", bits: canceled.todo, version: canceled.version - 1 }), {
      kind: "refused",
    });
    await world.apply(runId, { event: "settle", bits: canceled.todo, version: canceled.version });
    t.deepEqual(await todo(canceled.updatedAtMs), []);
  });

  promise("CAN-4: the live children of a run are found, finished ones are not", async (t, world) => {
    const parent = await world.trigger();
    const link = { runId: parent, rootRunId: parent, depth: 0 };
    const children = await world.triggerMany(3, { parent: link });
    await world.trigger();
    await world.apply(children[1] ?? "", { event: "cancel", reason: "" });
    const query = { kind: "children", environment: "dev", parentRunId: parent, limit: 10 } as const;
    t.deepEqual(await found(world, query), [children[0], children[2]]);
    t.deepEqual(await found(world, { ...query, environment: "prod" }), []);
    t.is((await found(world, { ...query, limit: 1 })).length, 1);
  });

  promise("RUN-10: a run shows its root, parent and children", async (t, world) => {
    const root = await world.trigger({ taskId: "r" });
    const middle = await world.trigger({ taskId: "m", parent: { runId: root, rootRunId: root, depth: 0 } });
    const leaf = await world.trigger({ taskId: "l", parent: { runId: middle, rootRunId: root, depth: 1 } });
    const detail = await world.detail(middle);
    const related = (runId: string, taskId: string, depth: number) => ({
      runId,
      taskId,
      depth,
      status: "QUEUED",
      triggerFunction: "trigger",
      batchId: undefined,
    });
    t.deepEqual<unknown, unknown>(detail.root, related(root, "r", 0));
    t.deepEqual<unknown, unknown>(detail.parent, related(root, "r", 0));
    t.deepEqual<unknown, unknown>(detail.children, [related(leaf, "l", 2)]);
    t.is((await world.detail(root)).parent, undefined);
  });

  promise("CAN-3, QUE-4: cancelled code keeps its slot until it has ended", async (t, world) => {
    const [first = "", second = ""] = await world.triggerMany(2, { queueLimit: 1 });
    await world.open();
    const claimed = await world.claimOne();
    t.is(claimed.run.id, first);
    const result = await world.change(claimed.run.id, { event: "cancel", reason: "enough" });
    t.like(result, { kind: "applied", before: "EXECUTING", isClaimable: false });
    t.like(await world.queue("task/job"), { running: 1, queued: 1 });
    t.deepEqual(await world.claim(10), []);
    const end = (runId: string, fence: number, environment = "dev") =>
      world.store.endLingering({ kind: "run", environment, runId, fence });
    t.is(await end(claimed.run.id, claimed.run.fence + 1), 0);
    t.is(await end(claimed.run.id, claimed.run.fence, "prod"), 0);
    t.is(await end(claimed.run.id, claimed.run.fence), 1);
    t.is(await end(claimed.run.id, claimed.run.fence), 0);
    t.is(only(await world.claim(10)).run.id, second);
    t.is((await world.queue("task/job")).running, 1);
  });

  promise("CAN-3: code that never reports its end loses its slot after the grace, and not before", async (t, world) => {
    await world.triggerMany(2, { queueLimit: 1 });
    await world.open();
    const claimed = await world.claimOne();
    await world.apply(claimed.run.id, { event: "cancel", reason: "enough" });
    const end = (nowMs: number) => world.store.endLingering({ kind: "expired", nowMs, graceMs: 30_000, limit: 10 });
    t.is(await end(world.nowMs + 29_999), 0);
    t.is(await end(world.nowMs + 30_000), 1);
    t.is((await world.claim(10)).length, 1);
  });

  promise("QUE-4: interrupted code keeps its slot while its run already waits for another worker", async (t, world) => {
    await world.trigger({ queueLimit: 1 });
    await world.open();
    const claimed = await world.claimOne();
    const lease = world.lease(claimed);
    await world.apply(claimed.run.id, { event: "interrupt", ...lease, codeEnded: false, interruptionsMax: 20 });
    t.like(await world.queue("task/job"), { running: 1, queued: 1 });
    t.deepEqual(await world.claim(10), []);
    t.is(
      await world.store.endLingering({ kind: "run", environment: "dev", runId: claimed.run.id, fence: lease.fence }),
      1,
    );
    const again = await world.claimOne();
    t.is(again.run.id, claimed.run.id);
    t.is((await world.queue("task/job")).running, 1);
  });

  promise("what was finished in order leaves nothing to repair, and repair changes nothing", async (t, world) => {
    await world.triggerMany(6, { queueLimit: 2, concurrencyKey: "k" });
    await world.trigger({ taskId: "free", key: world.key("k") });
    await world.open();
    const [done, waiting] = await world.claim(10);
    if (done === undefined || waiting === undefined) return t.fail();
    await world.complete(done);
    await world.apply(waiting.run.id, { event: "wait", ...world.lease(waiting), waitingFor: "w" });
    await world.apply(waiting.run.id, { event: "wake", waitingFor: "w" });
    const [cancelled] = await world.claim(1);
    if (cancelled === undefined) return t.fail();
    await world.apply(cancelled.run.id, { event: "cancel", reason: "" });
    const fence = cancelled.run.fence;
    await world.store.endLingering({ kind: "run", environment: "dev", runId: cancelled.run.id, fence });
    const running = await world.claim(10);
    const repair = () => world.store.repair({ nowMs: world.nowMs + 60_000, limit: 100 });
    t.is(await repair(), 0);
    t.like(await world.queue("task/job"), { running: 2, queued: 2 });
    t.deepEqual(await world.claim(10), []);
    for (const run of running) await world.complete(run);
    t.is((await world.claim(10)).length, 2);
    t.is(await repair(), 0);
  });

  promise("LOG-1: the last lines of a run are kept, by number and by bytes, in order", async (t, world) => {
    const runId = await world.trigger();
    const line = (message: string) =>
      ({ timeMs: world.nowMs, level: "info", attempt: 1, message, fieldsJson: undefined }) as const;
    const append = (messages: readonly string[], bytesMax = 16_384) =>
      world.store.appendLogs([
        { environment: "dev", runId, lines: messages.map(line), linesMax: 3, bytesMax },
        { environment: "dev", runId: world.id(), lines: [line("lost")], linesMax: 3, bytesMax },
      ]);
    const messages = async () => (await world.detail(runId)).logs.map(({ message }) => message);
    await append(["a", "b"]);
    t.like((await world.detail(runId)).logs[0], { ...line("a") });
    await append(["c", "d"]);
    t.deepEqual(await messages(), ["b", "c", "d"]);
    await append(["x".repeat(10), "é".repeat(5)], 20);
    t.deepEqual(await messages(), ["x".repeat(10), "é".repeat(5)]);
    await append(["y"], 10);
    t.deepEqual(await messages(), ["y"]);
  });

  promise("RUN-9: finished runs go after the retention, live and younger ones stay", async (t, world) => {
    const finished = await world.trigger({ tags: ["x"], metadataJson: "{}", spec: new Uint8Array(5_000) });
    await world.open({ untilMs: START_MS + 100 * DAY_MS });
    await world.complete(await world.claimOne());
    const live = await world.trigger({ delayedUntilMs: START_MS + 90 * DAY_MS });
    world.nowMs = START_MS + 20 * DAY_MS;
    const younger = await world.trigger();
    await world.complete(await world.claimOne());
    const purge = async (nowMs: number) =>
      (await world.store.purge({ nowMs, finishedRunsKeptMs: 30 * DAY_MS, limit: 10 })).removed;
    t.is(await purge(START_MS + 30 * DAY_MS - 1), 0);
    t.is(await purge(START_MS + 30 * DAY_MS), 1);
    t.deepEqual(await world.store.readRuns([{ environment: "dev", runId: finished }]), [undefined]);
    t.deepEqual(await world.list(), [younger, live]);
    t.deepEqual(await world.list({ tags: ["x"] }), []);
    t.is(await purge(START_MS + 50 * DAY_MS), 1);
    t.deepEqual(await world.list(), [live]);
  });

  promise("RUN-9: a run stays a day from its creation, and an hour longer than its key", async (t, world) => {
    const keyed = await world.trigger({ key: world.key("k", 5 * DAY_MS) });
    await world.open();
    await world.complete(await world.claimOne());
    const plain = await world.trigger();
    await world.complete(await world.claimOne());
    const purge = async (nowMs: number) =>
      (await world.store.purge({ nowMs, finishedRunsKeptMs: 1_000, limit: 10 })).removed;
    t.is(await purge(START_MS + DAY_MS - 1), 0);
    t.is(await purge(START_MS + DAY_MS), 1);
    t.deepEqual(await world.store.readRuns([{ environment: "dev", runId: plain }]), [undefined]);
    t.is(await purge(START_MS + 5 * DAY_MS + 3_599_999), 0);
    t.is((await world.state(keyed)).status, "COMPLETED");
    t.is(await purge(START_MS + 5 * DAY_MS + 3_600_000), 1);
  });

  promise(
    "purge works in steps, and runs that are kept longer do not stand in front of the others",
    async (t, world) => {
      await world.open();
      for (let index = 0; index < 4; index += 1) {
        await world.trigger({ key: world.key(`k${index}`, 10 * DAY_MS) });
        await world.complete(await world.claimOne());
      }
      await world.triggerMany(3);
      for (const claimed of await world.claim(3)) await world.complete(claimed);
      const purge = async () =>
        (await world.store.purge({ nowMs: START_MS + 2 * DAY_MS, finishedRunsKeptMs: DAY_MS, limit: 2 })).removed;
      let removed = 0;
      for (let step = 0; step < 5; step += 1) removed += await purge();
      t.is(removed, 3);
      t.is((await world.list()).length, 4);
    },
  );

  promise("a queue whose partitions were purged goes on counting and limiting", async (t, world) => {
    const [delayed = ""] = await world.triggerMany(1, {
      concurrencyKey: "k",
      queueLimit: 1,
      delayedUntilMs: START_MS + 1_000,
    });
    await world.trigger({ concurrencyKey: "k" });
    await world.open();
    const waiting = await world.claimOne();
    await world.apply(waiting.run.id, { event: "wait", ...world.lease(waiting), waitingFor: "w" });
    const purge = { nowMs: world.nowMs, finishedRunsKeptMs: DAY_MS, limit: 100 };
    await world.store.purge(purge);
    await world.store.purge(purge);
    world.nowMs += 2_000;
    await world.apply(delayed, { event: "due" });
    await world.apply(waiting.run.id, { event: "wake", waitingFor: "w" });
    t.is((await world.queue("task/job")).queued, 2);
    const claimed = only(await world.claim(10));
    t.is(claimed.run.id, waiting.run.id);
    await world.complete(claimed);
    t.is(only(await world.claim(10)).run.id, delayed);
    t.like(await world.queue("task/job"), { running: 1, queued: 0 });
  });

  promise("REQ-1: a remembered answer that has expired is forgotten", async (t, world) => {
    const holder = await world.trigger({ key: world.key("k") });
    const item = world.item({ key: world.key("k"), requestHash: hashOf("r") });
    t.like(only(await world.store.insertRuns([item])), { kind: "cached", runId: holder });
    const nowMs = world.nowMs + DAY_MS;
    await world.store.purge({ nowMs, finishedRunsKeptMs: DAY_MS, limit: 100 });
    t.is(only(await world.store.insertRuns([{ ...item, nowMs }])).kind, "created");
  });
}
