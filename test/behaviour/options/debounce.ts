/** Debounce (section 9). */
import test from "ava";
import { type JsonObject, refusal, startApi, statusName, type TestApi, timeMs } from "../../support/api.js";

const SECOND = 1_000;

async function push(api: TestApi, debounce: JsonObject, more: JsonObject = {}, request: JsonObject = {}) {
  const { runId, isCached } = await api.trigger("work", {
    ...request,
    options: { debounce: { key: "k", delay: "5s", ...debounce }, ...more },
  });
  return { runId, isCached };
}

async function dueMs(api: TestApi, runId: string): Promise<number | undefined> {
  return timeMs((await api.run(runId)).delayedUntilTime);
}

const payload = (n: number): JsonObject => ({ payload: { value: { n } } });

async function payloadOf(api: TestApi, runId: string): Promise<unknown> {
  const data = (await api.run(runId)).payload?.data;
  return data?.case === "json" ? JSON.parse(data.value) : undefined;
}

test("DEB-1, DEB-2, DEB-8: the first call makes a delayed run, later ones answer with it, not cached, and move its due time", async (t) => {
  const api = await startApi(t);
  const startMs = api.nowMs();
  const { runId } = await push(api, {});
  t.is(await api.status(runId), "DELAYED");
  t.is(await dueMs(api, runId), startMs + 5 * SECOND);
  await api.advance(3 * SECOND);
  t.deepEqual(await push(api, {}), { runId, isCached: false });
  t.is(await dueMs(api, runId), startMs + 8 * SECOND);
  await api.advance(4 * SECOND);
  t.is(await api.status(runId), "DELAYED", "the first due time has passed, the second has not");
  t.deepEqual(await push(api, { delay: "1s" }), { runId, isCached: false });
  t.is(await dueMs(api, runId), startMs + 8 * SECOND, "never earlier than it was");
  await api.advance(SECOND);
  t.is(await api.status(runId), "QUEUED");
  t.is(await api.count(), 1);
});

test("DEB-1: a key belongs to one task in one environment", async (t) => {
  const api = await startApi(t);
  const { runId } = await push(api, {});
  const other = await api.trigger("other", { options: { debounce: { key: "k", delay: "5s" } } });
  const prod = await api.as(api.server.prodKey).runs.triggerTask({
    taskId: "work",
    options: { debounce: { key: "k", delay: "5s" } },
  });
  t.is(new Set([runId, other.runId, prod.runId, (await push(api, { key: "l" })).runId]).size, 4);
});

test("DEB-3: leading keeps payload and options of the first call", async (t) => {
  const api = await startApi(t);
  const first = { tags: ["a"], metadata: { n: 1 }, maxAttempts: 2, maxDurationSeconds: 10, ttl: "1h" };
  const { runId } = await push(api, {}, first, payload(1));
  const later = { tags: ["b"], metadata: { n: 2 }, maxAttempts: 9, maxDurationSeconds: 99, ttl: "2h" };
  await push(api, { mode: "DEBOUNCE_MODE_LEADING" }, later, payload(2));
  const run = await api.run(runId);
  t.deepEqual(await payloadOf(api, runId), { n: 1 });
  t.deepEqual(
    [run.tags, run.metadataJson, run.maxAttempts, run.maxDurationSeconds, run.ttl],
    [["a"], '{"n":1}', 2, 10, "1h"],
  );
});

test("DEB-3: trailing takes payload, metadata, tags, maxAttempts and maxDuration of the last call, and nothing else", async (t) => {
  const api = await startApi(t);
  const mode = "DEBOUNCE_MODE_TRAILING";
  const stays = { queue: { name: "narrow" }, concurrencyKey: "c", prioritySeconds: 3, ttl: "1h", idempotencyKey: "i" };
  const first = { tags: ["a", "both"], metadata: { n: 1 }, maxAttempts: 2, maxDurationSeconds: 10 };
  const { runId } = await push(api, { mode }, { ...stays, ...first }, payload(1));
  await push(
    api,
    { mode },
    {
      tags: ["b", "both"],
      metadata: { n: 2 },
      maxAttempts: 9,
      maxDurationSeconds: 99,
      queue: { name: "other" },
      concurrencyKey: "d",
      prioritySeconds: 7,
      ttl: "2h",
      idempotencyKey: "j",
    },
    payload(2),
  );
  const run = await api.run(runId);
  t.deepEqual(await payloadOf(api, runId), { n: 2 });
  t.deepEqual([run.tags, run.metadataJson], [["b", "both"], '{"n":2}'], "replaced, not merged");
  t.deepEqual([run.maxAttempts, run.maxDurationSeconds], [9, 99]);
  t.deepEqual([run.queueName, run.concurrencyKey, run.prioritySeconds, run.ttl], ["narrow", "c", 3, "1h"]);
  t.is(run.idempotencyKey, "i");
  const listed = async (tag: string) => (await api.runs.listRuns({ filter: { tags: [tag] } })).runs.map(({ id }) => id);
  t.deepEqual([await listed("a"), await listed("b"), await listed("both")], [[], [runId], [runId]]);
  await push(api, { mode }, {}, payload(3));
  const kept = await api.run(runId);
  t.deepEqual(await payloadOf(api, runId), { n: 3 });
  t.deepEqual(
    [kept.tags, kept.metadataJson, kept.maxAttempts],
    [["b", "both"], '{"n":2}', 9],
    "what is not given stays",
  );
  const worker = await api.worker({ tasks: ["work"], credit: 1 });
  await api.advance(5 * SECOND);
  t.is((await worker.assigned()).runId, runId);
  const replayed = await api.run((await api.runs.replayRun({ runId })).runId);
  t.deepEqual([replayed.tags, replayed.metadataJson], [["b", "both"], '{"n":2}']);
  t.deepEqual([replayed.queueName, replayed.concurrencyKey, statusName(replayed.status)], ["narrow", "c", "QUEUED"]);
});

