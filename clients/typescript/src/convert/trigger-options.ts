/** Options of a trigger → message. What the wire can carry is judged by the server; what it cannot is refused here in the server's form. */
import { create } from "@bufbuild/protobuf";
import { timestampFromDate } from "@bufbuild/protobuf/wkt";
import { badRequest } from "../errors.js";
import {
  DebounceMode,
  type DebounceOption,
  DebounceOptionSchema,
  type QueueOption,
  QueueOptionSchema,
  TriggerOptionsSchema,
  type TriggerOptions as WireOptions,
  IdempotencyKeyScope as WireScope,
} from "../gen/hairtrigger/v1/trigger_options_pb.js";
import type { IdempotencyKeyScope } from "../idempotency-key.js";
import { type WireKey, wireKey } from "../idempotency-keys.js";
import type { RunContext } from "../run-context.js";
import type { TriggerOptions } from "../trigger-options.js";

const WIRE_SCOPES = {
  run: WireScope.RUN,
  attempt: WireScope.ATTEMPT,
  global: WireScope.GLOBAL,
} as const satisfies Readonly<Record<IdempotencyKeyScope, WireScope>>;

/** Largest number that the wire carries where it carries an integer. */
const INT32_MAX = 2_147_483_647;

/**
 * The options as they travel; undefined for none. Keys that are not options have no effect (CFG-6).
 * @throws TypeError for a value of a type that no option has.
 * @throws BadRequestError for a number that the wire cannot carry.
 */
export async function triggerOptionsMessage(
  options: TriggerOptions | undefined,
  run: RunContext | undefined,
): Promise<WireOptions | undefined> {
  if (options === undefined || options === null) return undefined;
  if (typeof options !== "object") throw new TypeError(`Trigger options must be an object, got ${typeof options}`);
  const key = await wireKey(options.idempotencyKey, run);
  const message = create(TriggerOptionsSchema, {
    ...keyMembers(key),
    idempotencyKeyTtl: textOption("idempotencyKeyTTL", options.idempotencyKeyTTL),
    delaySpec: delaySpec(options.delay),
    ttlSpec: ttlSpec(options.ttl),
    debounce: debounceOption(options.debounce),
    queue: queueOption(options.queue),
    concurrencyKey: concurrencyKey(options.concurrencyKey),
    maxAttempts: maxAttempts(options.maxAttempts),
    tags: tagList(options.tags),
    metadataSpec: metadataSpec(options.metadata),
    maxDurationSeconds: maxDurationSeconds(options.maxDuration),
    prioritySeconds: numberOption("priority", options.priority),
  });
  return message;
}

function keyMembers(key: WireKey | undefined) {
  if (key === undefined) return {};
  return {
    idempotencyKey: key.key,
    idempotencyKeyText: key.text,
    idempotencyKeyScope: key.scope === undefined ? WireScope.UNSPECIFIED : WIRE_SCOPES[key.scope],
  };
}

/** A delay, also that of a reschedule. An invalid `Date` is sent as the text it has, for the server to refuse. */
export function delaySpec(delay: string | Date | undefined | null): WireOptions["delaySpec"] {
  if (delay === undefined || delay === null) return { case: undefined };
  if (delay instanceof Date && !Number.isNaN(delay.getTime()))
    return { case: "delayUntil", value: timestampFromDate(delay) };
  return { case: "delay", value: String(delay) };
}

/** A `Date` is sent as its text, for the server to refuse: a ttl is never absolute (TTL-2). */
function ttlSpec(ttl: string | number | Date | undefined | null): WireOptions["ttlSpec"] {
  if (ttl === undefined || ttl === null) return { case: undefined };
  return typeof ttl === "number" ? { case: "ttlSeconds", value: ttl } : { case: "ttl", value: String(ttl) };
}

const DEBOUNCE_MODES: ReadonlyMap<string, DebounceMode> = new Map([
  ["leading", DebounceMode.LEADING],
  ["trailing", DebounceMode.TRAILING],
]);

