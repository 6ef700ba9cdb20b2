/** Waits (sections 4.4, 12.2, 14.4): what the service does when a run waits for another, as a worker and readers see it. */
import test from "ava";
import type { Assignment } from "#proto/hairtrigger/worker/v1/worker_pb.js";
import { refusal, type StatusName, startApi, statusName } from "../support/api.js";
import { hex } from "../support/wire-worker.js";
import { awaited } from "./waits/awaited.js";
import "./waits/batches.js";
import "./waits/interruptions.js";
import "./waits/restart.js";

const SECOND = 1_000;
const MINUTE = 60 * SECOND;

const text = (json: string) => ({ data: { case: "json", value: json } }) as const;

test("TAW-2, QUE-21: a parent in a queue of limit 1 waits without slot and place, and goes on in the same attempt with the result", async (t) => {
  const api = await startApi(t);
  const worker = await api.worker({
    tasks: [{ id: "work", queue: { concurrencyLimit: 1 } }],
    credit: 1,
  });
  const parentId = await api.triggered("work");
  const parent = await worker.begin();
  const { runId: childId } = await awaited(api, parent, "work");
  t.is(await api.status(childId), "QUEUED", "the parent holds the only slot");
  t.is((await worker.waits(parent.lease, childId)).case, "keepWaiting");
  const waiting = await api.run(parentId);
  t.is(statusName(waiting.status), "WAITING");
  t.deepEqual(waiting.waitingFor?.waitpoint, { case: "runId", value: childId });
  worker.credit(1);
  const child = await worker.begin();
  t.is(child.runId, childId);
  await worker.completed(child.lease, text('"done"'));
  worker.credit(1);
  const resume = await worker.resumed();
  t.is(resume.runId, parentId);
  t.true(resume.confirmFirst, "its queue has a limit");
  t.is(hex(resume.waitingLease), hex(parent.lease));
  const { outcome } = resume.outcome ?? {};
  if (outcome?.case !== "run") return t.fail("the resume says nothing of the child");
  t.like(outcome.value, { runId: childId, taskId: "work", output: text('"done"') });
  t.is(await api.status(parentId), "EXECUTING");
  t.is((await worker.completed(resume.lease)).case, "finished");
  const ended = await api.run(parentId);
  t.is(statusName(ended.status), "COMPLETED");
  t.is(ended.attemptCount, 1);
  t.is((await api.queue("task/work")).running, 0);
});

test("QUE-22, QUE-25: nested waits in one queue of limit 1 never deadlock, at any depth", async (t) => {
  const api = await startApi(t);
  const worker = await api.worker({ tasks: [{ id: "work", queue: { concurrencyLimit: 1 } }], credit: 1 });
  await api.triggered("work");
  const chain = [await worker.begin()];
  for (let depth = 1; depth < 20; depth += 1) {
    const above = chain[depth - 1];
    if (above === undefined) return t.fail();
    const { runId } = await awaited(api, above, "work");
    await worker.waits(above.lease, runId);
    worker.credit(1);
    chain.push(await worker.begin());
  }
  t.is((await api.queue("task/work")).running, 1);
  const deepest = chain.at(-1);
  if (deepest === undefined) return t.fail();
  await worker.completed(deepest.lease);
  for (let depth = 18; depth >= 0; depth -= 1) {
    worker.credit(1);
    const resume = await worker.resumed();
    t.is(resume.runId, chain[depth]?.runId ?? "");
    await worker.completed(resume.lease);
  }
  for (const { runId } of chain) t.is(await api.status(runId), "COMPLETED");
});

test("QUE-23: a woken run is ahead of newer runs of its queue", async (t) => {
  const api = await startApi(t);
  const worker = await api.worker({ tasks: [{ id: "work", queue: { concurrencyLimit: 1 } }, "child"], credit: 1 });
  const parentId = await api.triggered("work");
  const parent = await worker.begin();
  const { runId: childId } = await awaited(api, parent, "child");
  await worker.waits(parent.lease, childId);
  await api.advance(SECOND);
  await api.triggered("work");
  worker.credit(1);
  const child = await worker.begin();
  t.is(child.runId, childId, "older by its parent's queue time");
  await worker.completed(child.lease);
  t.is(await api.status(parentId), "QUEUED", "woken, and its worker has no place");
  worker.credit(1);
  t.is((await worker.resumed()).runId, parentId);
});

