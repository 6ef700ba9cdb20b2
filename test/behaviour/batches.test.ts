/** Batches of one call (section 11), as callers see them on the wire; streamed ones are in the module beside it. */
import { createHash } from "node:crypto";
import { fromBinary } from "@bufbuild/protobuf";
import test from "ava";
import { RunSpecSchema, RunStatus } from "#proto/hairtrigger/v1/run_pb.js";
import { IdempotencyKeyScope } from "#proto/hairtrigger/v1/trigger_options_pb.js";
import { type JsonObject, refusal, startApi, type TestApi } from "../support/api.js";

import "./batches/streams.js";

const MINUTE = 60_000;

function jobs(count: number, options: JsonObject = {}): readonly JsonObject[] {
  return Array.from({ length: count }, () => ({ taskId: "work", options }));
}

async function batchOf(api: TestApi, batchId: string) {
  const { batch } = await api.batches.retrieveBatch({ batchId });
  if (batch === undefined) throw new Error("no batch");
  return batch;
}

// ── one call ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

test("BAT-2, BAT-13, BT-1: a batch answers with its runs in the order of its items, each of its task", async (t) => {
  const api = await startApi(t);
  const { batchId, runs, runCount, isCached } = await api.batch([
    { taskId: "a", payload: { value: 1 } },
    { taskId: "b", payload: { value: 2 }, options: { tags: ["x"] } },
    { taskId: "a", payload: { value: 3 } },
  ]);
  t.regex(batchId, /^batch_[0-9a-z]{26}$/);
  t.like({ runCount, isCached }, { runCount: 3, isCached: false });
  t.deepEqual(
    runs.map(({ taskId }) => taskId),
    ["a", "b", "a"],
  );
  for (const [index, { runId }] of runs.entries()) {
    const run = await api.run(runId);
    t.like(run, { batchId, batchIndex: index, status: RunStatus.QUEUED });
    t.is(run.payload?.data.value, String(index + 1));
  }
  const { runs: listed } = await api.runs.listRuns({ filter: { batchId } });
  t.deepEqual(
    listed.map(({ id }) => id).toReversed(),
    runs.map(({ runId }) => runId),
  );
  t.is(listed[0]?.batchId, batchId);
});

test("BAT-7: items execute in parallel, in the order of the list where there is not room for all", async (t) => {
  const api = await startApi(t);
  const { runs } = await api.batch(jobs(6));
  const worker = await api.worker({ tasks: ["work"], credit: 2 });
  const first = [await worker.begin(), await worker.begin()];
  t.deepEqual(
    first.map(({ runId }) => runId),
    runs.slice(0, 2).map(({ runId }) => runId),
  );
});

test("BAT-3, BAT-4: 500 items pass, 501 and none are refused, and nothing is created", async (t) => {
  const api = await startApi(t);
  const many = await refusal(api.batch(jobs(501)));
  t.like(many, { code: "INVALID_ARGUMENT", reason: "BATCH_TOO_LARGE", metadata: { got: "501", allowed: "500" } });
  t.is(many.message, "Batch runCount of 501 exceeds maximum allowed of 500.");
  const none = await refusal(api.batch([]));
  t.like(none, { code: "INVALID_ARGUMENT", reason: "BATCH_EMPTY" });
  t.is(none.message, "Batch cannot be triggered with no items");
  t.is(await api.count(), 0);
  t.is((await api.batch(jobs(500))).runCount, 500);
});

test("BAT-3: the limit of items is the operator's", async (t) => {
  const api = await startApi(t, { limits: { batchItemsMax: 2 } });
  t.is((await refusal(api.batch(jobs(3)))).message, "Batch runCount of 3 exceeds maximum allowed of 2.");
  t.is((await api.batch(jobs(2))).runCount, 2);
});

test("PAY-8: 1,048,576 bytes of payload in all pass, one more is refused", async (t) => {
  const api = await startApi(t);
  const items = (bytes: number) => [
    { taskId: "work", payload: { json: JSON.stringify("x".repeat(bytes - 1)) } },
    { taskId: "work", payload: { json: "7" } },
  ];
  const refused = await refusal(api.batch(items(1_048_577)));
  t.like(refused, { code: "RESOURCE_EXHAUSTED", reason: "BATCH_PAYLOAD_TOO_LARGE", retryAfterMs: undefined });
  t.is(refused.message, "Batch payload of 1048577 bytes exceeds maximum allowed of 1048576 bytes.");
  t.is(await api.count(), 0);
  t.is((await api.batch(items(1_048_576))).runCount, 2);
});

