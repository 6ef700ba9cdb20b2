/** Fences: late, repeated and forged reports (RUN-8), and calls that are bound to an attempt. */
import test from "ava";
import { refusal, startApi, timeMs } from "../../support/api.js";

const SECOND = 1_000;

test("RUN-8: a report under the lease of an earlier attempt is lost and changes nothing", async (t) => {
  const api = await startApi(t);
  const worker = await api.worker({ tasks: ["work"] });
  const runId = await api.triggered("work", { maxAttempts: 5 });
  const { lease } = await worker.begin();
  const first = await worker.failed(lease, {}, 0);
  if (first.case !== "retry") return t.fail("no retry");
  const second = await worker.failed(first.value.lease, {}, 0);
  if (second.case !== "retry") return t.fail("no retry");
  const before = await api.run(runId);
  t.is((await worker.completed(lease)).case, "lost");
  t.is((await worker.failed(lease, {}, 0)).case, "lost");
  t.is((await worker.interrupted(lease)).case, "lost");
  t.is((await worker.timedOut(lease)).case, "lost");
  t.is((await worker.started(lease)).case, "lost");
  t.deepEqual(await api.run(runId), before);
  t.is((await worker.completed(second.value.lease)).case, "finished");
  t.is(await api.status(runId), "COMPLETED");
});

test("RUN-8: a worker that lost a run to another changes nothing by a late report", async (t) => {
  const api = await startApi(t);
  const slow = await api.worker({ tasks: ["work"], credit: 1 });
  const runId = await api.triggered("work");
  const old = await slow.assigned();
  await api.advance(11 * SECOND);
  const other = await api.worker({ tasks: ["work"] });
  const { lease, attempt } = await other.begin();
  t.is(attempt, 1, "the pick-up that was never confirmed does not count");
  t.is((await slow.completed(old.lease, { data: { case: "json", value: '"late"' } })).case, "lost");
  t.is((await slow.completed(lease)).case, "lost", "nor by the lease of the other");
  t.is(await api.status(runId), "EXECUTING");
  await other.completed(lease, { data: { case: "json", value: '"right"' } });
  t.deepEqual((await api.run(runId)).output?.data, { case: "json", value: '"right"' });
});

test("RUN-8: leases of another environment, forged ones and malformed ones are lost", async (t) => {
  const api = await startApi(t);
  const worker = await api.worker({ tasks: ["work"] });
  const runId = await api.triggered("work");
  const { lease } = await worker.begin();
  const forged = Uint8Array.from(lease);
  forged[forged.length - 1] = (forged.at(-1) ?? 0) + 1;
  for (const bytes of [forged, new Uint8Array(20), new Uint8Array(3), new Uint8Array(64).fill(255)]) {
    t.is((await worker.completed(bytes)).case, "lost");
  }
  t.is(await api.status(runId), "EXECUTING");
  t.is((await worker.completed(lease)).case, "finished");
});

test("RUN-8: a repeat of the last applied report is acknowledged again, with what follows from it now", async (t) => {
  const api = await startApi(t);
  const worker = await api.worker({ tasks: ["work"], credit: 20 });
  const completed = await api.triggered("work");
  const one = await worker.begin();
  for (let repeat = 0; repeat < 3; repeat += 1) t.is((await worker.completed(one.lease)).case, "finished");
  t.is((await api.run(completed)).attempts.length, 1);

  const failed = await api.triggered("work", { maxAttempts: 2 });
  const two = await worker.begin();
  const retry = await worker.failed(two.lease, {}, 20 * SECOND);
  await api.advance(5 * SECOND);
  const again = await worker.failed(two.lease, {}, 20 * SECOND);
  if (retry.case !== "retry" || again.case !== "retry") return t.fail("no retry");
  t.deepEqual(again.value.lease, retry.value.lease);
  t.is(again.value.attempt, 2);
  t.is(Number(again.value.delay?.seconds), 15, "what is left of the pause");
  t.is((await api.run(failed)).attempts.length, 1, "it failed once");

  await api.triggered("work");
  const three = await worker.begin();
  worker.credit(0);
  await worker.heartbeat();
  t.is((await worker.interrupted(three.lease)).case, "released");
  t.is((await worker.interrupted(three.lease)).case, "released");
  t.is((await api.run(three.runId)).attempts.length, 1);

  await api.advance(1);
  await api.triggered("work", { maxAttempts: 2 });
  worker.credit(1);
  const four = await worker.begin();
  t.is(four.runId, three.runId, "it was first in the queue");
  worker.credit(1);
  const five = await worker.begin();
  t.is((await worker.failed(five.lease, {}, 60 * SECOND)).case, "released");
  t.is((await worker.failed(five.lease, {}, 60 * SECOND)).case, "released");
});

test("RUN-8: several reports in one message are each answered, in order", async (t) => {
  const api = await startApi(t);
  const worker = await api.worker({ tasks: ["work"] });
  const ids = [await api.triggered("work"), await api.triggered("work"), await api.triggered("work")];
  const [one, two, three] = [await worker.assigned(), await worker.assigned(), await worker.assigned()];
  const answers = [
    worker.report(one.lease, {
      started: [{ lease: one.lease }, { lease: two.lease }],
      completed: [{ lease: one.lease }, { lease: three.lease }],
    }),
    worker.report(one.lease, {}),
    worker.report(two.lease, {}),
    worker.report(three.lease, {}),
  ];
  t.deepEqual(
    (await Promise.all(answers)).map((answer) => answer.case),
    ["goOn", "finished", "goOn", "finished"],
  );
  t.deepEqual(await Promise.all(ids.map((runId) => api.status(runId))), ["COMPLETED", "EXECUTING", "COMPLETED"]);
});

test("RUN-8, TAG-2: tags from inside a run hold only while that attempt does", async (t) => {
  const api = await startApi(t);
  const worker = await api.worker({ tasks: ["work"] });
  const runId = await api.triggered("work", { maxAttempts: 3 });
  const { lease } = await worker.begin();
  const attempt = { sessionId: worker.sessionId, attempt: 1 };
  t.deepEqual((await api.runs.addRunTags({ runId, tags: ["a"], attempt })).tags, ["a"]);
  await worker.failed(lease, {}, 0);
  for (const stale of [attempt, { sessionId: `session_${"z".repeat(26)}`, attempt: 2 }]) {
    const refused = await refusal(api.runs.addRunTags({ runId, tags: ["late"], attempt: stale }));
    t.is(refused.code, "FAILED_PRECONDITION");
    t.is(refused.reason, "STALE_LEASE");
  }
  t.deepEqual((await api.run(runId)).tags, ["a"]);
  t.deepEqual((await api.runs.addRunTags({ runId, tags: ["b"], attempt: { ...attempt, attempt: 2 } })).tags, [
    "a",
    "b",
  ]);
});

test("RUN-5: the start of a run is removed if its first pick-up is never confirmed, and is that of the next", async (t) => {
  const api = await startApi(t);
  const silent = await api.worker({ tasks: ["work"], credit: 1 });
  const runId = await api.triggered("work");
  await silent.assigned();
  t.is(timeMs((await api.run(runId)).startTime), api.nowMs());
  await api.advance(11 * SECOND);
  const returned = await api.run(runId);
  t.is(returned.startTime, undefined);
  t.is(returned.attemptCount, 0);
  t.deepEqual(returned.attempts, []);
  const worker = await api.worker({ tasks: ["work"] });
  await worker.begin();
  t.is(timeMs((await api.run(runId)).startTime), api.nowMs());
  t.is((await api.run(runId)).attemptCount, 1);
});
