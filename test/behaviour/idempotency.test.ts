/** Idempotency keys and request ids (section 8), as callers see them on the wire. */
import { createHash } from "node:crypto";
import test from "ava";
import { IdempotencyKeyScope } from "#proto/hairtrigger/v1/trigger_options_pb.js";
import { type JsonObject, refusal, type StatusName, startApi, type TestApi } from "../support/api.js";
import type { WireWorker } from "../support/wire-worker.js";

const SECOND = 1_000;
const HOUR = 3_600 * SECOND;
const DAY = 24 * HOUR;

/** IDM-2: what a client hashes. */
function hashOf(...parts: readonly (string | number)[]): string {
  return createHash("sha256").update(JSON.stringify(parts)).digest("hex");
}

async function keyed(api: TestApi, idempotencyKey: string, options: JsonObject = {}, taskId = "work") {
  const { runId, isCached } = await api.trigger(taskId, { options: { idempotencyKey, ...options } });
  return { runId, isCached };
}

// ── keys ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

test("IDM-1: a key of 2,048 characters is a key, one of 2,049 is refused", async (t) => {
  const api = await startApi(t);
  await keyed(api, "ü".repeat(2_048));
  const refused = await refusal(keyed(api, "ü".repeat(2_049)));
  t.is(refused.code, "INVALID_ARGUMENT");
  t.is(refused.reason, "INVALID_IDEMPOTENCY_KEY");
  t.true(refused.message.includes("idempotencyKey must be 2048 characters or less"));
  t.is(await api.count(), 1);
});

test("IDM-2, IDM-5: material on the wire is global: the same key as the hash that a client makes of it", async (t) => {
  const api = await startApi(t);
  const { runId } = await keyed(api, "order-1");
  t.deepEqual(await keyed(api, hashOf("order-1")), { runId, isCached: true });
  t.false((await keyed(api, hashOf("order-1", runId))).isCached, "a key of scope run is another one");
});

test("IDM-6: only 64 lower-case hex characters are a finished hash; other text of that length is material", async (t) => {
  const api = await startApi(t);
  const hash = hashOf("material");
  const upper = hash.toUpperCase();
  const { runId } = await keyed(api, hash);
  t.deepEqual(await keyed(api, "material"), { runId, isCached: true });
  t.false((await keyed(api, upper)).isCached);
  t.true((await keyed(api, hashOf(upper))).isCached, "upper case was hashed as material");
  t.false((await keyed(api, `${hash.slice(1)}g`)).isCached);
  t.false((await keyed(api, hash.slice(1))).isCached);
});

test("IDM-7: an empty key is no key", async (t) => {
  const api = await startApi(t);
  const first = await keyed(api, "");
  const second = await keyed(api, "");
  t.not(first.runId, second.runId);
  t.is((await api.run(first.runId)).idempotencyKey, "");
});

test("IDM-8: the run shows the user's text and scope, of a bare hash the hash and no scope", async (t) => {
  const api = await startApi(t);
  const shown = async (options: JsonObject) => {
    const { idempotencyKey, idempotencyKeyScope } = await api.run(await api.triggered("work", options));
    return [idempotencyKey, idempotencyKeyScope] as const;
  };
  const { RUN, GLOBAL, UNSPECIFIED } = IdempotencyKeyScope;
  t.deepEqual(await shown({ idempotencyKey: "order-1" }), ["order-1", GLOBAL]);
  const hash = hashOf("a", "run_x");
  t.deepEqual(await shown({ idempotencyKey: hash }), [hash, UNSPECIFIED]);
  const beside = { idempotencyKeyText: "a-b", idempotencyKeyScope: "IDEMPOTENCY_KEY_SCOPE_RUN" };
  t.deepEqual(await shown({ idempotencyKey: hashOf("a", "b", "run_x"), ...beside }), ["a-b", RUN]);
  const refused = await refusal(api.trigger("work", { options: { idempotencyKey: "material", ...beside } }));
  t.is(refused.reason, "INVALID_IDEMPOTENCY_KEY", "only a client can hash a scope");
});

// ── uniqueness ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

