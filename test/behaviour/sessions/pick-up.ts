/** Pick-ups (RUN-6): confirmed in time, returned, and given up after five that nobody confirmed. */
import test from "ava";
import { startApi, timeMs } from "../../support/api.js";

const SECOND = 1_000;

test("RUN-6: a pick-up that is not confirmed within 10 s is QUEUED again, in its order, with no attempt counted", async (t) => {
  const api = await startApi(t);
  const silent = await api.worker({ tasks: ["work"], credit: 1 });
  const runId = await api.triggered("work");
  const { lease } = await silent.assigned();
  await api.advance(5 * SECOND);
  const newer = await api.triggered("work");
  await api.advance(5 * SECOND - 1);
  t.is(await api.status(runId), "EXECUTING");
  await api.advance(2 * SECOND);
  t.is(await api.status(runId), "QUEUED");
  t.deepEqual((await silent.lost.take()).lease, lease, "the worker is told");
  const { attemptCount, startTime, attempts } = await api.run(runId);
  t.deepEqual([attemptCount, startTime, attempts.length], [0, undefined, 0]);

  const worker = await api.worker({ tasks: ["work"] });
  const [first, second] = [await worker.begin(), await worker.begin()];
  t.deepEqual([first.runId, second.runId], [runId, newer], "before the newer one");
  t.is(first.attempt, 1);
});

test("RUN-6: a pick-up is confirmed by a report, or by a heartbeat that names it, and by nothing else", async (t) => {
  const api = await startApi(t);
  const worker = await api.worker({ tasks: ["work"], credit: 3 });
  const byReport = await api.triggered("work");
  const one = await worker.assigned();
  const byHeartbeat = await api.triggered("work");
  const two = await worker.assigned();
  const byNothing = await api.triggered("work");
  await worker.assigned();
  t.is((await worker.started(one.lease)).case, "goOn");
  t.is((await worker.started(one.lease)).case, "goOn", "again, harmlessly");
  await worker.heartbeat([two.lease]);
  await api.pass(12 * SECOND, worker);
  t.is(await api.status(byReport), "EXECUTING");
  t.is(await api.status(byHeartbeat), "EXECUTING");
  t.is(await api.status(byNothing), "QUEUED");
});

test("RUN-6: a run of an unlimited queue may be completed without any earlier word", async (t) => {
  const api = await startApi(t);
  const worker = await api.worker({ tasks: ["work"] });
  const runId = await api.triggered("work");
  const { lease } = await worker.assigned();
  t.is((await worker.completed(lease)).case, "finished");
  t.is((await api.run(runId)).attemptCount, 1);
});

test("RUN-6: a worker that let a pick-up lapse is assigned nothing until its next message", async (t) => {
  const api = await startApi(t);
  const worker = await api.worker({ tasks: ["work"], credit: 2 });
  const runId = await api.triggered("work");
  await worker.assigned();
  await api.advance(5 * SECOND);
  await worker.heartbeat();
  await api.advance(6 * SECOND);
  t.is(await api.status(runId), "QUEUED", "it has a place, and was heard 6 s ago");
  await worker.heartbeat();
  t.is((await worker.assigned()).runId, runId);
});

test("RUN-6: the fifth return in a row of workers that were heard meanwhile ends the run as SYSTEM_FAILURE", async (t) => {
  const api = await startApi(t);
  const worker = await api.worker({ tasks: ["work"], credit: 1 });
  const runId = await api.triggered("work");
  for (let pickUp = 1; pickUp <= 5; pickUp += 1) {
    await worker.assigned();
    t.is(await api.status(runId), "EXECUTING");
    await api.pass(12 * SECOND, worker);
    t.is(await api.status(runId), pickUp < 5 ? "QUEUED" : "SYSTEM_FAILURE");
    worker.credit(1);
  }
  const run = await api.run(runId);
  t.is(run.error?.code, "TASK_RUN_PICKUP_FAILED");
  t.is(run.attemptCount, 0);
  t.is(timeMs(run.finishTime) === undefined, false);
});

test("RUN-6: a confirmed pick-up in between begins the count anew", async (t) => {
  const api = await startApi(t);
  const worker = await api.worker({ tasks: ["work"], credit: 1 });
  const runId = await api.triggered("work");
  const ignore = async (times: number): Promise<void> => {
    for (let pickUp = 0; pickUp < times; pickUp += 1) {
      await worker.assigned();
      await api.pass(12 * SECOND, worker);
      worker.credit(1);
    }
  };
  await ignore(4);
  await worker.interrupted((await worker.begin()).lease);
  worker.credit(1);
  await ignore(4);
  t.is((await worker.begin()).runId, runId);
});

test("RUN-6: returns of workers that sent nothing after the assignment do not count", async (t) => {
  const api = await startApi(t);
  const runId = await api.triggered("work");
  for (let pickUp = 1; pickUp <= 6; pickUp += 1) {
    const silent = await api.worker({ tasks: ["work"], credit: 1 });
    await silent.assigned();
    await api.advance(12 * SECOND);
    silent.disconnect();
  }
  t.is(await api.status(runId), "QUEUED");
  const worker = await api.worker({ tasks: ["work"] });
  t.is((await worker.begin()).attempt, 1);
});

test("RUN-6: a worker silent for 12 s is assigned nothing until its next message", async (t) => {
  const api = await startApi(t);
  const worker = await api.worker({ tasks: ["work"] });
  await api.advance(12 * SECOND);
  const inTime = await api.triggered("work");
  t.is((await worker.begin()).runId, inTime, "12 s pass");
  await api.advance(13 * SECOND);
  const runId = await api.triggered("work");
  t.is(await api.status(runId), "QUEUED");
  await worker.heartbeat();
  t.is((await worker.begin()).runId, runId);
});

test("RUN-6: code of a limited queue is held back until its confirmation is acknowledged, also after a return", async (t) => {
  const api = await startApi(t);
  const tasks = [{ id: "work", queue: { concurrencyLimit: 1 } }];
  const slow = await api.worker({ tasks, credit: 1 });
  await api.triggered("work");
  const late = await slow.assigned();
  t.true(late.confirmFirst);
  await api.advance(11 * SECOND);
  const worker = await api.worker({ tasks });
  await worker.begin();
  t.is((await slow.started(late.lease)).case, "lost", "it must not start beside the other");
  t.is((await api.queue("task/work")).running, 1);
});
