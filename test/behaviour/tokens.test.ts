/** Tokens and instants (section 15): the service's side, as callers, browsers and workers see it. */
import { create } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import test from "ava";
import { PayloadSchema } from "#proto/hairtrigger/v1/payload_pb.js";
import { TokenStatus } from "#proto/hairtrigger/v1/waitpoint_pb.js";
import { refusal, startApi, type TestApi, timeMs } from "../support/api.js";
import { hex } from "../support/wire-worker.js";

const SECOND = 1_000;
const MINUTE = 60 * SECOND;

const json = (value: string) => create(PayloadSchema, { data: { case: "json", value } });

async function token(api: TestApi, request: Parameters<TestApi["waitpoints"]["createToken"]>[0] = {}) {
  const { token: made, isCached } = await api.waitpoints.createToken(request);
  if (made === undefined) throw new Error("no token");
  return { ...made, isCached };
}

async function retrieved(api: TestApi, tokenId: string) {
  const { token: found } = await api.waitpoints.retrieveToken({ tokenId });
  if (found === undefined) throw new Error("no token");
  return found;
}

/** A run that waits for a token. */
async function waiting(api: TestApi, tokenId: string, taskId = "work") {
  const worker = await api.worker({ tasks: [taskId] });
  const runId = await api.triggered(taskId);
  const { lease } = await worker.begin();
  await worker.waits(lease, { waitpoint: { case: "waitpointId", value: tokenId } });
  return { worker, runId, lease };
}

test("WAI-6: a token waits ten minutes by default, for a span or until a date; a live key gives the same token", async (t) => {
  const api = await startApi(t);
  const plain = await token(api);
  t.regex(plain.id, /^waitpoint_[0-9a-z]{26}$/);
  t.is(timeMs(plain.timeoutTime), api.nowMs() + 10 * MINUTE);
  t.is(plain.status, TokenStatus.WAITING);
  const short = await token(api, { timeoutSpec: { case: "timeout", value: "90s" } });
  t.is(timeMs(short.timeoutTime), api.nowMs() + 90 * SECOND);
  const until = await token(api, { timeoutSpec: { case: "timeoutUntil", value: timestampFromMs(api.nowMs() + 5) } });
  t.is(timeMs(until.timeoutTime), api.nowMs() + 5);
  const first = await token(api, { idempotencyKey: "k", tags: ["a", "b", "a"] });
  t.like(first, { isCached: false, idempotencyKey: "k", tags: ["a", "b"] });
  t.is(timeMs(first.idempotencyKeyExpireTime), api.nowMs() + 60 * MINUTE);
  t.like(await token(api, { idempotencyKey: "k" }), { id: first.id, isCached: true });
  t.not((await token(api, { idempotencyKey: "other" })).id, first.id);
  await api.advance(60 * MINUTE);
  const second = await token(api, { idempotencyKey: "k", idempotencyKeyTtl: "2s" });
  t.false(second.isCached, "the window of the key is over");
  t.is((await retrieved(api, first.id)).idempotencyKey, "");
});

test("WAI-6: malformed timeouts, keys and tags are refused together, and make nothing", async (t) => {
  const api = await startApi(t);
  const refused = await refusal(
    api.waitpoints.createToken({
      timeoutSpec: { case: "timeout", value: "soon" },
      idempotencyKey: "k".repeat(2_049),
      idempotencyKeyTtl: "0s",
      tags: Array.from({ length: 11 }, (_, index) => `t${index}`),
    }),
  );
  t.deepEqual(refused.violations.map(({ reason }) => reason).toSorted(), [
    "INVALID_DURATION",
    "INVALID_IDEMPOTENCY_KEY",
    "INVALID_IDEMPOTENCY_KEY_TTL",
    "TOO_MANY_TAGS",
  ]);
  t.is((await api.waitpoints.listTokens({})).tokens.length, 0);
});

test("REQ-1: a repeated request answers with the same token", async (t) => {
  const api = await startApi(t);
  const first = await token(api, { requestId: "r" });
  const again = await token(api, { requestId: "r" });
  t.is(again.id, first.id);
  t.false(again.isCached);
});

