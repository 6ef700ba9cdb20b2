/** Public tokens (section 20.1): what they allow is in the modules beside this one; here are the ways around it that must lead nowhere. */
import test, { type ExecutionContext } from "ava";
import { type JsonObject, type Refusal, refusal, startApi, type TestApi } from "../support/api.js";
import { DEV_KEY, PROD_KEY } from "../support/harness.js";
import { refusalJson } from "../support/json-api.js";
import { jwt, part } from "../support/jwt.js";
import { newSessionId } from "../support/wire-worker.js";
import "./public-tokens/batches.js";
import "./public-tokens/one-time.js";
import "./public-tokens/reads.js";
import "./public-tokens/streams.js";
import "./public-tokens/triggers.js";

const UNKNOWN_RUN = "run_00000000000000000000000000";
const DENIED = { code: "PERMISSION_DENIED", reason: "SCOPE_MISSING" };
const NOBODY = { code: "UNAUTHENTICATED", reason: "INVALID_CREDENTIALS" };
const SECRET = { code: "PERMISSION_DENIED", reason: "SECRET_KEY_REQUIRED" };

interface Request {
  readonly taskId?: string;
  readonly runId?: string;
}

type Method = "TriggerTask" | "RetrieveRun" | "ListRuns" | "CancelRun";

/** One call of RunService, by gRPC and by JSON; both are refused in the same words. */
async function refused(api: TestApi, method: Method, credential: string, request: Request): Promise<Refusal> {
  const byJson = await refusalJson(api.server.url, `hairtrigger.v1.RunService/${method}`, credential, { ...request });
  const { runs } = api.as(credential);
  const call = {
    TriggerTask: () => runs.triggerTask({ taskId: request.taskId ?? "" }),
    RetrieveRun: () => runs.retrieveRun({ runId: request.runId ?? "" }),
    ListRuns: () => runs.listRuns({}),
    CancelRun: () => runs.cancelRun({ runId: request.runId ?? "" }),
  }[method];
  const byGrpc = await refusal(call());
  if (byJson.reason !== byGrpc.reason || byJson.code !== byGrpc.code) {
    throw new Error(`by JSON ${byJson.reason}, by gRPC ${byGrpc.reason}`);
  }
  return byGrpc;
}

async function tokenFor(api: TestApi, ...scopes: readonly string[]): Promise<string> {
  return (await api.auth.createPublicToken({ scopes: [...scopes] })).token;
}

test("AUT-5: a token for one run gets nothing of another, whether or not that exists", async (t) => {
  const api = await startApi(t);
  const [mine, other] = [await api.triggered("hello"), await api.triggered("hello")];
  const token = await tokenFor(api, `read:runs:${mine}`, `write:runs:${mine}`);
  for (const runId of [other, UNKNOWN_RUN]) {
    t.like(await refused(api, "RetrieveRun", token, { runId }), DENIED);
    t.like(await refused(api, "CancelRun", token, { runId }), DENIED);
  }
  t.like(await refused(api, "ListRuns", token, {}), DENIED);
  t.is(await api.status(other), "QUEUED");
});

test("AUT-1: a token of one environment meets nothing of another", async (t) => {
  const api = await startApi(t);
  const prod = api.as(api.server.prodKey);
  const { runId } = await prod.runs.triggerTask({ taskId: "hello" });
  const token = await tokenFor(api, "read:runs", "write:runs", "trigger:tasks");
  t.like(await refused(api, "RetrieveRun", token, { runId }), { code: "NOT_FOUND", reason: "RUN_NOT_FOUND" });
  t.like(await refused(api, "CancelRun", token, { runId }), { code: "NOT_FOUND", reason: "RUN_NOT_FOUND" });
  t.deepEqual((await api.as(token).runs.listRuns({})).runs, []);
  const mine = await api.as(token).runs.triggerTask({ taskId: "hello", requestId: "r" });
  t.like(await refusal(prod.runs.retrieveRun({ runId: mine.runId })), { code: "NOT_FOUND" });
  // A claim does not move a token into another environment.
  const forged = jwt({ secretKey: DEV_KEY, claims: { sub: "prod", scopes: ["read:runs"] } }, api.nowMs());
  t.like(await refused(api, "RetrieveRun", forged, { runId }), NOBODY);
});

test("AUT-5: a token without the scope of a verb is refused, also one whose scope is nearly right", async (t) => {
  const api = await startApi(t);
  const runId = await api.triggered("hello");
  for (const scope of [
    "write:runs",
    "batchTrigger:tasks:hello",
    "trigger:tasks:hell",
    "trigger:tasks:hello2",
    "trigger:tasks:HELLO",
    `read:runs:${runId.slice(0, -1)}`,
    "read:batch:hello",
  ]) {
    const token = await tokenFor(api, scope);
    t.like(await refused(api, "TriggerTask", token, { taskId: "hello" }), DENIED, scope);
    t.like(await refused(api, "RetrieveRun", token, { runId }), DENIED, scope);
  }
  for (const scope of ["read:runs", "trigger:tasks", `read:runs:${runId}`]) {
    t.like(await refused(api, "CancelRun", await tokenFor(api, scope), { runId }), DENIED, scope);
  }
  t.is(await api.count(), 1);
});

