/** Batches by public tokens (AUT-3, AUT-4, AUT-8). */
import test from "ava";
import { refusal, startApi, type TestApi } from "../../support/api.js";
import { DEV_KEY } from "../../support/harness.js";
import { jwt } from "../../support/jwt.js";

const DENIED = { code: "PERMISSION_DENIED", reason: "SCOPE_MISSING" };
const USED = { code: "FAILED_PRECONDITION", reason: "TOKEN_ALREADY_USED" };

function bearer(api: TestApi, claims: Readonly<Record<string, unknown>> = {}) {
  const all = { scopes: ["batchTrigger:tasks:a", "batchTrigger:tasks:b"], ...claims };
  return api.as(jwt({ secretKey: DEV_KEY, claims: all }, api.nowMs())).batches;
}

const [A, B, C] = [{ taskId: "a" }, { taskId: "b" }, { taskId: "c" }];

test("AUT-4: a batch needs every task authorised, else nothing is created", async (t) => {
  const api = await startApi(t);
  t.like(await refusal(bearer(api).batchTrigger({ items: [A, C, B] })), DENIED);
  const single = bearer(api, { scopes: ["trigger:tasks", "read:runs"] });
  t.like(await refusal(single.batchTrigger({ items: [A] })), DENIED);
  t.like(await refusal(bearer(api).batchTrigger({ items: [A, { ...A, options: { concurrencyKey: "x" } }] })), DENIED);
  t.is(await api.count(), 0);
  t.is((await bearer(api).batchTrigger({ items: [A, B] })).runs.length, 2);
  t.is(await api.count(), 2);
});

test("TRG-3, AUT-6: the answer carries a token that reads the batch and its runs", async (t) => {
  const api = await startApi(t);
  const { batchId, runs, publicAccessToken } = await bearer(api).batchTrigger({ items: [A, B] });
  const other = await api.triggered("a");
  const reader = api.as(publicAccessToken);
  t.is((await reader.batches.retrieveBatch({ batchId })).batch?.id, batchId);
  for (const { runId } of runs) t.is((await reader.runs.retrieveRun({ runId })).run?.id, runId);
  t.is((await reader.runs.listRuns({ filter: { batchId } })).runs.length, 2);
  t.like(await refusal(reader.runs.retrieveRun({ runId: other })), DENIED);
  t.like(await refusal(reader.runs.listRuns({})), DENIED);
});

test("AUT-8: batch keys, item keys and request ids of a token are its subject's own, and lead to no other tasks", async (t) => {
  const api = await startApi(t);
  const options = { idempotencyKey: "k" };
  const keyed = { ...A, options: { idempotencyKey: "item" } };
  const backend = await api.batches.batchTrigger({ items: [keyed], options, requestId: "r" });
  const first = await bearer(api, { subject: "u" }).batchTrigger({ items: [keyed], options, requestId: "r" });
  t.false(first.isCached);
  t.not(first.batchId, backend.batchId);
  t.not(first.runs[0]?.runId, backend.runs[0]?.runId);
  const again = bearer(api, { subject: "u", jti: "j2" });
  t.is((await again.batchTrigger({ items: [keyed], options, requestId: "r" })).batchId, first.batchId);
  t.like(await again.batchTrigger({ items: [keyed], options }), { batchId: first.batchId, isCached: true });
  // The same names with another task are other names.
  const narrow = bearer(api, { subject: "u", jti: "j3", scopes: ["batchTrigger:tasks:b"] });
  const others = await narrow.batchTrigger({ items: [B], options, requestId: "r" });
  t.false(others.isCached);
  t.not(others.batchId, first.batchId);
});

test("AUT-3: a one-time token makes one batch; a repeat is no second use, a refusal no use at all", async (t) => {
  const api = await startApi(t);
  const batches = bearer(api, { otu: true });
  t.like(await refusal(batches.batchTrigger({ items: [A, C] })), DENIED);
  t.like(await refusal(batches.batchTrigger({ items: [] })), { reason: "BATCH_EMPTY" });
  const made = await batches.batchTrigger({ items: [A, B], requestId: "r1" });
  t.is((await batches.batchTrigger({ items: [A, B], requestId: "r1" })).batchId, made.batchId);
  t.like(await refusal(batches.batchTrigger({ items: [A] })), USED);
  t.like(await refusal(batches.batchTrigger({ items: [A, B], requestId: "r2" })), USED);
  t.is(await api.count(), 2);

  // A hit on the batch's key is a use.
  const keyed = { items: [A], options: { idempotencyKey: "k" } };
  const { batchId } = await bearer(api, { subject: "u", jti: "j2" }).batchTrigger(keyed);
  const hit = bearer(api, { subject: "u", jti: "j3", otu: true });
  t.like(await hit.batchTrigger({ ...keyed, requestId: "r3" }), { batchId, isCached: true });
  t.is((await hit.batchTrigger({ ...keyed, requestId: "r3" })).batchId, batchId);
  t.like(await refusal(hit.batchTrigger(keyed)), USED);
});
