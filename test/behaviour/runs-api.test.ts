/** Runs as every generated client sees them (section 18.1); lists, watching and steering are in the modules beside it. */
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import test from "ava";
import { AttemptOutcome, LogLevel, RunStatus, TriggerFunction } from "#proto/hairtrigger/v1/run_pb.js";
import { startApi, statusName, timeMs } from "../support/api.js";
import { oneOfEach } from "./runs-api/one-of-each.js";
import "./runs-api/bulk.js";
import "./runs-api/lists.js";
import "./runs-api/metadata.js";
import "./runs-api/steer.js";
import "./runs-api/watch.js";
import "./runs-api/watch-many.js";
import "./runs-api/watch-restart.js";

test("RUN-10: a run is shown with all it has", async (t) => {
  const api = await startApi(t);
  const worker = await api.worker({ tasks: ["work"] });
  const { runId } = await api.trigger("work", {
    payload: { value: { to: "a@b.c" } },
    isTest: true,
    triggerFunction: "TRIGGER_FUNCTION_BATCH_TRIGGER",
    options: {
      idempotencyKey: "order-1",
      ttl: "1h",
      tags: ["a", "b"],
      metadata: { customer: "acme" },
      queue: { name: "named" },
      concurrencyKey: "tenant",
      prioritySeconds: 1.5,
      maxAttempts: 4,
      maxDurationSeconds: 600,
    },
  });
  const child = await api.trigger("child", { parentRunId: runId });
  const { lease } = await worker.begin();
  await api.advance(1_500);
  await worker.completed(lease, { data: { case: "json", value: '{"sent":true}' } });
  const run = await api.run(runId);
  t.like(run, {
    id: runId,
    status: RunStatus.COMPLETED,
    taskId: "work",
    idempotencyKey: "order-1",
    isTest: true,
    ttl: "1h",
    queueName: "named",
    concurrencyKey: "tenant",
    prioritySeconds: 1.5,
    maxAttempts: 4,
    maxDurationSeconds: 600,
    workerId: worker.sessionId,
    depth: 0,
    batchId: "",
    triggerFunction: TriggerFunction.BATCH_TRIGGER,
    attemptCount: 1,
    replayOfRunId: "",
    error: undefined,
    waitingFor: undefined,
    nextAttemptTime: undefined,
    payloadPresignedUrl: "",
  });
  t.deepEqual(run.tags, ["a", "b"]);
  t.deepEqual(JSON.parse(run.metadataJson), { customer: "acme" });
  t.deepEqual(run.payload?.data, { case: "json", value: '{"to":"a@b.c"}' });
  t.deepEqual(run.output?.data, { case: "json", value: '{"sent":true}' });
  t.deepEqual([Number(run.activeDuration?.seconds), run.activeDuration?.nanos], [1, 500_000_000]);
  t.like(run.attempts[0] ?? {}, { number: 1, outcome: AttemptOutcome.COMPLETED, workerId: worker.sessionId });
  t.is((timeMs(run.attempts[0]?.finishTime) ?? 0) - (timeMs(run.attempts[0]?.startTime) ?? 0), 1_500);
  t.like(run.relatedRuns?.children[0] ?? {}, { id: child.runId, status: RunStatus.QUEUED, taskId: "child", depth: 1 });
});

test("RUN-10: the first 100 children and the last 10 attempts are shown", async (t) => {
  const api = await startApi(t);
  const worker = await api.worker({ tasks: ["work"] });
  const runId = await api.triggered("work", { maxAttempts: 12 });
  const children = Array.from({ length: 120 }, () => ({ taskId: "child", parentRunId: runId }));
  await api.runs.triggerTasks({ items: children });
  let { lease } = await worker.begin();
  for (;;) {
    const answer = await worker.failed(lease, {}, 0);
    if (answer.case !== "retry") break;
    lease = answer.value.lease;
  }
  const { attempts, attemptCount, relatedRuns } = await api.run(runId);
  t.is(attemptCount, 12);
  t.deepEqual(
    attempts.map(({ number }) => number),
    [3, 4, 5, 6, 7, 8, 9, 10, 11, 12],
  );
  t.is(relatedRuns?.children.length, 100);
});

test("LOG-1: the last 200 lines of a run, at most 16 KB of them, are kept with it", async (t) => {
  const api = await startApi(t);
  const worker = await api.worker({ tasks: ["work"] });
  const log = (runId: string, from: number, count: number, size: number) => {
    const lines = Array.from({ length: count }, (_, index) => ({
      time: timestampFromMs(api.nowMs()),
      level: LogLevel.INFO,
      attempt: 1,
      message: `${from + index}`.padEnd(size, "."),
    }));
    worker.send({ logs: [{ runId, lines }] });
    return worker.heartbeat();
  };
  const short = await api.triggered("work");
  for (let from = 0; from < 250; from += 50) await log(short, from, 50, 4);
  const kept = (await api.run(short)).logs;
  t.is(kept.length, 200);
  t.is(kept[0]?.message, "50..");
  t.like(kept.at(-1) ?? {}, { message: "249.", level: LogLevel.INFO, attempt: 1 });

  const long = await api.triggered("work");
  await log(long, 0, 20, 2_000);
  const lines = (await api.run(long)).logs;
  t.true(lines.length >= 7 && lines.length <= 8, `${lines.length} lines of 2,000 bytes`);
  t.true(lines.at(-1)?.message.startsWith("19."));
  await log(`run_${"0".repeat(26)}`, 0, 1, 4);
});

test("RUN-11, RUN-3: output only of a COMPLETED run, error in every other final status, neither while it lives", async (t) => {
  const api = await startApi(t);
  for (const [status, runId] of await oneOfEach(api)) {
    const run = await api.run(runId);
    t.is(statusName(run.status), status);
    t.is(run.output !== undefined, status === "COMPLETED", status);
    const isFailed = !["COMPLETED", "DELAYED", "QUEUED", "EXECUTING"].includes(status);
    t.is(run.error !== undefined, isFailed, status);
    t.is(run.finishTime !== undefined, isFailed || status === "COMPLETED", status);
    t.is(run.expiredTime !== undefined, status === "EXPIRED", status);
  }
});

test("RUN-13: a run can be retrieved and listed as soon as its trigger has been answered", async (t) => {
  const api = await startApi(t);
  await Promise.all(
    Array.from({ length: 40 }, async () => {
      const runId = await api.triggered("work");
      t.is(await api.status(runId), "QUEUED");
      const { runs } = await api.runs.listRuns({ pageSize: 100 });
      t.true(runs.some(({ id }) => id === runId));
    }),
  );
});