test("WAI-7: the first completion counts; later ones succeed without effect, an unknown token is not found", async (t) => {
  const api = await startApi(t);
  const { id: tokenId } = await token(api);
  await api.waitpoints.completeToken({ tokenId, data: json('{"n":1}') });
  const completed = await retrieved(api, tokenId);
  t.is(completed.status, TokenStatus.COMPLETED);
  t.is(timeMs(completed.completeTime), api.nowMs());
  await api.advance(SECOND);
  await api.waitpoints.completeToken({ tokenId, data: json("2") });
  t.deepEqual(await retrieved(api, tokenId), completed);
  const unknown = await refusal(api.waitpoints.completeToken({ tokenId: `waitpoint_${"0".repeat(26)}` }));
  t.like(unknown, { code: "NOT_FOUND", reason: "WAITPOINT_NOT_FOUND" });
  const foreign = api.as(api.server.prodKey);
  t.is((await refusal(foreign.waitpoints.completeToken({ tokenId }))).reason, "WAITPOINT_NOT_FOUND");
  t.is((await refusal(foreign.waitpoints.retrieveToken({ tokenId }))).reason, "WAITPOINT_NOT_FOUND");
});

test("WAI-7, PAY-6: data above the limit is refused and completes nothing", async (t) => {
  const api = await startApi(t);
  const { id: tokenId } = await token(api);
  const data = json(JSON.stringify("x".repeat(10_485_761)));
  t.is((await refusal(api.waitpoints.completeToken({ tokenId, data }))).reason, "PAYLOAD_TOO_LARGE");
  t.is((await retrieved(api, tokenId)).status, TokenStatus.WAITING);
});

test("WAI-8, WAI-7: a token that nobody completes times out; a completion at that instant, or later, has no effect", async (t) => {
  const api = await startApi(t);
  const { id: tokenId } = await token(api, { timeoutSpec: { case: "timeout", value: "5s" } });
  const { worker, runId } = await waiting(api, tokenId);
  await api.pass(4 * SECOND, worker);
  t.is(await api.status(runId), "WAITING");
  await api.pass(SECOND, worker);
  const resume = await worker.resumed();
  const { outcome } = resume.outcome ?? {};
  if (outcome?.case !== "token") return t.fail();
  t.like(outcome.value, { tokenId, isTimedOut: true, output: undefined });
  await api.waitpoints.completeToken({ tokenId, data: json("1") });
  t.like(await retrieved(api, tokenId), { status: TokenStatus.TIMED_OUT, output: undefined });
});

test("WAI-8: with the clock's duty asleep, a token at the instant of its timeout has one outcome all the same", async (t) => {
  const api = await startApi(t, { areDutiesEnabled: false, areNudgesEnabled: false });
  const { id: tokenId } = await token(api, { timeoutSpec: { case: "timeout", value: "5s" } });
  const { worker } = await waiting(api, tokenId);
  await api.pass(5 * SECOND, worker);
  t.is((await retrieved(api, tokenId)).status, TokenStatus.TIMED_OUT, "for readers, at once");
  t.is(worker.resumes.size, 0);
  await api.waitpoints.completeToken({ tokenId, data: json("1") });
  const { outcome } = (await worker.resumed()).outcome ?? {};
  t.is(outcome?.case === "token" && outcome.value.isTimedOut, true);
});

test("WAI-9: several runs wait for one token; all go on with its data, and a later one need not wait", async (t) => {
  const api = await startApi(t);
  const { id: tokenId } = await token(api);
  const runs = [await waiting(api, tokenId, "one"), await waiting(api, tokenId, "two")];
  t.deepEqual((await api.run(runs[0]?.runId ?? "")).waitingFor?.waitpoint, { case: "waitpointId", value: tokenId });
  await api.waitpoints.completeToken({ tokenId, data: json('"yes"') });
  for (const { worker, runId, lease } of runs) {
    const resume = await worker.resumed();
    t.is(resume.runId, runId);
    t.is(hex(resume.waitingLease), hex(lease));
    const { outcome } = resume.outcome ?? {};
    t.deepEqual(outcome?.case === "token" ? outcome.value.output : undefined, json('"yes"'));
  }
  const late = await waiting(api, tokenId, "three");
  t.is((await late.worker.resumed()).runId, late.runId, "woken at once");
});

