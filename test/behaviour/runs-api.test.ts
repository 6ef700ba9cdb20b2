/** Reading and steering runs (sections 18.1, 18.2 without bulk actions, RUN-23), as every generated client sees them. */
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { runs as sdkRuns } from "@hairtrigger/sdk";
import test from "ava";
import type { RunListItem } from "#proto/hairtrigger/v1/run_pb.js";
import { AttemptOutcome, LogLevel, RunStatus, TriggerFunction } from "#proto/hairtrigger/v1/run_pb.js";
import { refusal, type StatusName, startApi, statusName, type TestApi, timeMs } from "../support/api.js";

const SECOND = 1_000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

// ── retrieve ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

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

// ── reschedule and replay ──────────────────────────────────────────────────────────────────────────────────────────────────────────

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

// ── lists ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

const ids = (runs: readonly RunListItem[]): readonly string[] => runs.map(({ id }) => id);

test("RUN-17, TAG-6: filters are combined by and, the values of one by or", async (t) => {
  const api = await startApi(t);
  const made = new Map<string, string>();
  const make = async (name: string, taskId: string, options = {}, isTest = false): Promise<void> => {
    await api.advance(1);
    made.set(name, (await api.trigger(taskId, { isTest, options })).runId);
  };
  await make("a", "send", { tags: ["x", "y"] });
  await make("b", "send", { tags: ["y"], delay: "1h" });
  await make("c", "render", { tags: ["X"] }, true);
  await make("d", "render", { queue: { name: "named" }, tags: ["x"] });
  await api.runs.cancelRun({ runId: made.get("d") });
  const listed = async (filter: Parameters<typeof api.runs.listRuns>[0]["filter"]): Promise<string> => {
    const { runs } = await api.runs.listRuns({ filter });
    return ids(runs)
      .map((id) => [...made].find(([, runId]) => runId === id)?.[0])
      .toReversed()
      .join("");
  };
  t.is(await listed({}), "abcd");
  t.is(await listed({ taskIds: ["send"] }), "ab");
  t.is(await listed({ taskIds: ["send", "render"] }), "abcd");
  t.is(await listed({ taskIds: ["unknown"] }), "");
  t.is(await listed({ statuses: [RunStatus.QUEUED] }), "ac");
  t.is(await listed({ statuses: [RunStatus.DELAYED, RunStatus.CANCELED] }), "bd");
  t.is(await listed({ tags: ["x"] }), "ad", "case-sensitive");
  t.is(await listed({ tags: ["x", "y"] }), "abd", "with any of them, each once");
  t.is(await listed({ queues: ["named"] }), "d");
  t.is(await listed({ queues: ["named", "task/render"] }), "cd");
  t.is(await listed({ isTest: true }), "c");
  t.is(await listed({ isTest: false }), "abd");
  t.is(await listed({ tags: ["x", "y"], statuses: [RunStatus.QUEUED], taskIds: ["send"] }), "a");
  t.is(await listed({ tags: ["x"], taskIds: ["render"], isTest: true }), "");
});

test("RUN-17, RUN-18, DUR-G5: without a time filter all runs are listed; from, to and period bound their creation", async (t) => {
  const api = await startApi(t);
  const first = await api.triggered("work");
  const startMs = api.nowMs();
  await api.server.clock.jump(40 * DAY);
  const second = await api.triggered("work");
  await api.server.clock.jump(HOUR);
  const third = await api.triggered("work");
  const listed = async (filter: Parameters<typeof api.runs.listRuns>[0]["filter"]) =>
    ids((await api.runs.listRuns({ filter })).runs);
  t.deepEqual(await listed({}), [third, second, first], "newest first");
  t.deepEqual(await listed({ periodSpec: { case: "period", value: "1h" } }), [third, second]);
  t.deepEqual(await listed({ periodSpec: { case: "period", value: "59m59s" } }), [third]);
  t.deepEqual(await listed({ periodSpec: { case: "periodFor", value: { seconds: 3_600n, nanos: 0 } } }), [
    third,
    second,
  ]);
  t.deepEqual(
    await listed({ fromTime: timestampFromMs(startMs + 40 * DAY) }),
    [third, second],
    "at this time or later",
  );
  t.deepEqual(await listed({ toTime: timestampFromMs(startMs + 40 * DAY) }), [first], "before this time");
  const both = { fromTime: timestampFromMs(startMs + 1), toTime: timestampFromMs(startMs + 40 * DAY + 1) };
  t.deepEqual(await listed(both), [second]);
  for (const value of ["soon", "-1h", "1 h", ""]) {
    const refused = await refusal(listed({ periodSpec: { case: "period", value } }));
    t.is(refused.reason, "INVALID_DURATION", value);
  }
});

