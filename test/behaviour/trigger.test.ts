/** Triggering (section 4.2); the options of a trigger are in the modules beside it. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test from "ava";
import { refusal, startApi } from "../support/api.js";
import "./options/attempts.js";
import "./options/debounce.js";
import "./options/delay.js";
import "./options/ttl.js";
import "./options/values.js";

const SECOND = 1_000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;

test("TRG-5, TAG-5, MET-9: a run triggered inside another has parent, root and depth, and inherits the test flag and nothing else", async (t) => {
  const api = await startApi(t);
  const parent = await api.trigger("parent", {
    isTest: true,
    options: {
      tags: ["a"],
      metadata: { customer: "acme" },
      queue: { name: "narrow", concurrencyLimit: 1 },
      concurrencyKey: "k",
      prioritySeconds: 5,
      ttl: "1h",
      maxDurationSeconds: 60,
    },
  });
  const child = await api.trigger("child", { parentRunId: parent.runId });
  const grandchild = await api.trigger("grandchild", { parentRunId: child.runId });

  const run = await api.run(child.runId);
  t.is(run.depth, 1);
  t.is(run.relatedRuns?.parent?.id, parent.runId);
  t.is(run.relatedRuns?.root?.id, parent.runId);
  t.true(run.isTest);
  t.deepEqual(run.tags, []);
  t.is(run.metadataJson, "");
  t.is(run.queueName, "task/child");
  t.is(run.concurrencyKey, "");
  t.is(run.prioritySeconds, 0);
  t.is(run.ttl, "");
  t.is(run.maxDurationSeconds, undefined);

  const deepest = await api.run(grandchild.runId);
  t.is(deepest.depth, 2);
  t.is(deepest.relatedRuns?.parent?.id, child.runId);
  t.is(deepest.relatedRuns?.root?.id, parent.runId);
  const root = await api.run(parent.runId);
  t.is(root.depth, 0);
  t.is(root.relatedRuns?.root, undefined);
  t.deepEqual(
    root.relatedRuns?.children.map(({ id }) => id),
    [child.runId],
  );
});

test("TRG-5: a parent that does not exist, or only in another environment, refuses the trigger", async (t) => {
  const api = await startApi(t);
  const elsewhere = await api.as(api.server.prodKey).runs.triggerTask({ taskId: "parent" });
  for (const parentRunId of [elsewhere.runId, `run_${"0".repeat(26)}`]) {
    const refused = await refusal(api.trigger("child", { parentRunId }));
    t.is(refused.code, "NOT_FOUND");
    t.is(refused.reason, "RUN_NOT_FOUND");
    t.true(refused.message.includes(parentRunId));
  }
  t.is(await api.count(), 0);
});

test("TRG-6: a run of a task that no worker has registered waits in the task's queue until one serves it", async (t) => {
  const api = await startApi(t);
  const { runId } = await api.trigger("ghost");
  await api.worker({ tasks: ["something-else"] });
  t.is(await api.status(runId), "QUEUED");
  t.deepEqual((await api.queue("task/ghost")).unservedTaskIds, ["ghost"]);

  const worker = await api.worker({ tasks: ["ghost"] });
  t.is((await worker.begin()).runId, runId);
  t.deepEqual((await api.queue("task/ghost")).unservedTaskIds, []);
});

test("TRG-6: queue and ttl are those of the registration known when triggering, policy and maxDuration those of the worker", async (t) => {
  const api = await startApi(t);
  const early = await api.triggered("report");
  const worker = await api.worker({
    tasks: [{ id: "report", queue: { name: "slow" }, ttl: "2h", retry: { maxAttempts: 7 }, maxDurationSeconds: 90 }],
    credit: 0,
  });
  const late = await api.triggered("report");
  const own = await api.triggered("report", { maxAttempts: 2, maxDurationSeconds: 30 });
  t.is((await api.run(early)).queueName, "task/report");
  t.is((await api.run(early)).ttl, "");
  t.is((await api.run(late)).queueName, "slow");
  t.is((await api.run(late)).ttl, "2h");

  worker.credit(3);
  for (let picked = 0; picked < 3; picked += 1) await worker.begin();
  t.is((await api.run(early)).maxAttempts, 7);
  t.is((await api.run(early)).maxDurationSeconds, 90);
  t.is((await api.run(late)).maxAttempts, 7);
  t.is((await api.run(own)).maxAttempts, 2);
  t.is((await api.run(own)).maxDurationSeconds, 30);
});

test("TRG-6a: the answer says whether a worker has ever registered the task, and which ids resemble an unknown one", async (t) => {
  const api = await startApi(t);
  const tasks = ["send-email", "send-emails", "send-mail", "send-e-mail", "render-page"];
  const worker = await api.worker({ tasks });
  const known = await api.trigger("send-email");
  t.true(known.taskKnown);
  t.deepEqual(known.similarTaskIds, []);
  const typo = await api.trigger("send-emial");
  t.false(typo.taskKnown);
  t.is(typo.similarTaskIds.length, 3);
  t.is(typo.similarTaskIds[0], "send-email");
  t.false(typo.similarTaskIds.includes("render-page"));
  t.deepEqual((await api.trigger("zzzzzzzzzzzz")).similarTaskIds, []);

  worker.disconnect();
  await api.advance(2 * MINUTE);
  t.true((await api.trigger("send-email")).taskKnown, "it was registered, though nobody serves it now");
});

test("TRG-7, DLY-11: what was answered survives a restart; overdue delays are enqueued promptly, in order of due time", async (t) => {
  const storeDirectory = await mkdtemp(join(tmpdir(), "hairtrigger-restart-"));
  t.teardown(() => rm(storeDirectory, { recursive: true, force: true }));
  const before = await startApi(t, { storeDirectory });
  const queued = await before.triggered("work");
  const second = await before.triggered("work", { delay: "20m" });
  const first = await before.triggered("work", { delay: "10m" });
  const keyed = await before.triggered("work", { delay: "30d", idempotencyKey: "k" });
  await before.server.stop();

  const api = await startApi(t, { storeDirectory });
  t.is(await api.status(queued), "QUEUED");
  t.is(await api.status(first), "DELAYED");
  const again = await api.trigger("work", { options: { idempotencyKey: "k" } });
  t.is(again.runId, keyed);
  t.true(again.isCached);

  await api.server.clock.jump(3 * HOUR);
  await api.advance(SECOND);
  t.is(await api.status(first), "QUEUED");
  const worker = await api.worker({ tasks: ["work"], credit: 3 });
  const started = [await worker.begin(), await worker.begin(), await worker.begin()].map(({ runId }) => runId);
  t.deepEqual(started, [queued, first, second]);
  t.is(await api.status(keyed), "DELAYED");
});

test("TRG-8: a run may be triggered inside a parent that has finished", async (t) => {
  const api = await startApi(t);
  const worker = await api.worker({ tasks: ["parent"] });
  const { runId: parentRunId } = await api.trigger("parent");
  await worker.finish();
  t.is(await api.status(parentRunId), "COMPLETED");
  const child = await api.run((await api.trigger("child", { parentRunId })).runId);
  t.is(child.relatedRuns?.parent?.id, parentRunId);
  t.is(child.depth, 1);
});

test("TRG-10: a request is authenticated, authorised and validated before its key is looked up", async (t) => {
  const api = await startApi(t, { limits: { queueSizeMax: 1 } });
  const held = await api.triggered("work", { idempotencyKey: "k" });
  const invalid = {
    taskId: "work",
    options: { idempotencyKey: "k", maxAttempts: 1, tags: Array.from({ length: 11 }, (_, index) => `t${index}`) },
  };

  const nobody = await refusal(api.as("tr_dev_nobodynobodynobody").runs.triggerTask(invalid));
  t.is(nobody.reason, "INVALID_CREDENTIALS");
  const { token } = await api.auth.createPublicToken({ scopes: ["read:runs"] });
  const reader = await refusal(api.as(token).runs.triggerTask(invalid));
  t.is(reader.code, "PERMISSION_DENIED");
  const refused = await refusal(api.runs.triggerTask(invalid));
  t.is(refused.reason, "TOO_MANY_TAGS", "refused, though the key would hit");

  const hit = await api.trigger("work", { options: { idempotencyKey: "k" } });
  t.is(hit.runId, held, "a hit comes before the size of the full queue");
  t.true(hit.isCached);
  const full = await refusal(api.trigger("work", { options: { idempotencyKey: "other" } }));
  t.is(full.reason, "QUEUE_FULL");
  t.is(await api.count(), 1);
});
