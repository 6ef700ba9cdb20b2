/** Rescheduling and replaying (RUN-14, RUN-15). */
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import test from "ava";
import { RunStatus } from "#proto/hairtrigger/v1/run_pb.js";
import { refusal, startApi, timeMs } from "../../support/api.js";
import { oneOfEach } from "./one-of-each.js";

const SECOND = 1_000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;

test("RUN-14, DLY-5: a DELAYED run is moved earlier or later, in every form of a delay, and is answered whole", async (t) => {
  const api = await startApi(t);
  const runId = await api.triggered("work", { delay: "1h" });
  const nowMs = api.nowMs();
  const move = async (delaySpec: Parameters<typeof api.runs.rescheduleRun>[0]["delaySpec"]) => {
    const { run } = await api.runs.rescheduleRun({ runId, delaySpec });
    t.is(run?.taskId, "work");
    return timeMs(run?.delayedUntilTime);
  };
  t.is(await move({ case: "delay", value: "2h" }), nowMs + 2 * HOUR);
  t.is(await move({ case: "delay", value: "2026-12-01" }), Date.UTC(2026, 11, 1));
  t.is(await move({ case: "delayFor", value: { seconds: 90n, nanos: 0 } }), nowMs + 90 * SECOND);
  t.is(await move({ case: "delayUntil", value: timestampFromMs(nowMs + 30 * SECOND) }), nowMs + 30 * SECOND);
  const past = [
    { case: "delay", value: "2025-01-01" },
    { case: "delay", value: "soon" },
    { case: "delay", value: "36501d" },
    { case: "delayUntil", value: timestampFromMs(nowMs - 1) },
    { case: "delayFor", value: { seconds: -1n, nanos: 0 } },
  ] as const;
  for (const delaySpec of past) {
    const refused = await refusal(api.runs.rescheduleRun({ runId, delaySpec }));
    t.is(refused.code, "INVALID_ARGUMENT");
    t.is(refused.reason, "INVALID_DELAY", JSON.stringify(delaySpec.case));
    t.true(refused.message.includes("Invalid delay:"));
  }
  t.is((await refusal(api.runs.rescheduleRun({ runId }))).reason, "INVALID_REQUEST");
  t.is(timeMs((await api.run(runId)).delayedUntilTime), nowMs + 30 * SECOND);
  await api.advance(29_999);
  t.is(await api.status(runId), "DELAYED");
  await api.advance(1);
  t.is(await api.status(runId), "QUEUED", "at the new time, to the millisecond");
});

test("RUN-14, DLY-9: 0s means due now; what is not DELAYED cannot be rescheduled", async (t) => {
  const api = await startApi(t);
  const worker = await api.worker({ tasks: ["work"] });
  const runId = await api.triggered("work", { delay: "1h" });
  await api.runs.rescheduleRun({ runId, delaySpec: { case: "delay", value: "0s" } });
  await api.advance(SECOND);
  const { lease } = await worker.begin();
  await worker.completed(lease);
  const others = [runId, await api.triggered("other"), await api.triggered("other", { delay: "1h" })];
  await api.runs.cancelRun({ runId: others[2] ?? "" });
  for (const other of others) {
    const refused = await refusal(api.runs.rescheduleRun({ runId: other, delaySpec: { case: "delay", value: "1h" } }));
    t.is(refused.code, "FAILED_PRECONDITION");
    t.is(refused.reason, "RUN_NOT_DELAYED");
    t.true(refused.message.includes("Cannot reschedule a run that is not delayed"));
  }
  const unknown = { runId: `run_${"0".repeat(26)}`, delaySpec: { case: "delay", value: "1h" } } as const;
  t.is((await refusal(api.runs.rescheduleRun(unknown))).reason, "RUN_NOT_FOUND");
});

test("RUN-14: a run moved past its first due time does not start at the first", async (t) => {
  const api = await startApi(t);
  const worker = await api.worker({ tasks: ["work"] });
  const runId = await api.triggered("work", { delay: "10s" });
  await api.advance(5 * SECOND);
  await api.runs.rescheduleRun({ runId, delaySpec: { case: "delay", value: "20s" } });
  await api.pass(19 * SECOND, worker);
  t.is(await api.status(runId), "DELAYED");
  await api.pass(SECOND, worker);
  t.is((await worker.begin()).runId, runId);
});

test("RUN-15: a replay is a new run from any status, with payload, tags, metadata, queue, key and test flag, and nothing else", async (t) => {
  const api = await startApi(t);
  const parent = await api.triggered("parent");
  const original = await api.trigger("work", {
    payload: { json: '{"a":1}', jsonTypes: '{"a":"bigint"}' },
    isTest: true,
    parentRunId: parent,
    options: {
      idempotencyKey: "k",
      delay: "1h",
      ttl: "2h",
      tags: ["a"],
      metadata: { b: 2 },
      queue: { name: "named", concurrencyLimit: 3 },
      concurrencyKey: "tenant",
      maxAttempts: 9,
      maxDurationSeconds: 60,
      prioritySeconds: 5,
    },
  });
  await api.runs.addRunTags({ runId: original.runId, tags: ["later"] });
  const { runId } = await api.runs.replayRun({ runId: original.runId });
  t.not(runId, original.runId);
  const run = await api.run(runId);
  t.like(run, {
    status: RunStatus.QUEUED,
    taskId: "work",
    queueName: "named",
    concurrencyKey: "tenant",
    isTest: true,
    replayOfRunId: original.runId,
    idempotencyKey: "",
    ttl: "",
    maxAttempts: undefined,
    maxDurationSeconds: undefined,
    prioritySeconds: 0,
    depth: 0,
    delayedUntilTime: undefined,
  });
  t.like(run.payload ?? {}, { data: { case: "json", value: '{"a":1}' }, jsonTypes: '{"a":"bigint"}' });
  t.deepEqual(run.tags, ["a"]);
  t.deepEqual(JSON.parse(run.metadataJson), { b: 2 });
  t.is(run.relatedRuns?.parent, undefined);
  t.is(await api.status(original.runId), "DELAYED");
  t.true((await api.trigger("work", { options: { idempotencyKey: "k" } })).isCached, "the key stays with the original");
  const again = await api.run((await api.runs.replayRun({ runId })).runId);
  t.is(again.replayOfRunId, runId);
  t.deepEqual(again.tags, ["a"]);
});

test("RUN-15: runs of every status can be replayed; an unknown one is NOT_FOUND", async (t) => {
  const api = await startApi(t);
  for (const [status, runId] of await oneOfEach(api)) {
    const replay = await api.run((await api.runs.replayRun({ runId })).runId);
    t.is(replay.replayOfRunId, runId, status);
    t.is(await api.status(runId), status);
  }
  const unknown = await refusal(api.runs.replayRun({ runId: `run_${"0".repeat(26)}` }));
  t.is(unknown.code, "NOT_FOUND");
  t.is(unknown.reason, "RUN_NOT_FOUND");
});
