/** Waits for batches (BAT-10…14, BAT-22, IDM-17, IDM-18), as a worker and readers see them. */
import test from "ava";
import { RunStatus, TriggerFunction } from "#proto/hairtrigger/v1/run_pb.js";
import { refusal, startApi, type TestApi } from "../../support/api.js";

const text = (json: string) => ({ data: { case: "json", value: json } }) as const;

interface Parent {
  readonly runId?: string;
  readonly lease: Uint8Array;
}

/** Triggers a batch as a run does that is about to wait for it. */
function awaited(
  api: TestApi,
  { runId: parentRunId = "", lease: awaitingLease }: Parent,
  request: Parameters<TestApi["batches"]["batchTrigger"]>[0],
) {
  return api.batches.batchTrigger({ parentRunId, awaitingLease, ...request });
}

const children = (count: number) => Array.from({ length: count }, () => ({ taskId: "child" }));

test("BAT-10, BAT-12: a parent waits for its batch and goes on once, when all runs are final, whatever became of them", async (t) => {
  const api = await startApi(t);
  const worker = await api.worker({ tasks: ["parent"] });
  const other = await api.worker({ tasks: ["child"], credit: 10 });
  const parentId = await api.triggered("parent");
  const parent = await worker.begin();
  const batch = await awaited(api, parent, { items: children(4) });
  t.like(batch, { isDone: false, runCount: 4 });
  await worker.waits(parent.lease, { waitpoint: { case: "batchId", value: batch.batchId } });
  t.deepEqual((await api.run(parentId)).waitingFor?.waitpoint, { case: "batchId", value: batch.batchId });
  const begun = [await other.begin(), await other.begin(), await other.begin(), await other.begin()];
  const [one, two, three, four] = begun;
  if (one === undefined || two === undefined || three === undefined || four === undefined) return t.fail();
  t.is((await api.run(one.runId)).triggerFunction, TriggerFunction.BATCH_TRIGGER_AND_WAIT);
  await other.completed(one.lease, text("1"));
  await other.failed(two.lease, { message: "oh" });
  await api.runs.cancelRun({ runId: three.runId });
  t.is(await api.status(parentId), "WAITING");
  await other.completed(four.lease);
  const resume = await worker.resumed();
  t.is(resume.runId, parentId);
  const { results } = await api.batches.listBatchResults({ batchId: batch.batchId });
  t.deepEqual(
    results.map(({ runId }) => runId),
    batch.runs.map(({ runId }) => runId),
    "BT-4: in the order of the items",
  );
  const statuses = new Map(results.map(({ runId, status }) => [runId, status]));
  t.deepEqual(
    begun.map(({ runId }) => statuses.get(runId)),
    [RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CANCELED, RunStatus.COMPLETED],
  );
  await worker.completed(resume.lease);
  await api.server.settled();
  t.is(worker.resumes.size, 0, "once");
});

test("BAT-11, IDM-17: runs that existed before are members; if all are final the batch is done at once", async (t) => {
  const api = await startApi(t);
  const worker = await api.worker({ tasks: ["parent"] });
  const other = await api.worker({ tasks: ["child"], credit: 10 });
  const keyed = (idempotencyKey: string) => ({ taskId: "child", options: { idempotencyKey } });
  const { runId: finished } = await api.trigger("child", { options: { idempotencyKey: "a" } });
  await other.finish(text("1"));
  const { runId: live } = await api.trigger("child", { options: { idempotencyKey: "b" } });
  const running = await other.begin();
  await api.triggered("parent");
  const parent = await worker.begin();
  const done = await awaited(api, parent, { items: [keyed("a"), keyed("a")] });
  t.like(done, { isDone: true, runCount: 2 });
  t.deepEqual(
    done.runs.map(({ runId }) => runId),
    [finished, finished],
  );
  const open = await awaited(api, parent, { items: [keyed("a"), keyed("b")] });
  t.false(open.isDone);
  await worker.waits(parent.lease, { waitpoint: { case: "batchId", value: open.batchId } });
  t.is(await api.status(parent.runId), "WAITING");
  t.is(running.runId, live);
  await other.completed(running.lease);
  t.is((await worker.resumed()).runId, parent.runId);
});

test("BAT-10: a batch that is done before its parent waits wakes it at once", async (t) => {
  const api = await startApi(t);
  const worker = await api.worker({ tasks: ["parent"] });
  const other = await api.worker({ tasks: ["child"], credit: 10 });
  await api.triggered("parent");
  const parent = await worker.begin();
  const { batchId } = await awaited(api, parent, { items: children(2) });
  await other.finish();
  await other.finish();
  await worker.waits(parent.lease, { waitpoint: { case: "batchId", value: batchId } });
  t.is((await worker.resumed()).runId, parent.runId);
});

test("BAT-22, TAW-10a: the same batch call, or one with the batch's key, re-joins it; also a batch that nobody waited for", async (t) => {
  const api = await startApi(t);
  const worker = await api.worker({ tasks: ["parent"] });
  const other = await api.worker({ tasks: ["child"], credit: 10 });
  await api.triggered("parent");
  const parent = await worker.begin();
  const first = await awaited(api, parent, { items: children(2), requestId: "wait-1" });
  const again = await awaited(api, parent, { items: children(2), requestId: "wait-1" });
  t.like(again, { batchId: first.batchId, isCached: false, isDone: false });
  const plain = await api.batches.batchTrigger({ items: children(1), options: { idempotencyKey: "k" } });
  const joined = await awaited(api, parent, { items: children(1), options: { idempotencyKey: "k" } });
  t.like(joined, { batchId: plain.batchId, isCached: true, isDone: false });
  await worker.waits(parent.lease, { waitpoint: { case: "batchId", value: plain.batchId } });
  for (let count = 0; count < 3; count += 1) await other.finish();
  const resume = await worker.resumed();
  t.is(resume.runId, parent.runId);
  const finished = await awaited(api, { ...parent, lease: resume.lease }, { items: children(2), requestId: "wait-1" });
  t.like(finished, { batchId: first.batchId, isDone: true });
});

test("TAW-9, CAN-4: cancelling a parent that waits for a batch cancels the runs that the batch made, not those it joined", async (t) => {
  const api = await startApi(t);
  const worker = await api.worker({ tasks: ["parent"] });
  const { runId: joined } = await api.trigger("child", { options: { idempotencyKey: "j" } });
  const parentId = await api.triggered("parent");
  const parent = await worker.begin();
  const batch = await awaited(api, parent, {
    items: [...children(2), { taskId: "child", options: { idempotencyKey: "j" } }],
  });
  await worker.waits(parent.lease, { waitpoint: { case: "batchId", value: batch.batchId } });
  await api.runs.cancelRun({ runId: parentId });
  const statuses = await Promise.all(batch.runs.map(({ runId }) => api.status(runId)));
  t.deepEqual(statuses, ["CANCELED", "CANCELED", "QUEUED"]);
  t.is(batch.runs[2]?.runId, joined);
  const late = await refusal(awaited(api, parent, { items: children(1) }));
  t.is(late.reason, "PARENT_RUN_FINAL");
  t.is(await api.count(), 4);
});
