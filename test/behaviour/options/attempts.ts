/** How many attempts a run has, and how long each may be active (sections 6.3 and 6.4). */
import test from "ava";
import { startApi } from "../../support/api.js";

const SECOND = 1_000;

test("ATT-1, ATT-2: maxAttempts counts every attempt, of this run only; a task without settings has 3", async (t) => {
  const api = await startApi(t);
  const worker = await api.worker({ tasks: ["work"], credit: 3 });
  const once = await api.triggered("work", { maxAttempts: 1 });
  const { lease } = await worker.begin();
  t.is((await worker.failed(lease, {}, 0)).case, "finished", "asked to retry, but none is left");
  t.is(await api.status(once), "FAILED");

  const plain = await api.triggered("work");
  let attempt = await worker.begin();
  for (const number of [2, 3]) {
    const answer = await worker.failed(attempt.lease, {}, 0);
    if (answer.case !== "retry") return t.fail(`attempt ${number} was not granted`);
    t.is(answer.value.attempt, number);
    attempt = { ...attempt, lease: answer.value.lease };
  }
  t.is((await worker.failed(attempt.lease, {}, 0)).case, "finished");
  t.is(await api.status(plain), "FAILED");
  t.is((await api.run(plain)).attemptCount, 3);
});

test("ATT-3: maxAttempts below 1 is 1, above 250 is 250", async (t) => {
  const api = await startApi(t);
  const shown = async (maxAttempts: number) =>
    (await api.run(await api.triggered("work", { maxAttempts }))).maxAttempts;
  t.is(await shown(0), 1);
  t.is(await shown(-7), 1);
  t.is(await shown(250), 250);
  t.is(await shown(1_000), 250);
});

test("ATT-4, DUR-2: a replay takes neither maxAttempts nor maxDuration of the old run", async (t) => {
  const api = await startApi(t);
  const runId = await api.triggered("work", { maxAttempts: 9, maxDurationSeconds: 77 });
  const replay = await api.run((await api.runs.replayRun({ runId })).runId);
  t.is(replay.maxAttempts, undefined);
  t.is(replay.maxDurationSeconds, undefined);
});

test("DUR-1, DUR-2, DUR-5: maxDuration of the trigger wins over the task's, is at least 5 s, and may be none", async (t) => {
  const api = await startApi(t);
  const worker = await api.worker({ tasks: [{ id: "limited", maxDurationSeconds: 60 }, "free"] });
  const inForce = async (taskId: string, maxDurationSeconds?: number): Promise<number | undefined> => {
    await api.triggered(taskId, maxDurationSeconds === undefined ? {} : { maxDurationSeconds });
    return (await api.run((await worker.begin()).runId)).maxDurationSeconds;
  };
  t.is(await inForce("limited"), 60);
  t.is(await inForce("limited", 90), 90);
  t.is(await inForce("limited", 0), 60);
  t.is(await inForce("limited", 3), 5);
  t.is(await inForce("limited", 2_147_483_647), undefined);
  t.is(await inForce("free"), undefined);
  t.is(await inForce("free", 30), 30);
});

test("DUR-4, DUR-6: a run beyond its maxDuration is TIMED_OUT between the limit and 2 s after it, and never retried", async (t) => {
  const api = await startApi(t);
  const worker = await api.worker({ tasks: ["work"] });
  const runId = await api.triggered("work", { maxDurationSeconds: 20, maxAttempts: 5 });
  const { lease } = await worker.begin();
  await api.pass(20 * SECOND - 1, worker);
  t.is(await api.status(runId), "EXECUTING");
  await api.pass(2 * SECOND + 1, worker);
  const run = await api.run(runId);
  t.is(await api.status(runId), "TIMED_OUT");
  t.is(run.error?.code, "MAX_DURATION_EXCEEDED");
  t.is(run.attemptCount, 1);
  t.deepEqual((await worker.lost.take()).lease, lease, "the worker is told");
  t.not((await worker.completed(lease)).case, "retry");
  t.is(await api.status(runId), "TIMED_OUT", "what it returns later is dropped");
});

test("DUR-3: maxDuration counts per attempt, without the pause before a retry", async (t) => {
  const api = await startApi(t);
  const worker = await api.worker({ tasks: ["work"] });
  const runId = await api.triggered("work", { maxDurationSeconds: 10, maxAttempts: 2 });
  const { lease } = await worker.begin();
  await api.pass(8 * SECOND, worker);
  const retry = await worker.failed(lease, {}, 20 * SECOND);
  if (retry.case !== "retry") return t.fail("no retry");
  await api.pass(29 * SECOND, worker);
  t.is(await api.status(runId), "EXECUTING", "20 s of pause and 9 s of the second attempt");
  await worker.completed(retry.value.lease);
  const { activeDuration } = await api.run(runId);
  t.is(Number(activeDuration?.seconds), 17, "8 s and 9 s");
});