test("BAT-8, ERR-1: one bad item refuses all, and every violation names its item", async (t) => {
  const api = await startApi(t);
  const items = [
    { taskId: "work" },
    { taskId: "" },
    { taskId: "work", options: { delay: "soon" } },
    { taskId: "work", options: { tags: Array.from({ length: 11 }, (_, index) => `t${index}`) } },
    { taskId: "work", payload: { json: "{" } },
  ];
  const refused = await refusal(api.batch(items, { options: { idempotencyKeyTtl: "never" } }));
  t.is(refused.code, "INVALID_ARGUMENT");
  t.deepEqual(Object.fromEntries(refused.violations.map(({ field, reason }) => [field, reason])), {
    "items[1].taskId": "INVALID_REQUEST",
    "items[2].options.delay": "INVALID_DELAY",
    "items[3].options.tags": "TOO_MANY_TAGS",
    "items[4].payload.json": "INVALID_REQUEST",
    "options.idempotencyKeyTtl": "INVALID_IDEMPOTENCY_KEY_TTL",
  });
  t.is(await api.count(), 0);
});

test("BAT-8, QUE-10: a queue without room for all refuses all, keys included", async (t) => {
  const api = await startApi(t, { limits: { queueSizeMax: 3 } });
  await api.triggered("work");
  const items = [0, 1, 2].map((index) => ({ taskId: "work", options: { idempotencyKey: `k${index}` } }));
  const refused = await refusal(api.batch(items));
  t.like(refused, { code: "RESOURCE_EXHAUSTED", reason: "QUEUE_FULL" });
  t.is(await api.count(), 1);
  t.false((await api.trigger("other", { options: { idempotencyKey: "k0" } })).isCached);
  const { runs } = await api.batch(items.slice(0, 2));
  t.true(runs.every(({ isCached }) => !isCached));
});

test("TRG-5: members are children of the run that the call is made in; an unknown parent refuses all", async (t) => {
  const api = await startApi(t);
  const parent = await api.trigger("parent", { isTest: true });
  const { runs } = await api.batch(jobs(2), { parentRunId: parent.runId });
  t.like(await api.run(runs[1]?.runId ?? ""), { depth: 1, isTest: true });
  t.is((await api.run(parent.runId)).relatedRuns?.children.length, 2);
  const refused = await refusal(api.batch(jobs(2), { parentRunId: `run_${"0".repeat(26)}` }));
  t.is(refused.reason, "RUN_NOT_FOUND");
  t.is(await api.count(), 3);
});

test("TRG-6a: unregistered tasks are named once each, with ids that resemble them", async (t) => {
  const api = await startApi(t);
  await api.worker({ tasks: ["work"] });
  const { unknownTasks } = await api.batch([{ taskId: "work" }, { taskId: "wrok" }, { taskId: "wrok" }]);
  t.deepEqual(
    unknownTasks.map(({ taskId, similarTaskIds }) => [taskId, similarTaskIds]),
    [["wrok", ["work"]]],
  );
});

test("AUT-5: a batch needs the secret key; its handle token reads the batch and its runs, and no other", async (t) => {
  const api = await startApi(t);
  const { batchId, runs } = await api.batch(jobs(1));
  const other = await api.batch(jobs(1));
  const token = await publicToken(api, [`read:batch:${batchId}`]);
  const reader = api.as(token);
  t.is((await reader.batches.retrieveBatch({ batchId })).batch?.id, batchId);
  t.is((await reader.batches.listBatchResults({ batchId })).results.length, 1);
  t.is((await reader.runs.retrieveRun({ runId: runs[0]?.runId ?? "" })).run?.batchId, batchId);
  const foreign = await refusal(reader.batches.retrieveBatch({ batchId: other.batchId }));
  t.like(foreign, { code: "PERMISSION_DENIED", reason: "SCOPE_MISSING" });
  t.is((await refusal(reader.batches.listBatchResults({ batchId: other.batchId }))).reason, "SCOPE_MISSING");
  t.is((await refusal(reader.batches.batchTrigger({ items: [{ taskId: "work" }] }))).code, "PERMISSION_DENIED");
});

