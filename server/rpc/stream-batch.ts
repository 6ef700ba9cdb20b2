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
import { invalidRequest, secretKeyRequired } from "../domain/error.js";
import type { BatchStream, OpenBatchParams } from "../engine/engine.js";
import { decodeBatchOptions, decodeItems, wireUnknownTask } from "./convert/batch.js";
import { awaitingLeaseOf } from "./convert/trigger.js";
import { stoppingError } from "./error.js";
import { requireValid, violationsOf } from "./interceptors/validate.js";
import type { ServiceDeps } from "./services.js";
import type { TriggerAccess } from "./trigger-access.js";

export async function streamBatch(
  deps: ServiceDeps,
  access: TriggerAccess,
  requests: AsyncIterable<StreamBatchRequest>,
): Promise<StreamBatchResponse> {
  const { stopping } = deps;
  const messages = requests[Symbol.asyncIterator]();
  const stop = whenAborted(stopping);
  try {
    return await fill(deps, access, async () => {
      const { done, value } = await Promise.race([messages.next(), stop.aborted]);
      return done === true ? undefined : value.message;
    });
  } finally {
    stop.forget();
  }
}

type Next = () => Promise<StreamBatchRequest["message"] | undefined>;

async function fill({ engine, limits }: ServiceDeps, access: TriggerAccess, next: Next): Promise<StreamBatchResponse> {
  const first = await next();
  if (first?.case !== "open") throw invalidRequest("open", "The first message of a stream opens its batch");
  const open = openParams(access, first.value);
  const stream = await engine.streamBatch(open);
  const answer = async (): Promise<StreamBatchResponse> =>
    answerOf(stream, await access.readToken({ action: "read", resource: "batch", id: stream.batch.id }));
  if (stream.isCached) return answer();
  for (let message = await next(); message !== undefined; message = await next()) {
    switch (message.case) {
      case "chunk": {
        const { index } = message.value;
        // Every task before anything else, so that nothing of the chunk is created for some (AUT-4).
        const items = message.value.items.map((item) => {
          const options = access.allow(item);
          return options === item.options ? item : { ...item, options };
        });
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
        return answer();
      case "open":
        throw invalidRequest("open", "A batch is opened once in a stream");
      case undefined:
        throw invalidRequest("message", "A message of a stream is one of open, chunk and seal");
    }
  }
  return answer();
}

function openParams({ environment, caller, scopes }: TriggerAccess, open: OpenBatch): OpenBatchParams {
  if (caller !== undefined && (open.parentRunId !== "" || open.attempt !== undefined)) {
    throw secretKeyRequired("A stream with parentRunId");
  }
  const { key, keyTtl } = decodeBatchOptions(open.options);
  return {
    environment,
    ...(caller === undefined ? {} : { caller, scopes }),
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

function answerOf(stream: BatchStream, publicAccessToken: string): StreamBatchResponse {
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
    publicAccessToken,
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
