/** Secret keys made and revoked while the server runs (AUT-9). */
import test, { type ExecutionContext } from "ava";
import { KeyOrigin } from "#proto/hairtrigger/v1/auth_pb.js";
import { refusal, startApi, type TestApi, timeMs } from "../support/api.js";
import { callJson, refusalJson } from "../support/json-api.js";
import { jwt } from "../support/jwt.js";
import { newSessionId } from "../support/wire-worker.js";

const ADMIN = "administrator-0123456789abcdef";
const NOBODY = { code: "UNAUTHENTICATED", reason: "INVALID_CREDENTIALS" };
const UNKNOWN_KEY = "0123456789abcdef";

async function start(t: ExecutionContext): Promise<TestApi & { readonly admin: ReturnType<TestApi["as"]>["auth"] }> {
  const api = await startApi(t, { administratorKey: ADMIN });
  return { ...api, admin: api.as(ADMIN).auth };
}

test("AUT-9: a key is made, opens its environment, and is shown once", async (t) => {
  const api = await start(t);
  const { key, secretKey } = await api.admin.createKey({ environment: "staging", description: "for the shop" });
  t.regex(secretKey, /^tr_staging_[0-9a-f]{48}$/);
  t.like(key, { environment: "staging", description: "for the shop", origin: KeyOrigin.CREATED });
  t.is(timeMs(key?.createTime), api.nowMs());

  const { runId } = await api.as(secretKey).runs.triggerTask({ taskId: "hello" });
  t.is((await api.as(secretKey).runs.retrieveRun({ runId })).run?.id, runId);
  t.like(await refusal(api.runs.retrieveRun({ runId })), { reason: "RUN_NOT_FOUND" });
  const listed = await callJson(api.server.url, "hairtrigger.v1.AuthService/ListKeys", ADMIN, {});
  t.true(JSON.stringify(listed).includes("for the shop"));
  t.false(JSON.stringify(listed).includes(secretKey.slice(-48)));
  t.false(JSON.stringify(api.server.log).includes(secretKey.slice(-48)));
});

test("AUT-9: the list has made and configured keys, revoked ones included, by environment and page", async (t) => {
  const api = await start(t);
  const made: string[] = [];
  for (const environment of ["a", "b", "a"]) {
    made.push((await api.admin.createKey({ environment })).key?.id ?? "");
    await api.server.clock.jump(1_000);
  }
  await api.admin.revokeKey({ keyId: made[0] });
  const { keys } = await api.admin.listKeys({});
  t.deepEqual(
    keys.map(({ environment, origin }) => [environment, KeyOrigin[origin]]),
    [
      ["dev", "CONFIGURED"],
      ["prod", "CONFIGURED"],
      ["a", "CREATED"],
      ["a", "CREATED"],
      ["b", "CREATED"],
    ],
  );
  const ofA = await api.admin.listKeys({ environment: "a", pageSize: 1 });
  t.deepEqual(
    ofA.keys.map(({ id, revokeTime }) => [id, timeMs(revokeTime)]),
    [[made[0], api.nowMs()]],
  );
  const next = await api.admin.listKeys({ environment: "a", pageSize: 1, pageToken: ofA.nextPageToken });
  t.deepEqual(
    next.keys.map(({ id, revokeTime }) => [id, revokeTime]),
    [[made[2], undefined]],
  );
  t.like(await refusal(api.admin.listKeys({ environment: "b", pageToken: ofA.nextPageToken })), {
    reason: "INVALID_PAGE",
  });
});

test("AUT-9: a revoked key opens nothing from then on, nor does a token signed with it", async (t) => {
  const api = await start(t);
  const { key, secretKey } = await api.admin.createKey({ environment: "dev" });
  const other = (await api.admin.createKey({ environment: "dev" })).secretKey;
  const own = jwt({ secretKey, claims: { scopes: ["read:runs", "trigger:tasks"] } }, api.nowMs());
  const made = (await api.as(secretKey).auth.createPublicToken({ scopes: ["read:runs"] })).token;
  const { publicAccessToken } = await api.as(own).runs.triggerTask({ taskId: "hello" });
  for (const credential of [secretKey, own, made]) t.is((await api.as(credential).runs.listRuns({})).runs.length, 1);

  const revoked = await api.admin.revokeKey({ keyId: key?.id ?? "" });
  t.is(timeMs(revoked.key?.revokeTime), api.nowMs());
  for (const credential of [secretKey, own, made, publicAccessToken]) {
    t.like(await refusal(api.as(credential).runs.listRuns({})), NOBODY);
    t.like(await refusalJson(api.server.url, "hairtrigger.v1.RunService/ListRuns", credential, {}), NOBODY);
  }
  t.like(await refusal(api.as(secretKey).auth.createPublicToken({ scopes: [] })), NOBODY);
  t.is((await api.as(other).runs.listRuns({})).runs.length, 1);
  // Again, later: the first time stands.
  await api.server.clock.jump(1_000);
  t.is(timeMs((await api.admin.revokeKey({ keyId: key?.id ?? "" })).key?.revokeTime), api.nowMs() - 1_000);
});