async function publicToken(api: TestApi, scopes: readonly string[]): Promise<string> {
  return (await api.auth.createPublicToken({ scopes: [...scopes] })).token;
}

// ── the same call again ────────────────────────────────────────────────────────────────────────────────────────────────────────────

test("REQ-1: a repeated call has the same batch and runs, is not cached, and makes no second run", async (t) => {
  const api = await startApi(t);
  const request = { requestId: "0198c2a1-0000-7000-8000-000000000001" };
  const first = await api.batch(jobs(3), request);
  const again = await api.batch(jobs(3), request);
  t.deepEqual([again.batchId, again.runs, again.isCached], [first.batchId, first.runs, false]);
  const concurrent = await Promise.all(Array.from({ length: 8 }, () => api.batch(jobs(2), { requestId: "another" })));
  t.is(new Set(concurrent.map(({ batchId }) => batchId)).size, 1);
  t.is(await api.count(), 5);
  t.not(
    (await api.batch(jobs(1))).batchId,
    (await api.batch(jobs(1))).batchId,
    "without a request id every call is new",
  );
});

// ── keys ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

test("BAT-20: a second call with the key gets the first batch and its runs, its items are discarded", async (t) => {
  const api = await startApi(t);
  const options = { idempotencyKey: "order-1" };
  const first = await api.batch(jobs(2), { options });
  t.like(first, { isCached: false, idempotencyKey: "order-1" });
  const second = await api.batch(jobs(5), { options });
  t.like(second, { isCached: true, batchId: first.batchId, runCount: 2, idempotencyKey: "order-1" });
  t.deepEqual(second.runs, first.runs);
  t.is(await api.count(), 2);
  const elsewhere = api.as(api.server.prodKey).batches;
  t.false((await elsewhere.batchTrigger({ items: [{ taskId: "work" }], options })).isCached, "another environment");
});

test("BAT-20, IDM-19: the window of a batch key counts from the batch, and a hit does not extend it", async (t) => {
  const api = await startApi(t);
  const options = { idempotencyKey: "k", idempotencyKeyTtl: "10m" };
  const first = await api.batch([{ taskId: "work", options: { idempotencyKey: "own" } }], { options });
  await api.advance(9 * MINUTE);
  t.true((await api.batch(jobs(1), { options })).isCached);
  await api.advance(MINUTE);
  const next = await api.batch(jobs(1), { options });
  t.false(next.isCached);
  t.not(next.batchId, first.batchId);
  t.is((await batchOf(api, first.batchId)).idempotencyKey, "");
});

test("BAT-20: of concurrent calls with one key one creates the batch", async (t) => {
  const api = await startApi(t);
  const options = { idempotencyKey: "k" };
  const all = await Promise.all(Array.from({ length: 10 }, () => api.batch(jobs(3), { options })));
  t.is(all.filter(({ isCached }) => !isCached).length, 1);
  t.is(new Set(all.map(({ batchId }) => batchId)).size, 1);
  t.is(await api.count(), 3);
});

test("BAT-21: items without a key get one from the batch's, shown with their position; an own key wins", async (t) => {
  const api = await startApi(t);
  const options = { idempotencyKey: "order", idempotencyKeyScope: "IDEMPOTENCY_KEY_SCOPE_GLOBAL" };
  const { runs } = await api.batch([{ taskId: "work" }, { taskId: "work", options: { idempotencyKey: "own" } }], {
    options,
  });
  t.deepEqual(
    runs.map(({ idempotencyKey }) => idempotencyKey),
    ["order-0", "own"],
  );
  const run = await api.run(runs[0]?.runId ?? "");
  t.like(run, { idempotencyKey: "order-0", idempotencyKeyScope: IdempotencyKeyScope.GLOBAL });
  const sha = (parts: readonly (string | number)[]) => createHash("sha256").update(JSON.stringify(parts)).digest("hex");
  const derived = sha([sha(["order"]), 0]);
  t.like(await api.trigger("work", { options: { idempotencyKey: derived } }), {
    isCached: true,
    runId: runs[0]?.runId ?? "",
  });
  const worker = await api.worker({ tasks: ["work"] });
  const spec = fromBinary(RunSpecSchema, (await worker.begin()).spec);
  t.like(spec, { batchId: run.batchId, batchIndex: 0 });
  t.is(spec.options?.idempotencyKeyText, "order-0", "what ctx.run.idempotencyKey shows");
});

