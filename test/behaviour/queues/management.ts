/** Queues as operators see and steer them (section 14.6). */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test from "ava";
import { QueueType } from "#proto/hairtrigger/v1/queue_pb.js";
import { refusal, selector, startApi, timeMs } from "../../support/api.js";

test("QUE-29: queues are listed by name in numbered pages, and found by id or by type and name", async (t) => {
  const api = await startApi(t);
  for (const taskId of ["a", "b", "c"]) await api.triggered(taskId);
  await api.triggered("a", { queue: { name: "named" } });
  const page = async (number: number) => api.queues.listQueues({ page: number, perPage: 3 });
  const [first, second, third] = [await page(1), await page(2), await page(3)];
  t.deepEqual([first.count, first.totalPages, first.currentPage], [4, 2, 1]);
  t.deepEqual([second.queues.length, second.currentPage], [1, 2]);
  t.deepEqual([third.queues.length, third.count], [0, 4], "a page past the end is empty");
  const all = [...first.queues, ...second.queues];
  t.deepEqual(
    all.map(({ name, type }) => [name, type]),
    [
      ["named", QueueType.CUSTOM],
      ["a", QueueType.TASK],
      ["b", QueueType.TASK],
      ["c", QueueType.TASK],
    ],
  );
  for (const { id, name, type } of all) {
    const byId = await api.queues.retrieveQueue({ queue: { selector: { case: "queueId", value: id } } });
    const typedName = { selector: { case: "typedName", value: { type, name } } } as const;
    const byName = await api.queues.retrieveQueue({ queue: typedName });
    t.is(byId.queue?.name ?? "", name);
    t.is(byName.queue?.id ?? "", id);
  }
  t.is((await api.queues.listQueues({})).queues.length, 4, "25 on a page by default");
  const run = await api.run(await api.triggered("a"));
  t.is(run.queueId, all.find(({ name }) => name === "a")?.id ?? "");
});

test("QUE-29: a page size or number out of range is refused", async (t) => {
  const api = await startApi(t);
  for (const request of [{ perPage: 0 }, { perPage: 101 }, { page: 0 }, { page: -1 }]) {
    const refused = await refusal(api.queues.listQueues(request));
    t.is(refused.code, "INVALID_ARGUMENT", JSON.stringify(request));
    t.is(refused.reason, "INVALID_PAGE");
  }
});

test("QUE-30: an item shows its figures, its limits and who set them, and which of its tasks nobody serves", async (t) => {
  const api = await startApi(t);
  const worker = await api.worker({
    tasks: [{ id: "work", queue: { name: "named", concurrencyLimit: 1 } }],
    credit: 5,
  });
  for (let count = 0; count < 3; count += 1) await api.triggered("work");
  await api.triggered("ghost", { queue: { name: "named" } });
  await api.triggered("work", { delay: "1h" });
  await worker.begin();
  const before = await api.queue("named");
  t.like(before, { name: "named", type: QueueType.CUSTOM, running: 1, queued: 3, paused: false, concurrencyLimit: 1 });
  t.regex(before.id, /^queue_[0-9a-z]{26}$/);
  t.deepEqual(before.unservedTaskIds, ["ghost"]);
  t.like(before.concurrency ?? {}, { current: 1, base: 1, override: undefined, overriddenBy: "" });

  await api.queues.overrideConcurrencyLimit({ queue: selector("named"), concurrencyLimit: 2 });
  const { concurrency, concurrencyLimit } = await api.queue("named");
  t.is(concurrencyLimit, 2);
  t.like(concurrency ?? {}, { current: 2, base: 1, override: 2 });
  t.is(timeMs(concurrency?.overrideTime), api.nowMs());
  t.truthy(concurrency?.overriddenBy);
  t.false(api.server.key.includes(concurrency?.overriddenBy ?? ""), "the key's id, not the key");

  worker.disconnect();
  await api.advance(60_000);
  t.deepEqual((await api.queue("named")).unservedTaskIds, ["ghost", "work"]);
});

test("QUE-31: a paused queue starts nothing while executing runs go on and triggers are accepted; resumed, it drains in order", async (t) => {
  const api = await startApi(t);
  const worker = await api.worker({ tasks: ["work"] });
  await api.triggered("work");
  const { lease } = await worker.begin();
  const paused = await api.queues.pauseQueue({ queue: selector("task/work") });
  t.true(paused.queue?.paused);
  const ids = [await api.triggered("work"), await api.triggered("work", { prioritySeconds: 9 })];
  t.is((await worker.completed(lease)).case, "finished");
  await api.pass(20_000, worker);
  t.is(worker.assignments.size, 0);
  t.is((await api.queue("task/work")).queued, 2);
  t.true((await api.queues.pauseQueue({ queue: selector("task/work") })).queue?.paused, "idempotent");

  const resumed = await api.queues.resumeQueue({ queue: selector("task/work") });
  t.false(resumed.queue?.paused);
  t.deepEqual([(await worker.begin()).runId, (await worker.begin()).runId], ids.toReversed());
  t.false((await api.queues.resumeQueue({ queue: selector("task/work") })).queue?.paused, "idempotent");
});

