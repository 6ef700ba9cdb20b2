/** Changes of metadata: messages ⇄ what the engine takes. */

import { create } from "@bufbuild/protobuf";
import {
  MetadataTarget,
  StreamChunkSchema,
  type StreamChunk as WireChunk,
  type MetadataOperation as WireOperation,
} from "#proto/hairtrigger/v1/run_pb.js";
import {
  type MetadataAcknowledgement,
  MetadataAcknowledgementSchema,
  type MetadataOperations,
} from "#proto/hairtrigger/worker/v1/worker_pb.js";
import { type AppError, appError, isAppError } from "../../domain/error.js";
import { jsonKind } from "../../domain/json.js";
import type { MetadataOperation } from "../../domain/metadata-operations.js";
import type { StreamChunk } from "../../domain/run-streams.js";
import type { MetadataReport, ReportedOperation as Reported } from "../../engine/engine.js";
import { statusOf } from "../error.js";

type ReportedOperation = MetadataReport["operations"][number];

/** What a worker reports, or why it is refused. */
function reportedOperation(wire: WireOperation): Reported | AppError {
  if (wire.operation.case !== "publish") return operationOfWire(wire);
  const { key, valueJson: json } = wire.operation.value;
  if (key === "" || key === "run") return appError("INVALID_METADATA", `A stream cannot have the name "${key}"`);
  if (jsonKind(json) === "malformed") return appError("INVALID_METADATA", `A chunk of stream ${key} is no JSON`);
  return { kind: "publish", key, json };
}

/** An operation of metadata, or INVALID_METADATA for one that says nothing. */
export function operationOfWire({ operation }: WireOperation): MetadataOperation | AppError {
  switch (operation.case) {
    case "set":
    case "append":
    case "remove":
      return { kind: operation.case, key: operation.value.key, valueJson: operation.value.valueJson };
    case "deleteKey":
      return { kind: "delete", key: operation.value };
    case "replaceJson":
      return { kind: "replace", json: operation.value };
    case "increment":
      return { kind: "increment", key: operation.value.key, amount: operation.value.amount };
    case "publish":
      return appError("INVALID_METADATA", "Streams can only be published from inside a run");
    case undefined:
      return appError("INVALID_METADATA", "A metadata operation must say what to do, got none");
  }
}

/** @throws AppError INVALID_METADATA */
export function operationsOfWire(operations: readonly WireOperation[]): readonly MetadataOperation[] {
  return operations.map((operation) => {
    const decoded = operationOfWire(operation);
    if (isAppError(decoded)) throw decoded;
    return decoded;
  });
}

const TARGETS: ReadonlyMap<MetadataTarget, ReportedOperation["target"]> = new Map([
  [MetadataTarget.UNSPECIFIED, "self"],
  [MetadataTarget.SELF, "self"],
  [MetadataTarget.PARENT, "parent"],
  [MetadataTarget.ROOT, "root"],
]);

export function metadataReportOf({ runId, attempt, firstSequence, operations }: MetadataOperations): MetadataReport {
  return {
    runId,
    attempt,
    firstSequence: Number(firstSequence),
    operations: operations.map((operation): ReportedOperation => {
      const target = TARGETS.get(operation.target);
      if (target !== undefined) return { target, operation: reportedOperation(operation) };
      const error = appError("INVALID_METADATA", `Metadata target ${operation.target} is unknown`);
      return { target: "self", operation: error };
    }),
  };
}

export function metadataAcknowledgementOf(
  { runId, attempt, firstSequence, operations }: MetadataReport,
  error: AppError | undefined,
): MetadataAcknowledgement {
  return create(MetadataAcknowledgementSchema, {
    runId,
    attempt,
    sequence: BigInt(firstSequence + operations.length - 1),
    ...(error === undefined ? {} : { error: statusOf(error) }),
  });
}

export function wireChunk({ position, key, json }: StreamChunk): WireChunk {
  return create(StreamChunkSchema, { position: BigInt(position), key, chunkJson: json });
}
