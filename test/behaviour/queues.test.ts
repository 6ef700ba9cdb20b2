/** Queues and concurrency (section 14 without waits): what starts when. How queues are chosen and managed is in the modules beside it. */
import test from "ava";
import { refusal, selector, startApi, type TestApi } from "../support/api.js";
import type { WireWorker } from "../support/wire-worker.js";
import "./queues/choice.js";
import "./queues/limits-hold.js";
import "./queues/management.js";

const SECOND = 1_000;
const MINUTE = 60 * SECOND;

/** Ids of the runs that a worker was given and has not looked at, in order; every message on its way has arrived. */
async function given(worker: WireWorker): Promise<readonly string[]> {
  await worker.heartbeat();
  const ids: string[] = [];
  while (worker.assignments.size > 0) ids.push((await worker.begin()).runId);
  return ids;
}

async function triggeredTimes(api: TestApi, count: number, taskId: string, options = {}): Promise<readonly string[]> {
  const ids: string[] = [];
  for (let index = 0; index < count; index += 1) ids.push(await api.triggered(taskId, options));
  return ids;
}

test("QUE-1: a task has its own queue, unlimited unless declared otherwise, and its runs need no confirmation first", async (t) => {
  const api = await startApi(t);
  const worker = await api.worker({ tasks: ["work"], credit: 50 });
  const ids = await triggeredTimes(api, 50, "work");
  await worker.heartbeat();
  const assignments = [];
  while (worker.assignments.size > 0) assignments.push(await worker.assigned());
  t.deepEqual(
    assignments.map(({ runId }) => runId),
    ids,
  );
  t.true(assignments.every(({ confirmFirst, queueName }) => !confirmFirst && queueName === "task/work"));
  const queue = await api.queue("task/work");
  t.is(queue.concurrencyLimit, undefined);
  t.is(queue.running, 50);
});

test("QUE-5, RUN-6: a limit of 1 serialises, by order value; each start waits for its confirmation and for the end before", async (t) => {
  const api = await startApi(t);
  const worker = await api.worker({ tasks: [{ id: "work", queue: { concurrencyLimit: 1 } }] });
  const first = await api.triggered("work");
  const late = await api.triggered("work", { prioritySeconds: -5 });
  const early = await api.triggered("work", { prioritySeconds: 5 });
  const middle = await api.triggered("work");
  for (const runId of [first, early, middle, late]) {
    const assignment = await worker.begin();
    t.is(assignment.runId, runId);
    t.true(assignment.confirmFirst);
    t.deepEqual(await given(worker), [], "nothing beside it");
    t.is((await api.queue("task/work")).running, 1);
    await worker.completed(assignment.lease);
  }
  t.is((await api.queue("task/work")).running, 0);
});

test("QUE-6: a run starts when the count is below the limit and a worker that serves its task has capacity", async (t) => {
  const api = await startApi(t);
  const worker = await api.worker({ tasks: [{ id: "work", queue: { concurrencyLimit: 3 } }], credit: 2 });
  await triggeredTimes(api, 6, "work");
  t.is((await given(worker)).length, 2, "capacity");
  worker.credit(5);
  t.is((await given(worker)).length, 1, "the limit");
  const other = await api.worker({ tasks: ["work"] });
  t.is((await given(other)).length, 0, "of all workers together");
  const { queued, running } = await api.queue("task/work");
  t.deepEqual([queued, running], [3, 3]);
});

test("QUE-7: with a limit of 0 nothing starts, as if paused", async (t) => {
  const api = await startApi(t);
  const worker = await api.worker({ tasks: [{ id: "work", queue: { concurrencyLimit: 0 } }] });
  const runId = await api.triggered("work");
  await api.pass(MINUTE, worker);
  t.deepEqual(await given(worker), []);
  await api.queues.overrideConcurrencyLimit({ queue: selector("task/work"), concurrencyLimit: 1 });
  t.deepEqual(await given(worker), [runId]);
});

test("QUE-8: a limit lowered below the number executing lets them finish and starts nothing until they are fewer", async (t) => {
  const api = await startApi(t);
  const worker = await api.worker({ tasks: [{ id: "work", queue: { concurrencyLimit: 3 } }] });
  await triggeredTimes(api, 5, "work");
  const leases = [];
  for (let count = 0; count < 3; count += 1) leases.push((await worker.begin()).lease);
  await api.queues.overrideConcurrencyLimit({ queue: selector("task/work"), concurrencyLimit: 1 });
  t.is((await api.queue("task/work")).running, 3);
  for (const lease of leases.slice(0, 2)) {
    t.is((await worker.completed(lease)).case, "finished");
    t.deepEqual(await given(worker), []);
  }
  for (const lease of leases.slice(2)) await worker.completed(lease);
  t.is((await given(worker)).length, 1);
});