test("BAT-21: while the batch key lives the same batch is returned, also when members failed", async (t) => {
  const api = await startApi(t);
  const options = { idempotencyKey: "k" };
  const first = await api.batch(jobs(1), { options });
  const worker = await api.worker({ tasks: ["work"] });
  await worker.failed((await worker.begin()).lease);
  t.is(await api.status(first.runs[0]?.runId ?? ""), "FAILED");
  t.like(await api.batch(jobs(1), { options }), { isCached: true, batchId: first.batchId });
});

test("BAT-23, BAT-24, IDM-26: item keys are judged one by one, and without a batch key none is made", async (t) => {
  const api = await startApi(t);
  const kept = await api.triggered("work", { idempotencyKey: "kept" });
  const failed = await api.triggered("fails", { idempotencyKey: "lost" });
  const worker = await api.worker({ tasks: ["fails"] });
  await worker.failed((await worker.begin()).lease);
  const { runs } = await api.batch([
    { taskId: "work", options: { idempotencyKey: "kept" } },
    { taskId: "fails", options: { idempotencyKey: "lost" } },
    { taskId: "work" },
  ]);
  t.deepEqual(
    runs.map(({ isCached, idempotencyKey }) => [isCached, idempotencyKey]),
    [
      [true, "kept"],
      [false, "lost"],
      [false, ""],
    ],
  );
  t.is(runs[0]?.runId, kept);
  t.not(runs[1]?.runId, failed);
  t.is((await api.run(failed)).idempotencyKey, "");
});

test("IDM-17: equal keys in one batch: later positions are hits on the first, and all count", async (t) => {
  const api = await startApi(t);
  const { runs, runCount, batchId } = await api.batch(jobs(3, { idempotencyKey: "same" }));
  t.is(runCount, 3);
  t.deepEqual(
    runs.map(({ isCached }) => isCached),
    [false, true, true],
  );
  t.is(new Set(runs.map(({ runId }) => runId)).size, 1);
  t.is(await api.count(), 1);
  t.deepEqual((await batchOf(api, batchId)).runIds.length, 3);
});

test("IDM-22: the batch's time to live is the default of its items, the item's wins", async (t) => {
  const api = await startApi(t);
  const items = [
    { taskId: "work", options: { idempotencyKey: "a" } },
    { taskId: "work", options: { idempotencyKey: "b", idempotencyKeyTtl: "1h" } },
  ];
  await api.batch(items, { options: { idempotencyKeyTtl: "10m" } });
  await api.advance(11 * MINUTE);
  t.false((await api.trigger("work", { options: { idempotencyKey: "a" } })).isCached);
  t.true((await api.trigger("work", { options: { idempotencyKey: "b" } })).isCached);
});

test("BAT-20: keys of batches and of runs are apart", async (t) => {
  const api = await startApi(t);
  await api.trigger("work", { options: { idempotencyKey: "k" } });
  t.false((await api.batch(jobs(1), { options: { idempotencyKey: "k" } })).isCached);
});

// ── reading ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

test("BAT-9, BAT-12, BAT-26: PENDING until the last run is final, then COMPLETED, whatever became of them", async (t) => {
  const api = await startApi(t);
  const { batchId, runs } = await api.batch(jobs(3));
  t.is(await api.batchStatus(batchId), "PENDING");
  const worker = await api.worker({ tasks: ["work"] });
  await worker.finish({ data: { case: "json", value: "1" } });
  await worker.failed((await worker.begin()).lease);
  t.is(await api.batchStatus(batchId), "PENDING");
  await api.runs.cancelRun({ runId: runs[2]?.runId ?? "" });
  t.is(await api.batchStatus(batchId), "COMPLETED");
  const { results } = await api.batches.listBatchResults({ batchId });
  t.deepEqual(
    results.map(({ index, runId, status, output, error }) => [
      Number(index),
      runId === runs[Number(index)]?.runId,
      RunStatus[status],
      output?.data.value,
      error?.code ?? "",
    ]),
    [
      [0, true, "COMPLETED", "1", ""],
      [1, true, "FAILED", undefined, results[1]?.error?.code ?? "?"],
      [2, true, "CANCELED", undefined, results[2]?.error?.code ?? "?"],
    ],
  );
  t.truthy(results[1]?.error);
  t.truthy(results[2]?.error);
});

