/** Streamed batches (section 11.4), by raw clients. */

import type { MessageInitShape } from "@bufbuild/protobuf";
import { create } from "@bufbuild/protobuf";
import test from "ava";
import { BatchStatus } from "#proto/hairtrigger/v1/batch_pb.js";
import {
  type StreamBatchRequest,
  StreamBatchRequestSchema,
  type StreamBatchResponse,
} from "#proto/hairtrigger/v1/batch_service_pb.js";
import { refusal, startApi, type TestApi } from "../../support/api.js";

const MINUTE = 60_000;

type Message = NonNullable<MessageInitShape<typeof StreamBatchRequestSchema>["message"]>;

const open = (requestId: string, options = {}): Message => ({ case: "open", value: { requestId, options } });
const chunk = (index: number, count: number, taskId = "work"): Message => ({
  case: "chunk",
  value: { index: BigInt(index), items: Array.from({ length: count }, () => ({ taskId })) },
});
const seal: Message = { case: "seal", value: {} };

async function* messages(list: readonly Message[]): AsyncGenerator<StreamBatchRequest> {
  for (const message of list) yield create(StreamBatchRequestSchema, { message });
}

async function stream(api: TestApi, ...list: readonly Message[]): Promise<StreamBatchResponse> {
  const response = await api.batches.streamBatch(messages(list));
  await api.server.settled();
  return response;
}

async function batchOf(api: TestApi, batchId: string) {
  const { batch } = await api.batches.retrieveBatch({ batchId });
  if (batch === undefined) throw new Error("no batch");
  return batch;
}

test("BAT-16, BAT-17: chunks of one or more calls fill a batch, the last message seals it, indexes go on", async (t) => {
  const api = await startApi(t);
  const first = await stream(api, open("r"), chunk(0, 3), chunk(1, 2));
  t.like(first, {
    isCached: false,
    itemsAccepted: 5n,
    itemsDeduplicated: 0n,
    nextChunkIndex: 2n,
    sealed: false,
    runCount: 5n,
  });
  t.is(await api.batchStatus(first.batchId), "PROCESSING");
  t.is(await api.count(), 5, "its runs are there before the seal");
  const worker = await api.worker({ tasks: ["work"] });
  await worker.finish();
  const last = await stream(api, open("r"), chunk(2, 1), seal);
  t.like(last, { batchId: first.batchId, itemsAccepted: 1n, nextChunkIndex: 3n, sealed: true, runCount: 6n });
  const batch = await batchOf(api, first.batchId);
  t.is(batch.runIds.length, 6);
  t.is((await api.run(batch.runIds[5] ?? "")).batchIndex, 5);
  t.truthy(batch.processing?.completeTime);
  t.is(batch.status, BatchStatus.PENDING);
  for (let run = 1; run < 6; run += 1) await worker.finish();
  t.is(await api.batchStatus(first.batchId), "COMPLETED");
});

test("BAT-16: chunks that are known change nothing and are counted; a call that only opens says what is next", async (t) => {
  const api = await startApi(t);
  await stream(api, open("r"), chunk(0, 2), chunk(1, 2));
  const again = await stream(api, open("r"), chunk(0, 2), chunk(1, 2), chunk(2, 1));
  t.like(again, { itemsAccepted: 1n, itemsDeduplicated: 4n, nextChunkIndex: 3n, runCount: 5n });
  t.like(await stream(api, open("r")), { itemsAccepted: 0n, nextChunkIndex: 3n, runCount: 5n });
  t.is(await api.count(), 5);
  const both = await Promise.all([stream(api, open("s"), chunk(0, 3)), stream(api, open("s"), chunk(0, 3))]);
  t.is(both[0]?.batchId, both[1]?.batchId);
  t.is(await api.count(), 8);
});

test("BAT-16: a gap is refused and names what was expected; chunks before it stay, and the batch goes on", async (t) => {
  const api = await startApi(t);
  const refused = await refusal(stream(api, open("r"), chunk(0, 1), chunk(2, 1)));
  t.like(refused, {
    code: "INVALID_ARGUMENT",
    reason: "BATCH_CHUNK_OUT_OF_ORDER",
    metadata: { got: "2", allowed: "1" },
  });
  t.is(await api.count(), 1);
  t.is((await stream(api, open("r"), chunk(1, 1), seal)).runCount, 2n);
});