const SCOPES = ["read:runs", "write:runs", "trigger:tasks"];
const forgeries: readonly (readonly [string, (nowMs: number) => string])[] = [
  ["changed after it was signed", (nowMs) => withClaims(good(nowMs), { scopes: [...SCOPES, "batchTrigger:tasks"] })],
  ["of alg none", (nowMs) => `${part({ alg: "none", kid: kidOf(good(nowMs)) })}.${good(nowMs).split(".")[1]}.`],
  ["of alg none with its signature", (nowMs) => withHeader(good(nowMs), { alg: "none" })],
  ["of another algorithm", (nowMs) => jwt({ secretKey: DEV_KEY, header: { alg: "HS512" } }, nowMs)],
  ["for another audience", (nowMs) => signed(nowMs, { aud: "someone" })],
  ["of another issuer", (nowMs) => signed(nowMs, { iss: "someone" })],
  ["that is not public", (nowMs) => signed(nowMs, { pub: false })],
  ["without an end", (nowMs) => signed(nowMs, { exp: undefined })],
  ["without an id", (nowMs) => signed(nowMs, { jti: undefined })],
  ["that is not yet valid", (nowMs) => signed(nowMs, { nbf: nowMs / 1_000 + 60 })],
  ["of a key that nobody made", (nowMs) => jwt({ secretKey: "tr_dev_nobodyknowsthiskey", claims: all }, nowMs)],
  [
    "under the kid of another key",
    (nowMs) => jwt({ secretKey: DEV_KEY, claims: all, header: { kid: kidOfProd(nowMs) } }, nowMs),
  ],
  ["without a kid", (nowMs) => jwt({ secretKey: DEV_KEY, claims: all, header: { kid: undefined } }, nowMs)],
  ["with a use that is no yes or no", (nowMs) => signed(nowMs, { otu: "false" })],
  ["with a subject that is no text", (nowMs) => signed(nowMs, { subject: ["a"] })],
  ["with options that are no object", (nowMs) => signed(nowMs, { options: [] })],
];
const all = { scopes: SCOPES };

function signed(nowMs: number, claims: JsonObject): string {
  return jwt({ secretKey: DEV_KEY, claims: { ...all, ...claims } }, nowMs);
}

function good(nowMs: number): string {
  return signed(nowMs, {});
}

function kidOf(token: string): string {
  const header: { readonly kid: string } = JSON.parse(Buffer.from(token.split(".")[0] ?? "", "base64url").toString());
  return header.kid;
}

function kidOfProd(nowMs: number): string {
  return kidOf(jwt({ secretKey: PROD_KEY }, nowMs));
}

function withClaims(token: string, changed: JsonObject): string {
  const [header, claims = "", signature] = token.split(".");
  const read: JsonObject = JSON.parse(Buffer.from(claims, "base64url").toString());
  return `${header}.${part({ ...read, ...changed })}.${signature}`;
}

function withHeader(token: string, changed: JsonObject): string {
  const [header = "", claims, signature] = token.split(".");
  const read: JsonObject = JSON.parse(Buffer.from(header, "base64url").toString());
  return `${part({ ...read, ...changed })}.${claims}.${signature}`;
}

async function opensNothing(t: ExecutionContext, api: TestApi, token: string): Promise<void> {
  const runId = await api.triggered("hello");
  t.like(await refused(api, "RetrieveRun", token, { runId }), NOBODY);
  t.like(await refused(api, "TriggerTask", token, { taskId: "hello" }), NOBODY);
  t.is(await api.count(), 1);
}

for (const [what, forge] of forgeries) {
  test(`AUT-1, AUT-5: a token ${what} opens nothing`, async (t) => {
    const api = await startApi(t);
    await opensNothing(t, api, forge(api.nowMs()));
  });
}

test("AUT-1: what the forgeries are made of is a token that opens everything it names", async (t) => {
  const api = await startApi(t);
  const { runs } = api.as(good(api.nowMs()));
  const { runId } = await runs.triggerTask({ taskId: "hello" });
  t.is((await runs.retrieveRun({ runId })).run?.id, runId);
});

test("AUT-5: an expired token is TOKEN_EXPIRED for every verb", async (t) => {
  const api = await startApi(t);
  const token = good(api.nowMs());
  await api.server.clock.jump(60_000);
  for (const method of ["TriggerTask", "RetrieveRun", "ListRuns", "CancelRun"] as const) {
    const request =
      method === "TriggerTask" ? { taskId: "hello" } : method === "ListRuns" ? {} : { runId: UNKNOWN_RUN };
    t.like(await refused(api, method, token, request), { code: "UNAUTHENTICATED", reason: "TOKEN_EXPIRED" }, method);
  }
  t.is(await api.count(), 0);
});

test("AUT-5: no token makes tokens, serves tasks, or does what needs the secret key", async (t) => {
  const api = await startApi(t);
  const runId = await api.triggered("hello");
  const clients = api.as(good(api.nowMs()));
  async function* hello() {
    yield {
      hello: { sessionId: newSessionId(), connectionEpoch: 1, protocolVersion: "0.1", tasks: [{ id: "hello" }] },
    };
  }
  for (const call of [
    clients.auth.createPublicToken({ scopes: ["read:runs"] }),
    clients.workers.openSession(hello())[Symbol.asyncIterator]().next(),
    clients.runs.replayRun({ runId }),
    clients.runs.addRunTags({ runId, tags: ["a"] }),
    clients.tasks.listWorkers({}),
  ]) {
    t.like(await refusal(call), SECRET);
  }
  t.deepEqual((await api.tasks.listWorkers({})).workers, []);
});
