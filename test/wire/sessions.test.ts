/** The worker's stream on a real socket (design 8; worker_service.proto): what travels together, what ends it, and how it goes on. */
import { create, fromBinary } from "@bufbuild/protobuf";
import { Code, createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import test from "ava";
import { PayloadSchema } from "#proto/hairtrigger/v1/payload_pb.js";
import { LogLevel, RunSpecSchema, RunStatus } from "#proto/hairtrigger/v1/run_pb.js";
import { HeldLeaseSchema } from "#proto/hairtrigger/worker/v1/worker_pb.js";
import { OpenSessionRequestSchema, WorkerService } from "#proto/hairtrigger/worker/v1/worker_service_pb.js";
import { refusalOf, startApi, type TestApi } from "../support/api.js";
import { hex, newSessionId } from "../support/wire-worker.js";

const json = (value: string) => ({ data: { case: "json", value } }) as const;

test("a run travels to the worker and its output back, byte for byte", async (t) => {
  const api = await startApi(t);
  const worker = await api.worker({ tasks: ["hello"] });
  const { runId } = await api.trigger("hello", {
    payload: { value: { to: "é" } },
    options: { tags: ["a"], metadata: { x: 1 } },
  });
  const assignment = await worker.begin();
  t.like(assignment, { runId, attempt: 1, queueName: "task/hello", tags: ["a"], metadataJson: '{"x":1}' });
  t.deepEqual(fromBinary(RunSpecSchema, assignment.spec).payload?.data, { case: "json", value: '{"to":"é"}' });

  const done = await worker.completed(assignment.lease, { ...json('{"done":true}'), jsonTypes: '{"at":"Date"}' });
  t.is(done.case, "finished");
  const run = await api.run(runId);
  t.is(run.status, RunStatus.COMPLETED);
  t.deepEqual(run.output, create(PayloadSchema, { ...json('{"done":true}'), jsonTypes: '{"at":"Date"}' }));
});

test("TRG-5: a child's worker learns parent, root, depth and an inherited test flag", async (t) => {
  const api = await startApi(t);
  const worker = await api.worker({ tasks: ["child"] });
  const root = (await api.trigger("root", { isTest: true })).runId;
  const parent = (await api.trigger("parent", { parentRunId: root })).runId;
  await api.trigger("child", { parentRunId: parent });
  const { spec } = await worker.begin();
  t.like(fromBinary(RunSpecSchema, spec), {
    taskId: "child",
    parentRunId: parent,
    rootRunId: root,
    depth: 2,
    isTest: true,
  });
});

test("what comes up together travels together: 200 runs and their 200 answers take a few messages", async (t) => {
  const api = await startApi(t);
  const raw = rawSession(api);
  raw.send({ hello: raw.hello, credit: { freePlaces: 200 } });
  await raw.until((seen) => seen.welcomes === 1);
  await api.runs.triggerTasks({ items: Array.from({ length: 200 }, () => ({ taskId: "many" })) });
  await raw.until((seen) => seen.leases.length === 200);
  raw.send({ completed: raw.seen.leases.map((lease) => ({ lease })) });
  await raw.until((seen) => seen.answers === 200);
  t.true(raw.seen.messages <= 20, `${raw.seen.messages} messages`);
  raw.end();
});

test("large payloads are spread over messages, each run whole", async (t) => {
  const api = await startApi(t, { limits: { inlineBytesMax: 3_000_000 } });
  const text = JSON.stringify("x".repeat(2_000_000));
  const items = Array.from({ length: 4 }, () => ({ taskId: "many", payload: json(text) }));
  await api.runs.triggerTasks({ items });
  const raw = rawSession(api);
  raw.send({ hello: raw.hello, credit: { freePlaces: 10 } });
  await raw.until((seen) => seen.leases.length === 4);
  t.true(raw.seen.assignmentsAtOnce <= 2, `${raw.seen.assignmentsAtOnce} runs of 2 MB in one message`);
  raw.end();
});

test("a worker never gets more runs than it has places, also when its credit crosses assignments on the way", async (t) => {
  const api = await startApi(t);
  const raw = rawSession(api);
  raw.send({ hello: raw.hello, credit: { freePlaces: 3 } });
  await api.runs.triggerTasks({ items: Array.from({ length: 10 }, () => ({ taskId: "many" })) });
  await raw.until((seen) => seen.leases.length === 3);
  // Said before the assignments were seen: they are not in the number yet.
  raw.send({ credit: { freePlaces: 3, receivedSequence: 1n }, heartbeat: { number: 1n } });
  await raw.until((seen) => seen.beats === 1);
  t.is(raw.seen.leases.length, 3);
  const [lease = new Uint8Array()] = raw.seen.leases;
  raw.send({ completed: [{ lease }], credit: { freePlaces: 1, receivedSequence: raw.seen.sequence } });
  await raw.until((seen) => seen.leases.length === 4);
  raw.end();
});

test("the first message of a connection is a hello, of a served version, with a lease of ours", async (t) => {
  const api = await startApi(t);
  const rows = [
    { message: { credit: { freePlaces: 1 } }, code: "INVALID_ARGUMENT", reason: "INVALID_REQUEST" },
    { message: { hello: { protocolVersion: "9.1" } }, code: "FAILED_PRECONDITION", reason: "UNSUPPORTED_CLIENT" },
    { message: { hello: { sessionId: "me" } }, code: "INVALID_ARGUMENT", reason: "INVALID_REQUEST" },
    {
      message: { hello: { held: [create(HeldLeaseSchema, { lease: new Uint8Array([1]) })] } },
      code: "INVALID_ARGUMENT",
      reason: "INVALID_REQUEST",
    },
    { message: { hello: { tasks: [{ id: "a", ttl: "soon" }] } }, code: "INVALID_ARGUMENT", reason: "INVALID_TTL" },
    {
      message: { hello: { tasks: [{ id: "a", queue: { concurrencyLimit: 1.5 } }] } },
      code: "INVALID_ARGUMENT",
      reason: "INVALID_CONCURRENCY_LIMIT",
    },
  ];
  for (const { message, code, reason } of rows) {
    const raw = rawSession(api);
    raw.send("hello" in message ? { hello: { ...raw.hello, ...message.hello } } : message);
    t.like(await raw.refused(), { code, reason }, reason);
  }
  t.deepEqual((await api.tasks.listWorkers({})).workers, []);
  t.deepEqual(
    api.server.log.filter(({ level }) => level === "error"),
    [],
  );
});

test("a newer connection of a session ends the older one with OK; an older one is refused with STALE_LEASE", async (t) => {
  const api = await startApi(t);
  const first = await api.worker({ tasks: ["hello"] });
  const { lease } = (await api.triggered("hello"), await first.begin());
  const second = await first.reconnect();
  t.is((await first.end()).code, undefined);
  t.is((await second.held.take()).instruction.case, "goOn");
  t.is((await second.completed(lease)).case, "finished");

  const raw = rawSession(api);
  raw.send({ hello: { ...raw.hello, sessionId: first.sessionId, connectionEpoch: 1 } });
  t.like(await raw.refused(), { code: "FAILED_PRECONDITION", reason: "STALE_LEASE" });
});

test("a heartbeat whose held set differs is answered by a resync, and a new hello sorts it out", async (t) => {
  const api = await startApi(t);
  const worker = await api.worker({ tasks: ["hello"] });
  await api.triggered("hello");
  const { lease } = await worker.begin();
  await worker.heartbeat();
  t.is(worker.resyncs.size, 0);

  worker.send({ heartbeat: { number: 100n, receivedSequence: worker.received, heldCount: 7, heldChecksum: 7n } });
  await worker.resyncs.take();
  worker.send({ hello: { ...worker.hello(), held: [create(HeldLeaseSchema, { lease })] } });
  const answer = await worker.held.take();
  t.is(hex(answer.lease), hex(lease));
  t.is(answer.instruction.case, "goOn");
  await worker.heartbeat();
  t.is(worker.resyncs.size, 0);
  t.is((await worker.completed(lease)).case, "finished");
});

test("leases count as held from the message that gives them to the one that takes them, through retries and losses", async (t) => {
  const api = await startApi(t);
  const worker = await api.worker({ tasks: ["hello"] });
  await api.triggered("hello");
  const { lease, runId } = await worker.begin();
  const retry = await worker.failed(lease, {}, 1_000);
  await worker.heartbeat();
  if (retry.case !== "retry") return t.fail(`answered ${retry.case}`);
  await api.runs.cancelRun({ runId });
  t.is((await worker.cancels.take()).runId, runId);
  await worker.heartbeat();
  t.is((await worker.ended(retry.value.lease)).case, "finished");
  await worker.heartbeat();
  t.is(worker.resyncs.size, 0);
  t.is(worker.leases.length, 0);
});

test("RUN-8: a report with a lease that is none, or an old one, is answered lost and changes nothing", async (t) => {
  const api = await startApi(t);
  const worker = await api.worker({ tasks: ["hello"] });
  const runId = await api.triggered("hello");
  const { lease } = await worker.begin();
  let current = lease;
  for (let attempt = 1; attempt < 3; attempt += 1) {
    const retry = await worker.failed(current, {}, 1_000);
    if (retry.case !== "retry") return t.fail(`answered ${retry.case}`);
    current = retry.value.lease;
    await api.advance(1_000);
    t.is((await worker.started(current)).case, "goOn");
  }
  t.is((await worker.completed(lease)).case, "lost");
  t.is((await worker.completed(new Uint8Array(20))).case, "lost");
  t.is((await worker.completed(new Uint8Array([1, 2, 3]))).case, "lost");
  t.is(await api.status(runId), "EXECUTING");
});

test("PAY-7: an output above the limit fails the run instead of completing it", async (t) => {
  const api = await startApi(t, { limits: { outputBytesMax: 1_000 } });
  const worker = await api.worker({ tasks: ["hello"] });
  const runId = await api.triggered("hello");
  const { lease } = await worker.begin();
  t.is((await worker.completed(lease, json(JSON.stringify("x".repeat(1_001))))).case, "finished");
  t.like(await api.run(runId), { status: RunStatus.FAILED, error: { code: "TASK_OUTPUT_ERROR" } });
});

test("LOG-1: log lines are kept with the run", async (t) => {
  const api = await startApi(t);
  const worker = await api.worker({ tasks: ["hello"] });
  const runId = await api.triggered("hello");
  const { lease } = await worker.begin();
  worker.send({
    logs: [{ runId, lines: [{ message: "half way", level: LogLevel.INFO, attempt: 1, propertiesJson: '{"x":1}' }] }],
  });
  await worker.heartbeat();
  await worker.completed(lease);
  t.like((await api.run(runId)).logs, [{ message: "half way", level: 4, attempt: 1, propertiesJson: '{"x":1}' }]);
});

test("a worker that drains and ends its half has left: its session is gone at once", async (t) => {
  const api = await startApi(t);
  const worker = await api.worker({ tasks: ["hello"] });
  await api.triggered("hello");
  const { lease } = await worker.begin();
  worker.send({ draining: true });
  await api.triggered("hello");
  t.is((await worker.completed(lease)).case, "finished");
  t.is((await worker.close()).code, undefined);
  t.is(worker.assignments.size, 0);
  t.deepEqual((await api.tasks.listWorkers({})).workers, []);
});

test("a connection that breaks leaves the session and its runs standing", async (t) => {
  const api = await startApi(t);
  const worker = await api.worker({ tasks: ["hello"] });
  const runId = await api.triggered("hello");
  await worker.begin();
  worker.disconnect();
  await worker.end();
  t.is((await api.tasks.listWorkers({})).workers.length, 1);
  t.is(await api.status(runId), "EXECUTING");
});

test("a connection on which nothing comes for the life of a session is ended", async (t) => {
  const api = await startApi(t);
  const worker = await api.worker({ tasks: ["hello"] });
  await api.advance(29_000);
  await worker.heartbeat();
  await api.advance(29_000);
  await worker.heartbeat();
  await api.advance(30_000);
  t.is((await worker.end()).code, undefined);
});

test("a stopping server answers the reports that it has, sends its workers elsewhere, and keeps their sessions", async (t) => {
  const api = await startApi(t);
  const worker = await api.worker({ tasks: ["hello"] });
  await api.triggered("hello");
  const { lease } = await worker.begin();
  const done = worker.completed(lease);
  await done;
  const stopped = api.server.stop();
  await worker.drains.take();
  const { code, error } = await worker.end();
  t.is(code, Code.Unavailable);
  t.like(error === undefined ? {} : refusalOf(error), { reason: "SERVER_STOPPING", retryAfterMs: 1_000 });
  await stopped;
});

// ── a session that counts messages ───────────────────────────────────────────────────────────────────────────────────────────────

interface Seen {
  messages: number;
  welcomes: number;
  leases: Uint8Array[];
  assignmentsAtOnce: number;
  answers: number;
  beats: number;
  sequence: bigint;
}

type RequestInit = Parameters<typeof create<typeof OpenSessionRequestSchema>>[1];

function rawSession(api: TestApi) {
  const seen: Seen = { messages: 0, welcomes: 0, leases: [], assignmentsAtOnce: 0, answers: 0, beats: 0, sequence: 0n };
  const outgoing: RequestInit[] = [];
  let wake = (): void => {};
  let changed = (): void => {};
  let isOver = false;
  async function* requests() {
    for (;;) {
      const next = outgoing.shift();
      if (next !== undefined) yield create(OpenSessionRequestSchema, next);
      else if (isOver) return;
      else await new Promise<void>((resolve) => (wake = resolve));
    }
  }
  const client = createClient(WorkerService, createGrpcTransport({ baseUrl: api.server.url }));
  const answers = client.openSession(requests(), { headers: { authorization: `Bearer ${api.server.key}` } });
  const reading = (async () => {
    for await (const message of answers) {
      seen.messages += 1;
      seen.sequence = message.sequence;
      seen.welcomes += message.welcome === undefined ? 0 : 1;
      seen.leases.push(...message.assignments.map(({ lease }) => lease));
      seen.assignmentsAtOnce = Math.max(seen.assignmentsAtOnce, message.assignments.length);
      seen.answers += message.acknowledgements.length;
      seen.beats += message.heartbeatAck === undefined ? 0 : 1;
      changed();
    }
  })();
  reading.catch(() => {});
  return {
    seen,
    hello: {
      sessionId: newSessionId(),
      connectionEpoch: 1,
      protocolVersion: "0.1",
      concurrency: 200,
      tasks: [{ id: "many" }],
    },
    send(message: RequestInit) {
      outgoing.push(message);
      wake();
    },
    async until(isSo: (seen: Seen) => boolean) {
      while (!isSo(seen)) await Promise.race([reading, new Promise<void>((resolve) => (changed = resolve))]);
    },
    async refused() {
      const error = await reading.then(
        () => undefined,
        (thrown: unknown) => thrown,
      );
      const { ConnectError } = await import("@connectrpc/connect");
      return refusalOf(ConnectError.from(error));
    },
    end() {
      isOver = true;
      wake();
    },
  };
}
