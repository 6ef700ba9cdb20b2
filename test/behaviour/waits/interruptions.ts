/** Waits across broken connections, deploys and lost workers (TAW-10, TAW-10a, RUN-6, RUN-7). */
import test from "ava";
import { AttemptOutcome } from "#proto/hairtrigger/v1/run_pb.js";
import { startApi } from "../../support/api.js";
import { hex } from "../../support/wire-worker.js";

const SECOND = 1_000;
const MINUTE = 60 * SECOND;

test("RUN-6: a hello is answered for waiting runs from the record: wait on, go on, cancel", async (t) => {
  const api = await startApi(t);
  const worker = await api.worker({ tasks: ["parent"], credit: 20 });
  const other = await api.worker({ tasks: ["child"], credit: 20 });
  const wait = async () => {
    const runId = await api.triggered("parent");
    const { lease } = await worker.begin();
    const child = await api.runs.triggerTask({ taskId: "child", parentRunId: runId, awaitingLease: lease });
    await worker.waits(lease, child.runId);
    return { runId, lease, child: await other.begin() };
  };
  const [waits, bound, resumed, cancelled] = [await wait(), await wait(), await wait(), await wait()];
  await other.completed(resumed.child.lease);
  const resume = await worker.resumes.take();
  worker.credit(0);
  await other.completed(bound.child.lease);
  t.is(await api.status(bound.runId), "QUEUED");
  worker.disconnect();
  await api.runs.cancelRun({ runId: cancelled.runId, reason: "meanwhile" });
  const held = [waits, bound, resumed, cancelled].map(({ lease }) => ({ lease }));
  const back = await worker.reconnect({ held, credit: 0 });
  t.teardown(() => back.disconnect());
  const answers = [];
  for (let count = 0; count < 4; count += 1) answers.push(await back.held.take());
  t.deepEqual(
    answers.map(({ lease, instruction }) => [hex(lease), instruction.case]),
    [
      [hex(waits.lease), "keepWaiting"],
      [hex(bound.lease), "keepWaiting"],
      [hex(resumed.lease), "resume"],
      [hex(cancelled.lease), "cancel"],
    ],
  );
  const instruction = answers[2]?.instruction;
  if (instruction?.case !== "resume") return t.fail();
  t.is(hex(instruction.value.lease), hex(resume.lease), "the same that was sent on the broken connection");
  t.is((await back.started(instruction.value.lease)).case, "goOn");
  t.is((await back.ended(cancelled.lease)).case, "finished");
  await back.heartbeat();
  t.is(back.resyncs.size, 0, "both sides count the same leases");
  back.credit(1);
  t.is((await back.resumed()).runId, bound.runId);
  await back.heartbeat();
  t.is(back.resyncs.size, 0);
});

test("TAW-10: a waiting run whose worker is lost has lost its attempt; its child goes on", async (t) => {
  const api = await startApi(t);
  const worker = await api.worker({ tasks: ["parent"] });
  const runId = await api.triggered("parent", { maxAttempts: 2 });
  const { lease } = await worker.begin();
  const requestId = "wait-1";
  const child = await api.runs.triggerTask({ taskId: "child", parentRunId: runId, awaitingLease: lease, requestId });
  await worker.waits(lease, child.runId);
  worker.disconnect();
  await api.advance(MINUTE);
  const next = await api.worker({ tasks: ["parent", "child"] });
  await api.pass(5 * SECOND, next);
  const first = await next.begin();
  const second = await next.begin();
  const [again, executed] = first.runId === runId ? [first, second] : [second, first];
  t.like(again, { runId, attempt: 2, rejoinAttempt: 0 });
  t.is(executed.runId, child.runId);
  const joined = await api.runs.triggerTask({
    taskId: "child",
    parentRunId: runId,
    awaitingLease: again.lease,
    requestId,
  });
  t.like(
    joined,
    { runId: child.runId, isCached: false, isFinal: false },
    "TAW-10a: the same wait finds the same child",
  );
  await next.waits(again.lease, joined.runId);
  await next.completed(executed.lease);
  await next.resumed();
});

test("TAW-10: with no attempt left it crashes, and whoever waits for it goes on", async (t) => {
  const api = await startApi(t);
  const worker = await api.worker({ tasks: ["middle"] });
  const above = await api.worker({ tasks: ["top"] });
  const topId = await api.triggered("top");
  const top = await above.begin();
  const middle = await api.runs.triggerTask({
    taskId: "middle",
    parentRunId: topId,
    awaitingLease: top.lease,
    options: { maxAttempts: 1 },
  });
  await above.waits(top.lease, middle.runId);
  const { lease } = await worker.begin();
  const child = await api.runs.triggerTask({ taskId: "child", parentRunId: middle.runId, awaitingLease: lease });
  await worker.waits(lease, child.runId);
  worker.disconnect();
  await api.pass(MINUTE, above);
  t.is(await api.status(middle.runId), "CRASHED");
  t.is((await above.resumed()).runId, topId);
  t.is(await api.status(child.runId), "QUEUED");
});

test("RUN-7: interrupted while it waits, or is woken, a run costs no attempt and does not count towards the twenty", async (t) => {
  const api = await startApi(t);
  let worker = await api.worker({ tasks: ["parent"] });
  const runId = await api.triggered("parent", { maxAttempts: 1 });
  let childId = "";
  for (let deploy = 0; deploy < 25; deploy += 1) {
    const { lease, attempt } = await worker.begin();
    t.is(attempt, 1);
    const { runId: id } = await api.runs.triggerTask({
      taskId: "child",
      parentRunId: runId,
      awaitingLease: lease,
      requestId: "wait-1",
    });
    childId ||= id;
    t.is(id, childId, "TAW-10a: no second child");
    await worker.waits(lease, id);
    worker.credit(0);
    t.is((await worker.interrupted(lease)).case, "released");
    worker.disconnect();
    worker = await api.worker({ tasks: ["parent"] });
  }
  const { lease } = await worker.begin();
  await worker.waits(lease, childId);
  const other = await api.worker({ tasks: ["child"] });
  worker.credit(0);
  await other.finish();
  t.is(await api.status(runId), "QUEUED");
  t.is((await worker.interrupted(lease)).case, "released", "woken, and bound to a worker that stops");
  worker.credit(1);
  const last = await worker.begin();
  t.is(last.attempt, 1);
  const answer = await api.runs.triggerTask({
    taskId: "child",
    parentRunId: runId,
    awaitingLease: last.lease,
    requestId: "wait-1",
  });
  t.like(answer, { runId: childId, isFinal: true }, "a finished one answers at once");
  await worker.completed(last.lease);
  const { attempts, attemptCount } = await api.run(runId);
  t.is(attemptCount, 1);
  t.is(attempts.filter(({ outcome }) => outcome === AttemptOutcome.INTERRUPTED).length, 9, "the last ten are kept");
});

test("TAW-10a: after an ordinary failed attempt nothing is re-joined", async (t) => {
  const api = await startApi(t);
  const worker = await api.worker({ tasks: ["parent"] });
  await api.triggered("parent", { maxAttempts: 3 });
  const first = await worker.begin();
  t.is(first.rejoinAttempt, 0);
  await worker.failed(first.lease, {}, MINUTE);
  await api.pass(MINUTE + SECOND, worker);
  const second = await worker.begin();
  t.like(second, { attempt: 2, rejoinAttempt: 2 });
  await worker.interrupted(second.lease);
  t.like(await worker.begin(), { attempt: 2, rejoinAttempt: 2 });
});