test("DEB-3: a large payload replaces a small one, and a small one a large", async (t) => {
  const api = await startApi(t);
  const mode = "DEBOUNCE_MODE_TRAILING";
  const text = "x".repeat(50_000);
  const { runId } = await push(api, { mode }, {}, { payload: { json: "1" } });
  await push(api, { mode }, {}, { payload: { json: JSON.stringify(text) } });
  t.is(await payloadOf(api, runId), text);
  await push(api, { mode }, {}, { payload: { json: "2" } });
  t.is(await payloadOf(api, runId), 2);
});

test("DEB-4: once the run has left DELAYED, due or cancelled, the next call makes a new one", async (t) => {
  const api = await startApi(t);
  const first = await push(api, {});
  await api.advance(5 * SECOND);
  t.is(await api.status(first.runId), "QUEUED");
  const second = await push(api, {});
  t.not(second.runId, first.runId);
  await api.runs.cancelRun({ runId: second.runId });
  const third = await push(api, {});
  t.false([first.runId, second.runId].includes(third.runId));
  t.deepEqual(await push(api, {}), third);
});

test("DEB-5, DEB-5a: maxDelay bounds the postponement from creation; the call that would pass it makes the new holder", async (t) => {
  const api = await startApi(t);
  const startMs = api.nowMs();
  const { runId } = await push(api, { maxDelay: "30s" });
  for (let at = 2; at <= 24; at += 2) {
    await api.advance(2 * SECOND);
    t.is((await push(api, { maxDelay: "30s" })).runId, runId, `call at ${at} s`);
  }
  t.is(await dueMs(api, runId), startMs + 29 * SECOND);
  await api.advance(2 * SECOND);
  const holder = await push(api, { maxDelay: "30s" });
  t.not(holder.runId, runId, "the call at 26 s would pass it");
  t.is(await dueMs(api, runId), startMs + 29 * SECOND, "the first run keeps its due time");
  await api.advance(SECOND);
  t.is((await push(api, {})).runId, holder.runId, "the new run holds the key");
  await api.advance(2 * SECOND);
  t.is(await api.status(runId), "QUEUED");
});

test("DEB-5: each call's own maxDelay applies; without one there is no bound", async (t) => {
  const api = await startApi(t);
  const { runId } = await push(api, { maxDelay: "6s" });
  await api.advance(4 * SECOND);
  t.is((await push(api, {})).runId, runId);
  t.not((await push(api, { maxDelay: "6s" })).runId, runId);
});

test("DEB-6: bad members are refused with their name, and leave nothing behind", async (t) => {
  const api = await startApi(t);
  const bad: readonly (readonly [member: string, debounce: JsonObject])[] = [
    ["key", { key: "" }],
    ["key", { key: "ü".repeat(513) }],
    ["delay", { delay: "999ms" }],
    ["delay", { delay: "0s" }],
    ["delay", { delay: "" }],
    ["delay", { delay: "2030-01-01" }],
    ["maxDelay", { maxDelay: "5s" }],
    ["maxDelay", { maxDelay: "soon" }],
    ["maxDelay", { maxDelay: "" }],
    ["mode", { mode: 7 }],
  ];
  for (const [member, debounce] of bad) {
    const refused = await refusal(push(api, debounce));
    t.is(refused.code, "INVALID_ARGUMENT", member);
    t.is(refused.reason, "INVALID_DEBOUNCE", member);
    t.true(refused.message.startsWith(`debounce.${member}`), refused.message);
    t.deepEqual(
      refused.violations.map(({ field }) => field),
      [`options.debounce.${member}`],
    );
  }
  t.is(await api.count(), 0);
  t.is(await api.status((await push(api, { key: "ü".repeat(512), delay: "1s", maxDelay: "2s" })).runId), "DELAYED");
});

