/** Batches: requests → engine items, what came of them → responses. */
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import {
  type Batch,
  type BatchItem,
  type BatchOptions,
  BatchProcessingSchema,
  BatchResultSchema,
  type BatchRun,
  BatchRunSchema,
  BatchSchema,
  type BatchResult as WireResult,
  BatchStatus as WireStatus,
} from "#proto/hairtrigger/v1/batch_pb.js";
import {
  type BatchTriggerRequest,
  BatchTriggerRequestSchema,
  type BatchTriggerResponse,
  BatchTriggerResponseSchema,
  type UnknownTask,
  UnknownTaskSchema,
} from "#proto/hairtrigger/v1/batch_service_pb.js";
import { PayloadSchema } from "#proto/hairtrigger/v1/payload_pb.js";
import { RunSpecSchema, RunStatus, TriggerFunction } from "#proto/hairtrigger/v1/run_pb.js";
import { type TriggerOptions, TriggerOptionsSchema } from "#proto/hairtrigger/v1/trigger_options_pb.js";
import { type BatchState, type BatchStatus, batchCountViolations, itemKey } from "../../domain/batch.js";
import { rejectIfAny, type Violation } from "../../domain/error.js";
import {
  type CheckedKey,
  checkIdempotencyKey,
  type IdempotencyKeyInput,
  parseKeyTtl,
} from "../../domain/idempotency.js";
import type { Limits } from "../../domain/limits.js";
import { isFinal } from "../../domain/run-status.js";
import type {
  BatchDetail,
  BatchResult,
  BatchTriggerItem,
  TriggerBatchParams,
  TriggeredBatch,
} from "../../engine/engine.js";
import { violationsOf } from "../interceptors/validate.js";
import { wireFailure } from "./failure.js";
import { decodePayload } from "./payload.js";
import { scopeOfWire, wireScope, wireStatus } from "./status.js";
import { timestampOf } from "./time.js";
import { awaitingLeaseOf } from "./trigger.js";
import { decodeOptions } from "./trigger-options.js";

/** @throws AppError for no or too many items; what else is wrong with the form goes along. */
export function batchParamsOf(environment: string, request: BatchTriggerRequest, limits: Limits): TriggerBatchParams {
  rejectIfAny(batchCountViolations(request.items.length, limits));
  const { key, keyTtl } = decodeBatchOptions(request.options);
  const awaitedBy = awaitingLeaseOf(request);
  const { items, violations } = decodeItems(
    request.items,
    { key, keyTtl, firstIndex: 0, isTest: request.isTest, isAwaited: awaitedBy !== undefined },
    limits,
  );
  return {
    environment,
    awaitedBy,
    requestId: given(request.requestId),
    key,
    keyTtl,
    parentRunId: given(request.parentRunId),
    isTest: request.isTest,
    items,
    formViolations: [...violationsOf(BatchTriggerRequestSchema, request), ...violations],
  };
}

export interface DecodedBatchOptions {
  readonly key: IdempotencyKeyInput | undefined;
  readonly keyTtl: string | undefined;
}

export function decodeBatchOptions(options: BatchOptions | undefined): DecodedBatchOptions {
  if (options === undefined) return { key: undefined, keyTtl: undefined };
  const { idempotencyKey: key, idempotencyKeyScope, idempotencyKeyText } = options;
  return {
    key: key === "" ? undefined : { key, scope: scopeOfWire(idempotencyKeyScope), userKey: given(idempotencyKeyText) },
    keyTtl: given(options.idempotencyKeyTtl),
  };
}

/**
 * The items of a call or a chunk. What a batch gives its items (a key, and how long it lives: BAT-21, IDM-22) becomes part of their specs,
 * because the worker reads it there.
 */
export function decodeItems(
  items: readonly BatchItem[],
  batch: DecodedBatchOptions & {
    readonly firstIndex: number;
    readonly isTest: boolean;
    /** Some run waits for the batch. Default false. */
    readonly isAwaited?: boolean;
  },
  limits: Limits,
): { readonly items: readonly BatchTriggerItem[]; readonly violations: readonly Violation[] } {
  const violations: Violation[] = [];
  // What is wrong with the batch's own options is said once, not for every item.
  const keyTtl =
    batch.keyTtl === undefined || parseKeyTtl(batch.keyTtl, limits.durationMaxMs) === undefined
      ? undefined
      : batch.keyTtl;
  const key = checkIdempotencyKey(batch.key, "options.idempotencyKey", limits, []);
  const decoded = items.map(({ taskId, payload: sent, options: own }, at): BatchTriggerItem => {
    const options = optionsOf(own, keyTtl, key === undefined ? undefined : itemKey(key, batch.firstIndex + at));
    const payload = decodePayload(sent, `items[${at}].payload`);
    const { input, violations: ofOptions } = decodeOptions(options, `items[${at}].options`);
    violations.push(...payload.violations, ...ofOptions);
    const spec = create(RunSpecSchema, {
      taskId,
      payload: payload.stored,
      options,
      triggerFunction:
        batch.isAwaited === true ? TriggerFunction.BATCH_TRIGGER_AND_WAIT : TriggerFunction.BATCH_TRIGGER,
      isTest: batch.isTest,
    });
    return { taskId, spec: toBinary(RunSpecSchema, spec), payload: payload.input, options: input };
  });
  return { items: decoded, violations };
}

