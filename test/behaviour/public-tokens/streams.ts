/** Streamed batches by public tokens (AUT-3, AUT-4, AUT-8). */
import type { MessageInitShape } from "@bufbuild/protobuf";
import { create } from "@bufbuild/protobuf";
import test from "ava";
import { type StreamBatchRequest, StreamBatchRequestSchema } from "#proto/hairtrigger/v1/batch_service_pb.js";
import { refusal, startApi, type TestApi } from "../../support/api.js";
import { DEV_KEY } from "../../support/harness.js";
import { jwt } from "../../support/jwt.js";

const DENIED = { code: "PERMISSION_DENIED", reason: "SCOPE_MISSING" };
const USED = { code: "FAILED_PRECONDITION", reason: "TOKEN_ALREADY_USED" };

type Message = NonNullable<MessageInitShape<typeof StreamBatchRequestSchema>["message"]>;

const open = (requestId: string, idempotencyKey = ""): Message => ({
  case: "open",
  value: { requestId, options: { idempotencyKey } },
});
const seal: Message = { case: "seal", value: {} };

function chunk(index: number, taskIds: readonly string[], options = {}): Message {
  return { case: "chunk", value: { index: BigInt(index), items: taskIds.map((taskId) => ({ taskId, options })) } };
}

async function* messages(list: readonly Message[]): AsyncGenerator<StreamBatchRequest> {
  for (const message of list) yield create(StreamBatchRequestSchema, { message });
}

/** What sends streams with such a token. */
function bearer(api: TestApi, claims: Readonly<Record<string, unknown>> = {}) {
  const all = { scopes: ["batchTrigger:tasks:a", "batchTrigger:tasks:b"], ...claims };
  const { batches } = api.as(jwt({ secretKey: DEV_KEY, claims: all }, api.nowMs()));
  return (...list: readonly Message[]) => batches.streamBatch(messages(list));
}

test("AUT-4: a chunk of a stream needs every task authorised, else nothing of it is created; those before it stay", async (t) => {
  const api = await startApi(t);
  const send = bearer(api);
  t.like(await refusal(send(open("r"), chunk(0, ["a", "b"]), chunk(1, ["a", "c"]), seal)), DENIED);
  t.is(await api.count(), 2);
  t.like(await refusal(send(open("r"), chunk(1, ["a"], { concurrencyKey: "x" }))), DENIED);
  t.is(await api.count(), 2);
  t.like(await send(open("r"), chunk(0, ["a", "b"]), chunk(1, ["b"]), seal), {
    itemsAccepted: 1n,
    itemsDeduplicated: 2n,
    runCount: 3n,
    sealed: true,
  });
  t.like(await refusal(bearer(api, { scopes: ["trigger:tasks", "read:runs"] })(open("s"), chunk(0, ["a"]))), DENIED);
});

test("AUT-8: a token's options are fixed for every item of a stream, and it opens none inside a run", async (t) => {
  const api = await startApi(t);
  const { batchId } = await bearer(api, { options: { tags: ["mine"] } })(open("r"), chunk(0, ["a"]), seal);
  const { runs } = await api.runs.listRuns({ filter: { batchId } });
  t.deepEqual(runs[0]?.tags, ["mine"]);
  const parentRunId = await api.triggered("a");
  const inside: Message = { case: "open", value: { parentRunId } };
  t.like(await refusal(bearer(api)(inside, chunk(0, ["a"]))), { code: "PERMISSION_DENIED" });
  t.is(await api.count(), 2);
});

test("TRG-3, AUT-6: the answer to a token's stream carries a token that reads that batch; to a key's stream, none", async (t) => {
  const api = await startApi(t);
  const { batchId, publicAccessToken } = await bearer(api)(open("r"), chunk(0, ["a"]), seal);
  const reader = api.as(publicAccessToken);
  t.is((await reader.batches.retrieveBatch({ batchId })).batch?.id, batchId);
  t.is((await reader.runs.listRuns({ filter: { batchId } })).runs.length, 1);
  t.like(await refusal(reader.runs.listRuns({})), DENIED);
  t.is((await api.batches.streamBatch(messages([open("r"), chunk(0, ["a"]), seal]))).publicAccessToken, "");
});

test("AUT-8: request ids and keys of a token's streams are its subject's and its scopes' own", async (t) => {
  const api = await startApi(t);
  const backend = await api.batches.streamBatch(messages([open("r", "k"), chunk(0, ["a"]), seal]));
  const first = await bearer(api, { subject: "u" })(open("r", "k"), chunk(0, ["a"]));
  t.false(first.isCached);
  t.not(first.batchId, backend.batchId);
  // Another token of the subject goes on, and finds the batch by its key.
  const again = bearer(api, { subject: "u", jti: "j2" });
  t.like(await again(open("r", "k"), chunk(1, ["b"]), seal), { batchId: first.batchId, runCount: 2n });
  t.like(await again(open("r2", "k")), { batchId: first.batchId, isCached: true });
  for (const claims of [{ subject: "u", scopes: ["batchTrigger:tasks:b"] }, { subject: "other" }]) {
    const other = await bearer(api, { jti: "j3", ...claims })(open("r", "k"), chunk(0, ["b"]));
    t.false(other.isCached);
    t.not(other.batchId, first.batchId);
  }
});

test("AUT-3: a one-time token opens one stream, which may take several calls", async (t) => {
  const api = await startApi(t);
  const send = bearer(api, { otu: true });
  const { batchId } = await send(open("r"), chunk(0, ["a"]));
  t.like(await send(open("r"), chunk(1, ["b"]), seal), { batchId, runCount: 2n, sealed: true });
  t.like(await refusal(send(open("s"), chunk(0, ["a"]))), USED);
  t.is(await api.count(), 2);
});
