/** The life of a run (sections 12 and 13) as a worker and readers see it; cancels, and what a lost or late report does, are beside it. */
import test from "ava";
import { AttemptOutcome, FailureKind } from "#proto/hairtrigger/v1/run_pb.js";
import { refusal, type StatusName, startApi, statusName, timeMs } from "../support/api.js";
import "./lifecycle/cancel.js";
import "./lifecycle/fences.js";

const SECOND = 1_000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

test("RUN-4, RUN-5: a run is EXECUTING from its pick-up on; its times tell its life and updateTime rises with every change", async (t) => {
  const api = await startApi(t);
  const runId = await api.triggered("work", { delay: "1s", maxAttempts: 2 });
  const updates: number[] = [];
  const look = async () => {
    const run = await api.run(runId);
    updates.push(timeMs(run.updateTime) ?? 0);
    return run;
  };
  const created = await look();
  t.is(timeMs(created.createTime), api.nowMs());
  t.is(created.startTime, undefined);
  t.is(created.finishTime, undefined);
  await api.advance(2 * SECOND);
  t.is(statusName((await look()).status), "QUEUED");

  const worker = await api.worker({ tasks: ["work"] });
  const { lease } = await worker.assigned();
  const pickedUpMs = api.nowMs();
  const pickedUp = await look();
  t.is(statusName(pickedUp.status), "EXECUTING", "before the worker confirms");
  t.is(timeMs(pickedUp.startTime), pickedUpMs);
  t.is(pickedUp.workerId, worker.sessionId);
  await worker.started(lease);
  await look();
  await api.advance(5 * SECOND);
  const retry = await worker.failed(lease, {}, 2 * SECOND);
  const pausing = await look();
  t.is(statusName(pausing.status), "EXECUTING");
  t.is(pausing.attemptCount, 1, "the second attempt has not begun");
  t.is(timeMs(pausing.nextAttemptTime), api.nowMs() + 2 * SECOND);
  await api.advance(4 * SECOND);
  t.is((await look()).attemptCount, 2);
  if (retry.case !== "retry") return t.fail("no retry");
  await worker.completed(retry.value.lease, { data: { case: "json", value: '"done"' } });
  const finished = await look();
  t.is(statusName(finished.status), "COMPLETED");
  t.is(timeMs(finished.startTime), pickedUpMs, "later attempts do not move it");
  t.is(timeMs(finished.finishTime), api.nowMs());
  t.is(Number(finished.activeDuration?.seconds), 7, "5 s and 2 s, without the pause");
  const changed = [...new Set(updates)];
  t.deepEqual(
    changed,
    changed.toSorted((a, b) => a - b),
  );
  t.is(changed.length, 6, "created, due, picked up, confirmed, failed, completed");
});

test("RTY-4, RTY-14: attempts are numbered from 1, with the same payload, id and tags; each is shown with outcome and error", async (t) => {
  const api = await startApi(t);
  const worker = await api.worker({ tasks: ["work"] });
  const { runId } = await api.trigger("work", { payload: { json: "[1]" }, options: { tags: ["a"], maxAttempts: 3 } });
  const first = await worker.begin();
  t.is(first.attempt, 1);
  await api.runs.addRunTags({ runId, tags: ["b"] });
  t.is((await worker.failed(first.lease, { name: "TypeError", message: "one" }, 30 * SECOND)).case, "released");
  await api.pass(31 * SECOND, worker);
  const second = await worker.begin();
  t.is(second.attempt, 2);
  t.is(second.runId, runId);
  t.deepEqual(second.spec, first.spec);
  t.deepEqual(second.tags, ["a", "b"]);
  await worker.completed(second.lease, { data: { case: "json", value: "2" } });
  const { attempts, attemptCount, output, error } = await api.run(runId);
  t.is(attemptCount, 2);
  t.deepEqual(
    attempts.map(({ number, outcome, workerId }) => [number, outcome, workerId]),
    [
      [1, AttemptOutcome.FAILED, worker.sessionId],
      [2, AttemptOutcome.COMPLETED, worker.sessionId],
    ],
  );
  t.like(attempts[0]?.error ?? {}, { name: "TypeError", message: "one", code: "" });
  t.deepEqual(output?.data, { case: "json", value: "2" });
  t.is(error, undefined, "the run itself has no error");
});