test("BAT-16: a new chunk of a sealed batch is refused, a known one is not, and sealing again changes nothing", async (t) => {
  const api = await startApi(t);
  const { batchId } = await stream(api, open("r"), chunk(0, 1), seal);
  const refused = await refusal(stream(api, open("r"), chunk(1, 1)));
  t.like(refused, { code: "FAILED_PRECONDITION", reason: "BATCH_SEALED", metadata: { id: batchId } });
  t.true(refused.message.includes("is already sealed"));
  t.like(await stream(api, open("r"), chunk(0, 1), seal), { sealed: true, itemsDeduplicated: 1n });
  t.is(await api.count(), 1);
});

test("BAT-16, BAT-8: a chunk with a bad item is refused whole, named by item; a good one may come in its place", async (t) => {
  const api = await startApi(t);
  const bad: Message = {
    case: "chunk",
    value: {
      index: 1n,
      items: [{ taskId: "work" }, { taskId: "work", options: { delaySpec: { case: "delay", value: "soon" } } }],
    },
  };
  const refused = await refusal(stream(api, open("r"), chunk(0, 1), bad));
  t.deepEqual(
    refused.violations.map(({ field, reason }) => [field, reason]),
    [["items[1].options.delay", "INVALID_DELAY"]],
  );
  t.is(await api.count(), 1);
  t.is((await stream(api, open("r"), chunk(1, 2), seal)).runCount, 3n);
});

test("BAT-15: a chunk has at most 500 items and 1 MB of payload; a larger single item may come alone", async (t) => {
  const api = await startApi(t);
  t.is((await refusal(stream(api, open("a"), chunk(0, 501)))).reason, "BATCH_TOO_LARGE");
  const large = {
    taskId: "work",
    payload: { data: { case: "json" as const, value: JSON.stringify("x".repeat(1_048_577)) } },
  };
  const two: Message = { case: "chunk", value: { index: 0n, items: [large, { taskId: "work" }] } };
  t.is((await refusal(stream(api, open("b"), two))).reason, "BATCH_PAYLOAD_TOO_LARGE");
  const alone: Message = { case: "chunk", value: { index: 0n, items: [large] } };
  t.is((await stream(api, open("c"), alone, seal)).runCount, 1n);
  t.is(await api.count(), 1);
});

test("BAT-4: a stream without items is refused, and its batch ABORTED", async (t) => {
  const api = await startApi(t);
  const refused = await refusal(stream(api, open("r"), seal));
  t.like(refused, {
    code: "INVALID_ARGUMENT",
    reason: "BATCH_EMPTY",
    message: "Batch cannot be triggered with no items",
  });
  const { batchId } = await stream(api, open("r"));
  t.is(await api.batchStatus(batchId), "ABORTED");
});

test("BAT-19, BAT-25, BAT-26: an input that ends early seals with what was accepted, which runs: PARTIAL_FAILED", async (t) => {
  const api = await startApi(t);
  const failure = { error: "disk is gone", errorCode: "EIO", index: 1n, taskId: "work" };
  const { batchId, sealed } = await stream(api, open("r"), chunk(0, 1), { case: "seal", value: { failure } });
  t.true(sealed);
  t.is(await api.batchStatus(batchId), "PENDING");
  const worker = await api.worker({ tasks: ["work"] });
  await worker.finish();
  t.is(await api.batchStatus(batchId), "PARTIAL_FAILED");
  const { processing } = await batchOf(api, batchId);
  t.like(processing?.errors[0], failure);
});