test("QUE-31: a paused queue holds back the runs that fall due or come back from a retry", async (t) => {
  const api = await startApi(t);
  const worker = await api.worker({ tasks: ["work"] });
  const retried = await api.triggered("work");
  const { lease } = await worker.begin();
  const delayed = await api.triggered("work", { delay: "40s" });
  await worker.failed(lease, {}, 35_000);
  await api.queues.pauseQueue({ queue: selector("task/work") });
  await api.pass(60_000, worker);
  t.is(worker.assignments.size, 0);
  await api.queues.resumeQueue({ queue: selector("task/work") });
  t.deepEqual([(await worker.begin()).runId, (await worker.begin()).runId], [retried, delayed]);
});

test("QUE-32: an override wins over registrations until it is reset to the base, which may have changed meanwhile", async (t) => {
  const api = await startApi(t);
  const queue = selector("named");
  const declare = (concurrencyLimit: number) =>
    api.worker({ tasks: [{ id: "work", queue: { name: "named", concurrencyLimit } }], credit: 0 });
  await declare(5);
  t.is((await api.queues.overrideConcurrencyLimit({ queue, concurrencyLimit: 0 })).queue?.concurrencyLimit, 0);
  await declare(8);
  t.is((await api.queue("named")).concurrencyLimit, 0);
  const again = await api.queues.overrideConcurrencyLimit({ queue, concurrencyLimit: 100_000 });
  t.is(again.queue?.concurrencyLimit, 100_000);
  t.is((await api.queues.resetConcurrencyLimit({ queue })).queue?.concurrencyLimit, 8);
  const refused = await refusal(api.queues.resetConcurrencyLimit({ queue }));
  t.is(refused.code, "FAILED_PRECONDITION");
  t.is(refused.reason, "QUEUE_NOT_OVERRIDDEN");
  t.true(refused.message.includes("Queue is not overridden"));
  for (const concurrencyLimit of [-1, 1.5, 100_001, Number.NaN]) {
    const wrong = await refusal(api.queues.overrideConcurrencyLimit({ queue, concurrencyLimit }));
    t.is(wrong.reason, "INVALID_CONCURRENCY_LIMIT", String(concurrencyLimit));
  }
  t.is((await api.queue("named")).concurrencyLimit, 8);
});

test("QUE-32: a raised limit starts waiting runs at once, and an override on an unlimited queue counts what executes already", async (t) => {
  const api = await startApi(t);
  const worker = await api.worker({ tasks: ["work"], credit: 20 });
  const leases = [];
  for (let count = 0; count < 3; count += 1) {
    await api.triggered("work");
    leases.push((await worker.begin()).lease);
  }
  await api.queues.overrideConcurrencyLimit({ queue: selector("task/work"), concurrencyLimit: 3 });
  for (let count = 0; count < 3; count += 1) await api.triggered("work");
  await worker.heartbeat();
  t.is(worker.assignments.size, 0);
  for (const lease of leases.slice(0, 1)) await worker.completed(lease);
  await worker.begin();
  await worker.heartbeat();
  t.is(worker.assignments.size, 0);
  await api.queues.resetConcurrencyLimit({ queue: selector("task/work") });
  t.false((await worker.begin()).confirmFirst);
  t.false((await worker.begin()).confirmFirst);
});

test("QUE-31, QUE-32: pause and override survive a restart", async (t) => {
  const storeDirectory = await mkdtemp(join(tmpdir(), "hairtrigger-queues-"));
  t.teardown(() => rm(storeDirectory, { recursive: true, force: true }));
  const before = await startApi(t, { storeDirectory });
  await before.triggered("work");
  await before.queues.pauseQueue({ queue: selector("task/work") });
  await before.queues.overrideConcurrencyLimit({ queue: selector("task/work"), concurrencyLimit: 3 });
  await before.server.stop();
  const api = await startApi(t, { storeDirectory });
  const queue = await api.queue("task/work");
  t.true(queue.paused);
  t.is(queue.concurrency?.override, 3);
  t.is(queue.queued, 1);
  const worker = await api.worker({ tasks: ["work"] });
  await worker.heartbeat();
  t.is(worker.assignments.size, 0);
});

test("QUE-33: an unknown queue is NOT_FOUND; a queue exists from its first registration or run on, in its environment", async (t) => {
  const api = await startApi(t);
  const queue = selector("named");
  const calls = [
    () => api.queues.retrieveQueue({ queue }),
    () => api.queues.pauseQueue({ queue }),
    () => api.queues.resumeQueue({ queue }),
    () => api.queues.overrideConcurrencyLimit({ queue, concurrencyLimit: 1 }),
    () => api.queues.resetConcurrencyLimit({ queue }),
  ];
  for (const call of calls) {
    const refused = await refusal(call());
    t.is(refused.code, "NOT_FOUND");
    t.is(refused.reason, "QUEUE_NOT_FOUND");
    t.true(refused.message.includes("not found"));
  }
  await api.worker({ tasks: [{ id: "work", queue: { name: "named", concurrencyLimit: 1 } }] });
  const { id } = await api.queue("named");
  const prod = api.as(api.server.prodKey).queues;
  t.is((await refusal(prod.retrieveQueue({ queue }))).reason, "QUEUE_NOT_FOUND");
  const foreign = prod.retrieveQueue({ queue: { selector: { case: "queueId", value: id } } });
  t.is((await refusal(foreign)).reason, "QUEUE_NOT_FOUND");
  t.is((await prod.listQueues({})).count, 0);
});
