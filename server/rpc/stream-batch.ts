/** StreamBatch: message by message, the next one read when the last one is stored. */
import { create } from "@bufbuild/protobuf";
import {
  BatchChunkSchema,
  type OpenBatch,
  OpenBatchSchema,
  type SealBatch,
  SealBatchSchema,
  type StreamBatchRequest,
  type StreamBatchResponse,
  StreamBatchResponseSchema,
} from "#proto/hairtrigger/v1/batch_service_pb.js";
import type { BatchFailure } from "../domain/batch.js";
import { invalidRequest } from "../domain/error.js";
import type { BatchStream, OpenBatchParams } from "../engine/engine.js";
import { decodeBatchOptions, decodeItems, wireUnknownTask } from "./convert/batch.js";
import { awaitingLeaseOf } from "./convert/trigger.js";
import { stoppingError } from "./error.js";
import { requireValid, violationsOf } from "./interceptors/validate.js";
import type { ServiceDeps } from "./services.js";

export async function streamBatch(
  deps: ServiceDeps,
  environment: string,
  requests: AsyncIterable<StreamBatchRequest>,
): Promise<StreamBatchResponse> {
  const { stopping } = deps;
  const messages = requests[Symbol.asyncIterator]();
  const stop = whenAborted(stopping);
  try {
    return await fill(deps, environment, async () => {
      const { done, value } = await Promise.race([messages.next(), stop.aborted]);
      return done === true ? undefined : value.message;
    });
  } finally {
    stop.forget();
  }
}

type Next = () => Promise<StreamBatchRequest["message"] | undefined>;

async function fill({ engine, limits }: ServiceDeps, environment: string, next: Next): Promise<StreamBatchResponse> {
  const first = await next();
  if (first?.case !== "open") throw invalidRequest("open", "The first message of a stream opens its batch");
  const open = openParams(environment, first.value);
  const stream = await engine.streamBatch(open);
  if (stream.isCached) return answerOf(stream);
  for (let message = await next(); message !== undefined; message = await next()) {
    switch (message.case) {
      case "chunk": {
        const { index, items } = message.value;
        const form = violationsOf(BatchChunkSchema, message.value);
        await stream.add({
          index: Number(index),
          count: items.length,
          decode: (firstIndex) => {
            const decoded = decodeItems(
              items,
              { ...open, firstIndex, isAwaited: open.awaitedBy !== undefined },
              limits,
            );
            return { items: decoded.items, violations: [...form, ...decoded.violations] };
          },
        });
        break;
      }
      case "seal":
        requireValid(SealBatchSchema, message.value);
        await stream.seal(failureOf(message.value));
        return answerOf(stream);
      case "open":
        throw invalidRequest("open", "A batch is opened once in a stream");
      case undefined:
        throw invalidRequest("message", "A message of a stream is one of open, chunk and seal");
    }
  }
  return answerOf(stream);
}

function openParams(environment: string, open: OpenBatch): OpenBatchParams {
  const { key, keyTtl } = decodeBatchOptions(open.options);
  return {
    environment,
    requestId: given(open.requestId),
    key,
    keyTtl,
    parentRunId: given(open.parentRunId),
    isTest: open.isTest,
    attempt:
      open.attempt === undefined ? undefined : { sessionId: open.attempt.sessionId, number: open.attempt.attempt },
    awaitedBy: awaitingLeaseOf(open),
    formViolations: violationsOf(OpenBatchSchema, open, "open"),
  };
}

function failureOf({ failure }: SealBatch): BatchFailure | undefined {
  if (failure === undefined) return undefined;
  const { error, errorCode, index, taskId } = failure;
  return {
    message: error,
    code: given(errorCode),
    index: index === undefined ? undefined : Number(index),
    taskId: given(taskId),
  };
}

function answerOf(stream: BatchStream): StreamBatchResponse {
  const { batch, isCached } = stream;
  return create(StreamBatchResponseSchema, {
    batchId: batch.id,
    isCached,
    itemsAccepted: BigInt(stream.itemsAccepted),
    itemsDeduplicated: BigInt(stream.itemsDeduplicated),
    nextChunkIndex: BigInt(batch.chunkCount),
    sealed: batch.sealedAtMs !== undefined,
    runCount: BigInt(batch.itemCount),
    idempotencyKey: batch.key?.text ?? "",
    unknownTasks: stream.unknownTasks.map(wireUnknownTask),
    warnings: [...stream.warnings],
    isDone: stream.isDone,
  });
}

function whenAborted(signal: AbortSignal): { readonly aborted: Promise<never>; forget(): void } {
  let onAbort = (): void => undefined;
  const aborted = new Promise<never>((_, reject) => {
    onAbort = () => reject(stoppingError());
    if (signal.aborted) onAbort();
    else signal.addEventListener("abort", onAbort, { once: true });
  });
  // Whoever no longer waits must not leave it unhandled.
  aborted.catch(() => undefined);
  return { aborted, forget: () => signal.removeEventListener("abort", onAbort) };
}

function given(text: string): string | undefined {
  return text === "" ? undefined : text;
}