test("IDM-9: one key for two tasks, or in two environments, gives two runs", async (t) => {
  const api = await startApi(t);
  const { runId } = await keyed(api, "k");
  const otherTask = await keyed(api, "k", {}, "other");
  const prod = api.as(api.server.prodKey);
  const otherEnvironment = await prod.runs.triggerTask({ taskId: "work", options: { idempotencyKey: "k" } });
  t.is(new Set([runId, otherTask.runId, otherEnvironment.runId]).size, 3);
  t.false(otherTask.isCached);
  t.false(otherEnvironment.isCached);
});

test("TRG-2, IDM-10, IDM-11: a hit returns the run as it is, whatever payload and options the second call has", async (t) => {
  const api = await startApi(t);
  const first = await api.trigger("work", {
    payload: { json: "1" },
    options: { idempotencyKey: "k", tags: ["first"] },
  });
  t.false(first.isCached);
  const options = {
    idempotencyKey: "k",
    tags: ["second"],
    queue: { name: "elsewhere" },
    delay: "1h",
    prioritySeconds: 9,
  };
  const second = await api.trigger("work", { payload: { json: "2" }, options });
  t.is(second.runId, first.runId);
  t.true(second.isCached);
  const run = await api.run(first.runId);
  t.deepEqual(run.tags, ["first"]);
  t.deepEqual(run.payload?.data, { case: "json", value: "1" });
  t.is(run.queueName, "task/work");
  t.is(await api.status(first.runId), "QUEUED");
  t.is((await refusal(api.queue("elsewhere"))).reason, "QUEUE_NOT_FOUND", "not even the queue was made");
});

test("IDM-12: concurrent triggers with one key create one run, and exactly one of them is not cached", async (t) => {
  const api = await startApi(t);
  const answers = await Promise.all(Array.from({ length: 64 }, () => keyed(api, "k")));
  t.is(new Set(answers.map(({ runId }) => runId)).size, 1);
  t.is(answers.filter(({ isCached }) => !isCached).length, 1);
  t.is(await api.count(), 1);
});

test("IDM-12: triggers of one TriggerTasks call with one key are hits on the first", async (t) => {
  const api = await startApi(t);
  const item = { taskId: "work", options: { idempotencyKey: "k" } };
  const { results } = await api.runs.triggerTasks({ items: [item, item, { taskId: "work" }] });
  const answers = results.map(({ result }) => (result.case === "triggered" ? result.value : undefined));
  t.deepEqual(
    answers.map((answer) => answer?.isCached),
    [false, true, false],
  );
  t.is(answers[0]?.runId, answers[1]?.runId);
  t.is(await api.count(), 2);
});

test("IDM-13, IDM-14: a refused trigger leaves no claimed key", async (t) => {
  const api = await startApi(t, { limits: { queueSizeMax: 1 } });
  const blocker = await api.triggered("work");
  t.is((await refusal(keyed(api, "k"))).reason, "QUEUE_FULL");
  t.is((await refusal(keyed(api, "k", { ttl: "never" }))).reason, "INVALID_TTL");
  await api.runs.cancelRun({ runId: blocker });
  const { runId, isCached } = await keyed(api, "k");
  t.false(isCached);
  t.deepEqual(await keyed(api, "k"), { runId, isCached: true }, "a hit comes before the size of the queue");
});

// ── windows ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

test("IDM-19, IDM-20: a key names its run for 30 days from creation; hits do not extend that; then the old run is without key", async (t) => {
  const api = await startApi(t);
  const { runId } = await keyed(api, "k");
  await api.server.clock.jump(29 * DAY);
  t.true((await keyed(api, "k")).isCached);
  await api.server.clock.jump(DAY - 1);
  t.deepEqual(await keyed(api, "k"), { runId, isCached: true });
  await api.server.clock.jump(1);
  const next = await keyed(api, "k");
  t.false(next.isCached);
  t.not(next.runId, runId);
  t.is((await api.run(runId)).idempotencyKey, "");
  t.is(await api.status(runId), "QUEUED", "the old run stays");
  await api.server.clock.jump(DAY);
  t.deepEqual(await keyed(api, "k"), { runId: next.runId, isCached: true }, "in a window of its own");
});