test("RTY-5: below 30 s of pause a run stays EXECUTING on its worker and keeps its slot", async (t) => {
  const api = await startApi(t);
  const worker = await api.worker({ tasks: [{ id: "work", queue: { concurrencyLimit: 1 } }] });
  const runId = await api.triggered("work");
  const other = await api.triggered("work");
  const { lease } = await worker.begin();
  const answer = await worker.failed(lease, {}, 30 * SECOND - 1);
  if (answer.case !== "retry") return t.fail("not retried here");
  t.is(answer.value.attempt, 2);
  t.is(Number(answer.value.delay?.seconds), 29);
  t.notDeepEqual(answer.value.lease, lease);
  await api.pass(40 * SECOND, worker);
  t.is(await api.status(runId), "EXECUTING");
  t.is(await api.status(other), "QUEUED");
  t.is(worker.assignments.size, 0);
  t.is((await worker.completed(answer.value.lease)).case, "finished");
  t.is((await worker.begin()).runId, other);
});

test("RTY-5: from 30 s on a run is QUEUED, its slot free, and starts after the pause, in its old order, on any worker", async (t) => {
  const api = await startApi(t);
  const tasks = [{ id: "work", queue: { concurrencyLimit: 1 } }];
  const worker = await api.worker({ tasks });
  const runId = await api.triggered("work");
  await api.advance(1);
  const { lease } = await worker.begin();
  const second = await api.triggered("work");
  t.is((await worker.failed(lease, {}, 30 * SECOND)).case, "released");
  const other = await worker.begin();
  t.is(other.runId, second, "the slot is free");
  t.is(await api.status(runId), "QUEUED");
  t.is(timeMs((await api.run(runId)).nextAttemptTime), api.nowMs() + 30 * SECOND);
  const third = await api.triggered("work");
  await api.pass(29 * SECOND, worker);
  await worker.completed(other.lease);
  const early = await worker.begin();
  t.is(early.runId, third, "not before the pause is over");
  await api.pass(5 * SECOND, worker);
  const fourth = await api.triggered("work", { prioritySeconds: 1 });
  worker.credit(0);
  const elsewhere = await api.worker({ tasks });
  await worker.completed(early.lease);
  const again = await elsewhere.begin();
  t.is(again.runId, runId, "its order value is still that of its trigger");
  t.is(again.attempt, 2);
  t.is(await api.status(fourth), "QUEUED");
});

test("RTY-1, RTY-6, ATT-2: a worker cannot go beyond the attempts of its task's policy, by default 3", async (t) => {
  const api = await startApi(t);
  const worker = await api.worker({ tasks: ["plain", { id: "five", retry: { maxAttempts: 5 } }] });
  for (const [taskId, expected] of [
    ["plain", 3],
    ["five", 5],
  ] as const) {
    const runId = await api.triggered(taskId);
    let { lease } = await worker.begin();
    for (let attempt = 1; ; attempt += 1) {
      const answer = await worker.failed(lease, {}, 0);
      if (answer.case !== "retry") {
        t.is(attempt, expected);
        t.is(answer.case, "finished");
        break;
      }
      lease = answer.value.lease;
    }
    t.is(await api.status(runId), "FAILED");
  }
});

/** §12.3: code → final status, and whether the retry that the worker asks for is granted. */
const CAUSES: readonly (readonly [code: string, status: StatusName, isRetried: boolean])[] = [
  ["", "FAILED", true],
  ["TASK_MIDDLEWARE_ERROR", "FAILED", true],
  ["TASK_INPUT_ERROR", "FAILED", false],
  ["TASK_OUTPUT_ERROR", "FAILED", false],
  ["HANDLE_ERROR_ERROR", "CRASHED", false],
  ["TASK_DID_CONCURRENT_WAIT", "SYSTEM_FAILURE", false],
  ["TASK_PROCESS_EXITED", "CRASHED", true],
  ["PAYLOAD_STORE_UNAVAILABLE", "SYSTEM_FAILURE", true],
];