/** DEB-1. */
function debounceOption(debounce: TriggerOptions["debounce"] | null): DebounceOption | undefined {
  if (debounce === undefined || debounce === null) return undefined;
  if (typeof debounce !== "object") throw optionType("debounce", "an object", debounce);
  const modeText = textOption("debounce.mode", debounce.mode) ?? "leading";
  const mode = DEBOUNCE_MODES.get(modeText);
  if (mode === undefined) {
    const allowed = [...DEBOUNCE_MODES.keys()].join(" or ");
    throw badRequest("INVALID_DEBOUNCE", `debounce.mode must be ${allowed}, got ${modeText}`, {
      got: modeText,
      allowed,
    });
  }
  return create(DebounceOptionSchema, {
    key: textOption("debounce.key", debounce.key),
    delay: textOption("debounce.delay", debounce.delay),
    mode,
    maxDelay: textOption("debounce.maxDelay", debounce.maxDelay),
  });
}

/** QUE-11, QUE-12. */
function queueOption(queue: TriggerOptions["queue"] | null): QueueOption | undefined {
  if (queue === undefined || queue === null) return undefined;
  if (typeof queue === "string") return create(QueueOptionSchema, { name: queue });
  if (typeof queue !== "object") throw optionType("queue", "a name or an object", queue);
  const { name, concurrencyLimit } = queue;
  const plainName = typeof name === "object" && name !== null ? name.name : name;
  return create(QueueOptionSchema, {
    name: textOption("queue.name", plainName),
    concurrencyLimit: numberOption("queue.concurrencyLimit", concurrencyLimit),
  });
}

function concurrencyKey(key: string | number | undefined | null): string | undefined {
  return typeof key === "number" || typeof key === "bigint" ? String(key) : textOption("concurrencyKey", key);
}

function maxAttempts(attempts: number | undefined | null): number | undefined {
  const given = numberOption("maxAttempts", attempts);
  if (given === undefined) return undefined;
  if (!Number.isInteger(given)) throw notWhole("maxAttempts", given);
  return Math.max(-INT32_MAX, Math.min(given, INT32_MAX));
}

/** Tags as given: blank and equal ones are the server's to sort out (TAG-1). */
function tagList(tags: string | readonly string[] | undefined | null): string[] | undefined {
  if (tags === undefined || tags === null) return undefined;
  if (typeof tags === "string") return [tags];
  if (!Array.isArray(tags)) throw optionType("tags", "a string or an array of strings", tags);
  return tags.map((tag: unknown) => {
    if (typeof tag !== "string") throw optionType("tags", "strings", tag);
    return tag;
  });
}

/** Dates become ISO strings and undefined members vanish, as in any JSON (MET-1). */
function metadataSpec(metadata: unknown): WireOptions["metadataSpec"] {
  if (metadata === undefined) return { case: undefined };
  const json: unknown = JSON.stringify(metadata);
  if (typeof json === "string") return { case: "metadataJson", value: json };
  throw badRequest("INVALID_METADATA", `metadata must be a plain object, got ${typeof metadata}`, {
    got: typeof metadata,
    allowed: "a plain object",
  });
}

function maxDurationSeconds(seconds: number | undefined | null): number | undefined {
  const given = numberOption("maxDuration", seconds);
  if (given === undefined || given === 0) return undefined;
  if (!Number.isInteger(given) || given > INT32_MAX) throw notWhole("maxDuration", given);
  return Math.max(given, -INT32_MAX);
}

function textOption(name: string, value: unknown): string | undefined {
  if (value === undefined || value === null) return undefined;
  if (typeof value !== "string") throw optionType(name, "a string", value);
  return value;
}

function numberOption(name: string, value: unknown): number | undefined {
  if (value === undefined || value === null) return undefined;
  if (typeof value !== "number") throw optionType(name, "a number", value);
  return value;
}

function optionType(name: string, wanted: string, got: unknown): TypeError {
  return new TypeError(`Option ${name} must be ${wanted}, got ${typeof got}`);
}

/** In the server's form: of a number that it can carry, the server would say the same. */
function notWhole(name: string, got: number): Error {
  return badRequest("INVALID_REQUEST", `${name} must be an integer of at most ${INT32_MAX}, got ${got}`, {
    got: String(got),
    allowed: `an integer of at most ${INT32_MAX}`,
  });
}