test("IDM-19, IDM-23: a given window holds from creation, and a hit never changes it", async (t) => {
  const api = await startApi(t);
  const { runId } = await keyed(api, "k", { idempotencyKeyTtl: "60s" });
  await api.advance(30 * SECOND);
  t.deepEqual(await keyed(api, "k", { idempotencyKeyTtl: "10d" }), { runId, isCached: true });
  await api.advance(30 * SECOND - 1);
  t.true((await keyed(api, "k")).isCached);
  await api.advance(1);
  t.false((await keyed(api, "k")).isCached);
});

test("IDM-21, DUR-G4: a window without key is ignored, a malformed one or one below 1 s always refused", async (t) => {
  const api = await startApi(t);
  t.not(
    await api.triggered("work", { idempotencyKeyTtl: "1s" }),
    await api.triggered("work", { idempotencyKeyTtl: "1s" }),
  );
  t.false((await keyed(api, "k", { idempotencyKeyTtl: "1w2d3h4m5s" })).isCached);
  for (const idempotencyKeyTtl of ["0s", "soon", "10", "1.5h", "-1s", "36501d"]) {
    for (const options of [{ idempotencyKeyTtl }, { idempotencyKeyTtl, idempotencyKey: "k" }]) {
      const refused = await refusal(api.trigger("work", { options }));
      t.is(refused.reason, "INVALID_IDEMPOTENCY_KEY_TTL", idempotencyKeyTtl);
      t.true(refused.message.includes(`Invalid idempotencyKeyTTL: ${idempotencyKeyTtl}`));
    }
  }
  t.is(await api.count(), 3);
});

test("IDM-19: the key of a delayed run is taken at creation, and a second call's delay is ignored", async (t) => {
  const api = await startApi(t);
  const { runId } = await keyed(api, "k", { delay: "1h", idempotencyKeyTtl: "2h" });
  t.deepEqual(await keyed(api, "k"), { runId, isCached: true });
  t.is(await api.status(runId), "DELAYED");
  await api.server.clock.jump(2 * HOUR);
  t.false((await keyed(api, "k")).isCached, "two hours from creation, not from the due time");
});

// ── outcomes ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

/** A way to bring a fresh run of task `work` that holds key `k` into a status. */
type Path = (api: TestApi, worker: WireWorker, runId: string) => Promise<unknown>;

const begun = async (worker: WireWorker): Promise<Uint8Array> => {
  worker.credit(1);
  return (await worker.begin()).lease;
};

const CACHED: readonly (readonly [StatusName, Path])[] = [
  ["QUEUED", () => Promise.resolve()],
  ["EXECUTING", (_api, worker) => begun(worker)],
  ["COMPLETED", async (_api, worker) => worker.completed(await begun(worker))],
  ["CANCELED", (api, _worker, runId) => api.runs.cancelRun({ runId })],
];

const FREED: readonly (readonly [StatusName, Path])[] = [
  ["FAILED", async (_api, worker) => worker.failed(await begun(worker))],
  ["CRASHED", async (_api, worker) => worker.failed(await begun(worker), { code: "HANDLE_ERROR_ERROR" })],
  ["SYSTEM_FAILURE", async (_api, worker) => worker.failed(await begun(worker), { code: "TASK_DID_CONCURRENT_WAIT" })],
  ["TIMED_OUT", async (_api, worker) => worker.timedOut(await begun(worker))],
  ["EXPIRED", (api, worker) => api.pass(61 * SECOND, worker)],
];

for (const [status, path] of CACHED) {
  test(`IDM-10: a trigger with the key of a run that is ${status} gets that run`, async (t) => {
    const api = await startApi(t);
    const worker = await api.worker({ tasks: ["work"], credit: 0 });
    const { runId } = await keyed(api, "k", { ttl: "1m" });
    await path(api, worker, runId);
    t.is(await api.status(runId), status);
    t.deepEqual(await keyed(api, "k"), { runId, isCached: true });
    t.is((await api.run(runId)).idempotencyKey, "k");
  });
}

