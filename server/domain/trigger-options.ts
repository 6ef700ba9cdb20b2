/**
 * The options of a trigger (section 6): the one place that turns what a caller sent into values in force, or into
 * everything that is wrong with it. What depends on the task (its queue, ttl, retry policy) is resolved by the verb.
 */
import { type CheckedDebounce, checkDebounce, type DebounceInput } from "./debounce.js";
import { type DelayInput, delayViolation, parseDelay } from "./delay.js";
import { shown, type Violation } from "./error.js";
import {
  type CheckedKey,
  checkIdempotencyKey,
  type IdempotencyKeyInput,
  keyTtlViolation,
  parseKeyTtl,
} from "./idempotency.js";
import type { Limits } from "./limits.js";
import { isMaxDuration, MAX_DURATION_NONE } from "./max-duration.js";
import { metadataViolation } from "./metadata.js";
import { cleanQueueName, concurrencyKeyViolation, concurrencyLimitViolation, queueNameViolation } from "./queue.js";
import { clampAttempts } from "./retry.js";
import { checkTags } from "./tags.js";
import { type ParsedTtl, parseTtl, type TtlInput, ttlViolation } from "./ttl.js";

/** Options near the wire: decoded, not yet judged. Members that are absent are not given. */
export interface TriggerOptionsInput {
  readonly delay?: DelayInput;
  readonly ttl?: TtlInput;
  readonly idempotencyKey?: IdempotencyKeyInput;
  readonly idempotencyKeyTtl?: string;
  readonly debounce?: DebounceInput;
  readonly queue?: { readonly name?: string; readonly concurrencyLimit?: number };
  readonly concurrencyKey?: string;
  readonly maxAttempts?: number;
  readonly tags?: readonly string[];
  /** JSON text of an object (MET-1). */
  readonly metadataJson?: string;
  readonly maxDurationSeconds?: number;
  readonly prioritySeconds?: number;
}

/** Options in force. */
export interface CheckedOptions {
  /** Unix milliseconds, in the future; undefined: QUEUED at once. */
  readonly dueMs: number | undefined;
  /** `none` overrides the task's ttl, undefined leaves it; see `resolveTtl`. */
  readonly ttl: ParsedTtl | undefined;
  readonly key: CheckedKey | undefined;
  /** How long the key names the run, from its creation, in milliseconds; also without a key. */
  readonly keyTtlMs: number;
  readonly debounce: CheckedDebounce | undefined;
  /** Cleaned; undefined: the task's queue (QUE-3). */
  readonly queueName: string | undefined;
  /** Base limit for a queue that no registration declares (QUE-11). */
  readonly queueLimit: number | undefined;
  /** Never empty (QUE-20). */
  readonly concurrencyKey: string | undefined;
  /** 1 to 250 (ATT-3). */
  readonly maxAttempts: number | undefined;
  /** Unique, none blank (TAG-1). */
  readonly tags: readonly string[];
  readonly metadataJson: string | undefined;
  /** Raised to the minimum; 2,147,483,647: no limit, overriding defaults (DUR-1). */
  readonly maxDurationSeconds: number | undefined;
  /** Any finite number; `orderOf` makes it an order value. */
  readonly prioritySeconds: number;
}

export type CheckTriggerOptionsResult =
  | { readonly ok: true; readonly options: CheckedOptions }
  | { readonly ok: false; readonly violations: readonly Violation[] };

/**
 * Checks every option and collects every violation (ERR-1), in the order of the table of section 6.
 * @param nowMs Unix milliseconds.
 * @param path of the options in the request, for the fields of violations: `items[3].options` in a list.
 */
export function checkTriggerOptions(
  input: TriggerOptionsInput,
  limits: Limits,
  nowMs: number,
  path = "options",
): CheckTriggerOptionsResult {
  const violations: Violation[] = [];
  const check: Check = { limits, violations, path };
  const options: CheckedOptions = {
    dueMs: checkDelay(check, input.delay, nowMs),
    ttl: checkTtl(check, input.ttl),
    key: checkIdempotencyKey(input.idempotencyKey, `${path}.idempotencyKey`, limits, violations),
    keyTtlMs: checkKeyTtl(check, input.idempotencyKeyTtl),
    debounce: checkDebounce(input.debounce, `${path}.debounce`, limits, violations),
    queueName: checkQueueName(check, input.queue?.name),
    queueLimit: checkQueueLimit(check, input.queue?.concurrencyLimit),
    concurrencyKey: checkConcurrencyKey(check, input.concurrencyKey),
    maxAttempts: checkMaxAttempts(check, input.maxAttempts),
    tags: checkTagList(check, input.tags),
    metadataJson: checkMetadata(check, input.metadataJson),
    maxDurationSeconds: checkMaxDuration(check, input.maxDurationSeconds),
    prioritySeconds: checkPriority(check, input.prioritySeconds),
  };
  return violations.length === 0 ? { ok: true, options } : { ok: false, violations };
}