test("TAW-6: an awaited child takes over its parent's queue time, its own priority applies, a delay does not", async (t) => {
  const api = await startApi(t);
  const worker = await api.worker({ tasks: ["parent"] });
  await api.triggered("parent", { prioritySeconds: 3 });
  const parent = await worker.begin();
  await api.pass(10 * SECOND, worker);
  const own = await api.triggered("child");
  await api.pass(SECOND, worker);
  const { runId: inherits } = await awaited(api, parent, "child");
  const { runId: later } = await awaited(api, parent, "child", { prioritySeconds: -15 });
  const { runId: delayed } = await awaited(api, parent, "child", { delaySpec: { case: "delay", value: "1s" } });
  await api.pass(2 * SECOND, worker);
  const children = await api.worker({ tasks: ["child"], credit: 10 });
  const order = [];
  for (let count = 0; count < 4; count += 1) order.push((await children.assigned()).runId);
  t.deepEqual(order, [inherits, own, delayed, later]);
});

test("TAW-8, RUN-8: only the present lease of a live run may wait; nothing is created otherwise", async (t) => {
  const api = await startApi(t);
  const worker = await api.worker({ tasks: ["parent"] });
  const runId = await api.triggered("parent", { maxAttempts: 2 });
  const first = await worker.begin();
  const retry = await worker.failed(first.lease, {}, SECOND);
  t.is(retry.case, "retry");
  t.like(await refusal(awaited(api, first, "child")), { code: "FAILED_PRECONDITION", reason: "STALE_LEASE" });
  const stranger = await refusal(api.runs.triggerTask({ taskId: "child", awaitingLease: first.lease }));
  t.is(stranger.reason, "INVALID_REQUEST", "a lease of no parent");
  await api.runs.cancelRun({ runId });
  const late = await refusal(awaited(api, first, "child"));
  t.like(late, { code: "FAILED_PRECONDITION", reason: "PARENT_RUN_FINAL" });
  t.true(late.message.includes("as the parent run has a status of CANCELED"));
  t.like(late.metadata, { id: runId, task: "child", got: "CANCELED" });
  t.is(await api.count(), 1);
});

test("TAW-3, TAW-4: whatever ends the child, the parent goes on and is told", async (t) => {
  const api = await startApi(t);
  const worker = await api.worker({ tasks: ["parent", "child"], credit: 100 });
  const expect = async (
    end: (child: Assignment) => Promise<unknown>,
    status: StatusName,
    message: string,
    options = {},
  ): Promise<void> => {
    const parentId = await api.triggered("parent");
    const parent = await worker.begin();
    const { runId } = await awaited(api, parent, "child", options);
    const child = await worker.begin();
    await worker.waits(parent.lease, runId);
    await end(child);
    const resume = await worker.resumed();
    t.is(resume.runId, parentId);
    const { outcome } = resume.outcome ?? {};
    if (outcome?.case !== "run") return t.fail(status);
    t.is(statusName(outcome.value.status), status);
    t.is(outcome.value.error?.message, message);
    t.is(outcome.value.output, undefined);
    await worker.completed(resume.lease);
  };
  await expect((child) => worker.failed(child.lease, { message: "oh" }), "FAILED", "oh");
  await expect(({ runId }) => api.runs.cancelRun({ runId }), "CANCELED", "Canceled by user");
  await expect(({ runId }) => api.runs.cancelRun({ runId, reason: "no" }), "CANCELED", "no");
  await expect((child) => worker.timedOut(child.lease), "TIMED_OUT", "Run exceeded its maxDuration of 5 seconds", {
    maxDurationSeconds: 5,
  });
  await expect(
    (child) => worker.failed(child.lease, { code: "TASK_DID_CONCURRENT_WAIT", message: "two" }),
    "SYSTEM_FAILURE",
    "two",
  );
});