test("BAT-11: a batch of hits on finished runs is complete at once, and shows them", async (t) => {
  const api = await startApi(t);
  const held = await api.triggered("work", { idempotencyKey: "k" });
  const worker = await api.worker({ tasks: ["work"] });
  await worker.finish();
  const { batchId, runs } = await api.batch(jobs(2, { idempotencyKey: "k" }));
  t.true(runs.every(({ isCached }) => isCached));
  t.is(await api.batchStatus(batchId), "COMPLETED");
  t.deepEqual((await batchOf(api, batchId)).runIds, [held, held]);
  t.is((await api.runs.listRuns({ filter: { batchId } })).runs.length, 0, "it created none");
});

test("DLY-10, BAT-26: the batch stays PENDING until its delayed runs are final; a ttl ends one", async (t) => {
  const api = await startApi(t);
  const { batchId } = await api.batch([
    { taskId: "work", options: { delay: "10m", ttl: "1m" } },
    { taskId: "work", options: { ttl: "1m" } },
  ]);
  await api.advance(2 * MINUTE);
  t.is(await api.batchStatus(batchId), "PENDING");
  await api.advance(10 * MINUTE);
  t.is(await api.batchStatus(batchId), "COMPLETED");
});

test("BAT-25: a batch is read with its runs, times and key", async (t) => {
  const api = await startApi(t);
  const { batchId, runs } = await api.batch(jobs(2), { options: { idempotencyKey: "k" } });
  const batch = await batchOf(api, batchId);
  t.like(batch, { id: batchId, idempotencyKey: "k", runCount: 2n, processing: undefined });
  t.deepEqual(
    batch.runIds,
    runs.map(({ runId }) => runId),
  );
  t.is(Number(batch.createTime?.seconds) * 1_000, Math.floor(api.nowMs() / 1_000) * 1_000);
  t.truthy(batch.updateTime);
});

test("BAT-27: an unknown batch, and one of another environment, is NOT_FOUND in the same words", async (t) => {
  const api = await startApi(t);
  const { batchId } = await api.batch(jobs(1));
  const foreign = await refusal(api.as(api.server.prodKey).batches.retrieveBatch({ batchId }));
  t.like(foreign, { code: "NOT_FOUND", reason: "BATCH_NOT_FOUND", message: `Batch ${batchId} not found` });
  const unknown = `batch_${"0".repeat(26)}`;
  t.is((await refusal(api.batches.retrieveBatch({ batchId: unknown }))).message, `Batch ${unknown} not found`);
  t.is((await refusal(api.batches.listBatchResults({ batchId: unknown }))).reason, "BATCH_NOT_FOUND");
});

test("RUN-20: results come in pages, with tokens of this batch alone", async (t) => {
  const api = await startApi(t);
  const { batchId, runs } = await api.batch(jobs(7));
  const other = await api.batch(jobs(7));
  const first = await api.batches.listBatchResults({ batchId, pageSize: 3 });
  t.is(first.previousPageToken, "");
  const second = await api.batches.listBatchResults({ batchId, pageSize: 3, pageToken: first.nextPageToken });
  const third = await api.batches.listBatchResults({ batchId, pageSize: 3, pageToken: second.nextPageToken });
  t.is(third.nextPageToken, "");
  t.deepEqual(
    [first, second, third].flatMap(({ results }) => results.map(({ runId }) => runId)),
    runs.map(({ runId }) => runId),
  );
  const back = await api.batches.listBatchResults({ batchId, pageSize: 3, pageToken: second.previousPageToken });
  t.deepEqual(back.results, first.results);
  const foreign = { batchId: other.batchId, pageToken: first.nextPageToken };
  t.is((await refusal(api.batches.listBatchResults(foreign))).reason, "INVALID_PAGE");
  t.is((await refusal(api.batches.listBatchResults({ batchId, pageSize: 101 }))).reason, "INVALID_PAGE");
  t.is((await refusal(api.batches.listBatchResults({ batchId, pageSize: 0 }))).reason, "INVALID_PAGE");
});
