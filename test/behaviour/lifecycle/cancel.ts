/** Cancellation (section 12.5). */
import test from "ava";
import { AttemptOutcome, RunStatus } from "#proto/hairtrigger/v1/run_pb.js";
import { refusal, startApi, timeMs } from "../../support/api.js";

const SECOND = 1_000;
const MINUTE = 60 * SECOND;

test("CAN-1: the reason becomes the error, by default `Canceled by user`; a final run stays as it is; an unknown one is NOT_FOUND", async (t) => {
  const api = await startApi(t);
  const plain = await api.triggered("work");
  const answer = await api.runs.cancelRun({ runId: plain });
  t.deepEqual([answer.runId, answer.status], [plain, RunStatus.CANCELED]);
  const { error, finishTime } = await api.run(plain);
  t.like(error ?? {}, { message: "Canceled by user", code: "TASK_RUN_CANCELLED", name: "TASK_RUN_CANCELLED" });
  t.is(timeMs(finishTime), api.nowMs());

  await api.advance(SECOND);
  t.is((await api.runs.cancelRun({ runId: plain, reason: "again" })).status, RunStatus.CANCELED);
  t.is((await api.run(plain)).error?.message, "Canceled by user");
  t.deepEqual((await api.run(plain)).finishTime, finishTime);

  const worker = await api.worker({ tasks: ["work"] });
  const done = await api.triggered("work");
  await worker.finish();
  t.is((await api.runs.cancelRun({ runId: done })).status, RunStatus.COMPLETED);
  t.is(await api.status(done), "COMPLETED");

  const told = await api.triggered("other");
  await api.runs.cancelRun({ runId: told, reason: `no longer needed ${"x".repeat(2_000)}` });
  t.is((await api.run(told)).error?.message.length, 1_000);
  const unknown = `run_${"0".repeat(26)}`;
  const refused = await refusal(api.runs.cancelRun({ runId: unknown }));
  t.is(refused.reason, "RUN_NOT_FOUND");
  t.true(refused.message.includes(`Run ${unknown} not found`));
  t.is((await refusal(api.as(api.server.prodKey).runs.cancelRun({ runId: told }))).reason, "RUN_NOT_FOUND");
});

test("CAN-2: DELAYED and QUEUED runs are CANCELED at once, out of the queue, their timers dropped", async (t) => {
  const api = await startApi(t);
  const delayed = await api.triggered("work", { delay: "10s" });
  const queued = await api.triggered("work", { ttl: "10s" });
  for (const runId of [delayed, queued]) await api.runs.cancelRun({ runId });
  t.is((await api.queue("task/work")).queued, 0);
  await api.advance(MINUTE);
  const worker = await api.worker({ tasks: ["work"] });
  await worker.heartbeat();
  t.is(worker.assignments.size, 0);
  for (const runId of [delayed, queued]) {
    t.is(await api.status(runId), "CANCELED");
    t.is((await api.run(runId)).attemptCount, 0);
  }
});

test("CAN-3: an EXECUTING run is CANCELED at once for readers; its worker is told, and what it returns late is dropped", async (t) => {
  const api = await startApi(t);
  const worker = await api.worker({ tasks: ["work"] });
  const runId = await api.triggered("work");
  const { lease } = await worker.begin();
  await api.runs.cancelRun({ runId, reason: "enough" });
  const run = await api.run(runId);
  t.is(run.status, RunStatus.CANCELED);
  t.is(run.attempts[0]?.outcome, AttemptOutcome.CANCELED);
  t.like(await worker.cancels.take(), { runId, reason: "enough", lease });
  t.is((await worker.completed(lease, { data: { case: "json", value: "1" } })).case, "finished");
  const after = await api.run(runId);
  t.is(after.status, RunStatus.CANCELED);
  t.is(after.output, undefined);
  t.is(worker.leases.length, 0);
});

test("CAN-3, CAN-7: a run cancelled in a short retry pause makes no further attempt, and its worker reports the end at once", async (t) => {
  const api = await startApi(t);
  const worker = await api.worker({ tasks: [{ id: "work", queue: { concurrencyLimit: 1 } }] });
  const runId = await api.triggered("work", { maxAttempts: 3 });
  const { lease } = await worker.begin();
  const retry = await worker.failed(lease, {}, 10 * SECOND);
  if (retry.case !== "retry") return t.fail("no retry");
  await api.runs.cancelRun({ runId });
  t.deepEqual((await worker.cancels.take()).lease, retry.value.lease);
  t.is((await worker.ended(retry.value.lease)).case, "finished");
  t.is((await api.queue("task/work")).running, 0);
  await api.pass(20 * SECOND, worker);
  const { attemptCount, attempts } = await api.run(runId);
  t.is(attemptCount, 1, "the second attempt never began");
  t.deepEqual(
    attempts.map(({ outcome }) => outcome),
    [AttemptOutcome.FAILED],
  );
});