test("DEB-7: simultaneous first calls create one run", async (t) => {
  const api = await startApi(t);
  const calls = Array.from({ length: 40 }, (_, n) => push(api, {}, n % 2 === 0 ? {} : { idempotencyKey: `i${n}` }));
  t.is(new Set((await Promise.all(calls)).map(({ runId }) => runId)).size, 1);
  t.is(await api.count(), 1);
});

test("DEB-7, DEB-10: items of one call share a run, one after the other", async (t) => {
  const api = await startApi(t);
  const options = { debounce: { key: "k", delay: "5s", mode: 2 } };
  const items = Array.from({ length: 70 }, (_, n) => ({
    taskId: "work",
    payload: { data: { case: "json", value: String(n) } as const },
    options,
  }));
  const { results } = await api.runs.triggerTasks({ items });
  const ids = results.map(({ result }) => (result.case === "triggered" ? result.value.runId : result.case));
  t.is(new Set(ids).size, 1);
  t.is(await payloadOf(api, ids[0] ?? ""), 69);
});

test("DEB-11: a debounced run is rescheduled like any delayed one, and pushed from there", async (t) => {
  const api = await startApi(t);
  const { runId } = await push(api, {});
  await api.runs.rescheduleRun({ runId, delaySpec: { case: "delay", value: "30s" } });
  const rescheduledMs = api.nowMs() + 30 * SECOND;
  await api.advance(20 * SECOND);
  t.is((await push(api, {})).runId, runId);
  t.is(await dueMs(api, runId), rescheduledMs, "never earlier");
  await api.runs.rescheduleRun({ runId, delaySpec: { case: "delay", value: "1s" } });
  t.is((await push(api, {})).runId, runId);
  t.is(await dueMs(api, runId), api.nowMs() + 5 * SECOND);
});

test("DEB-2, §6.5: a future delay sets the first due time, the debounce delay those of later calls", async (t) => {
  const api = await startApi(t);
  const startMs = api.nowMs();
  const { runId } = await push(api, {}, { delay: "6s" });
  t.is(await dueMs(api, runId), startMs + 6 * SECOND);
  await api.advance(2 * SECOND);
  await push(api, {}, { delay: "1h" });
  t.is(await dueMs(api, runId), startMs + 7 * SECOND);
});

test("TRG-10, §6.5: a live idempotency key answers first, cached, and pushes nothing; a push claims no key", async (t) => {
  const api = await startApi(t);
  const { runId } = await push(api, {}, { idempotencyKey: "i" });
  const before = await dueMs(api, runId);
  await api.advance(SECOND);
  t.deepEqual(await push(api, {}, { idempotencyKey: "i" }), { runId, isCached: true });
  t.is(await dueMs(api, runId), before);
  t.deepEqual(await push(api, {}, { idempotencyKey: "j" }), { runId, isCached: false });
  const plain = await api.trigger("work", { options: { idempotencyKey: "j" } });
  t.false(plain.isCached, "the pushing call's key names nothing");
});

test("REQ-1: a push is made once and remembers its answer, a first call too", async (t) => {
  const api = await startApi(t);
  const mode = "DEBOUNCE_MODE_TRAILING";
  const first = await push(api, { mode }, {}, { requestId: "r1", ...payload(1) });
  await api.advance(SECOND);
  const second = await push(api, { mode }, {}, { requestId: "r2", ...payload(2) });
  t.is(second.runId, first.runId);
  await push(api, { mode }, {}, { requestId: "r3", ...payload(3) });
  const dueAt = await dueMs(api, first.runId);
  await api.advance(SECOND);
  t.deepEqual(await push(api, { mode }, {}, { requestId: "r2", ...payload(2) }), { ...first, isCached: false });
  t.deepEqual(await push(api, { mode }, {}, { requestId: "r1", ...payload(1) }), { ...first, isCached: false });
  t.deepEqual(await payloadOf(api, first.runId), { n: 3 }, "a repeat pushes nothing");
  t.is(await dueMs(api, first.runId), dueAt);
  await api.advance(10 * SECOND);
  t.not((await push(api, { mode }, {}, { requestId: "r4" })).runId, first.runId);
  t.is((await push(api, { mode }, {}, { requestId: "r2" })).runId, first.runId, "also when the key names another run");
});