/** An own key wins, and an own ttl (BAT-21, IDM-22). */
function optionsOf(
  own: TriggerOptions | undefined,
  keyTtl: string | undefined,
  key: CheckedKey | undefined,
): TriggerOptions | undefined {
  if (keyTtl === undefined && key === undefined) return own;
  const options = own ?? create(TriggerOptionsSchema);
  if (options.idempotencyKeyTtl === "" && keyTtl !== undefined) options.idempotencyKeyTtl = keyTtl;
  if (options.idempotencyKey === "" && key !== undefined) {
    options.idempotencyKey = key.hash;
    options.idempotencyKeyText = key.text;
    options.idempotencyKeyScope = wireScope(key.scope);
  }
  return options;
}

// ── answers ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

/** @param publicAccessToken empty where the caller signs its own. */
export function batchTriggerResponse(triggered: TriggeredBatch, publicAccessToken: string): BatchTriggerResponse {
  const { batch, isCached, items, warnings } = triggered;
  return create(BatchTriggerResponseSchema, {
    batchId: batch.id,
    isCached,
    idempotencyKey: batch.key?.text ?? "",
    runCount: batch.itemCount,
    runs: items.map(wireBatchRun),
    unknownTasks: triggered.unknownTasks.map(wireUnknownTask),
    warnings: [...warnings],
    publicAccessToken,
    isDone: triggered.isDone,
  });
}

function wireBatchRun({ runId, taskId, isCached, keyText }: TriggeredBatch["items"][number]): BatchRun {
  return create(BatchRunSchema, { runId, taskId, isCached, idempotencyKey: keyText ?? "" });
}

export function wireUnknownTask({ taskId, similarTaskIds }: TriggeredBatch["unknownTasks"][number]): UnknownTask {
  return create(UnknownTaskSchema, { taskId, similarTaskIds: [...similarTaskIds] });
}

const STATUSES = {
  PROCESSING: WireStatus.PROCESSING,
  PENDING: WireStatus.PENDING,
  COMPLETED: WireStatus.COMPLETED,
  PARTIAL_FAILED: WireStatus.PARTIAL_FAILED,
  ABORTED: WireStatus.ABORTED,
} as const satisfies Readonly<Record<BatchStatus, WireStatus>>;

/** @param nowMs a key whose window is over names nobody. */
export function wireBatch({ batch, status, runIds }: BatchDetail, nowMs: number): Batch {
  return create(BatchSchema, {
    id: batch.id,
    status: STATUSES[status],
    idempotencyKey: batch.key !== undefined && batch.key.expiresAtMs > nowMs ? batch.key.text : "",
    createTime: timestampOf(batch.createdAtMs),
    updateTime: timestampOf(batch.updatedAtMs),
    runCount: BigInt(batch.itemCount),
    runIds: [...runIds],
    processing: batch.isStreamed ? processingOf(batch) : undefined,
  });
}

function processingOf({ sealedAtMs, failure }: BatchState) {
  const errors =
    failure === undefined
      ? []
      : [
          {
            index: failure.index === undefined ? undefined : BigInt(failure.index),
            taskId: failure.taskId ?? "",
            error: failure.message,
            errorCode: failure.code ?? "",
          },
        ];
  return create(BatchProcessingSchema, { completeTime: timestampOf(sealedAtMs), errors });
}

export function wireBatchResult({ item, detail }: BatchResult): WireResult {
  const run = detail?.run;
  const isFailed = run !== undefined && isFinal(run.status) && run.status !== "COMPLETED";
  return create(BatchResultSchema, {
    index: BigInt(item.index),
    runId: item.runId,
    taskId: item.taskId,
    status: run === undefined ? RunStatus.UNSPECIFIED : wireStatus(run.status),
    output: detail?.output === undefined ? undefined : fromBinary(PayloadSchema, detail.output),
    error: isFailed && detail?.failure !== undefined ? wireFailure(detail.failure) : undefined,
    isCached: item.isCached,
  });
}

function given(text: string): string | undefined {
  return text === "" ? undefined : text;
}
