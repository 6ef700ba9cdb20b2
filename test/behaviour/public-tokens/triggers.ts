/** Triggering with a public token (AUT-2, AUT-4, AUT-6, AUT-8). */
import test from "ava";
import { type JsonObject, refusal, startApi, type TestApi } from "../../support/api.js";
import { callJson, refusalJson } from "../../support/json-api.js";

const TRIGGER = "hairtrigger.v1.RunService/TriggerTask";
const DENIED = { code: "PERMISSION_DENIED", reason: "SCOPE_MISSING" };

interface TokenOptions {
  readonly subject?: string;
  readonly oneTime?: boolean;
  readonly options?: JsonObject;
}

async function tokenOf(api: TestApi, scopes: readonly string[], more: TokenOptions = {}): Promise<string> {
  const request = { scopes: [...scopes], ...more };
  return String(
    (await callJson(api.server.url, "hairtrigger.v1.AuthService/CreatePublicToken", api.server.key, request)).token,
  );
}

/** Triggers by JSON, as a browser does. */
async function triggered(api: TestApi, token: string, taskId: string, request: JsonObject = {}) {
  const answer = await callJson(api.server.url, TRIGGER, token, { taskId, ...request });
  return {
    runId: String(answer.runId),
    isCached: answer.isCached === true,
    readToken: String(answer.publicAccessToken),
  };
}

test("AUT-2: a token triggers the tasks that it names and no others, by every protocol", async (t) => {
  const api = await startApi(t);
  const token = await tokenOf(api, ["trigger:tasks:a", "trigger:tasks:b"]);
  t.regex((await triggered(api, token, "a")).runId, /^run_/);
  t.regex((await api.as(token).runs.triggerTask({ taskId: "b" })).runId, /^run_/);
  t.like(await refusal(api.as(token).runs.triggerTask({ taskId: "c" })), DENIED);
  t.like(await refusalJson(api.server.url, TRIGGER, token, { taskId: "c" }), DENIED);
  t.regex((await triggered(api, await tokenOf(api, ["trigger:tasks"]), "c")).runId, /^run_/);
  t.is(await api.count(), 3);
});

test("AUT-4: of triggers that travel together each needs its own task's scope, and only those without it are refused", async (t) => {
  const api = await startApi(t);
  const { runs } = api.as(await tokenOf(api, ["trigger:tasks:a"]));
  const { results } = await runs.triggerTasks({ items: [{ taskId: "a" }, { taskId: "b" }, { taskId: "a" }] });
  t.deepEqual(
    results.map(({ result }) => result.case),
    ["triggered", "error", "triggered"],
  );
  t.is(await api.count(), 2);
});

test("TRG-3, AUT-6: the answer to a token carries one that reads this run for an hour, and nothing else", async (t) => {
  const api = await startApi(t);
  const token = await tokenOf(api, ["trigger:tasks:a"]);
  const { runId, readToken } = await triggered(api, token, "a");
  const other = await api.triggered("a");
  const { runs } = api.as(readToken);
  t.is((await runs.retrieveRun({ runId })).run?.id, runId);
  t.like(await refusal(runs.retrieveRun({ runId: other })), DENIED);
  t.like(await refusal(runs.triggerTask({ taskId: "a" })), DENIED);
  t.like(await refusal(runs.cancelRun({ runId })), DENIED);
  await api.server.clock.jump(59 * 60_000);
  t.is((await runs.retrieveRun({ runId })).run?.id, runId);
  await api.server.clock.jump(60_000);
  t.like(await refusal(runs.retrieveRun({ runId })), { reason: "TOKEN_EXPIRED" });
  // Whoever has the secret key signs it.
  t.is((await api.trigger("a")).publicAccessToken, "");
});

test("AUT-8: an idempotency key of the backend, guessed, shows a token nothing and takes nothing", async (t) => {
  const api = await startApi(t);
  const options = { idempotencyKey: "order-1" };
  const backend = await api.triggered("a", options);
  const token = await tokenOf(api, ["trigger:tasks:a"]);
  const guessed = await triggered(api, token, "a", { options });
  t.false(guessed.isCached);
  t.not(guessed.runId, backend);
  // Nor by the hash that the backend's key has.
  const key = "0123456789abcdef".repeat(4);
  const hashed = await api.triggered("a", { idempotencyKey: key });
  t.not((await triggered(api, token, "a", { options: { idempotencyKey: key } })).runId, hashed);
  // And a token that was first does not stand in the backend's way.
  await triggered(api, token, "a", { options: { idempotencyKey: "order-2" } });
  t.false((await api.trigger("a", { options: { idempotencyKey: "order-2" } })).isCached);
});

test("AUT-8: keys and request ids are the subject's own: shared by its tokens, and by no other", async (t) => {
  const api = await startApi(t);
  const scopes = ["trigger:tasks:a"];
  const [first, second, other, bare] = [
    await tokenOf(api, scopes, { subject: "user-1" }),
    await tokenOf(api, scopes, { subject: "user-1" }),
    await tokenOf(api, scopes, { subject: "user-2" }),
    await tokenOf(api, scopes),
  ];
  const keyed = { options: { idempotencyKey: "k" } };
  const { runId } = await triggered(api, first, "a", keyed);
  t.like(await triggered(api, second, "a", keyed), { runId, isCached: true });
  t.like(await triggered(api, other, "a", keyed), { isCached: false });
  t.like(await triggered(api, bare, "a", keyed), { isCached: false });
  t.is(await api.count(), 3);

  const named = { requestId: "018f3f5e-0000-7000-8000-000000000001" };
  const own = await triggered(api, first, "a", named);
  t.is((await triggered(api, second, "a", named)).runId, own.runId);
  t.not((await triggered(api, other, "a", named)).runId, own.runId);
  t.not((await api.trigger("a", named)).runId, own.runId);
});

