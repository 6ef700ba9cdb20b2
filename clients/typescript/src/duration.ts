/** Durations that the SDK has to understand by itself; all others are sent as written and judged by the server (section 7). */
import { badRequest } from "./errors.js";

const UNIT_MS: Readonly<Record<string, number>> = {
  w: 604_800_000,
  d: 86_400_000,
  h: 3_600_000,
  hr: 3_600_000,
  m: 60_000,
  s: 1_000,
};

/** 100 years of 365 days (DUR-G8). */
const LONGEST_MS = 100 * 365 * 86_400_000;

/** Milliseconds of a duration string such as `1h30m`; undefined for anything else (DUR-G1, DUR-G2, DUR-G8). */
export function parseDuration(text: string): number | undefined {
  if (text.length > 100 || !/^(?:\d+(?:w|d|hr|h|m|s))+$/.test(text)) return undefined;
  const seen = new Set<number>();
  let sumMs = 0;
  for (const [, digits, unit = ""] of text.matchAll(/(\d+)(w|d|hr|h|m|s)/g)) {
    const unitMs = UNIT_MS[unit] ?? 0;
    if (seen.has(unitMs)) return undefined;
    seen.add(unitMs);
    sumMs += Number(digits) * unitMs;
  }
  return sumMs <= LONGEST_MS ? sumMs : undefined;
}

/**
 * When a token ends, in Unix milliseconds (DUR-G7).
 * @param value a duration string counted from now, Unix seconds, or a `Date`.
 * @throws BadRequestError INVALID_DURATION for anything else.
 */
export function expirationMs(value: string | number | Date, nowMs: number): number {
  const parsedMs = typeof value === "string" ? parseDuration(value) : undefined;
  const ms =
    typeof value === "number"
      ? value * 1_000
      : value instanceof Date
        ? value.getTime()
        : nowMs + (parsedMs ?? Number.NaN);
  if (Number.isFinite(ms)) return ms;
  throw badRequest("INVALID_DURATION", `Invalid expirationTime: ${String(value)}`, {
    got: String(value),
    allowed: "a duration such as 24h, Unix seconds, or a Date",
  });
}
