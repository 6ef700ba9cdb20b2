/**
 * The one grammar of durations (section 7): groups of an unsigned integer and a unit, in any order, no unit twice.
 */
import { CENTURY_MS } from "./limits.js";

const SECOND_MS = 1_000;

/** Largest first, as {@link formatSeconds} writes them. No daylight-saving logic: a day is 24 h (DUR-G3). */
const UNITS = [
  { name: "w", seconds: 7 * 24 * 60 * 60 },
  { name: "d", seconds: 24 * 60 * 60 },
  { name: "h", seconds: 60 * 60 },
  { name: "m", seconds: 60 },
  { name: "s", seconds: 1 },
] as const;

const UNIT_SECONDS: ReadonlyMap<string, number> = new Map([
  ...UNITS.map(({ name, seconds }) => [name, seconds] as const),
  // Two spellings of one unit: `1h2hr` repeats it (DUR-G2).
  ["hr", 60 * 60] as const,
]);

/** DUR-G1. */
const LENGTH_MAX = 100;
const GROUP = /(\d+)(w|d|hr|h|m|s)/y;

/**
 * Milliseconds of a duration string such as `1h52m18s`, or undefined for anything else (DUR-G1 to DUR-G3) and for a sum
 * above `maxMs` (DUR-G8). The result is a whole number of seconds, so nothing wraps or rounds.
 * @param maxMs milliseconds, inclusive; default 100 years of 365 days.
 */
export function parseDuration(text: string, maxMs: number = CENTURY_MS): number | undefined {
  if (text.length === 0 || text.length > LENGTH_MAX) {
    return undefined;
  }
  const seen = new Set<number>();
  let sumMs = 0;
  for (let at = 0; at < text.length; at = GROUP.lastIndex) {
    GROUP.lastIndex = at;
    const [, digits, unit] = GROUP.exec(text) ?? [];
    const seconds = UNIT_SECONDS.get(unit ?? "");
    if (seconds === undefined || seen.has(seconds)) {
      return undefined;
    }
    seen.add(seconds);
    sumMs += Number(digits) * seconds * SECOND_MS;
  }
  return sumMs <= maxMs ? sumMs : undefined;
}

/**
 * Seconds as a duration string: units w, d, h, m, s, largest first, zero parts left out (TTL-1): 5400 → `1h30m`, 0 → `0s`.
 * {@link parseDuration} is its inverse.
 * @param seconds a whole number ≥ 0.
 */
export function formatSeconds(seconds: number): string {
  let rest = seconds;
  let text = "";
  for (const unit of UNITS) {
    const count = Math.floor(rest / unit.seconds);
    rest -= count * unit.seconds;
    text += count > 0 ? `${count}${unit.name}` : "";
  }
  return text === "" ? "0s" : text;
}
