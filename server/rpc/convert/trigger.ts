/** A trigger: request → engine item, outcome → response. */
import { create, toBinary } from "@bufbuild/protobuf";
import { RunSpecSchema } from "#proto/hairtrigger/v1/run_pb.js";
import {
  type TriggerTaskRequest,
  TriggerTaskRequestSchema,
  type TriggerTaskResponse,
  TriggerTaskResponseSchema,
} from "#proto/hairtrigger/v1/run_service_pb.js";
import { invalidRequest, rejectIfAny } from "../../domain/error.js";
import { decodeLease, type Lease } from "../../domain/lease.js";
import type { Limits } from "../../domain/limits.js";
import { payloadViolations } from "../../domain/payload.js";
import { checkTriggerOptions } from "../../domain/trigger-options.js";
import type { Triggered, TriggerItem } from "../../engine/engine.js";
import { violationsOf } from "../interceptors/validate.js";
import { decodePayload } from "./payload.js";
import { functionOfWire } from "./status.js";
import { decodeOptions } from "./trigger-options.js";

/**
 * @throws AppError with every violation: where the form is wrong, the domain's rules are asked as well, so that the caller learns of all at
 * once (ERR-1). A request of good form is judged by the engine alone.
 */
export function triggerItemOf(request: TriggerTaskRequest, limits: Limits, nowMs: number): TriggerItem {
  const payload = decodePayload(request.payload, "payload");
  const options = decodeOptions(request.options);
  const form = [...violationsOf(TriggerTaskRequestSchema, request), ...payload.violations, ...options.violations];
  if (form.length > 0) {
    const checked = checkTriggerOptions(options.input, limits, nowMs);
    const known = new Set(form.map(({ field }) => field));
    const rules = [...payloadViolations("payload", payload.input, limits), ...(checked.ok ? [] : checked.violations)];
    rejectIfAny([...form, ...rules.filter(({ field }) => !known.has(field))]);
  }
  const triggerFunction = functionOfWire(request.triggerFunction);
  const spec = create(RunSpecSchema, {
    taskId: request.taskId,
    payload: payload.stored,
    options: request.options,
    parentRunId: request.parentRunId,
    triggerFunction: request.triggerFunction,
    isTest: request.isTest,
  });
  return {
    taskId: request.taskId,
    spec: toBinary(RunSpecSchema, spec),
    payload: payload.input,
    options: options.input,
    requestId: request.requestId === "" ? undefined : request.requestId,
    parentRunId: request.parentRunId === "" ? undefined : request.parentRunId,
    awaitedBy: awaitingLeaseOf(request),
    isTest: request.isTest,
    triggerFunction,
  };
}

/** @throws AppError INVALID_REQUEST for a lease that no server of ours made, or of another run than the parent. */
export function awaitingLeaseOf({
  awaitingLease,
  parentRunId,
}: Pick<TriggerTaskRequest, "awaitingLease" | "parentRunId">): Lease | undefined {
  if (awaitingLease.length === 0) return undefined;
  const lease = decodeLease(awaitingLease);
  if (lease === undefined) throw invalidRequest("awaitingLease", "The lease was not made here");
  if (lease.runId === parentRunId) return lease;
  throw invalidRequest("awaitingLease", "The lease is not of the run that parentRunId names");
}

/** @param publicAccessToken empty where the caller signs its own. */
export function triggerResponse(triggered: Triggered, publicAccessToken: string): TriggerTaskResponse {
  return create(TriggerTaskResponseSchema, {
    runId: triggered.runId,
    taskId: triggered.taskId,
    isCached: triggered.isCached,
    taskKnown: triggered.isTaskKnown,
    similarTaskIds: [...triggered.similarTaskIds],
    warnings: [...triggered.warnings],
    publicAccessToken,
    isFinal: triggered.isOver,
  });
}
