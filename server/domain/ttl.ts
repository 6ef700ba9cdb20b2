/** How long a run may wait for its first start (section 6.2). The clock starts when it is enqueued, see `run.ts`. */
import { formatSeconds, parseDuration } from "./duration.js";
import { shown, type Violation } from "./error.js";
import { CENTURY_MS } from "./limits.js";

export interface Ttl {
  /** Milliseconds, more than 0. */
  readonly ms: number;
  /** As it reads back (TTL-1): strings as written, numbers with units. */
  readonly text: string;
}

/** A duration string, or whole seconds. */
export type TtlInput = string | { readonly seconds: number };

/** `"none"`: explicitly without ttl, which overrides defaults (TTL-7). */
export type ParsedTtl = Ttl | "none";

/** A ttl as written by a caller or a task, or undefined if it is no ttl (TTL-2, TTL-9). */
export function parseTtl(value: TtlInput, maxMs: number = CENTURY_MS): ParsedTtl | undefined {
  if (typeof value === "string") {
    const ms = parseDuration(value, maxMs);
    return ms === undefined ? undefined : ms === 0 ? "none" : { ms, text: value };
  }
  const { seconds } = value;
  if (!Number.isInteger(seconds) || seconds < 0 || seconds * 1_000 > maxMs) {
    return undefined;
  }
  return seconds === 0 ? "none" : { ms: seconds * 1_000, text: formatSeconds(seconds) };
}

/**
 * The ttl of a run: the first layer that says something (TTL-7), within the server's maximum (TTL-8).
 * @param layers trigger, task, worker configuration, in this order; undefined: says nothing.
 * @param ttlMaxMs longest ttl in milliseconds, which is also the ttl of runs without one; undefined: no maximum.
 */
export function resolveTtl(layers: readonly (ParsedTtl | undefined)[], ttlMaxMs: number | undefined): Ttl | undefined {
  const chosen = layers.find((layer) => layer !== undefined);
  const ttl = chosen === "none" ? undefined : chosen;
  if (ttlMaxMs === undefined || (ttl !== undefined && ttl.ms <= ttlMaxMs)) {
    return ttl;
  }
  return { ms: ttlMaxMs, text: formatSeconds(Math.floor(ttlMaxMs / 1_000)) };
}

/** The refusal of a ttl (TTL-9). */
export function ttlViolation(field: string, value: TtlInput): Violation {
  const got = shown(typeof value === "string" ? value : String(value.seconds));
  return {
    field,
    reason: "INVALID_TTL",
    message: `Invalid ttl: ${got}`,
    metadata: { got, allowed: "a duration such as 1h30m, or whole seconds, at most 100 years" },
  };
}
