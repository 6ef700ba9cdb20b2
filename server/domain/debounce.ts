/**
 * Debounce (section 9): calls with one key while a run of it is DELAYED push that run's due time on instead of making runs of their own.
 * Leading: the first call's payload and options stay; trailing: the last call's replace them.
 */
import { parseDuration } from "./duration.js";
import { shown, type Violation } from "./error.js";
import type { Limits } from "./limits.js";
import type { RunState } from "./run.js";
import type { ApplyResult } from "./run-change.js";
import { isLegal, placeOf } from "./run-machine.js";
import { kept, touched } from "./run-moves.js";
import { isLonger } from "./text.js";

const MODES = ["leading", "trailing"] as const;
/** Whose payload and options run: those of the first call, or of the last. */
export type DebounceMode = (typeof MODES)[number];

/** Debounce as it is sent. */
export interface DebounceInput {
  readonly key: string;
  readonly delay: string;
  /** Default `leading`. */
  readonly mode?: string;
  readonly maxDelay?: string;
}

/** Debounce in force. */
export interface CheckedDebounce {
  readonly key: string;
  /** From each call to the due time that it asks for. */
  readonly delayMs: number;
  /** Longest postponement, counted from the creation of the run (DEB-5); undefined: no bound. */
  readonly maxDelayMs: number | undefined;
  readonly mode: DebounceMode;
}

/**
 * Debounce as sent, checked: undefined for none. Adds what is wrong with it to `violations` (DEB-6).
 * @param field path of the option, such as `options.debounce`.
 */
export function checkDebounce(
  input: DebounceInput | undefined,
  field: string,
  limits: Pick<Limits, "debounceKeyLengthMax" | "debounceDelayMinMs" | "durationMaxMs">,
  violations: Violation[],
): CheckedDebounce | undefined {
  if (input === undefined) return undefined;
  const { key, delay, mode: modeText = "leading", maxDelay } = input;
  const { debounceKeyLengthMax: lengthMax, debounceDelayMinMs: minMs, durationMaxMs } = limits;
  const note = (member: string, got: string, allowed: string): void => {
    const message = `debounce.${member} must be ${allowed}, got ${got}`;
    violations.push({ field: `${field}.${member}`, reason: "INVALID_DEBOUNCE", message, metadata: { got, allowed } });
  };
  const before = violations.length;
  if (key === "" || isLonger(key, lengthMax)) note("key", shown(key), `1 to ${lengthMax} characters`);
  const delayMs = parseDuration(delay, durationMaxMs) ?? -1;
  if (delayMs < minMs) note("delay", shown(delay), `a duration such as 5s, at least ${minMs / 1_000}s`);
  const mode = MODES.find((known) => known === modeText);
  if (mode === undefined) note("mode", shown(modeText), MODES.join(" or "));
  const maxDelayMs = maxDelay === undefined ? undefined : (parseDuration(maxDelay, durationMaxMs) ?? -1);
  if (maxDelay !== undefined && maxDelayMs !== undefined && maxDelayMs <= Math.max(delayMs, 0)) {
    note("maxDelay", shown(maxDelay), "a duration longer than debounce.delay");
  }
  return mode === undefined || violations.length > before ? undefined : { key, delayMs, maxDelayMs, mode };
}

/** One more call with the key of a run. */
export interface DebouncePush {
  readonly nowMs: number;
  readonly delayMs: number;
  readonly maxDelayMs: number | undefined;
  /** Of a trailing call; what it does not give stays (DEB-3). */
  readonly replacement: DebounceReplacement | undefined;
}

export interface DebounceReplacement {
  /** Empty: not given. */
  readonly tags: readonly string[];
  readonly maxAttempts: number | undefined;
  readonly maxDurationSeconds: number | undefined;
}

/**
 * The run after the call. Refused as `illegal` once it is due or has left DELAYED (DEB-4), as `overLimit` where the postponement would pass
 * the call's `maxDelay` (DEB-5); either way the call makes a run of its own, which becomes the key's holder.
 */
export function applyPush(run: RunState, push: DebouncePush): ApplyResult {
  const { nowMs, delayMs, maxDelayMs, replacement } = push;
  const { dueMs } = run;
  if (!isLegal("push", placeOf(run)) || dueMs === undefined || dueMs <= nowMs) return { refused: "illegal" };
  const askedMs = nowMs + delayMs;
  if (maxDelayMs !== undefined && askedMs > run.createdAtMs + maxDelayMs) return { refused: "overLimit" };
  // Never earlier than it was: a first delay, a reschedule or a longer debounce may have set a later time (DEB-2).
  const nextMs = Math.max(dueMs, askedMs);
  const next = { ...touched(run, nowMs), dueMs: nextMs, delayedUntilMs: nextMs };
  if (replacement === undefined) return kept(next);
  return kept({
    ...next,
    tags: replacement.tags.length === 0 ? run.tags : replacement.tags,
    maxAttempts: replacement.maxAttempts ?? run.maxAttempts,
    maxDurationSeconds: replacement.maxDurationSeconds ?? run.maxDurationSeconds,
  });
}