test("TAW-4: a child that expires, or is lost with its worker, wakes its parent", async (t) => {
  const api = await startApi(t);
  const worker = await api.worker({ tasks: ["parent"] });
  await api.triggered("parent");
  const first = await worker.begin();
  const { runId: expiring } = await awaited(api, first, "child", { ttlSpec: { case: "ttl", value: "2s" } });
  await worker.waits(first.lease, expiring);
  await api.pass(3 * SECOND, worker);
  const resume = await worker.resumed();
  const { outcome } = resume.outcome ?? {};
  t.is(outcome?.case === "run" && outcome.value.error?.message, "Run expired because the TTL (2s) was reached");
  const other = await api.worker({ tasks: ["child"] });
  const { runId: lost } = await awaited(api, { ...first, lease: resume.lease }, "child", { maxAttempts: 1 });
  await other.begin();
  await worker.waits(resume.lease, lost);
  other.disconnect();
  await api.pass(2 * MINUTE, worker);
  const again = await worker.resumed();
  const crashed = again.outcome?.outcome;
  t.is(crashed?.case === "run" && statusName(crashed.value.status), "CRASHED");
});

test("TAW-2: a child that ended before its parent waits wakes it at once", async (t) => {
  const api = await startApi(t);
  const worker = await api.worker({ tasks: ["parent", "child"] });
  const parentId = await api.triggered("parent");
  const parent = await worker.begin();
  const { runId } = await awaited(api, parent, "child");
  await worker.finish(text("1"));
  t.is(await api.status(runId), "COMPLETED");
  await worker.waits(parent.lease, runId);
  t.is((await worker.resumed()).runId, parentId);
});

test("TAW-2, RUN-8: a repeated wait is acknowledged again, also when the run has gone on", async (t) => {
  const api = await startApi(t);
  const worker = await api.worker({ tasks: ["parent", "child"] });
  await api.triggered("parent");
  const parent = await worker.begin();
  const { runId } = await awaited(api, parent, "child");
  const child = await worker.begin();
  t.is((await worker.waits(parent.lease, runId)).case, "keepWaiting");
  t.is((await worker.waits(parent.lease, runId)).case, "keepWaiting");
  await worker.completed(child.lease);
  const resume = await worker.resumes.take();
  t.is((await worker.waits(parent.lease, runId)).case, "keepWaiting", "the resume is on its way");
  t.is((await worker.started(resume.lease)).case, "goOn");
  t.is((await worker.waits(parent.lease, runId)).case, "released", "nothing is left to be said about the old lease");
  t.is((await worker.completed(resume.lease)).case, "finished");
});

test("IDM-15: the key of a live run joins it, which makes it no child; that of a finished one answers at once", async (t) => {
  const api = await startApi(t);
  const worker = await api.worker({ tasks: ["parent", "child"] });
  const { runId } = await api.trigger("child", { options: { idempotencyKey: "k" } });
  const child = await worker.begin();
  const parentId = await api.triggered("parent");
  const parent = await worker.begin();
  const joined = await awaited(api, parent, "child", { idempotencyKey: "k" });
  t.like(joined, { runId, isCached: true, isFinal: false });
  await worker.waits(parent.lease, runId);
  await api.runs.cancelRun({ runId: parentId });
  t.is(await api.status(runId), "EXECUTING", "a run only joined is not cancelled with the parent");
  await worker.completed(child.lease);
  await api.triggered("parent");
  const next = await worker.begin();
  t.like(await awaited(api, next, "child", { idempotencyKey: "k" }), { runId, isCached: true, isFinal: true });
});

test("IDM-16: several parents wait for one run; all go on", async (t) => {
  const api = await startApi(t);
  const worker = await api.worker({ tasks: ["parent"], credit: 20 });
  const other = await api.worker({ tasks: ["child"] });
  const parents = new Set<string>();
  let childId = "";
  for (let count = 0; count < 5; count += 1) {
    parents.add(await api.triggered("parent"));
    const parent = await worker.begin();
    const { runId } = await awaited(api, parent, "child", { idempotencyKey: "k" });
    childId ||= runId;
    t.is(runId, childId);
    await worker.waits(parent.lease, runId);
  }
  await other.finish(text("7"));
  for (let count = 0; count < 5; count += 1) {
    const { runId, outcome } = await worker.resumed();
    t.true(parents.delete(runId));
    t.is(outcome?.outcome.case === "run" && outcome.outcome.value.runId, childId);
  }
});

