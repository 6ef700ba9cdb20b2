/** One-time tokens (AUT-3): used once, by whoever is first, and only by a trigger that was accepted. */
import test, { type ExecutionContext } from "ava";
import { refusal, startApi, type TestApi } from "../../support/api.js";
import { DEV_KEY } from "../../support/harness.js";
import { jwt } from "../../support/jwt.js";

const USED = { code: "FAILED_PRECONDITION", reason: "TOKEN_ALREADY_USED" };

function oneTime(api: TestApi, claims: Readonly<Record<string, unknown>> = {}) {
  return api.as(jwt({ secretKey: DEV_KEY, claims: { scopes: ["trigger:tasks"], otu: true, ...claims } }, api.nowMs()))
    .runs;
}

async function isUsedUp(t: ExecutionContext, call: Promise<unknown>, task = "a"): Promise<void> {
  const refused = await refusal(call);
  t.like(refused, USED);
  t.is(refused.message, `Cannot trigger ${task} with a one-time use token as it has already been used.`);
}

test("AUT-3: a one-time token triggers once", async (t) => {
  const api = await startApi(t);
  const runs = oneTime(api);
  await runs.triggerTask({ taskId: "a" });
  await isUsedUp(t, runs.triggerTask({ taskId: "a" }));
  await isUsedUp(t, runs.triggerTask({ taskId: "b" }), "b");
  await isUsedUp(t, runs.triggerTask({ taskId: "a", requestId: "another" }));
  t.is(await api.count(), 1);
});

test("AUT-3: a repeat with the same request id is no second use, and gets the same run", async (t) => {
  const api = await startApi(t);
  const runs = oneTime(api);
  const request = { taskId: "a", requestId: "r1" };
  const first = await runs.triggerTask(request);
  const again = await runs.triggerTask(request);
  t.is(again.runId, first.runId);
  t.false(again.isCached);
  t.not(again.publicAccessToken, "");
  await isUsedUp(t, runs.triggerTask({ taskId: "a", requestId: "r2" }));
  t.is(await api.count(), 1);
});

test("AUT-3: a hit uses the token up, and its repeat is answered as before", async (t) => {
  const api = await startApi(t);
  const keyed = { taskId: "a", options: { idempotencyKey: "k" } };
  const made = await oneTime(api, { jti: "first", subject: "u" }).triggerTask(keyed);
  const runs = oneTime(api, { jti: "second", subject: "u" });
  const hit = await runs.triggerTask({ ...keyed, requestId: "r1" });
  t.like(hit, { runId: made.runId, isCached: true });
  t.like(await runs.triggerTask({ ...keyed, requestId: "r1" }), { runId: made.runId, isCached: true });
  await isUsedUp(t, runs.triggerTask(keyed));
  await isUsedUp(t, runs.triggerTask({ taskId: "b" }), "b");
  t.is(await api.count(), 1);
});

test("AUT-3: a refused trigger does not use the token up", async (t) => {
  const api = await startApi(t, { limits: { queueSizeMax: 1 } });
  const narrow = oneTime(api, { scopes: ["trigger:tasks:a"] });
  await api.triggered("a");
  t.like(await refusal(narrow.triggerTask({ taskId: "a" })), { reason: "QUEUE_FULL" });
  t.like(await refusal(narrow.triggerTask({ taskId: "b" })), { reason: "SCOPE_MISSING" });
  t.like(await refusal(narrow.triggerTask({ taskId: "a", options: { tags: [""], concurrencyKey: "x" } })), {
    reason: "SCOPE_MISSING",
  });
  t.like(await refusal(narrow.triggerTask({ taskId: "a", options: { tags: ["x".repeat(129)] } })), {
    reason: "INVALID_TAG",
  });
  const [waiting] = (await api.runs.listRuns({})).runs;
  await api.runs.cancelRun({ runId: waiting?.id ?? "" });
  t.regex((await narrow.triggerTask({ taskId: "a" })).runId, /^run_/);
  await isUsedUp(t, narrow.triggerTask({ taskId: "a" }));
});

test("AUT-3: of any number of callers at the same time one uses the token", async (t) => {
  const api = await startApi(t);
  const runs = oneTime(api);
  const calls = Array.from({ length: 20 }, (_, index) => {
    const requestId = index % 2 === 0 ? "" : `r${index}`;
    const options = index % 3 === 0 ? { idempotencyKey: `k${index}` } : {};
    return runs.triggerTask({ taskId: "a", requestId, options }).then(
      ({ runId }) => runId,
      async (error: unknown) => {
        t.like(await refusal(Promise.reject(error)), USED);
        return undefined;
      },
    );
  });
  const made = (await Promise.all(calls)).filter((runId) => runId !== undefined);
  t.is(made.length, 1);
  t.is(await api.count(), 1);
});

test("AUT-3: of triggers that travel together the first uses the token", async (t) => {
  const api = await startApi(t);
  const { results } = await oneTime(api).triggerTasks({ items: [{ taskId: "a" }, { taskId: "a" }, { taskId: "b" }] });
  t.deepEqual(
    results.map(({ result }) => result.case),
    ["triggered", "error", "error"],
  );
  t.is(await api.count(), 1);
});

test("AUT-3: each token has its own use, also those of one subject and those of another key with an equal id", async (t) => {
  const api = await startApi(t);
  for (const jti of ["x", "y"]) await oneTime(api, { jti, subject: "u" }).triggerTask({ taskId: "a" });
  t.is(await api.count(), 2);
  const many = oneTime(api, { jti: "z", otu: false });
  for (let use = 0; use < 3; use += 1) await many.triggerTask({ taskId: "a" });
  t.is(await api.count(), 5);
  await isUsedUp(t, oneTime(api, { jti: "x" }).triggerTask({ taskId: "a" }));
});

test("AUT-3: a used token stays used until it has expired, whatever is cleaned up meanwhile", async (t) => {
  const api = await startApi(t);
  const seconds = api.nowMs() / 1_000;
  const runs = oneTime(api, { exp: seconds + 40 * 86_400 });
  const { runId } = await runs.triggerTask({ taskId: "a", requestId: "r1" });
  await api.runs.cancelRun({ runId });
  await api.server.clock.jump(32 * 86_400_000);
  await api.advance(60_000);
  t.like(await refusal(api.runs.retrieveRun({ runId })), { reason: "RUN_NOT_FOUND" });
  await isUsedUp(t, runs.triggerTask({ taskId: "a" }));
  await isUsedUp(t, runs.triggerTask({ taskId: "a", requestId: "r1" }));
});