for (const [status, path] of FREED) {
  test(`IDM-25, IDM-27: a run that is ${status} loses its key to the next triggers, which make one new run`, async (t) => {
    const api = await startApi(t);
    const worker = await api.worker({ tasks: ["work"], credit: 0 });
    const { runId } = await keyed(api, "k", { ttl: "1m" });
    await path(api, worker, runId);
    t.is(await api.status(runId), status);
    const answers = await Promise.all(Array.from({ length: 16 }, () => keyed(api, "k")));
    const ids = new Set(answers.map((answer) => answer.runId));
    t.is(ids.size, 1);
    t.false(ids.has(runId));
    t.is(answers.filter(({ isCached }) => !isCached).length, 1);
    t.is((await api.run(runId)).idempotencyKey, "");
    t.is(await api.status(runId), status);
  });
}

test("TTL-6: an expired run counts as failed for its key", async (t) => {
  const api = await startApi(t);
  const { runId } = await keyed(api, "k", { ttl: "1s" });
  await api.advance(2 * SECOND);
  t.is(await api.status(runId), "EXPIRED");
  t.false((await keyed(api, "k")).isCached);
});

test("IDM-24: a run between attempts is not failed", async (t) => {
  const api = await startApi(t);
  const worker = await api.worker({ tasks: ["work"], credit: 0 });
  for (const pauseMs of [10 * SECOND, 60 * SECOND]) {
    const { runId } = await keyed(api, `k${pauseMs}`, { maxAttempts: 2 });
    await worker.failed(await begun(worker), {}, pauseMs);
    t.deepEqual(await keyed(api, `k${pauseMs}`), { runId, isCached: true });
  }
});

test("CAN-6: a cancelled run keeps its idempotency key", async (t) => {
  const api = await startApi(t);
  const { runId } = await keyed(api, "k", { delay: "1h" });
  await api.runs.cancelRun({ runId });
  t.deepEqual(await keyed(api, "k"), { runId, isCached: true });
});

// ── reset ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

test("IDM-28: a reset takes the key from its run, which is otherwise unaffected; the next trigger makes a new one", async (t) => {
  const api = await startApi(t);
  const worker = await api.worker({ tasks: ["work"] });
  const { runId } = await keyed(api, "k");
  const { lease } = await worker.begin();
  const reset = await api.runs.resetIdempotencyKey({ taskId: "work", idempotencyKey: hashOf("k") });
  t.is(reset.runId, runId, "in either form");
  t.is((await api.run(runId)).idempotencyKey, "");
  t.false((await keyed(api, "k")).isCached);
  t.is((await worker.completed(lease)).case, "finished");
  t.is(await api.status(runId), "COMPLETED");
});

test("IDM-30: resetting an unknown key is NOT_FOUND and names key and task", async (t) => {
  const api = await startApi(t);
  await keyed(api, "k", { idempotencyKeyTtl: "10s" });
  const expectUnknown = async (taskId: string, idempotencyKey: string): Promise<void> => {
    const refused = await refusal(api.runs.resetIdempotencyKey({ taskId, idempotencyKey }));
    t.is(refused.code, "NOT_FOUND");
    t.is(refused.reason, "IDEMPOTENCY_KEY_NOT_FOUND");
    t.true(refused.message.includes(`No runs found with idempotency key: ${idempotencyKey} and task: ${taskId}`));
  };
  await expectUnknown("work", "unknown");
  await expectUnknown("other", "k");
  const prod = api.as(api.server.prodKey).runs.resetIdempotencyKey({ taskId: "work", idempotencyKey: "k" });
  t.is((await refusal(prod)).reason, "IDEMPOTENCY_KEY_NOT_FOUND", "not in another environment");
  await api.advance(10 * SECOND);
  await expectUnknown("work", "k");
});

// ── request ids ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

test("REQ-1, TRG-9: a repeated request finds its own run, is not cached, and contents are not compared", async (t) => {
  const api = await startApi(t);
  const requestId = "018f3a5e-7b2c-7cc3-98c4-dc0c0c07398f";
  const first = await api.trigger("work", { requestId, payload: { json: "1" } });
  const again = await api.trigger("work", { requestId, payload: { json: "2" }, options: { delay: "1h" } });
  t.deepEqual([again.runId, again.isCached], [first.runId, false]);
  const { results } = await api.runs.triggerTasks({ items: [{ taskId: "work", requestId }] });
  const [result] = results;
  t.is(result?.result.case === "triggered" ? result.result.value.runId : "", first.runId, "also through TriggerTasks");
  t.is(await api.count(), 1);
});