test("WAI-10: a POST to the URL completes the token without credentials, from every origin; an empty body is {}", async (t) => {
  const api = await startApi(t);
  const [one, two, three] = [await token(api), await token(api), await token(api)];
  const preflight = await fetch(one.url, {
    method: "OPTIONS",
    headers: {
      origin: "https://app.example",
      "access-control-request-method": "POST",
      "access-control-request-headers": "content-type",
    },
  });
  t.is(preflight.headers.get("access-control-allow-origin"), "*");
  const answer = await fetch(one.url, {
    method: "POST",
    headers: { origin: "https://app.example", "content-type": "application/json" },
    body: '{"approved":true}',
  });
  t.is(answer.status, 200);
  t.deepEqual(await answer.json(), { success: true });
  t.is(answer.headers.get("access-control-allow-origin"), "*");
  t.deepEqual((await retrieved(api, one.id)).output, json('{"approved":true}'));
  t.is((await fetch(one.url, { method: "POST", body: "1" })).status, 200, "again, without effect");
  t.deepEqual((await retrieved(api, one.id)).output, json('{"approved":true}'));
  t.is((await fetch(two.url, { method: "POST" })).status, 200);
  t.deepEqual((await retrieved(api, two.id)).output, json("{}"));
  const malformed = await fetch(three.url, { method: "POST", body: "{" });
  t.is(malformed.status, 400);
  t.is((await retrieved(api, three.id)).status, TokenStatus.WAITING);
  const forged = three.url.replace(three.id, one.id);
  t.is((await fetch(forged, { method: "POST" })).status, 404, "the URL of one token completes no other");
  t.is((await fetch(three.url)).status, 405);
});

test("WAI-12, AUT-5: without the secret key only a token with write:waitpoints completes, and only its own", async (t) => {
  const api = await startApi(t);
  const [one, two] = [await token(api), await token(api)];
  const scopes = [`write:waitpoints:${one.id}`];
  const browser = api.as((await api.auth.createPublicToken({ scopes })).token);
  t.is((await refusal(browser.waitpoints.completeToken({ tokenId: two.id }))).reason, "SCOPE_MISSING");
  t.is((await refusal(browser.waitpoints.retrieveToken({ tokenId: one.id }))).reason, "SECRET_KEY_REQUIRED");
  t.is((await refusal(browser.waitpoints.createToken({}))).reason, "SECRET_KEY_REQUIRED");
  t.is((await refusal(browser.waitpoints.listTokens({}))).reason, "SECRET_KEY_REQUIRED");
  await browser.waitpoints.completeToken({ tokenId: one.id, data: json("1") });
  t.is((await retrieved(api, one.id)).status, TokenStatus.COMPLETED);
});

