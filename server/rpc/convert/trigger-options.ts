/** Options of a trigger: message → domain input. Judging them is the domain's (`checkTriggerOptions`). */
import type { Duration, Timestamp } from "@bufbuild/protobuf/wkt";
import { DebounceMode, type TriggerOptions } from "#proto/hairtrigger/v1/trigger_options_pb.js";
import type { DebounceInput } from "../../domain/debounce.js";
import type { DelayInput } from "../../domain/delay.js";
import type { Violation } from "../../domain/error.js";
import type { IdempotencyKeyInput } from "../../domain/idempotency.js";
import type { TriggerOptionsInput } from "../../domain/trigger-options.js";
import type { TtlInput } from "../../domain/ttl.js";
import { scopeOfWire } from "./status.js";
import { msOfDuration, msOfTimestamp } from "./time.js";

export interface DecodedOptions {
  readonly input: TriggerOptionsInput;
  /** What could not even be read; the domain finds the rest. */
  readonly violations: readonly Violation[];
}

/** @param path of the options in the request. */
export function decodeOptions(options: TriggerOptions | undefined, path = "options"): DecodedOptions {
  if (options === undefined) return { input: {}, violations: [] };
  const metadata = decodeMetadata(options, `${path}.metadata`);
  return {
    input: {
      delay: decodeDelay(options.delaySpec),
      ttl: decodeTtl(options.ttlSpec),
      idempotencyKey: decodeKey(options),
      idempotencyKeyTtl: given(options.idempotencyKeyTtl),
      debounce: decodeDebounce(options.debounce),
      queue:
        options.queue === undefined
          ? undefined
          : { name: given(options.queue.name), concurrencyLimit: options.queue.concurrencyLimit },
      concurrencyKey: given(options.concurrencyKey),
      maxAttempts: options.maxAttempts,
      tags: options.tags,
      metadataJson: metadata.json,
      maxDurationSeconds: options.maxDurationSeconds,
      prioritySeconds: options.prioritySeconds,
    },
    violations: metadata.violations,
  };
}

/** The three forms of a due time; also those of a reschedule. */
export type DelaySpec =
  | { readonly case: "delay"; readonly value: string }
  | { readonly case: "delayFor"; readonly value: Duration }
  | { readonly case: "delayUntil"; readonly value: Timestamp }
  | { readonly case: undefined; readonly value?: undefined };

export function decodeDelay(spec: DelaySpec): DelayInput | undefined {
  switch (spec.case) {
    case "delay":
      return spec.value;
    case "delayFor":
      return { durationMs: msOfDuration(spec.value) };
    case "delayUntil":
      return { instantMs: msOfTimestamp(spec.value) };
    case undefined:
      return undefined;
  }
}

function decodeTtl(spec: TriggerOptions["ttlSpec"]): TtlInput | undefined {
  switch (spec.case) {
    case "ttl":
      return spec.value;
    case "ttlFor":
      return { seconds: msOfDuration(spec.value) / 1_000 };
    case "ttlSeconds":
      return { seconds: spec.value };
    case undefined:
      return undefined;
  }
}

function decodeKey(options: TriggerOptions): IdempotencyKeyInput | undefined {
  if (options.idempotencyKey === "") return undefined;
  return {
    key: options.idempotencyKey,
    scope: scopeOfWire(options.idempotencyKeyScope),
    userKey: given(options.idempotencyKeyText),
  };
}

function decodeDebounce(debounce: TriggerOptions["debounce"]): DebounceInput | undefined {
  if (debounce === undefined) return undefined;
  const { key, delay, mode, maxDelay } = debounce;
  return { key, delay, mode: MODES.get(mode) ?? `number ${mode}`, maxDelay };
}

/** A number without a name goes to the domain as its text, to be refused like any other malformed member. */
const MODES: ReadonlyMap<DebounceMode, string> = new Map([
  [DebounceMode.UNSPECIFIED, "leading"],
  [DebounceMode.LEADING, "leading"],
  [DebounceMode.TRAILING, "trailing"],
]);

function decodeMetadata(
  { metadataSpec }: TriggerOptions,
  field: string,
): { readonly json: string | undefined; readonly violations: readonly Violation[] } {
  switch (metadataSpec.case) {
    case "metadataJson":
      return { json: metadataSpec.value, violations: [] };
    case "metadata":
      try {
        return { json: JSON.stringify(metadataSpec.value, finite), violations: [] };
      } catch {
        const message = "Metadata must be a JSON object, without NaN and infinities";
        return { json: undefined, violations: [{ field, reason: "INVALID_METADATA", message }] };
      }
    case undefined:
      return { json: undefined, violations: [] };
  }
}

/** JSON would write null for what it cannot say. */
function finite(_: string, value: unknown): unknown {
  if (typeof value === "number" && !Number.isFinite(value)) throw new RangeError("not a JSON number");
  return value;
}

/** Fields without presence: empty is not given. */
function given(text: string): string | undefined {
  return text === "" ? undefined : text;
}
