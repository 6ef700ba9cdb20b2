/** What may be handed to a run, and what it may hand back (section 10.1). */
import { shown, type Violation } from "./error.js";
import { engineFailure, type Failure } from "./failure.js";
import { jsonKind, parseJson } from "./json.js";
import type { Limits } from "./limits.js";
import type { ObjectForm } from "./payload-object.js";
import { utf8Bytes } from "./text.js";

/** A payload or output as it travels; neither `json` nor `binary`: no data, which is not the JSON `null` (PAY-13). */
export interface PayloadInput {
  /** JSON text. */
  readonly json?: string;
  readonly binary?: Uint8Array;
  /** JSON object of type annotations, path → kind (PAY-1). */
  readonly jsonTypes?: string;
}

/**
 * Size as PAY-6 counts it: the JSON text in UTF-8, of a string its own bytes, without annotations; of binary data its
 * bytes. Malformed JSON counts as it is.
 */
export function payloadBytes(payload: PayloadInput): number {
  if (payload.binary !== undefined) {
    return payload.binary.length;
  }
  if (payload.json === undefined) {
    return 0;
  }
  if (/^\s*"/.test(payload.json)) {
    const text = parseJson(payload.json);
    return utf8Bytes(typeof text === "string" ? text : payload.json);
  }
  return utf8Bytes(payload.json);
}

/**
 * What is wrong with a payload: too large (PAY-6), no JSON, annotations that are too large (PAY-12) or no JSON object.
 * @param field path of the payload, such as `payload`.
 */
export function payloadViolations(
  field: string,
  payload: PayloadInput,
  limits: Pick<Limits, "payloadBytesMax">,
): readonly Violation[] {
  const violations: Violation[] = [];
  const bytes = payloadBytes(payload);
  const { json, jsonTypes } = payload;
  if (bytes > limits.payloadBytesMax) {
    violations.push(tooLarge(field, "Payload", bytes, limits.payloadBytesMax));
  } else if (json !== undefined && jsonKind(json) === "malformed") {
    violations.push(malformed(`${field}.json`, "JSON text", json));
  }
  if (jsonTypes !== undefined && jsonTypes !== "") {
    const typesBytes = utf8Bytes(jsonTypes);
    if (typesBytes > limits.payloadBytesMax) {
      violations.push(tooLarge(`${field}.jsonTypes`, "Payload annotations", typesBytes, limits.payloadBytesMax));
    } else if (jsonKind(jsonTypes) !== "object") {
      violations.push(malformed(`${field}.jsonTypes`, "a JSON object", jsonTypes));
    }
  }
  return violations;
}

/** Data that goes to the payload store, as the bytes of its object. */
export interface LargeData {
  readonly body: Uint8Array;
  readonly form: ObjectForm;
}

/** UTF-8 of one UTF-16 unit, at most. */
const UNIT_BYTES_MAX = 3;

/** PAY-3: data that is too large to be kept with its run; undefined: it is kept with it. */
export function largeData(
  payload: PayloadInput,
  { inlineBytesMax }: Pick<Limits, "inlineBytesMax">,
): LargeData | undefined {
  const { binary, json, jsonTypes } = payload;
  if (binary !== undefined) return binary.length > inlineBytesMax ? { body: binary, form: "binary" } : undefined;
  if (json === undefined || json.length * UNIT_BYTES_MAX <= inlineBytesMax) return undefined;
  const isAnnotated = jsonTypes !== undefined && jsonTypes !== "";
  const text = /^\s*"/.test(json) && !isAnnotated ? parseJson(json) : undefined;
  // UTF-8 has no half of a surrogate pair, which JSON can say.
  const isText = typeof text === "string" && !/\p{Surrogate}/u.test(text);
  const content = isText ? text : json;
  if (utf8Bytes(content) <= inlineBytesMax) return undefined;
  return { body: Buffer.from(content, "utf8"), form: isText ? "text" : "json" };
}

/** Media type under which an object is given away. @param contentType as the caller said it; empty: nothing. */
export function mediaType(form: ObjectForm, contentType: string): string {
  if (form === "text") return "text/plain; charset=utf-8";
  if (contentType !== "") return contentType;
  return form === "json" ? "application/json" : "application/octet-stream";
}

/** PAY-7: the failure of a run whose output is too large, or undefined if it is not. */
export function outputFailure(output: PayloadInput, limits: Pick<Limits, "outputBytesMax">): Failure | undefined {
  const bytes = payloadBytes(output);
  const { outputBytesMax } = limits;
  return bytes <= outputBytesMax
    ? undefined
    : engineFailure("TASK_OUTPUT_ERROR", `Output of ${bytes} bytes exceeds the limit of ${outputBytesMax} bytes`);
}

function tooLarge(field: string, what: string, bytes: number, bytesMax: number): Violation {
  return {
    field,
    reason: "PAYLOAD_TOO_LARGE",
    message: `${what} of ${bytes} bytes exceeds the limit of ${bytesMax} bytes: upload it to your own storage and pass a URL`,
    metadata: { got: String(bytes), allowed: String(bytesMax) },
  };
}

function malformed(field: string, allowed: string, text: string): Violation {
  const got = shown(text);
  return {
    field,
    reason: "INVALID_REQUEST",
    message: `${field} must be ${allowed}, got ${got}`,
    metadata: { got, allowed },
  };
}