test("RUN-18, RUN-19: runs made while somebody pages neither repeat nor hide any; the page before leads back to them", async (t) => {
  const api = await startApi(t);
  const made: string[] = [];
  const make = async (): Promise<void> => {
    await api.advance(1);
    made.unshift(await api.triggered("work"));
  };
  for (let count = 0; count < 7; count += 1) await make();
  const seven = [...made];
  const first = await api.runs.listRuns({ pageSize: 3 });
  t.is(first.previousPageToken, "");
  await make();
  const second = await api.runs.listRuns({ pageSize: 3, pageToken: first.nextPageToken });
  await make();
  const third = await api.runs.listRuns({ pageSize: 3, pageToken: second.nextPageToken });
  t.is(third.nextPageToken, "");
  t.deepEqual([...ids(first.runs), ...ids(second.runs), ...ids(third.runs)], seven);
  const back = await api.runs.listRuns({ pageSize: 3, pageToken: second.previousPageToken });
  t.deepEqual(ids(back.runs), seven.slice(0, 3));
  const newest = await api.runs.listRuns({ pageSize: 3, pageToken: back.previousPageToken });
  t.deepEqual(ids(newest.runs), made.slice(0, 2));
  t.is((await api.runs.listRuns({})).runs.length, 9, "25 on a page by default");
});

test("RUN-20: list items have no payload, output or error, and nothing of another environment", async (t) => {
  const api = await startApi(t);
  const { runId } = await api.trigger("work", {
    payload: { json: '"secret"' },
    options: { metadata: { a: "secret" } },
  });
  const { runs } = await api.runs.listRuns({});
  t.is(runs[0]?.id, runId);
  t.false(JSON.stringify(runs, (_, value) => (typeof value === "bigint" ? String(value) : value)).includes("secret"));
  t.deepEqual((await api.as(api.server.prodKey).runs.listRuns({})).runs, []);
});

// ── watch and poll ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────

test("RUN-23, RUN-5: a watcher gets the present state, then every change in order, and the end after the final one", async (t) => {
  const api = await startApi(t);
  const runId = await api.triggered("work", { delay: "10s" });
  const watching = api.runs.watchRun({ runId })[Symbol.asyncIterator]();
  const next = async (): Promise<StatusName | "ended"> => {
    const { done, value } = await watching.next();
    return done === true ? "ended" : statusName(value.run?.status ?? RunStatus.UNSPECIFIED);
  };
  t.is(await next(), "DELAYED");
  await api.advance(10 * SECOND);
  t.is(await next(), "QUEUED");
  const worker = await api.worker({ tasks: ["work"] });
  const { lease } = await worker.assigned();
  t.is(await next(), "EXECUTING");
  await api.runs.addRunTags({ runId, tags: ["a"] });
  const { value } = await watching.next();
  t.deepEqual(value?.run?.tags, ["a"]);
  await worker.completed(lease);
  t.is(await next(), "COMPLETED");
  t.is(await next(), "ended");
});

test("RUN-23: watching a final run gives its state and the end; kept open, it stays until the watcher leaves", async (t) => {
  const api = await startApi(t);
  const runId = await api.triggered("work");
  await api.runs.cancelRun({ runId });
  const states: StatusName[] = [];
  for await (const { run } of api.runs.watchRun({ runId }))
    states.push(statusName(run?.status ?? RunStatus.UNSPECIFIED));
  t.deepEqual(states, ["CANCELED"]);
  const leaving = new AbortController();
  const kept = api.runs.watchRun({ runId, keepOpen: true }, { signal: leaving.signal })[Symbol.asyncIterator]();
  t.is((await kept.next()).value?.run?.status, RunStatus.CANCELED);
  const open = kept.next();
  t.is(
    await Promise.race([
      open.then(
        () => "more",
        () => "ended",
      ),
      api.advance(10 * SECOND).then(() => "open"),
    ]),
    "open",
  );
  leaving.abort();
  await t.throwsAsync(open);
  const unknown = api.runs.watchRun({ runId: `run_${"0".repeat(26)}` });
  t.is((await refusal(unknown[Symbol.asyncIterator]().next())).reason, "RUN_NOT_FOUND");
});

