/** Worker sessions (RUN-6, RUN-7, RUN-8): pick-ups, heartbeats, lapses, reconnects and orderly stops, spoken word by word. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { durationFromMs } from "@bufbuild/protobuf/wkt";
import test from "ava";
import { AttemptOutcome } from "#proto/hairtrigger/v1/run_pb.js";
import { refusal, refusalOf, startApi, timeMs } from "../support/api.js";
import { newSessionId, WireWorker } from "../support/wire-worker.js";
import "./sessions/pick-up.js";
import "./sessions/reconnect.js";

const SECOND = 1_000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;

// ── hello ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

test("RUN-6: the welcome tells the worker its periods and limits", async (t) => {
  const api = await startApi(t);
  const worker = new WireWorker(api.workers, { tasks: ["work"] });
  t.teardown(() => worker.disconnect());
  const welcome = await worker.open();
  t.is(welcome.sessionId, worker.sessionId);
  t.is(welcome.environment, "dev");
  t.is(welcome.protocolVersion, "0.1");
  const seconds = [
    welcome.heartbeatInterval,
    welcome.sessionTimeout,
    welcome.pickUpTimeout,
    welcome.silenceTimeout,
    welcome.reconnectAfter,
    welcome.fenceAfter,
    welcome.cancelGrace,
    welcome.shortRetryLimit,
  ].map((duration) => Number(duration?.seconds));
  t.deepEqual(seconds, [10, 30, 10, 12, 20, 28, 30, 30]);
  t.is(welcome.outputBytesMax, 104_857_600n);
  t.is(welcome.metadataBytesMax, 262_144n);
});

test("WRK-3: a worker of an unsupported protocol version is refused, with both versions", async (t) => {
  const api = await startApi(t);
  const worker = new WireWorker(api.workers, { tasks: ["work"] });
  t.teardown(() => worker.disconnect());
  worker.send({ hello: { ...worker.hello(), protocolVersion: "9.0" } });
  const refused = await refusal(worker.listen());
  t.is(refused.code, "FAILED_PRECONDITION");
  t.is(refused.reason, "UNSUPPORTED_CLIENT");
  t.is(refused.metadata["got"], "9.0");
  t.true(refused.metadata["allowed"]?.includes("0.1"));
});

test("RUN-6: a stream that does not begin with a hello, or with a malformed one, is refused and registers nothing", async (t) => {
  const api = await startApi(t);
  const opening = async (change: object) => {
    const worker = new WireWorker(api.workers, { tasks: ["work"] });
    t.teardown(() => worker.disconnect());
    worker.send({ hello: { ...worker.hello(), ...change } });
    return refusal(worker.listen());
  };
  t.is((await opening({ sessionId: "session_short" })).reason, "INVALID_REQUEST");
  t.is((await opening({ connectionEpoch: 0 })).reason, "INVALID_REQUEST");
  t.is((await opening({ protocolVersion: "" })).reason, "INVALID_REQUEST");
  t.is((await opening({ held: [{ lease: new Uint8Array(3) }] })).reason, "INVALID_REQUEST");
  const tasks = [
    { id: "a", ttl: "soon" },
    { id: "b", queue: { concurrencyLimit: 1.5 } },
    { id: "c", queue: { name: "q".repeat(129) } },
    { id: "d", retry: { factor: Number.NaN } },
  ];
  const malformed = await opening({ tasks });
  t.deepEqual(
    malformed.violations.map(({ reason }) => reason),
    ["INVALID_TTL", "INVALID_CONCURRENCY_LIMIT", "INVALID_QUEUE_NAME", "INVALID_REQUEST"],
    "all of them at once",
  );
  const wordless = new WireWorker(api.workers, { tasks: ["work"] });
  t.teardown(() => wordless.disconnect());
  wordless.send({ credit: { freePlaces: 1 } });
  t.is((await refusal(wordless.listen())).reason, "INVALID_REQUEST");
  t.is((await api.tasks.listTasks({})).tasks.length, 0);
  t.is((await api.tasks.listWorkers({})).workers.length, 0);
});

test("AUT-5: workers need a secret key", async (t) => {
  const api = await startApi(t);
  const { token } = await api.auth.createPublicToken({ scopes: ["read:runs", "write:runs"] });
  const refusedWith = async (credential: string): Promise<string> => {
    const worker = new WireWorker(api.as(credential).workers, { tasks: ["work"] });
    t.teardown(() => worker.disconnect());
    return (await refusal(worker.open())).reason;
  };
  t.is(await refusedWith(token), "SECRET_KEY_REQUIRED");
  t.is(await refusedWith("tr_dev_0000000000000000"), "INVALID_CREDENTIALS");
});

test("RUN-6: workers serve the runs of their own environment only", async (t) => {
  const api = await startApi(t);
  const prod = new WireWorker(api.as(api.server.prodKey).workers, { tasks: ["work"] });
  t.teardown(() => prod.disconnect());
  await prod.open();
  const runId = await api.triggered("work");
  await prod.heartbeat();
  t.is(prod.assignments.size, 0);
  const dev = await api.worker({ tasks: ["work"] });
  const { lease } = await dev.begin();
  t.is((await prod.completed(lease)).case, "lost");
  t.is(await api.status(runId), "EXECUTING");
});

test("RUN-10, HOK-10: an assignment carries what the task sees of its run", async (t) => {
  const api = await startApi(t);
  const worker = await api.worker({ tasks: ["work"] });
  const options = {
    tags: ["a"],
    metadata: { customer: "acme" },
    maxAttempts: 4,
    maxDurationSeconds: 60,
    queue: { name: "q" },
  };
  const { runId } = await api.trigger("work", { payload: { value: { to: "a@b.c" } }, options });
  const assignment = await worker.assigned();
  t.like(assignment, {
    runId,
    attempt: 1,
    maxAttempts: 4,
    maxDurationSeconds: 60,
    queueName: "q",
    confirmFirst: false,
  });
  t.deepEqual(assignment.tags, ["a"]);
  t.deepEqual(JSON.parse(assignment.metadataJson), { customer: "acme" });
  t.is(timeMs(assignment.createTime), api.nowMs());
  t.is(timeMs(assignment.startTime), api.nowMs());
  t.true(assignment.lease.length > 0 && assignment.lease.length <= 64);
  await api.triggered("work");
  t.like(await worker.assigned(), { maxAttempts: 0, maxDurationSeconds: undefined, queueName: "task/work" });
});

test("RUN-6: tasks and workers are listed as registered and connected", async (t) => {
  const api = await startApi(t);
  const worker = await api.worker({
    tasks: [
      { id: "work", description: "does it", ttl: "1h", maxDurationSeconds: 60, retry: { maxAttempts: 7 } },
      "other",
    ],
  });
  await api.worker({ tasks: ["other"] });
  const { tasks } = await api.tasks.listTasks({});
  t.deepEqual(
    tasks.map(({ id, workerCount }) => [id, workerCount]),
    [
      ["other", 2],
      ["work", 1],
    ],
  );
  const { task } = await api.tasks.retrieveTask({ taskId: "work" });
  t.like(task ?? {}, { description: "does it", ttl: "1h", maxDurationSeconds: 60, queueName: "task/work" });
  t.is(task?.retry?.maxAttempts, 7);
  t.is((await refusal(api.tasks.retrieveTask({ taskId: "unknown" }))).reason, "TASK_NOT_FOUND");
  const serving = await api.tasks.listWorkers({ taskId: "work" });
  t.deepEqual(
    serving.workers.map(({ id }) => id),
    [worker.sessionId],
  );
  t.is((await api.tasks.listWorkers({})).workers.length, 2);
});

// ── lapse ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

test("RUN-6: heartbeats keep a session and its runs for as long as they come", async (t) => {
  const api = await startApi(t);
  const worker = await api.worker({ tasks: ["work"] });
  const runId = await api.triggered("work");
  const { lease } = await worker.begin();
  for (let beat = 0; beat < 20; beat += 1) {
    await api.advance(29 * SECOND);
    await worker.heartbeat();
  }
  t.is(await api.status(runId), "EXECUTING");
  t.is((await worker.completed(lease)).case, "finished");
  t.is((await api.run(runId)).attemptCount, 1);
});

test("RUN-6: 30 s without a heartbeat and a session lapses: its runs start again after the back-off of the registered policy", async (t) => {
  const api = await startApi(t);
  const retry = {
    maxAttempts: 2,
    minDelay: durationFromMs(100 * SECOND),
    maxDelay: durationFromMs(HOUR),
    randomize: false,
  };
  const tasks = [{ id: "work", retry, queue: { concurrencyLimit: 1 } }];
  const lost = await api.worker({ tasks });
  const runId = await api.triggered("work");
  await lost.begin();
  lost.disconnect();
  const worker = await api.worker({ tasks });
  await api.pass(29 * SECOND, worker);
  t.is(await api.status(runId), "EXECUTING");
  await api.pass(4 * SECOND, worker);
  const run = await api.run(runId);
  t.is(await api.status(runId), "QUEUED");
  t.is(run.attempts[0]?.outcome, AttemptOutcome.CRASHED);
  t.is(run.attempts[0]?.error?.code, "TASK_RUN_STALLED_EXECUTING");
  t.is((await api.queue("task/work")).running, 0, "its slot is free");
  const dueMs = timeMs(run.nextAttemptTime) ?? 0;
  await api.pass(95 * SECOND, worker);
  t.is(worker.assignments.size, 0);
  await api.pass(5 * SECOND, worker);
  const again = await worker.begin();
  t.is(again.attempt, 2);
  t.true((timeMs((await api.run(runId)).attempts[1]?.startTime) ?? 0) >= dueMs);
  worker.disconnect();
  await api.advance(32 * SECOND);
  const crashed = await api.run(runId);
  t.is(await api.status(runId), "CRASHED", "no attempt is left");
  t.is(crashed.error?.code, "TASK_RUN_STALLED_EXECUTING");
  t.is(crashed.attemptCount, 2);
});

test("RUN-6: a lapsed session loses unconfirmed runs uncounted, and runs in a retry pause to their next attempt", async (t) => {
  const api = await startApi(t);
  const lost = await api.worker({ tasks: ["work"], credit: 1 });
  await api.advance(25 * SECOND);
  await lost.heartbeat();
  const pausing = await api.triggered("work", { maxAttempts: 2 });
  const { lease } = await lost.begin();
  await api.advance(5 * SECOND);
  await lost.failed(lease, {}, 29 * SECOND);
  await api.advance(17 * SECOND);
  lost.credit(1);
  const unconfirmed = await api.triggered("work", { maxAttempts: 1 });
  await lost.assigned();
  await api.advance(9.5 * SECOND);
  t.is(await api.status(unconfirmed), "QUEUED", "before its pick-up window is over");
  t.is((await api.run(unconfirmed)).attemptCount, 0);
  t.is(await api.status(pausing), "QUEUED", "lapsed 30 s after its last heartbeat");
  const worker = await api.worker({ tasks: ["work"] });
  await api.advance(3 * SECOND);
  const started = [await worker.begin(), await worker.begin()];
  t.deepEqual(
    new Map(started.map(({ runId, attempt }) => [runId, attempt])),
    new Map([
      [unconfirmed, 1],
      [pausing, 2],
    ]),
  );
  t.is((await api.run(pausing)).attempts.length, 2, "the failure, and the attempt that executes");
});

test("RUN-7: after a pause of the machine nothing is lapsed before the server has run for 30 s; workers that come back go on", async (t) => {
  const api = await startApi(t);
  const worker = await api.worker({ tasks: ["work"] });
  const gone = await api.worker({ tasks: ["other"] });
  const runId = await api.triggered("work");
  const other = await api.triggered("other");
  const { lease } = await worker.begin();
  await gone.begin();
  await api.advance(20 * SECOND);
  await Promise.all([worker.heartbeat(), gone.heartbeat()]);
  await api.server.clock.jump(10 * MINUTE);
  const back = await worker.reconnect();
  t.is((await back.held.take()).instruction.case, "goOn");
  await api.advance(25 * SECOND);
  await back.heartbeat();
  t.is(await api.status(other), "EXECUTING", "silent for ten minutes, but so was the server");
  await api.advance(10 * SECOND);
  t.is(await api.status(other), "QUEUED");
  t.is((await back.completed(lease)).case, "finished");
  t.is((await api.run(runId)).attemptCount, 1);
});

test("RUN-7: runs of live workers go on through a restart of the server, and count no attempt", async (t) => {
  const storeDirectory = await mkdtemp(join(tmpdir(), "hairtrigger-sessions-"));
  t.teardown(() => rm(storeDirectory, { recursive: true, force: true }));
  const before = await startApi(t, { storeDirectory });
  const worker = await before.worker({ tasks: ["work"], credit: 2 });
  const kept = await before.triggered("work");
  const reported = await before.triggered("work");
  const queued = await before.triggered("work");
  const [one, two] = [await worker.begin(), await worker.begin()];
  await worker.completed(one.runId === kept ? two.lease : one.lease);
  await before.server.stop();
  const end = await worker.end();
  t.is(end.error === undefined ? "" : refusalOf(end.error).reason, "SERVER_STOPPING");

  const api = await startApi(t, { storeDirectory });
  await api.server.clock.jump(20 * SECOND);
  const leases = [one, two].map(({ lease }) => ({ lease }));
  const back = await api.worker({ tasks: ["work"], sessionId: worker.sessionId, epoch: 2, held: leases, credit: 0 });
  const answers = new Map<string, string | undefined>();
  for (const { runId } of [one, two]) answers.set(runId, (await back.held.take()).instruction.case);
  t.deepEqual(
    answers,
    new Map([
      [one.runId, one.runId === kept ? "goOn" : "finished"],
      [two.runId, two.runId === kept ? "goOn" : "finished"],
    ]),
  );
  await api.pass(MINUTE, back);
  t.is(await api.status(kept), "EXECUTING");
  t.is(await api.status(reported), "COMPLETED");
  t.is(await api.status(queued), "QUEUED");
  await back.completed(one.runId === kept ? one.lease : two.lease);
  t.is((await api.run(kept)).attemptCount, 1);
});

// ── orderly stop ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────

test("RUN-7: an interrupted run is QUEUED in its old order, unbound, with the same attempt number, not counted", async (t) => {
  const api = await startApi(t);
  const stopping = await api.worker({ tasks: ["work"], credit: 1 });
  const runId = await api.triggered("work", { maxAttempts: 1 });
  const { lease } = await stopping.begin();
  const startedMs = api.nowMs();
  await api.advance(3 * SECOND);
  const newer = await api.triggered("work");
  t.is((await stopping.interrupted(lease)).case, "released");
  const queued = await api.run(runId);
  t.is(await api.status(runId), "QUEUED");
  t.is(queued.attemptCount, 0);
  t.is(queued.attempts[0]?.outcome, AttemptOutcome.INTERRUPTED);
  t.is(queued.nextAttemptTime, undefined, "at once");

  const worker = await api.worker({ tasks: ["work"], credit: 1 });
  const again = await worker.begin();
  t.is(again.runId, runId, "before the newer one");
  t.is(again.attempt, 1);
  t.is(timeMs((await api.run(runId)).startTime), startedMs);
  await worker.completed(again.lease);
  t.is(await api.status(runId), "COMPLETED");
  t.is((await api.run(runId)).attemptCount, 1);
  t.is(await api.status(newer), "QUEUED");
});

test("RUN-7: the 20th interruption in a row ends a run as CRASHED; a failed attempt in between begins anew", async (t) => {
  const api = await startApi(t);
  const worker = await api.worker({ tasks: ["work"], credit: 100 });
  const interrupt = async (times: number): Promise<string | undefined> => {
    let answer: string | undefined;
    for (let count = 0; count < times; count += 1)
      answer = (await worker.interrupted((await worker.begin()).lease)).case;
    return answer;
  };
  const runId = await api.triggered("work", { maxAttempts: 3 });
  t.is(await interrupt(19), "released");
  await worker.failed((await worker.begin()).lease, {}, 30 * SECOND);
  await api.pass(31 * SECOND, worker);
  worker.credit(100);
  t.is(await interrupt(19), "released");
  t.is(await api.status(runId), "EXECUTING");
  t.is(await interrupt(1), "finished");
  const run = await api.run(runId);
  t.is(await api.status(runId), "CRASHED");
  t.is(run.error?.code, "TASK_RUN_INTERRUPTED");
  t.is(run.attempts.length, 10, "the last 10 are kept");
});

test("RUN-7: a draining worker gets nothing new, may finish what it has, and is gone when it leaves", async (t) => {
  const api = await startApi(t);
  const worker = await api.worker({ tasks: ["work"] });
  const finishing = await api.triggered("work");
  const { lease } = await worker.begin();
  worker.send({ draining: true });
  await worker.heartbeat();
  const queued = await api.triggered("work");
  worker.credit(10);
  await worker.heartbeat();
  t.is(worker.assignments.size, 0);
  t.is(await api.status(queued), "QUEUED");
  t.is((await worker.completed(lease)).case, "finished");
  t.is(await api.status(finishing), "COMPLETED");
  t.is((await worker.close()).error, undefined);
  t.is((await api.tasks.listWorkers({})).workers.length, 0);
  t.deepEqual((await api.queue("task/work")).unservedTaskIds, ["work"]);
});

test("RUN-7: a server that stops sends its workers elsewhere and answers what they have reported", async (t) => {
  const api = await startApi(t);
  const worker = await api.worker({ tasks: ["work"] });
  await api.triggered("work");
  const { lease } = await worker.begin();
  const answer = worker.completed(lease);
  await worker.heartbeat();
  const stopped = api.server.stop();
  t.is((await answer).case, "finished");
  t.true(await worker.drains.take());
  const { error } = await worker.end();
  const refused = error === undefined ? undefined : refusalOf(error);
  t.is(refused?.code, "UNAVAILABLE");
  t.not(refused?.retryAfterMs, undefined);
  await stopped;
});

test("RUN-6: sessions of one id in two environments have nothing to do with each other", async (t) => {
  const api = await startApi(t);
  const sessionId = newSessionId();
  const dev = await api.worker({ tasks: ["work"], sessionId });
  const prod = new WireWorker(api.as(api.server.prodKey).workers, { tasks: ["work"], sessionId, epoch: 2 });
  t.teardown(() => prod.disconnect());
  await prod.open();
  await dev.heartbeat();
  const runId = await api.triggered("work");
  t.is((await dev.begin()).runId, runId);
});
