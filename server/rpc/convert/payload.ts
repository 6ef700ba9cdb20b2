/** Payloads: what a caller sent → what is stored, and what the domain counts (PAY-1, PAY-6). */
import { create, type JsonValue, toJson } from "@bufbuild/protobuf";
import { type Value, ValueSchema } from "@bufbuild/protobuf/wkt";
import { type Payload, PayloadSchema } from "#proto/hairtrigger/v1/payload_pb.js";
import type { Violation } from "../../domain/error.js";
import type { PayloadInput } from "../../domain/payload.js";

export interface DecodedPayload {
  /** `value` has become `json`; undefined where the caller sent no payload at all. */
  readonly stored: Payload | undefined;
  readonly input: PayloadInput;
  readonly violations: readonly Violation[];
}

/** @param field path of the payload in the request. */
export function decodePayload(payload: Payload | undefined, field: string): DecodedPayload {
  if (payload === undefined) return { stored: undefined, input: {}, violations: [] };
  const { data, contentType, jsonTypes } = payload;
  switch (data.case) {
    case "json":
      return { stored: payload, input: { json: data.value, jsonTypes }, violations: [] };
    case "binary":
      return { stored: payload, input: { binary: data.value, jsonTypes }, violations: [] };
    case "value": {
      const json = jsonOfValue(data.value);
      if (json === undefined) {
        const allowed = "a JSON value, without NaN and infinities";
        return refused(payload, `${field}.value`, `${field}.value must be ${allowed}`, allowed);
      }
      const stored = create(PayloadSchema, { data: { case: "json", value: json }, contentType, jsonTypes });
      return { stored, input: { json, jsonTypes }, violations: [] };
    }
    case "reference":
      return refused(
        payload,
        `${field}.reference`,
        `${field}.reference is made by the server alone`,
        "json, binary or value",
      );
    case undefined:
      return { stored: payload, input: { jsonTypes }, violations: [] };
  }
}

function refused(stored: Payload, field: string, message: string, allowed: string): DecodedPayload {
  return { stored, input: {}, violations: [{ field, reason: "INVALID_REQUEST", message, metadata: { allowed } }] };
}

/** The JSON text of a value, or undefined where JSON has none (NaN, infinities, a value without kind). */
export function jsonOfValue(value: Value): string | undefined {
  try {
    const json: JsonValue = toJson(ValueSchema, value);
    return JSON.stringify(json);
  } catch {
    return undefined;
  }
}
