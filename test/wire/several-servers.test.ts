/** Several servers on one database, in real time: whoever a caller or a worker is connected to, it is one service. */
import { fromJsonString } from "@bufbuild/protobuf";
import type { ExecutionContext } from "ava";
import { TriggerTaskRequestSchema } from "#proto/hairtrigger/v1/run_service_pb.js";
import { type JsonObject, refusal, selector, startApi, statusName, type TestApi } from "../support/api.js";
import type { TestAppOptions } from "../support/harness.js";
import { mongoTest, takeDatabase } from "../support/mongo.js";

interface Servers {
  readonly a: TestApi;
  readonly b: TestApi;
}

/** Two servers of one empty database. */
async function startServers(
  t: ExecutionContext,
  options: TestAppOptions = {},
  optionsOfB: TestAppOptions = {},
): Promise<Servers> {
  t.timeout(120_000);
  const mongoUrl = await takeDatabase(t);
  const a = await startApi(t, { mongoUrl, isRealTime: true, ...options });
  return { a, b: await startApi(t, { mongoUrl, isRealTime: true, ...options, ...optionsOfB }) };
}

async function triggered(api: TestApi, taskId: string, options: JsonObject = {}): Promise<string> {
  const request = JSON.stringify({ taskId, options });
  return (await api.runs.triggerTask(fromJsonString(TriggerTaskRequestSchema, request))).runId;
}

const text = (json: string) => ({ data: { case: "json", value: json } }) as const;

/** Longest wait for what does not come; a test that goes on for ever would say less. */
const PATIENCE_MS = 30_000;

async function pause(ms: number): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, ms));
}

async function until(isSo: () => boolean | Promise<boolean>, everyMs = 10): Promise<void> {
  const endMs = performance.now() + PATIENCE_MS;
  while (!(await isSo())) {
    if (performance.now() > endMs) throw new Error(`not so within ${PATIENCE_MS / 1_000} s`);
    await pause(everyMs);
  }
}

/** The middle of several measured times. */
function median(times: readonly number[]): number {
  return times.toSorted((x, y) => x - y)[Math.floor(times.length / 2)] ?? Number.NaN;
}

for (const areHintsEnabled of [true, false]) {
  const how = areHintsEnabled ? "with hints" : "without hints";

  mongoTest(`${how}, a run triggered at one server is executed by a worker of another`, async (t) => {
    const { a, b } = await startServers(t, { areHintsEnabled });
    const worker = await b.worker({ tasks: ["greet"] });
    const times: number[] = [];
    for (let round = 0; round < 5; round += 1) {
      const startedAt = performance.now();
      const runId = await triggered(a, "greet");
      const assignment = await worker.assigned();
      times.push(performance.now() - startedAt);
      t.is(assignment.runId, runId);
      await worker.completed(assignment.lease, text('"hello"'));
      t.is(await a.status(runId), "COMPLETED");
      t.is(await b.status(runId), "COMPLETED");
    }
    t.log(`trigger at A → assignment at B ${how}: median ${Math.round(median(times))} ms`);
  });

  const limitMs = areHintsEnabled ? 200 : 700;
  mongoTest(`CAN-1: ${how}, a cancel at one server reaches the worker of another (${limitMs} ms)`, async (t) => {
    const { a, b } = await startServers(t, { areHintsEnabled });
    const worker = await b.worker({ tasks: ["long"] });
    const times: number[] = [];
    for (let round = 0; round < 5; round += 1) {
      const runId = await triggered(a, "long");
      const assignment = await worker.assigned();
      await worker.started(assignment.lease);
      await a.runs.cancelRun({ runId, reason: `reason ${round}` });
      const acknowledgedAt = performance.now();
      const cancel = await worker.cancels.take();
      times.push(performance.now() - acknowledgedAt);
      t.is(cancel.reason, `reason ${round}`);
      await worker.ended(assignment.lease);
    }
    t.log(`cancel at A → worker of B ${how}: median ${Math.round(median(times))} ms`);
    t.true(median(times) <= limitMs);
    t.is(worker.lost.size, 0);
    t.is(worker.cancels.size, 0, "once each");
  });

  mongoTest(`RUN-26: ${how}, a watcher at one server sees what a worker does at another`, async (t) => {
    const { a, b } = await startServers(t, { areHintsEnabled });
    const worker = await b.worker({ tasks: ["watched"], credit: 0 });
    const runId = await triggered(a, "watched");
    const seen: string[] = [];
    const watching = (async () => {
      for await (const { run } of a.runs.watchRun({ runId })) {
        if (run !== undefined) seen.push(statusName(run.status));
        if (seen.length === 1) worker.credit(1);
      }
    })();
    const assignment = await worker.assigned();
    await until(() => seen.includes("EXECUTING"));
    await worker.completed(assignment.lease, text("1"));
    await watching;
    t.deepEqual([...new Set(seen)], ["QUEUED", "EXECUTING", "COMPLETED"]);
  });

  mongoTest(`RUN-24: ${how}, a watcher of tags at one server sees new and changed runs of another`, async (t) => {
    const { a, b } = await startServers(t, { areHintsEnabled });
    const leaving = new AbortController();
    const seen = new Map<string, string>();
    const watching = (async () => {
      for await (const { run } of a.runs.watchRuns({ tags: ["x", "y"] }, { signal: leaving.signal })) {
        if (run !== undefined) seen.set(run.id, statusName(run.status));
      }
    })();
    const first = await triggered(b, "watched", { tags: ["y", "x"] });
    await triggered(b, "watched", { tags: ["x"] });
    await until(() => seen.get(first) === "QUEUED");
    const second = await triggered(a, "watched", { tags: ["x", "y"] });
    await b.runs.cancelRun({ runId: first });
    await b.runs.cancelRun({ runId: second });
    await until(() => seen.get(first) === "CANCELED" && seen.get(second) === "CANCELED");
    t.is(seen.size, 2);
    leaving.abort();
    await t.throwsAsync(watching);
  });
}