test("AUT-8: a request id leads a token to no run of a task that it may not trigger", async (t) => {
  const api = await startApi(t);
  const requestId = "018f3f5e-0000-7000-8000-000000000002";
  const { runId } = await triggered(api, await tokenOf(api, ["trigger:tasks:a"], { subject: "u" }), "a", { requestId });
  const narrow = await tokenOf(api, ["trigger:tasks:b"], { subject: "u" });
  t.not((await triggered(api, narrow, "b", { requestId })).runId, runId);
});

const MAKERS_OWN: readonly (readonly [string, JsonObject])[] = [
  ["queue", { queue: { name: "vip" } }],
  ["concurrencyKey", { concurrencyKey: "another-tenant" }],
  ["priority", { prioritySeconds: 1_000 }],
  ["maxAttempts", { maxAttempts: 200 }],
  ["maxDuration", { maxDurationSeconds: 2_147_483_647 }],
  ["ttl", { ttl: "1h" }],
  ["ttl", { ttlFor: "60s" }],
  ["ttl", { ttlSeconds: 0 }],
];

for (const [option, options] of MAKERS_OWN) {
  test(`AUT-8: a bearer may not choose ${option} (${JSON.stringify(options)}), and a token that sets it wins`, async (t) => {
    const api = await startApi(t);
    const scopes = ["trigger:tasks:a"];
    const refused = await refusalJson(api.server.url, TRIGGER, await tokenOf(api, scopes), { taskId: "a", options });
    t.like(refused, DENIED);
    t.is(refused.metadata.option, option);
    t.is(await api.count(), 0);

    const fixed = {
      queue: { name: "mine" },
      concurrencyKey: "tenant-1",
      prioritySeconds: 5,
      maxAttempts: 2,
      maxDurationSeconds: 60,
      ttl: "2h",
    };
    const token = await tokenOf(api, scopes, { options: fixed });
    const { runId } = await triggered(api, token, "a", { options });
    t.like(await api.run(runId), {
      queueName: "mine",
      concurrencyKey: "tenant-1",
      prioritySeconds: 5,
      maxAttempts: 2,
      maxDurationSeconds: 60,
      ttl: "2h",
    });
  });
}

test("AUT-8: the bearer chooses delay, tags, metadata and its own key; what the token sets of these wins", async (t) => {
  const api = await startApi(t);
  const scopes = ["trigger:tasks:a"];
  const options = { delay: "1h", tags: ["theirs"], metadata: { a: 1 }, idempotencyKey: "k", idempotencyKeyTtl: "1h" };
  const free = await triggered(api, await tokenOf(api, scopes), "a", { options });
  t.like(await api.run(free.runId), { tags: ["theirs"], metadataJson: '{"a":1}', idempotencyKey: "k" });
  t.is(await api.status(free.runId), "DELAYED");

  const fixed = { tags: ["ours"], metadataJson: '{"b":2}', delayFor: "0s", idempotencyKey: "own" };
  const token = await tokenOf(api, scopes, { options: fixed });
  const bound = await triggered(api, token, "a", { options: { ...options, idempotencyKeyText: "theirs" } });
  t.like(await api.run(bound.runId), { tags: ["ours"], metadataJson: '{"b":2}', idempotencyKey: "own" });
  t.is(await api.status(bound.runId), "QUEUED");
});

test("AUT-8: a token does not act for a run: a parent is refused, whether or not it exists", async (t) => {
  const api = await startApi(t);
  const token = await tokenOf(api, ["trigger:tasks"]);
  for (const parentRunId of [await api.triggered("parent"), "run_00000000000000000000000000"]) {
    const refused = await refusalJson(api.server.url, TRIGGER, token, { taskId: "a", parentRunId });
    t.like(refused, { code: "PERMISSION_DENIED", reason: "SECRET_KEY_REQUIRED" });
  }
  t.is(await api.count(), 1);
});

test("AUT-4: a token learns of no task beside its own, not even one with a similar name", async (t) => {
  const api = await startApi(t);
  await api.worker({ tasks: ["send-mail"] });
  t.deepEqual((await api.trigger("send-mial")).similarTaskIds, ["send-mail"]);
  const token = await tokenOf(api, ["trigger:tasks:send-mial"]);
  const answer = await callJson(api.server.url, TRIGGER, token, { taskId: "send-mial" });
  t.is(answer.similarTaskIds, undefined);
});

test("AUT-8: a token whose options could never be triggered with is not made", async (t) => {
  const api = await startApi(t);
  const scopes = ["trigger:tasks:a"];
  const bad = await refusal(api.auth.createPublicToken({ scopes, options: { tags: Array.from("abcdefghijk") } }));
  t.like(bad, { code: "INVALID_ARGUMENT", reason: "TOO_MANY_TAGS" });
  const long = await refusal(api.auth.createPublicToken({ scopes, subject: "x".repeat(257) }));
  t.like(long, { code: "INVALID_ARGUMENT", reason: "INVALID_REQUEST" });
});