test("WAI-11: tokens are listed newest first, in pages both ways, by status, tags, key and time", async (t) => {
  const api = await startApi(t);
  const ids: string[] = [];
  for (let count = 0; count < 5; count += 1) {
    const tags = count % 2 === 0 ? ["even"] : [];
    ids.unshift((await token(api, { tags, idempotencyKey: count === 3 ? "three" : "" })).id);
    await api.advance(SECOND);
  }
  const list = async (request: Parameters<TestApi["waitpoints"]["listTokens"]>[0]) => {
    const answer = await api.waitpoints.listTokens(request);
    return { ...answer, ids: answer.tokens.map(({ id }) => id) };
  };
  const first = await list({ pageSize: 2 });
  t.deepEqual(first.ids, ids.slice(0, 2));
  t.is(first.previousPageToken, "");
  const second = await list({ pageSize: 2, pageToken: first.nextPageToken });
  t.deepEqual(second.ids, ids.slice(2, 4));
  const last = await list({ pageSize: 2, pageToken: second.nextPageToken });
  t.deepEqual(last.ids, ids.slice(4));
  t.is(last.nextPageToken, "");
  t.deepEqual((await list({ pageSize: 2, pageToken: last.previousPageToken })).ids, ids.slice(2, 4));
  await api.waitpoints.completeToken({ tokenId: ids[0] ?? "", data: json("1") });
  t.deepEqual((await list({ filter: { statuses: [TokenStatus.COMPLETED] } })).ids, ids.slice(0, 1));
  t.is((await list({ filter: { statuses: [TokenStatus.COMPLETED] } })).tokens[0]?.output, undefined);
  t.deepEqual((await list({ filter: { tags: ["even"] } })).ids, [ids[0], ids[2], ids[4]]);
  t.deepEqual((await list({ filter: { idempotencyKey: "three" } })).ids, [ids[1]]);
  t.deepEqual((await list({ filter: { period: "2s" } })).ids, ids.slice(0, 2));
  const fromTime = timestampFromMs(api.nowMs() - 4 * SECOND);
  const toTime = timestampFromMs(api.nowMs() - 2 * SECOND);
  t.deepEqual((await list({ filter: { fromTime, toTime } })).ids, ids.slice(2, 4));
  for (const pageSize of [0, 101]) t.is((await refusal(list({ pageSize }))).reason, "INVALID_PAGE");
  t.is((await refusal(list({ pageToken: "forged" }))).reason, "INVALID_PAGE");
  t.is((await refusal(list({ filter: { period: "x" } }))).reason, "INVALID_DURATION");
  t.is((await api.as(api.server.prodKey).waitpoints.listTokens({})).tokens.length, 0);
});

test("WAI-1, TAW-10a: a run waits for an instant, shown to readers, and goes on when it has come", async (t) => {
  const api = await startApi(t);
  const worker = await api.worker({ tasks: ["work"] });
  const runId = await api.triggered("work");
  const { lease } = await worker.begin();
  const until = timestampFromMs(api.nowMs() + 30 * SECOND);
  const timer = await api.waitpoints.createTimer({ lease, untilSpec: { case: "until", value: until }, requestId: "w" });
  t.like(timer, { isOver: false, isCached: false });
  await worker.waits(lease, { waitpoint: { case: "waitpointId", value: timer.waitpointId } });
  t.deepEqual((await api.run(runId)).waitingFor?.waitpoint, { case: "untilTime", value: until });
  await api.pass(29 * SECOND, worker);
  t.is(await api.status(runId), "WAITING");
  await api.pass(SECOND, worker);
  const resume = await worker.resumed();
  t.is(resume.runId, runId);
  const again = await api.waitpoints.createTimer({
    lease: resume.lease,
    untilSpec: { case: "for", value: { seconds: 30n, nanos: 0 } },
    requestId: "w",
  });
  t.like(again, { waitpointId: timer.waitpointId, isOver: true }, "TAW-10a: the same wait, which is over");
  t.is((await refusal(api.waitpoints.retrieveToken({ tokenId: timer.waitpointId }))).reason, "WAITPOINT_NOT_FOUND");
  const stale = api.waitpoints.createTimer({ lease, untilSpec: { case: "until", value: until } });
  t.is((await refusal(stale)).reason, "STALE_LEASE");
  const tooFar = api.waitpoints.createTimer({
    lease: resume.lease,
    untilSpec: { case: "for", value: { seconds: 4_000_000_000n, nanos: 0 } },
  });
  t.is((await refusal(tooFar)).reason, "INVALID_DURATION");
});

test("WAI-3: with the key of a running wait a run waits for its end, with that of a finished one not at all", async (t) => {
  const api = await startApi(t);
  const worker = await api.worker({ tasks: ["work"] });
  await api.triggered("work");
  const { lease } = await worker.begin();
  const timer = (seconds: bigint) =>
    api.waitpoints.createTimer({
      lease,
      untilSpec: { case: "for", value: { seconds, nanos: 0 } },
      idempotencyKey: "k",
    });
  const first = await timer(10n);
  await api.pass(5 * SECOND, worker);
  const second = await timer(10n);
  t.like(second, { waitpointId: first.waitpointId, isCached: true, isOver: false });
  t.deepEqual(second.untilTime, first.untilTime);
  await api.pass(5 * SECOND, worker);
  t.like(await timer(10n), { waitpointId: first.waitpointId, isCached: true, isOver: true });
});