test("QUE-9: a run that cannot start holds back neither other queues nor other tasks of its own queue", async (t) => {
  const api = await startApi(t);
  const queue = { name: "shared", concurrencyLimit: 2 };
  const worker = await api.worker({ tasks: [{ id: "served", queue }, "free", "paused", "full"], credit: 4 });
  await api.triggered("full", { queue: { name: "narrow", concurrencyLimit: 1 } });
  await worker.begin();
  await api.triggered("paused", { delay: "1d" });
  await api.queues.pauseQueue({ queue: selector("task/paused") });

  // Each of these is older than the ones that start.
  const full = await api.triggered("full", { queue: { name: "narrow" } });
  const paused = await api.triggered("paused");
  const unserved = await triggeredTimes(api, 20, "unserved", { queue: { name: "shared" } });
  const served = await api.triggered("served");
  const free = await api.triggered("free");
  t.deepEqual(await given(worker), [served, free]);
  for (const runId of [full, paused, ...unserved.slice(0, 2)]) t.is(await api.status(runId), "QUEUED");
});

test("QUE-9: runs of a task whose workers are all full hold back no other task in the same limited queue", async (t) => {
  const api = await startApi(t);
  const queue = { name: "shared", concurrencyLimit: 2 };
  const busy = await api.worker({ tasks: [{ id: "busy", queue }], credit: 1 });
  const idle = await api.worker({ tasks: [{ id: "idle", queue }] });
  const [first, second] = await triggeredTimes(api, 2, "busy");
  t.deepEqual(await given(busy), [first]);
  const other = await api.triggered("idle");
  t.deepEqual(await given(idle), [other], "no slot was kept for the full worker's run");
  t.is(await api.status(second ?? ""), "QUEUED");
});

test("QUE-9: between queues and partitions heads are compared by order value", async (t) => {
  const api = await startApi(t);
  const worker = await api.worker({ tasks: ["a", "b", { id: "c", queue: { concurrencyLimit: 5 } }], credit: 0 });
  const expected: string[] = [];
  for (const taskId of ["b", "c", "a", "c", "b"]) {
    expected.push(await api.triggered(taskId, taskId === "c" ? { concurrencyKey: `k${expected.length}` } : {}));
    await api.advance(1);
  }
  const order: string[] = [];
  for (let count = 0; count < 5; count += 1) {
    worker.credit(1);
    order.push((await worker.begin()).runId);
  }
  t.deepEqual(order, expected);
});

test("QUE-4: a cancelled run holds its slot until its worker reports the end", async (t) => {
  const api = await startApi(t);
  const worker = await api.worker({ tasks: [{ id: "work", queue: { concurrencyLimit: 1 } }] });
  const [first, second] = await triggeredTimes(api, 2, "work");
  const { lease } = await worker.begin();
  await api.runs.cancelRun({ runId: first });
  t.is(await api.status(first ?? ""), "CANCELED", "at once, for readers");
  t.deepEqual((await worker.cancels.take()).lease, lease);
  await api.pass(20 * SECOND, worker);
  t.deepEqual(await given(worker), []);
  t.is((await api.queue("task/work")).running, 1);
  t.is((await worker.ended(lease)).case, "finished");
  t.deepEqual(await given(worker), [second]);
  t.is((await api.queue("task/work")).running, 1);
});

test("QUE-4: any last report of a cancelled run ends its code", async (t) => {
  const api = await startApi(t);
  const worker = await api.worker({ tasks: [{ id: "work", queue: { concurrencyLimit: 1 } }] });
  const reports = [
    (lease: Uint8Array) => worker.completed(lease),
    (lease: Uint8Array) => worker.failed(lease, {}, 0),
    (lease: Uint8Array) => worker.interrupted(lease),
  ];
  for (const report of reports) {
    const runId = await api.triggered("work");
    const { lease } = await worker.begin();
    await api.runs.cancelRun({ runId });
    t.is((await report(lease)).case, "finished", "it came too late to change anything");
    t.is((await api.queue("task/work")).running, 0);
    t.is(await api.status(runId), "CANCELED");
  }
});

test("QUE-4: code of a cancelled run that never reports its end holds the slot for 30 s at most", async (t) => {
  const api = await startApi(t);
  const worker = await api.worker({ tasks: [{ id: "work", queue: { concurrencyLimit: 1 } }] });
  const [first, second] = await triggeredTimes(api, 2, "work");
  await worker.begin();
  await api.runs.cancelRun({ runId: first });
  await api.pass(29 * SECOND, worker);
  t.deepEqual(await given(worker), []);
  await api.pass(3 * SECOND, worker);
  t.deepEqual(await given(worker), [second]);
  t.is((await api.queue("task/work")).running, 1);
});

