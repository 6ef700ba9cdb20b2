/**
 * When a delayed run is due (section 6.1). A caller gives a duration or an instant, or a string that is either; stored
 * is always the instant. Due times are rounded up to the millisecond: a delay is a lower bound (DLY-8).
 */
import { parseDuration } from "./duration.js";
import { shown, type Violation } from "./error.js";
import { CENTURY_MS } from "./limits.js";

/** A delay as it arrives: a string of section 6.1, an instant in Unix milliseconds, or a span in milliseconds. */
export type DelayInput = string | { readonly instantMs: number } | { readonly durationMs: number };

export type DelayResult =
  /** `dueMs`: Unix milliseconds; undefined: no delay, QUEUED at once (DLY-4, DLY-6). */
  { readonly ok: true; readonly dueMs: number | undefined } | { readonly ok: false };

export type RescheduleResult = { readonly ok: true; readonly dueMs: number } | { readonly ok: false };

/**
 * The due time that a trigger asks for. An instant that is not in the future means no delay (DLY-4).
 * @param maxMs furthest due time from now in milliseconds, inclusive (DLY-5).
 */
export function parseDelay(value: DelayInput, nowMs: number, maxMs: number = CENTURY_MS): DelayResult {
  const dueMs = instantOf(value, nowMs, maxMs);
  if (dueMs === undefined) {
    return { ok: false };
  }
  return { ok: true, dueMs: dueMs > nowMs ? dueMs : undefined };
}

/**
 * The due time that `runs.reschedule` asks for (RUN-14): durations count from now, `"0s"` is due now, an instant in
 * the past is invalid.
 */
export function parseReschedule(value: DelayInput, nowMs: number, maxMs: number = CENTURY_MS): RescheduleResult {
  const dueMs = instantOf(value, nowMs, maxMs);
  return dueMs === undefined || dueMs < nowMs ? { ok: false } : { ok: true, dueMs };
}

/** The refusal of a delay, by triggers and by reschedule alike (DLY-5). */
export function delayViolation(field: string, value: DelayInput): Violation {
  const got = shown(delayText(value));
  return {
    field,
    reason: "INVALID_DELAY",
    message: `Invalid delay: ${got}`,
    metadata: { got, allowed: "a duration such as 1h30m, or a date-time, at most 100 years ahead" },
  };
}

/** Undefined for what is malformed or too far ahead. May lie in the past. */
function instantOf(value: DelayInput, nowMs: number, maxMs: number): number | undefined {
  const instantMs = typeof value === "string" ? instantOfText(value, nowMs, maxMs) : instantOfNumber(value, nowMs);
  if (instantMs === undefined || !Number.isFinite(instantMs)) {
    return undefined;
  }
  const wholeMs = Math.ceil(instantMs);
  return wholeMs - nowMs <= maxMs ? wholeMs : undefined;
}

function instantOfText(text: string, nowMs: number, maxMs: number): number | undefined {
  const durationMs = parseDuration(text, maxMs);
  return durationMs === undefined ? parseDateTime(text) : nowMs + durationMs;
}

function instantOfNumber(
  value: { readonly instantMs: number } | { readonly durationMs: number },
  nowMs: number,
): number | undefined {
  if ("instantMs" in value) {
    return value.instantMs;
  }
  return value.durationMs >= 0 ? nowMs + value.durationMs : undefined;
}

const DATE_TIME =
  /^(\d{4})-(\d{2})-(\d{2})(?:T(\d{2}):(\d{2})(?::(\d{2})(?:\.(\d+))?)?(?:(Z)|([+-])(\d{2}):(\d{2}))?)?$/;

/**
 * Unix milliseconds of `YYYY-MM-DD` (midnight UTC) or `YYYY-MM-DDTHH:MM[:SS[.fraction]][Z|±HH:MM]` (DLY-3), without a
 * zone UTC (DLY-2); undefined for anything else. Not `Date.parse`, which takes far more, reads zone-less times as local
 * ones, and turns 30 February into March.
 */
export function parseDateTime(text: string): number | undefined {
  const match = DATE_TIME.exec(text);
  if (match === null) {
    return undefined;
  }
  const part = (index: number): number => Number(match[index] ?? 0);
  const [year, month, day, hour, minute, second] = [part(1), part(2), part(3), part(4), part(5), part(6)];
  const [offsetHour, offsetMinute] = [part(10), part(11)];
  const isClock = hour <= 23 && minute <= 59 && second <= 59 && offsetHour <= 23 && offsetMinute <= 59;
  const date = new Date(0);
  date.setUTCFullYear(year, month - 1, day);
  const isDay = date.getUTCMonth() === month - 1 && date.getUTCDate() === day;
  if (!isClock || !isDay) {
    return undefined;
  }
  const offsetMs = (match[9] === "-" ? -1 : 1) * (offsetHour * 60 + offsetMinute) * 60_000;
  return date.getTime() + ((hour * 60 + minute) * 60 + second) * 1_000 + fractionMs(match[7] ?? "") - offsetMs;
}

/** Milliseconds of a decimal fraction of a second, rounded up. */
function fractionMs(digits: string): number {
  const rest = digits.slice(3);
  return Number(digits.padEnd(3, "0").slice(0, 3)) + (/[1-9]/.test(rest) ? 1 : 0);
}

/** ECMA-262: instants outside ±8.64e15 ms have no date. */
const DATE_MS_MAX = 8.64e15;

function delayText(value: DelayInput): string {
  if (typeof value === "string") {
    return value;
  }
  if ("durationMs" in value) {
    return `${value.durationMs / 1_000}s`;
  }
  return Math.abs(value.instantMs) <= DATE_MS_MAX ? new Date(value.instantMs).toISOString() : "Invalid Date";
}