test("RES-7, RTY-2: the code of a failure decides whether it is retried and the final status; engine errors are named by it", async (t) => {
  const api = await startApi(t);
  const worker = await api.worker({ tasks: ["work"], credit: 50 });
  for (const [code, status, isRetried] of CAUSES) {
    const failure = code === "" ? {} : { code, name: code, kind: FailureKind.ENGINE };
    const again = await api.triggered("work", { maxAttempts: 2 });
    const answer = await worker.failed((await worker.begin()).lease, failure, 0);
    t.is(answer.case, isRetried ? "retry" : "finished", code);
    if (answer.case === "retry") await worker.failed(answer.value.lease, failure, 0);
    const run = await api.run(again);
    t.is(statusName(run.status), status, code);
    t.is(run.error?.code ?? "", code);
    t.is(run.error?.name ?? "", code === "" ? "Error" : code);
    t.is(run.output, undefined);
  }
});

test("RES-6, RES-7: a stored error is trimmed; a thrown string has only its message", async (t) => {
  const api = await startApi(t);
  const worker = await api.worker({ tasks: ["work"] });
  const frames = Array.from({ length: 100 }, (_, index) => `    at f${index} (${"x".repeat(2_000)})`);
  const failureOf = async (failure: Parameters<typeof worker.failed>[1]) => {
    const runId = await api.triggered("work");
    await worker.failed((await worker.begin()).lease, failure);
    return (await api.run(runId)).error;
  };
  const long = await failureOf({ message: `\0${"ü".repeat(2_000)}`, stackTrace: ["Error: x", ...frames].join("\n") });
  t.is(long?.message ?? "", "ü".repeat(1_000));
  const kept = (long?.stackTrace ?? "").split("\n").filter((line) => line.startsWith("    at "));
  t.is(kept.length, 50);
  t.true(kept.every((line) => line.length <= 1_024));
  t.true(kept[4]?.startsWith("    at f4 "));
  t.true(kept[5]?.startsWith("    at f55 "));
  const thrown = await failureOf({ kind: FailureKind.STRING, name: "", message: "just text" });
  t.like(thrown ?? {}, { name: "", message: "just text", code: "", kind: FailureKind.STRING });
});

test("RES-8, PAY-7: an output may be undefined; one above the limit fails the run for good", async (t) => {
  const api = await startApi(t, { limits: { outputBytesMax: 10 } });
  const worker = await api.worker({ tasks: ["work"] });
  const nothing = await api.triggered("work");
  await worker.finish();
  t.is(await api.status(nothing), "COMPLETED");
  t.is((await api.run(nothing)).output?.data.case, undefined);
  const fits = await api.triggered("work");
  await worker.finish({ data: { case: "json", value: '"0123456789"' } });
  t.is(await api.status(fits), "COMPLETED");
  const large = await api.triggered("work");
  await worker.finish({ data: { case: "json", value: '"01234567890"' } });
  t.is(await api.status(large), "FAILED");
  t.is((await api.run(large)).error?.code, "TASK_OUTPUT_ERROR");
});

test("RUN-9: finished runs are kept for 30 days, then NOT_FOUND; live ones stay", async (t) => {
  const api = await startApi(t);
  const worker = await api.worker({ tasks: ["work"], credit: 1 });
  const runId = await api.triggered("work");
  await worker.finish();
  const live = await api.triggered("work");
  await api.server.clock.jump(30 * DAY - MINUTE);
  await api.advance(30 * SECOND);
  t.is(await api.status(runId), "COMPLETED");
  await api.advance(3 * MINUTE);
  t.is((await refusal(api.run(runId))).reason, "RUN_NOT_FOUND");
  t.is(await api.status(live), "QUEUED");
  t.is(await api.count(), 1);
});

test("RUN-9: a finished run is kept for 24 hours from creation, and an hour longer than its key, whatever is configured", async (t) => {
  const api = await startApi(t, { limits: { finishedRunsKeptMs: 0 } });
  const plain = await api.triggered("work");
  const keyed = await api.triggered("work", { idempotencyKey: "k", idempotencyKeyTtl: "48h" });
  for (const runId of [plain, keyed]) await api.runs.cancelRun({ runId });
  await api.server.clock.jump(DAY - MINUTE);
  await api.advance(30 * SECOND);
  t.is(await api.status(plain), "CANCELED");
  await api.advance(3 * MINUTE);
  t.is((await refusal(api.run(plain))).reason, "RUN_NOT_FOUND");
  await api.server.clock.jump(DAY + 55 * MINUTE);
  await api.advance(MINUTE);
  t.is(await api.status(keyed), "CANCELED");
  await api.advance(10 * MINUTE);
  t.is((await refusal(api.run(keyed))).reason, "RUN_NOT_FOUND");
});