test("AUT-9: what is open under a key ends when it is revoked: subscriptions and workers' sessions", async (t) => {
  const api = await start(t);
  const { key, secretKey } = await api.admin.createKey({ environment: "dev" });
  const { runs, workers } = api.as(secretKey);
  const runId = await api.triggered("hello");
  const states = runs.watchRun({ runId })[Symbol.asyncIterator]();
  await states.next();
  async function* hello() {
    yield {
      hello: { sessionId: newSessionId(), connectionEpoch: 1, protocolVersion: "0.1", tasks: [{ id: "other" }] },
    };
    await new Promise(() => undefined);
  }
  const session = workers.openSession(hello())[Symbol.asyncIterator]();
  await session.next();
  const rest = async (items: AsyncIterator<unknown>): Promise<unknown> => {
    for (;;) if ((await items.next()).done === true) return undefined;
  };
  const ended = [refusal(rest(states)), refusal(rest(session))];
  await api.admin.revokeKey({ keyId: key?.id ?? "" });
  for (const refused of await Promise.all(ended)) t.like(refused, NOBODY);
});

test("AUT-9: a configured key is revoked where it is configured, and an unknown one is KEY_NOT_FOUND", async (t) => {
  const api = await start(t);
  const [configured] = (await api.admin.listKeys({ environment: "dev" })).keys;
  const refused = await refusal(api.admin.revokeKey({ keyId: configured?.id }));
  t.like(refused, { code: "INVALID_ARGUMENT", reason: "INVALID_REQUEST" });
  t.regex(refused.message, /HAIRTRIGGER_KEYS/);
  t.is((await api.runs.listRuns({})).runs.length, 0);
  t.like(await refusal(api.admin.revokeKey({ keyId: UNKNOWN_KEY })), { code: "NOT_FOUND", reason: "KEY_NOT_FOUND" });
  t.like(await refusal(api.admin.createKey({ environment: "a-" })), { reason: "INVALID_REQUEST" });
  t.like(await refusal(api.admin.createKey({ environment: "Dev" })), { reason: "INVALID_REQUEST" });
});

test("AUT-9: the administrator key does nothing but keys", async (t) => {
  const api = await start(t);
  const runId = await api.triggered("hello");
  const { runs, tasks, queues, auth, workers } = api.as(ADMIN);
  async function* hello() {
    yield {
      hello: { sessionId: newSessionId(), connectionEpoch: 1, protocolVersion: "0.1", tasks: [{ id: "hello" }] },
    };
  }
  for (const call of [
    runs.triggerTask({ taskId: "hello" }),
    runs.retrieveRun({ runId }),
    runs.listRuns({}),
    runs.cancelRun({ runId }),
    runs.watchRun({ runId })[Symbol.asyncIterator]().next(),
    tasks.listTasks({}),
    queues.listQueues({}),
    auth.createPublicToken({ scopes: ["read:runs"] }),
    workers.openSession(hello())[Symbol.asyncIterator]().next(),
  ]) {
    t.like(await refusal(call), { code: "PERMISSION_DENIED", reason: "SECRET_KEY_REQUIRED" });
  }
  t.is(await api.status(runId), "QUEUED");
});

test("AUT-9: keys are for the administrator alone, and for nobody where there is none", async (t) => {
  const api = await start(t);
  const without = await startApi(t);
  const token = jwt({ secretKey: api.server.key, claims: { scopes: ["read:runs", "write:runs"] } }, api.nowMs());
  for (const { auth } of [api.as(api.server.key), api.as(token), without.as(without.server.key)]) {
    for (const call of [
      auth.createKey({ environment: "dev" }),
      auth.listKeys({}),
      auth.revokeKey({ keyId: UNKNOWN_KEY }),
    ]) {
      t.like(await refusal(call), { code: "PERMISSION_DENIED", reason: "SCOPE_MISSING" });
    }
  }
  for (const credential of [ADMIN.slice(0, -1), `${ADMIN}x`, ADMIN.toUpperCase()]) {
    t.like(await refusal(api.as(credential).auth.listKeys({})), NOBODY);
  }
  t.like(await refusal(without.as(ADMIN).auth.listKeys({})), NOBODY);
});