test("RUN-26: a slow watcher may miss states, never the final one, and sees none twice or backwards", async (t) => {
  const api = await startApi(t);
  const worker = await api.worker({ tasks: ["work"] });
  const runId = await api.triggered("work", { maxAttempts: 50 });
  const versions: number[] = [];
  const watched = (async () => {
    let last = RunStatus.UNSPECIFIED;
    for await (const { run } of api.runs.watchRun({ runId })) {
      versions.push(timeMs(run?.updateTime) ?? 0);
      last = run?.status ?? last;
    }
    return last;
  })();
  let { lease } = await worker.begin();
  for (let attempt = 1; attempt < 50; attempt += 1) {
    const answer = await worker.failed(lease, {}, 0);
    if (answer.case !== "retry") return t.fail("no retry");
    lease = answer.value.lease;
  }
  await worker.completed(lease);
  t.is(await watched, RunStatus.COMPLETED);
  t.deepEqual(
    versions,
    [...new Set(versions)].toSorted((a, b) => a - b),
  );
});

test("RUN-16, RUN-21, TAP-3: polling resolves at every final status, and not before", async (t) => {
  const api = await startApi(t);
  const options = { clientConfig: api.server.sdk };
  for (const [status, runId] of await oneOfEach(api)) {
    const poll = sdkRuns.poll(runId, { pollIntervalMs: 1, maxPolls: 3 }, options);
    if (["DELAYED", "QUEUED", "EXECUTING"].includes(status)) {
      const error = await t.throwsAsync(poll);
      t.is(error.message, `Run ${runId} did not complete after 3 attempts`);
      continue;
    }
    const run = await poll;
    t.true(run.status === status);
    t.true(run.isCompleted);
    t.true(run.finishedAt instanceof Date);
  }
});

test("RTY-7, DLY-10: retries, delays and keys work alike in every environment and for triggers made together", async (t) => {
  const api = await startApi(t);
  const prod = api.as(api.server.prodKey);
  const item = { taskId: "work", options: { delaySpec: { case: "delay", value: "10s" }, maxAttempts: 2 } } as const;
  const { results } = await prod.runs.triggerTasks({ items: [item, item] });
  const worker = await api.worker({ tasks: ["work"] }, prod);
  await api.pass(9 * SECOND, worker);
  t.is(worker.assignments.size, 0);
  await api.pass(2 * SECOND, worker);
  for (const { result } of results) {
    const { lease } = await worker.begin();
    const retry = await worker.failed(lease, {}, 0);
    if (retry.case !== "retry" || result.case !== "triggered") return t.fail("no retry");
    t.is((await worker.failed(retry.value.lease, {}, 0)).case, "finished");
    const { run } = await prod.runs.retrieveRun({ runId: result.value.runId });
    t.like(run ?? {}, { taskId: "work", maxAttempts: 2 });
  }
});

/** A run in every status that can be reached without waits. */
async function oneOfEach(api: TestApi): Promise<readonly (readonly [StatusName, string])[]> {
  const worker = await api.worker({ tasks: ["each"], credit: 20 });
  const begun = async (): Promise<{ readonly runId: string; readonly lease: Uint8Array }> => {
    await api.triggered("each");
    return worker.begin();
  };
  const expired = await api.triggered("unserved", { ttl: "1s" });
  await api.advance(2 * SECOND);
  const [executing, completed, cancelled, failed, crashed, broken, timedOut] = [
    await begun(),
    await begun(),
    await begun(),
    await begun(),
    await begun(),
    await begun(),
    await begun(),
  ];
  await worker.completed(completed.lease, { data: { case: "json", value: "1" } });
  await api.runs.cancelRun({ runId: cancelled.runId });
  await worker.failed(failed.lease);
  await worker.failed(crashed.lease, { code: "HANDLE_ERROR_ERROR" });
  await worker.failed(broken.lease, { code: "TASK_DID_CONCURRENT_WAIT" });
  await worker.timedOut(timedOut.lease);
  return [
    ["DELAYED", await api.triggered("unserved", { delay: "1d" })],
    ["QUEUED", await api.triggered("unserved")],
    ["EXECUTING", executing.runId],
    ["COMPLETED", completed.runId],
    ["CANCELED", cancelled.runId],
    ["FAILED", failed.runId],
    ["CRASHED", crashed.runId],
    ["SYSTEM_FAILURE", broken.runId],
    ["TIMED_OUT", timedOut.runId],
    ["EXPIRED", expired],
  ];
}