test("REQ-1: concurrent repeats of one request make one run", async (t) => {
  const api = await startApi(t);
  for (const options of [{}, { idempotencyKey: "k" }]) {
    const requestId = JSON.stringify(options);
    const answers = await Promise.all(Array.from({ length: 16 }, () => api.trigger("work", { requestId, options })));
    t.is(new Set(answers.map(({ runId }) => runId)).size, 1);
    t.true(
      answers.every(({ isCached }) => !isCached),
      "none is cached because of its own earlier try",
    );
  }
  t.is(await api.count(), 2);
});

test("REQ-1: a repeat gets the same run for 24 hours, also after the run has ended", async (t) => {
  const api = await startApi(t);
  const requestId = "r";
  const { runId } = await api.trigger("work", { requestId });
  await api.runs.cancelRun({ runId });
  await api.server.clock.jump(DAY - SECOND);
  await api.advance(500);
  t.is((await api.trigger("work", { requestId })).runId, runId);
});

test("REQ-1: a hit through the key is answered alike to a repeat, even when the key has been reset meanwhile", async (t) => {
  const api = await startApi(t);
  const { runId } = await keyed(api, "k");
  const request = { requestId: "second", options: { idempotencyKey: "k" } };
  const hit = await api.trigger("work", request);
  t.deepEqual([hit.runId, hit.isCached], [runId, true]);
  await api.runs.resetIdempotencyKey({ taskId: "work", idempotencyKey: "k" });
  const repeat = await api.trigger("work", request);
  t.deepEqual([repeat.runId, repeat.isCached], [runId, true]);
  t.is(await api.count(), 1);
});

test("REQ-1: a replay and a reset under a request id are done once", async (t) => {
  const api = await startApi(t);
  const { runId } = await keyed(api, "k");
  const replays = [
    await api.runs.replayRun({ runId, requestId: "r" }),
    await api.runs.replayRun({ runId, requestId: "r" }),
    await api.runs.replayRun({ runId, requestId: "other" }),
  ];
  t.is(replays[0]?.runId, replays[1]?.runId);
  t.not(replays[0]?.runId, replays[2]?.runId);
  const trigger = await api.trigger("work", { requestId: "r" });
  t.not(trigger.runId, replays[0]?.runId, "a request id of one method means nothing to another");

  const reset = { taskId: "work", idempotencyKey: "k", requestId: "r" };
  t.is((await api.runs.resetIdempotencyKey(reset)).runId, runId);
  const next = await keyed(api, "k");
  t.is((await api.runs.resetIdempotencyKey(reset)).runId, runId, "the same answer");
  t.deepEqual(await keyed(api, "k"), { runId: next.runId, isCached: true }, "and no second effect");
});

test("REQ-1: a request id is per environment, any text of up to 256 characters, and no longer", async (t) => {
  const api = await startApi(t);
  const requestId = "ü".repeat(256);
  const { runId } = await api.trigger("work", { requestId });
  t.is((await api.trigger("work", { requestId })).runId, runId);
  t.not((await api.as(api.server.prodKey).runs.triggerTask({ taskId: "work", requestId })).runId, runId);
  const refused = await refusal(api.trigger("work", { requestId: `${requestId}x` }));
  t.is(refused.reason, "INVALID_REQUEST");
  t.deepEqual(
    refused.violations.map(({ field }) => field),
    ["requestId"],
  );
});

test("REQ-2: the same call without a request id, or under another, is a new run", async (t) => {
  const api = await startApi(t);
  const requests: readonly JsonObject[] = [{}, {}, { requestId: "a" }, { requestId: "b" }];
  for (const request of requests) await api.trigger("work", { payload: { json: "1" }, ...request });
  t.is(await api.count(), 4);
});

test("REQ-1: a refused request may be repeated under its id once it is right", async (t) => {
  const api = await startApi(t);
  t.is((await refusal(api.trigger("work", { requestId: "r", options: { delay: "never" } }))).reason, "INVALID_DELAY");
  const { runId } = await api.trigger("work", { requestId: "r" });
  t.is(await api.status(runId), "QUEUED");
});
