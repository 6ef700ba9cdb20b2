/**
 * Keys: how a key becomes the id of its record, how long it holds, and which outcomes keep it (section 8).
 */
import { hash } from "node:crypto";
import { parseDuration } from "./duration.js";
import { shown, type Violation } from "./error.js";
import type { Limits } from "./limits.js";
import type { KeyScope } from "./run.js";
import type { RunStatus } from "./run-status.js";
import { isLonger } from "./text.js";

/** What a key can name; the kinds share no keys. */
export type KeyKind = "run" | "batch" | "debounce" | "wait";

/** An idempotency key as it is sent. */
export interface IdempotencyKeyInput {
  /** 64 lower-case hex characters are a finished hash, anything else is material (IDM-6); empty: no key (IDM-7). */
  readonly key: string;
  /** What the caller's SDK hashed in; undefined: global for material (IDM-5), unknown for a bare hash (IDM-8). */
  readonly scope?: KeyScope;
  /** As the user wrote it, arrays joined with `-`; travels beside a hash (IDM-8). */
  readonly userKey?: string;
}

export interface CheckedKey {
  /** SHA-256 in hex, as {@link wireKeyHash} gives it. */
  readonly hash: string;
  /** As shown to readers: the user's string; of a bare hash, the hash (IDM-8). */
  readonly text: string;
  readonly scope: KeyScope | undefined;
}

/** DUR-G4: the shortest window. */
const KEY_TTL_MIN_MS = 1_000;
const FINISHED_HASH = /^[0-9a-f]{64}$/;

/** Whether a text is a finished hash and not material (IDM-6). */
export function isFinishedHash(key: string): boolean {
  return FINISHED_HASH.test(key);
}

/** The hash of a key as sent: a finished hash is itself, material is hashed as `[material]` in JSON (IDM-2, IDM-5). */
export function wireKeyHash(key: string): string {
  return isFinishedHash(key) ? key : sha256Hex([key]);
}

/**
 * The id of the record that a key is kept under: JSON of an array keeps the parts apart, whatever they contain.
 * @param task empty for kinds that are not per task (batch, wait).
 */
export function keyRecordHash(kind: KeyKind, environment: string, task: string, key: string): string {
  return sha256Hex([kind, environment, task, key]);
}

function sha256Hex(parts: readonly string[]): string {
  return hash("sha256", JSON.stringify(parts), "hex");
}

/** Section 8.5: whether the next trigger with the key gets the run that holds it, or a new one. */
const KEEPS_KEY = {
  DELAYED: true,
  QUEUED: true,
  EXECUTING: true,
  WAITING: true,
  COMPLETED: true,
  CANCELED: true,
  FAILED: false,
  CRASHED: false,
  SYSTEM_FAILURE: false,
  TIMED_OUT: false,
  EXPIRED: false,
} as const satisfies Readonly<Record<RunStatus, boolean>>;

/** Whether a run in this status keeps its key (section 8.5). A run between attempts is not failed (IDM-24). */
export function keepsKey(status: RunStatus): boolean {
  return KEEPS_KEY[status];
}

/** Whether a key still names its run; at the instant of expiry it does no longer (IDM-20). */
export function isWindowOpen(expiresAtMs: number, nowMs: number): boolean {
  return nowMs < expiresAtMs;
}

/**
 * A key as sent, checked: undefined for no key. Adds what is wrong with it to `violations`.
 * @param field path of the key, such as `options.idempotencyKey`.
 */
export function checkIdempotencyKey(
  input: IdempotencyKeyInput | undefined,
  field: string,
  limits: Pick<Limits, "idempotencyKeyLengthMax">,
  violations: Violation[],
): CheckedKey | undefined {
  if (input === undefined || input.key === "") {
    return undefined;
  }
  const { key, scope, userKey } = input;
  const lengthMax = limits.idempotencyKeyLengthMax;
  // Joining an array may add a `-` for each of its characters, which the limit of IDM-1 does not count.
  if (isLonger(key, lengthMax) || isLonger(userKey ?? "", lengthMax * 2)) {
    violations.push({
      field,
      reason: "INVALID_IDEMPOTENCY_KEY",
      message: `idempotencyKey must be ${lengthMax} characters or less`,
      metadata: { allowed: String(lengthMax) },
    });
    return undefined;
  }
  if (isFinishedHash(key)) {
    return { hash: key, text: userKey ?? key, scope };
  }
  if (scope !== undefined && scope !== "global") {
    violations.push({
      field,
      reason: "INVALID_IDEMPOTENCY_KEY",
      message: `idempotencyKey of scope ${scope} must be sent as its SHA-256: only the caller knows its run and attempt`,
      metadata: { got: shown(key), allowed: "64 lower-case hex characters" },
    });
    return undefined;
  }
  return { hash: wireKeyHash(key), text: userKey ?? key, scope: "global" };
}

/** Milliseconds of an idempotencyKeyTTL, at least 1 s (DUR-G4), or undefined for a malformed one. */
export function parseKeyTtl(text: string, maxMs?: number): number | undefined {
  const ms = parseDuration(text, maxMs);
  return ms !== undefined && ms >= KEY_TTL_MIN_MS ? ms : undefined;
}

/** The refusal of an idempotencyKeyTTL, also of one without a key (IDM-21). */
export function keyTtlViolation(field: string, text: string): Violation {
  const got = shown(text);
  return {
    field,
    reason: "INVALID_IDEMPOTENCY_KEY_TTL",
    message: `Invalid idempotencyKeyTTL: ${got}`,
    metadata: { got, allowed: "a duration such as 24h, at least 1s" },
  };
}