test("CAN-2, TAW-9, CAN-4: a waiting run is cancelled at once with its child; its worker is told under the lease of the wait", async (t) => {
  const api = await startApi(t);
  const worker = await api.worker({ tasks: ["parent", "child"] });
  const parentId = await api.triggered("parent");
  const parent = await worker.begin();
  const { runId: childId } = await awaited(api, parent, "child");
  const child = await worker.begin();
  await worker.waits(parent.lease, childId);
  await api.runs.cancelRun({ runId: parentId, reason: "enough" });
  t.is(await api.status(parentId), "CANCELED");
  t.is(await api.status(childId), "CANCELED");
  const cancels = [await worker.cancels.take(), await worker.cancels.take()];
  t.deepEqual(cancels.map(({ lease }) => hex(lease)).toSorted(), [parent.lease, child.lease].map(hex).toSorted());
  for (const { reason } of cancels) t.is(reason, "enough");
  t.is((await worker.ended(parent.lease)).case, "finished");
  t.is((await worker.ended(child.lease)).case, "finished");
  await worker.heartbeat();
  t.is(worker.resyncs.size, 0);
  t.is(worker.resumes.size, 0, "nobody is woken by it");
});

test("§12.2: code of a waiting run that ends, or fails, is reported under the lease of the wait", async (t) => {
  const api = await startApi(t);
  const worker = await api.worker({ tasks: ["parent", "child"] });
  const begin = async () => {
    const runId = await api.triggered("parent");
    const parent = await worker.begin();
    const { runId: childId } = await awaited(api, parent, "child");
    await worker.waits(parent.lease, childId);
    const child = await worker.begin();
    return { runId, lease: parent.lease, child };
  };
  const completed = await begin();
  t.is((await worker.completed(completed.lease, text("1"))).case, "finished");
  t.is((await worker.completed(completed.lease, text("1"))).case, "finished", "a repeat is answered again");
  t.is(await api.status(completed.runId), "COMPLETED");
  const failed = await begin();
  t.is((await worker.failed(failed.lease, { code: "TASK_DID_CONCURRENT_WAIT" })).case, "finished");
  t.is(await api.status(failed.runId), "SYSTEM_FAILURE", "TAW-7");
  t.is(await api.status(failed.child.runId), "EXECUTING", "earlier children go on");
  const retried = await begin();
  t.is(
    (await worker.failed(retried.lease, {}, SECOND)).case,
    "released",
    "a run without a slot goes through the queue (RTY-5)",
  );
  t.is(await api.status(retried.runId), "QUEUED");
  for (const { child } of [completed, failed, retried]) await worker.completed(child.lease);
  await api.pass(2 * SECOND, worker);
  t.is((await worker.begin()).runId, retried.runId);
  t.is(worker.resumes.size, 0);
});

test("RUN-6: a resume that is not confirmed goes back unchanged and comes again", async (t) => {
  const api = await startApi(t);
  const worker = await api.worker({ tasks: ["parent", "child"] });
  const parentId = await api.triggered("parent");
  const parent = await worker.begin();
  const { runId } = await awaited(api, parent, "child");
  await worker.waits(parent.lease, runId);
  await worker.finish();
  const resume = await worker.resumes.take();
  await api.advance(11 * SECOND);
  t.is(hex((await worker.lost.take()).lease), hex(resume.lease));
  t.is(await api.status(parentId), "QUEUED");
  await worker.heartbeat();
  const again = await worker.resumes.take();
  t.is(hex(again.waitingLease), hex(parent.lease));
  t.is((await worker.interrupted(again.lease)).case, "released", "the worker holds its continuation no more");
  const anew = await worker.begin();
  t.like(anew, { runId: parentId, attempt: 1 });
});

test("DEB-9: callers that wait with one debounce key wait for one run, and all go on with its result", async (t) => {
  const api = await startApi(t);
  const worker = await api.worker({ tasks: ["parent"], credit: 10 });
  const other = await api.worker({ tasks: ["child"] });
  const parents: string[] = [];
  const debounce = { key: "d", delay: "5s" };
  let childId = "";
  for (let count = 0; count < 3; count += 1) {
    parents.push(await api.triggered("parent"));
    const parent = await worker.begin();
    const { runId } = await awaited(api, parent, "child", { debounce });
    childId ||= runId;
    t.is(runId, childId);
    await worker.waits(parent.lease, runId);
  }
  t.is((await api.run(childId)).relatedRuns?.parent?.id, parents[0], "parent is the first caller");
  await api.pass(6 * SECOND, worker, other);
  await other.finish(text("1"));
  const resumed = [];
  for (const _ of parents) resumed.push((await worker.resumed()).runId);
  t.deepEqual(resumed.toSorted(), parents.toSorted());
});
