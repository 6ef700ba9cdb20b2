/**
 * Spec bytes: what a caller asked for, encoded once at the edge and carried as bytes from there on, to the store and to the worker (design 4).
 * What only the record knows (root, depth, an inherited test flag, what is replayed) is appended when the bytes leave: two Protobuf
 * messages one after the other are their merge, so nothing has to be opened.
 */
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { PayloadReferenceSchema, PayloadSchema } from "#proto/hairtrigger/v1/payload_pb.js";
import { type RunSpec, RunSpecSchema } from "#proto/hairtrigger/v1/run_pb.js";
import { DebounceMode, TriggerOptionsSchema } from "#proto/hairtrigger/v1/trigger_options_pb.js";
import type { ObjectReference } from "../../domain/payload-object.js";
import type { RunState } from "../../domain/run.js";
import type { SpecCodec } from "../../engine/engine.js";
import { referenceOfWire, wireReference } from "./reference.js";
import { lastValue, withoutFields } from "./spec-bytes.js";
import { decodeOptions } from "./trigger-options.js";

export function decodeSpec(spec: Uint8Array): RunSpec {
  return fromBinary(RunSpecSchema, spec);
}

/** The spec with what the record adds, for workers. */
export function completeSpec(run: RunState, spec: Uint8Array): Uint8Array {
  const isPlain =
    run.parentRunId === undefined && run.replayOf === undefined && run.batchId === undefined && !run.isTest;
  if (isPlain) return spec;
  const added = toBinary(
    RunSpecSchema,
    create(RunSpecSchema, {
      parentRunId: run.parentRunId ?? "",
      rootRunId: run.rootRunId ?? "",
      depth: run.depth,
      isTest: run.isTest,
      replayOfRunId: run.replayOf ?? "",
      batchId: run.batchId ?? "",
      batchIndex: run.batchIndex,
    }),
  );
  const complete = new Uint8Array(spec.length + added.length);
  complete.set(spec);
  complete.set(added, spec.length);
  return complete;
}

/** What the engine may ask of spec bytes. */
export const specCodec: SpecCodec = {
  replayOf(spec) {
    const { taskId, payload, options, isTest } = decodeSpec(spec);
    // RUN-15: no key, delay, ttl, attempts, duration or priority.
    const kept = create(TriggerOptionsSchema, {
      tags: options?.tags ?? [],
      metadataSpec: options?.metadataSpec ?? { case: undefined },
      queue: options?.queue,
      concurrencyKey: options?.concurrencyKey ?? "",
    });
    return {
      options: decodeOptions(kept).input,
      isReplaced: options?.debounce?.mode === DebounceMode.TRAILING,
      spec: toBinary(RunSpecSchema, create(RunSpecSchema, { taskId, payload, options: kept, isTest })),
    };
  },
  referenceOf: specReference,
  withReference(spec, reference) {
    const payload = lastValue(spec, PAYLOAD) ?? new Uint8Array();
    const added = create(RunSpecSchema, { payload: fromBinary(PayloadSchema, payloadWith(payload, reference)) });
    return Buffer.concat([withoutFields(spec, [PAYLOAD]), toBinary(RunSpecSchema, added)]);
  },
  outputWithReference: payloadWith,
};

const PAYLOAD = RunSpecSchema.field.payload.number;
const { json, binary, value, reference: REFERENCE } = PayloadSchema.field;
const DATA_FIELDS = [json.number, binary.number, value.number, REFERENCE.number];

/** The reference in a spec, if its payload is one; of any other spec only tags are read. */
export function specReference(spec: Uint8Array): ObjectReference | undefined {
  const payload = lastValue(spec, PAYLOAD);
  const reference = payload === undefined ? undefined : lastValue(payload, REFERENCE.number);
  return reference === undefined ? undefined : referenceOfWire(fromBinary(PayloadReferenceSchema, reference));
}

/** Whether an encoded payload is a reference. */
export function isReference(payload: Uint8Array): boolean {
  return lastValue(payload, REFERENCE.number) !== undefined;
}

/** An encoded payload with a reference in the place of its data. */
function payloadWith(payload: Uint8Array, reference: ObjectReference): Uint8Array {
  const added = create(PayloadSchema, { data: { case: "reference", value: wireReference(reference) } });
  return Buffer.concat([withoutFields(payload, DATA_FIELDS), toBinary(PayloadSchema, added)]);
}