test("QUE-4: timed-out and interrupted code that goes on holds its slot like cancelled code", async (t) => {
  const api = await startApi(t);
  const worker = await api.worker({ tasks: [{ id: "work", queue: { concurrencyLimit: 1 } }] });
  const timedOut = await api.triggered("work");
  const { lease } = await worker.begin();
  t.is((await worker.timedOut(lease)).case, "goOn", "the lease is held until the code has ended");
  t.is(await api.status(timedOut), "TIMED_OUT");
  t.is((await api.queue("task/work")).running, 1);
  t.is((await worker.ended(lease)).case, "finished");
  t.is((await api.queue("task/work")).running, 0);

  const interrupted = await api.triggered("work");
  const goingOn = await worker.begin();
  t.is((await worker.interrupted(goingOn.lease, true)).case, "released");
  t.is(await api.status(interrupted), "QUEUED");
  t.deepEqual(await given(worker), [], "its own old code holds the only slot");
  await worker.ended(goingOn.lease);
  t.deepEqual(await given(worker), [interrupted]);
});

test("QUE-4: a slot of code that goes on is free when the session of its worker has lapsed", async (t) => {
  const api = await startApi(t);
  const queue = { concurrencyLimit: 1 };
  const worker = await api.worker({ tasks: [{ id: "work", queue }] });
  const other = await api.worker({ tasks: [{ id: "work", queue }] });
  await api.pass(31 * SECOND, worker, other);
  const [first, second] = await triggeredTimes(api, 2, "work");
  const holder = (await api.run(first ?? "")).workerId === worker.sessionId ? worker : other;
  const heir = holder === worker ? other : worker;
  await holder.begin();
  holder.disconnect();
  await api.pass(25 * SECOND, heir);
  await api.runs.cancelRun({ runId: first });
  t.deepEqual(await given(heir), []);
  await api.pass(8 * SECOND, heir);
  t.deepEqual(await given(heir), [second], "8 s after the cancel, 33 s after the last sign of life");
});

test("QUE-10: a full queue refuses triggers without future delay, and says when to come back; what falls due enters", async (t) => {
  const api = await startApi(t, { limits: { queueSizeMax: 2 } });
  await triggeredTimes(api, 2, "work");
  const delayed = await api.triggered("work", { delay: "10s" });
  const refused = await refusal(api.trigger("work"));
  t.is(refused.code, "RESOURCE_EXHAUSTED");
  t.is(refused.reason, "QUEUE_FULL");
  t.is(refused.retryAfterMs, SECOND);
  t.is(
    refused.message,
    "Cannot trigger work as the queue size limit for this environment has been reached. The maximum size is 2",
  );
  t.is((await refusal(api.trigger("work", { options: { delay: "2020-01-01" } }))).reason, "QUEUE_FULL");
  await api.triggered("other");
  await api.advance(10 * SECOND);
  t.is(await api.status(delayed), "QUEUED");
  t.is((await api.queue("task/work")).queued, 3);
  t.is(await api.count(), 4);
});

test("QUE-10: a retry enters a full queue, and an executing run takes no place in it", async (t) => {
  const api = await startApi(t, { limits: { queueSizeMax: 1 } });
  const worker = await api.worker({ tasks: ["work"], credit: 1 });
  const runId = await api.triggered("work");
  const { lease } = await worker.begin();
  await api.triggered("work");
  t.is((await refusal(api.trigger("work"))).reason, "QUEUE_FULL");
  t.is((await worker.failed(lease, {}, MINUTE)).case, "released");
  t.is(await api.status(runId), "QUEUED");
  t.is((await api.queue("task/work")).queued, 2);
});

// ── partitions ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

test("QUE-16, QUE-17, QUE-18: each concurrency key is a partition with the queue's limit, and there is no limit over all", async (t) => {
  const api = await startApi(t);
  const worker = await api.worker({ tasks: [{ id: "work", queue: { concurrencyLimit: 1 } }], credit: 20 });
  const a = await triggeredTimes(api, 2, "work", { concurrencyKey: "a" });
  const b = await triggeredTimes(api, 2, "work", { concurrencyKey: "b" });
  const without = await triggeredTimes(api, 2, "work");
  await worker.heartbeat();
  const started = [await worker.begin(), await worker.begin(), await worker.begin()];
  t.deepEqual(
    started.map(({ runId }) => runId),
    [a[0], b[0], without[0]],
  );
  t.deepEqual(await given(worker), [], "never two of one key");
  t.is((await api.queue("task/work")).running, 3);
  for (const { runId, lease } of started) if (runId === b[0]) await worker.completed(lease);
  t.deepEqual(await given(worker), [b[1]]);
});