mongoTest("hints are taken from servers of the same store only", async (t) => {
  const { a } = await startServers(t);
  const message = { from: { id: "server_x", address: "http://127.0.0.1:9" }, atMs: Date.now(), signals: [] };
  for (const signature of ["", "0".repeat(64)]) {
    const headers = { "x-hairtrigger-signature": signature };
    const { status } = await fetch(`${a.server.url}/hints`, { method: "POST", body: JSON.stringify(message), headers });
    t.is(status, 403);
  }
  const alone = await startApi(t, { isRealTime: true });
  const { status } = await fetch(`${alone.server.url}/hints`, { method: "POST", body: JSON.stringify(message) });
  t.is(status, 404, "a store of one's own has no other servers");
});

mongoTest("QUE-1: a limit holds over the workers of all servers, and a freed slot is taken at the other", async (t) => {
  const { a, b } = await startServers(t);
  const task = { id: "limited", queue: { concurrencyLimit: 2 } };
  const workers = [await a.worker({ tasks: [task] }), await b.worker({ tasks: [task] })];
  for (let number = 0; number < 12; number += 1) await triggered(number % 2 === 0 ? a : b, "limited");
  let executing = 0;
  let most = 0;
  let done = 0;
  await Promise.all(
    workers.map(async (worker) => {
      for (;;) {
        await until(() => done >= 12 || worker.assignments.size > 0, 5);
        if (done >= 12) return;
        const assignment = await worker.assigned();
        executing += 1;
        most = Math.max(most, executing);
        await worker.started(assignment.lease);
        await pause(20);
        executing -= 1;
        await worker.completed(assignment.lease, text("1"));
        done += 1;
        worker.credit(10);
      }
    }),
  );
  t.is(most, 2);
  t.is((await a.queue("task/limited")).running, 0);
});

mongoTest(
  "RUN-6: a worker that comes back at another server keeps its leases, and its older connection ends",
  async (t) => {
    const { a, b } = await startServers(t);
    const worker = await a.worker({ tasks: ["kept"] });
    const runId = await triggered(a, "kept");
    const assignment = await worker.assigned();
    await worker.started(assignment.lease);
    const again = await b.worker({
      tasks: ["kept"],
      sessionId: worker.sessionId,
      epoch: 2,
      held: [{ lease: assignment.lease }],
    });
    await worker.end();
    t.like((await again.held.take()).instruction, { case: "goOn" });
    await again.completed(assignment.lease, text("1"));
    const run = await a.run(runId);
    t.is(run.attemptCount, 1);
    t.is(await a.status(runId), "COMPLETED");
  },
);