test("CAN-7: no attempt starts after a cancel, even if a retry was pending in the queue", async (t) => {
  const api = await startApi(t);
  const worker = await api.worker({ tasks: ["work"] });
  const runId = await api.triggered("work", { maxAttempts: 3 });
  const { lease } = await worker.begin();
  await worker.failed(lease, {}, MINUTE);
  await api.runs.cancelRun({ runId });
  await api.pass(2 * MINUTE, worker);
  t.is(worker.assignments.size, 0);
  t.is(await api.status(runId), "CANCELED");
  t.is(worker.cancels.size, 0, "nobody holds it");
});

test("CAN-4: a cancel cascades to all live children, recursively and with its reason, and to nothing else", async (t) => {
  const api = await startApi(t);
  const worker = await api.worker({ tasks: ["parent", "running"] });
  const within = async (taskId: string, parentRunId: string, options = {}): Promise<string> =>
    (await api.trigger(taskId, { parentRunId, options })).runId;
  const parent = await api.triggered("parent");
  await worker.begin();
  const queued = await within("queued", parent);
  const delayed = await within("queued", parent, { delay: "1h" });
  const done = await within("running", parent);
  await worker.finish();
  const running = await within("running", queued);
  const { lease } = await worker.begin();
  const below = await within("queued", running);
  const belowDone = await within("queued", done);
  const stranger = await api.triggered("queued");
  const crowd = Array.from({ length: 450 }, () => ({ taskId: "queued", parentRunId: delayed }));
  await api.runs.triggerTasks({ items: crowd });

  await api.runs.cancelRun({ runId: parent, reason: "stop all" });
  for (const runId of [parent, queued, delayed, running, below]) {
    t.is(await api.status(runId), "CANCELED");
    t.is((await api.run(runId)).error?.message, "stop all");
  }
  t.is(await api.status(done), "COMPLETED");
  t.is(await api.status(belowDone), "QUEUED", "the cascade goes through live runs only");
  t.is(await api.status(stranger), "QUEUED");
  t.is((await api.queue("task/queued")).queued, 2, "all of a crowd of children");
  const told = [await worker.cancels.take(), await worker.cancels.take()];
  t.true(told.some((cancel) => Buffer.from(cancel.lease).equals(lease)));
  t.true(told.every(({ reason }) => reason === "stop all"));
});

test("CAN-4: a child triggered inside a run that is CANCELED already is a run like any other", async (t) => {
  const api = await startApi(t);
  const parentRunId = await api.triggered("parent");
  await api.runs.cancelRun({ runId: parentRunId });
  const { runId } = await api.trigger("child", { parentRunId });
  await api.advance(10 * SECOND);
  t.is(await api.status(runId), "QUEUED", "fire-and-forget works after the parent has finished (TRG-8)");
});

test("CAN-8: of a cancel and a completion at once exactly one wins, and all see the same", async (t) => {
  const api = await startApi(t);
  const worker = await api.worker({ tasks: ["work"], credit: 40 });
  const outcomes = new Set<string>();
  for (let round = 0; round < 20; round += 1) {
    const runId = await api.triggered("work");
    const { lease } = await worker.begin();
    const complete = () => worker.completed(lease, { data: { case: "json", value: "1" } });
    const cancel = () => api.runs.cancelRun({ runId });
    const [first, second] = round % 2 === 0 ? [complete(), cancel()] : [cancel(), complete()];
    const answers = await Promise.all([first, second]);
    const status = await api.status(runId);
    const cancelled = answers.find((answer) => "status" in answer);
    const run = await api.run(runId);
    t.is(RunStatus[cancelled?.status ?? 0] ?? "", status);
    t.is(run.output !== undefined, status === "COMPLETED");
    t.is(run.error !== undefined, status === "CANCELED");
    t.is(run.attempts.length, 1);
    outcomes.add(status);
  }
  for (const status of outcomes) t.true(["COMPLETED", "CANCELED"].includes(status));
});