test("QUE-18, QUE-20: a key partitions the named queue in force, survives a replay; an empty one is none; 513 characters are refused", async (t) => {
  const api = await startApi(t);
  const worker = await api.worker({ tasks: ["work"], credit: 20 });
  const queue = { name: "named", concurrencyLimit: 1 };
  const first = await api.triggered("work", { queue, concurrencyKey: "ü".repeat(512) });
  const keyless = await api.triggered("work", { queue, concurrencyKey: "" });
  const replay = (await api.runs.replayRun({ runId: first })).runId;
  t.deepEqual(await given(worker), [first, keyless]);
  t.is((await api.run(replay)).concurrencyKey, "ü".repeat(512));
  t.is((await api.run(replay)).queueName, "named");
  t.is(await api.status(replay), "QUEUED", "behind the run of its own partition");
  const refused = await refusal(api.trigger("work", { options: { concurrencyKey: "ü".repeat(513) } }));
  t.is(refused.reason, "INVALID_REQUEST");
  t.deepEqual(
    refused.violations.map(({ field }) => field),
    ["options.concurrencyKey"],
  );
});

test("QUE-19: a thousand runs of one key do not starve another", async (t) => {
  const api = await startApi(t);
  const worker = await api.worker({ tasks: [{ id: "work", queue: { concurrencyLimit: 2 } }], credit: 10 });
  const crowd = Array.from({ length: 250 }, () => ({ taskId: "work", options: { concurrencyKey: "crowd" } }));
  for (let call = 0; call < 4; call += 1) await api.runs.triggerTasks({ items: crowd });
  const alone = await api.triggered("work", { concurrencyKey: "alone" });
  const started = await given(worker);
  t.is(started.length, 3);
  t.true(started.includes(alone));
});

// ── priority ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

test("QUE-26: priority is a head start in seconds, negative and fractional ones included", async (t) => {
  const api = await startApi(t);
  const worker = await api.worker({ tasks: ["work"], credit: 0 });
  const at: readonly (readonly [afterMs: number, prioritySeconds: number, name: string])[] = [
    [0, 0, "queued 11 s before"],
    [1 * SECOND, 0, "queued 10 s before"],
    [1, 0, "queued 9.999 s before"],
    [9 * SECOND, 0.5, "half a second"],
    [999, 10, "ten"],
    [0, -1, "minus one"],
    [500, 0, "last, at 11.5 s"],
  ];
  const names = new Map<string, string>();
  for (const [afterMs, prioritySeconds, name] of at) {
    await api.advance(afterMs);
    names.set(await api.triggered("work", { prioritySeconds }), name);
  }
  worker.credit(at.length);
  const order: (string | undefined)[] = [];
  for (let count = 0; count < at.length; count += 1) order.push(names.get((await worker.begin()).runId));
  t.deepEqual(order, [
    "queued 11 s before",
    "queued 10 s before",
    "ten",
    "queued 9.999 s before",
    "half a second",
    "last, at 11.5 s",
    "minus one",
  ]);
});

test("QUE-26, DLY-7: priority of a delayed run counts from its due time", async (t) => {
  const api = await startApi(t);
  const worker = await api.worker({ tasks: ["work"], credit: 0 });
  const delayed = await api.triggered("work", { delay: "10s", prioritySeconds: 3 });
  await api.advance(8 * SECOND);
  const later = await api.triggered("work");
  await api.advance(2 * SECOND);
  worker.credit(1);
  t.is((await worker.begin()).runId, delayed, "its order value is 7 s, the other's 8 s");
  worker.credit(1);
  t.is((await worker.begin()).runId, later);
});

test("QUE-27: priority pre-empts nothing and exceeds no limit", async (t) => {
  const api = await startApi(t);
  const worker = await api.worker({ tasks: [{ id: "work", queue: { concurrencyLimit: 1 } }] });
  const running = await api.triggered("work");
  const { lease } = await worker.begin();
  const urgent = await api.triggered("work", { prioritySeconds: 1e9 });
  t.deepEqual(await given(worker), []);
  t.is(await api.status(running), "EXECUTING");
  t.is(worker.cancels.size, 0);
  await worker.completed(lease);
  t.deepEqual(await given(worker), [urgent]);
});

test("QUE-28: priority is shown, and lists are not ordered by it; one that is not finite is refused", async (t) => {
  const api = await startApi(t);
  const high = await api.triggered("work", { prioritySeconds: 100 });
  await api.advance(1);
  const low = await api.triggered("work", { prioritySeconds: -0.25 });
  t.is((await api.run(low)).prioritySeconds, -0.25);
  const { runs } = await api.runs.listRuns({});
  t.deepEqual(
    runs.map(({ id }) => id),
    [low, high],
  );
  for (const prioritySeconds of ["NaN", "Infinity", "-Infinity"]) {
    const refused = await refusal(api.trigger("work", { options: { prioritySeconds } }));
    t.is(refused.reason, "INVALID_REQUEST");
    t.deepEqual(
      refused.violations.map(({ field }) => field),
      ["options.prioritySeconds"],
    );
  }
});