interface Check {
  readonly limits: Limits;
  readonly violations: Violation[];
  readonly path: string;
}

function note(check: Check, violation: Violation | undefined): void {
  if (violation !== undefined) {
    check.violations.push(violation);
  }
}

/** Anything malformed that has no reason of its own (section 21). @param field its name on the wire, where the option has another. */
function noteMalformed(check: Check, option: string, value: number, allowed: string, field = option): void {
  const got = shown(String(value));
  check.violations.push({
    field: `${check.path}.${field}`,
    reason: "INVALID_REQUEST",
    message: `${option} must be ${allowed}, got ${got}`,
    metadata: { got, allowed },
  });
}

function checkDelay(check: Check, delay: DelayInput | undefined, nowMs: number): number | undefined {
  if (delay === undefined) {
    return undefined;
  }
  const result = parseDelay(delay, nowMs, check.limits.durationMaxMs);
  if (!result.ok) {
    note(check, delayViolation(`${check.path}.delay`, delay));
    return undefined;
  }
  return result.dueMs;
}

function checkTtl(check: Check, ttl: TtlInput | undefined): ParsedTtl | undefined {
  if (ttl === undefined) {
    return undefined;
  }
  const parsed = parseTtl(ttl, check.limits.durationMaxMs);
  if (parsed === undefined) {
    note(check, ttlViolation(`${check.path}.ttl`, ttl));
  }
  return parsed;
}

/** A malformed one is refused, also without a key (IDM-21). */
function checkKeyTtl(check: Check, text: string | undefined): number {
  if (text === undefined) {
    return check.limits.idempotencyKeyTtlMs;
  }
  const ms = parseKeyTtl(text, check.limits.durationMaxMs);
  if (ms === undefined) {
    note(check, keyTtlViolation(`${check.path}.idempotencyKeyTtl`, text));
  }
  return ms ?? check.limits.idempotencyKeyTtlMs;
}

function checkQueueName(check: Check, name: string | undefined): string | undefined {
  const cleaned = name === undefined ? undefined : cleanQueueName(name);
  if (cleaned !== undefined) {
    note(check, queueNameViolation(`${check.path}.queue.name`, cleaned, check.limits));
  }
  return cleaned;
}

function checkQueueLimit(check: Check, limit: number | undefined): number | undefined {
  if (limit !== undefined) {
    note(check, concurrencyLimitViolation(`${check.path}.queue.concurrencyLimit`, limit, check.limits));
  }
  return limit;
}

function checkConcurrencyKey(check: Check, key: string | undefined): string | undefined {
  if (key === undefined || key === "") {
    return undefined;
  }
  note(check, concurrencyKeyViolation(`${check.path}.concurrencyKey`, key, check.limits));
  return key;
}

function checkMaxAttempts(check: Check, maxAttempts: number | undefined): number | undefined {
  if (maxAttempts === undefined) {
    return undefined;
  }
  if (!Number.isInteger(maxAttempts)) {
    noteMalformed(check, "maxAttempts", maxAttempts, "an integer");
    return undefined;
  }
  return clampAttempts(maxAttempts, check.limits.attemptsMax);
}

function checkTagList(check: Check, given: readonly string[] | undefined): readonly string[] {
  const { tags, violations } = checkTags(`${check.path}.tags`, given ?? [], check.limits);
  check.violations.push(...violations);
  return tags;
}

function checkMetadata(check: Check, metadataJson: string | undefined): string | undefined {
  if (metadataJson !== undefined) {
    note(check, metadataViolation(`${check.path}.metadata`, metadataJson, check.limits));
  }
  return metadataJson;
}

/** Keeps `timeout.None`, which has to override the task's value later on (DUR-2). */
function checkMaxDuration(check: Check, seconds: number | undefined): number | undefined {
  if (seconds === undefined || seconds === 0) {
    return undefined;
  }
  if (!isMaxDuration(seconds)) {
    noteMalformed(check, "maxDuration", seconds, `whole seconds, at most ${MAX_DURATION_NONE}`, "maxDurationSeconds");
    return undefined;
  }
  return Math.max(seconds, check.limits.maxDurationMinSeconds);
}

function checkPriority(check: Check, prioritySeconds: number | undefined): number {
  const seconds = prioritySeconds ?? 0;
  if (!Number.isFinite(seconds)) {
    noteMalformed(check, "priority", seconds, "a finite number of seconds", "prioritySeconds");
  }
  return seconds;
}