mongoTest("QUE-29: queues are paused, limited and read at any server", async (t) => {
  const { a, b } = await startServers(t);
  const worker = await b.worker({ tasks: ["steered"] });
  const first = await triggered(a, "steered");
  await worker.finish(text("1"));
  t.is(await b.status(first), "COMPLETED");
  const queue = selector("task/steered");
  await a.queues.pauseQueue({ queue });
  t.true((await b.queue("task/steered")).paused);
  const second = await triggered(b, "steered");
  // The negative half: a paused queue gives nothing away, at any server.
  await pause(1_500);
  t.is(worker.assignments.size, 0);
  t.is(await a.status(second), "QUEUED");
  await a.queues.overrideConcurrencyLimit({ queue, concurrencyLimit: 1 });
  t.is((await b.queue("task/steered")).concurrencyLimit, 1);
  await a.queues.resumeQueue({ queue });
  t.is((await worker.assigned()).runId, second);
});

mongoTest("IDM-12: concurrent triggers with one key at several servers create one run", async (t) => {
  const { a, b } = await startServers(t);
  const ids = await Promise.all(
    Array.from({ length: 40 }, (_, number) => triggered(number % 2 === 0 ? a : b, "keyed", { idempotencyKey: "one" })),
  );
  t.is(new Set(ids).size, 1);
  t.is(await a.count(), 1);
});

mongoTest(
  "runs of a worker whose server is gone go on at another server when the worker comes back there",
  async (t) => {
    const { a, b } = await startServers(t);
    const worker = await a.worker({ tasks: ["moved"] });
    const runId = await triggered(b, "moved");
    const assignment = await worker.assigned();
    await worker.started(assignment.lease);
    await a.server.stop();
    const again = await b.worker({
      tasks: ["moved"],
      sessionId: worker.sessionId,
      epoch: 2,
      held: [{ lease: assignment.lease }],
    });
    await again.completed(assignment.lease, text("1"));
    t.is(await b.status(runId), "COMPLETED");
  },
);

mongoTest(
  "RUN-6: unconfirmed pick-ups that another server finds count where the worker's own has heard it",
  async (t) => {
    const { a, b } = await startServers(t, { limits: { pickUpMs: 1_000 } }, { areDutiesEnabled: false });
    const worker = await b.worker({ tasks: ["ignored"], credit: 100 });
    const runId = await triggered(a, "ignored");
    for (let round = 1; round <= 5; round += 1) {
      await worker.assigned();
      await worker.heartbeat();
    }
    await until(async () => (await a.status(runId)) === "SYSTEM_FAILURE");
    t.is(worker.assignments.size, 0);
  },
);

for (const areHintsEnabled of [true, false]) {
  mongoTest(
    `AUT-9: a key revoked at one server is refused by the others within 5 s, hints ${areHintsEnabled ? "on" : "off"}`,
    async (t) => {
      const administratorKey = "administrator-0123456789abcdef";
      const { a, b } = await startServers(t, { areHintsEnabled, administratorKey });
      const { key, secretKey } = await a.as(administratorKey).auth.createKey({ environment: "dev" });
      const mine = b.as(secretKey);
      t.is((await mine.runs.listRuns({})).runs.length, 0);
      const runId = await triggered(b, "hello");
      const states = mine.runs.watchRun({ runId })[Symbol.asyncIterator]();
      await states.next();

      const startedMs = performance.now();
      await a.as(administratorKey).auth.revokeKey({ keyId: key?.id ?? "" });
      t.like(await refusal(states.next()), { reason: "INVALID_CREDENTIALS" });
      await until(async () => {
        const outcome = await mine.runs.listRuns({}).catch((error: unknown) => refusal(Promise.reject(error)));
        return "reason" in outcome && outcome.reason === "INVALID_CREDENTIALS";
      });
      const tookMs = performance.now() - startedMs;
      t.log(`refused after ${Math.round(tookMs)} ms`);
      t.true(tookMs < 5_000, `it took ${tookMs} ms`);
    },
  );
}