test("BAT-18, BAT-21: a batch that is open for 30 min without a chunk is sealed, and loses its key", async (t) => {
  const api = await startApi(t);
  const options = { idempotencyKey: "k" };
  const { batchId } = await stream(api, open("r", options), chunk(0, 2));
  await api.advance(29 * MINUTE);
  await stream(api, open("r", options), chunk(1, 1));
  await api.advance(29 * MINUTE);
  t.is(await api.batchStatus(batchId), "PROCESSING");
  await api.advance(2 * MINUTE);
  t.is(await api.batchStatus(batchId), "PENDING");
  const { processing, idempotencyKey } = await batchOf(api, batchId);
  t.is(processing?.errors[0]?.errorCode, "BATCH_STREAM_TIMEOUT");
  t.is(idempotencyKey, "");
  const next = await stream(api, open("s", options), chunk(0, 2), seal);
  t.false(next.isCached);
  t.not(next.batchId, batchId);
  const { runIds } = await batchOf(api, next.batchId);
  t.deepEqual(runIds, (await batchOf(api, batchId)).runIds.slice(0, 2), "items accepted earlier are hits");
});

test("BAT-18, RUN-8: a batch opened inside a run is sealed once that attempt is over, and takes no more chunks", async (t) => {
  const api = await startApi(t);
  const parent = await api.triggered("parent");
  const worker = await api.worker({ tasks: ["parent"] });
  const { lease } = await worker.begin();
  const attempt = { sessionId: worker.sessionId, attempt: 1 };
  const inside: Message = { case: "open", value: { requestId: "r", parentRunId: parent, attempt } };
  const { batchId } = await stream(api, inside, chunk(0, 1));
  await api.advance(5_000);
  t.is(await api.batchStatus(batchId), "PROCESSING");
  await worker.completed(lease);
  t.is((await refusal(stream(api, inside, chunk(1, 1)))).reason, "STALE_LEASE");
  await api.advance(2_000);
  t.is(await api.batchStatus(batchId), "PENDING");
  t.is((await batchOf(api, batchId)).processing?.errors[0]?.errorCode, "BATCH_STREAM_TIMEOUT");
  const foreign: Message = {
    case: "open",
    value: { requestId: "x", parentRunId: parent, attempt: { ...attempt, attempt: 7 } },
  };
  t.is((await refusal(stream(api, foreign))).reason, "STALE_LEASE");
});

test("BAT-20: a stream with the key of a batch gets that batch, and is not read", async (t) => {
  const api = await startApi(t);
  const options = { idempotencyKey: "k" };
  const first = await stream(api, open("r", options), chunk(0, 2), seal);
  const second = await stream(api, open("s", options), chunk(0, 9));
  t.like(second, { isCached: true, batchId: first.batchId, runCount: 2n, itemsAccepted: 0n, sealed: true });
  t.is(await api.count(), 2);
  t.true((await api.batch([{ taskId: "work" }], { options })).isCached, "one call or streamed: keys are shared");
});

test("BAT-21: items of a stream get keys by their position in the whole input", async (t) => {
  const api = await startApi(t);
  const { batchId } = await stream(api, open("r", { idempotencyKey: "k" }), chunk(0, 2), chunk(1, 2), seal);
  const { runIds } = await batchOf(api, batchId);
  const keys = await Promise.all(runIds.map(async (runId) => (await api.run(runId)).idempotencyKey));
  t.deepEqual(keys, ["k-0", "k-1", "k-2", "k-3"]);
});

test("ERR-1: a stream that does not begin with its opening, or opens twice, is refused", async (t) => {
  const api = await startApi(t);
  t.is((await refusal(stream(api, chunk(0, 1)))).reason, "INVALID_REQUEST");
  t.is((await refusal(stream(api, open("r"), open("r")))).reason, "INVALID_REQUEST");
  t.is((await refusal(stream(api))).reason, "INVALID_REQUEST");
  const nameless: Message = { case: "chunk", value: { index: 0n, items: [{ taskId: "" }] } };
  const refused = await refusal(stream(api, open("r"), nameless));
  t.is(refused.violations[0]?.field, "items[0].taskId");
  t.is(await api.count(), 0);
});

test("AUT-5: a stream needs the secret key or a token that triggers batches", async (t) => {
  const api = await startApi(t);
  const { token } = await api.auth.createPublicToken({ scopes: ["read:runs"] });
  const refused = await refusal(api.as(token).batches.streamBatch(messages([open("r")])));
  t.is(refused.code, "PERMISSION_DENIED");
});
