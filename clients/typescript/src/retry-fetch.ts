/** What `retry.fetch` does between its tries (RTY-13). */
import type { RetryOptions } from "./retry-options.js";
import { type RetryPolicy, resolveRetryPolicy, retryDelayMs, retryPolicyMistake } from "./retry-policy.js";

/** Pauses of a retry policy. */
export interface BackoffStrategy extends RetryOptions {
  readonly strategy: "backoff";
}

/** The pause that the answer's own headers ask for; where they say nothing of use, the policy's. */
export interface HeadersStrategy {
  readonly strategy: "headers";
  /** Header with the number of requests allowed. */
  readonly limitHeader: string;
  /** Header with the number of requests left; above 0 there is no need to pause for the reset. */
  readonly remainingHeader: string;
  /** Header with the time of the reset. */
  readonly resetHeader: string;
  /** How that is written: seconds or milliseconds of Unix time, a date, or a duration such as `1m30s` or `250ms`. Default: Unix seconds. */
  readonly resetFormat?: "unix_timestamp" | "unix_timestamp_in_ms" | "iso_8601" | "iso_8601_duration_openai_variant";
  /** Tries in all. Default 3. */
  readonly maxAttempts?: number;
}

export type FetchRetryStrategy = BackoffStrategy | HeadersStrategy;

export interface FetchRetryOptions extends RequestInit {
  /** Real milliseconds for one try, its headers included. Default: none. */
  readonly timeoutInMs?: number;
  readonly retry?: {
    /** By status codes, ranges and lists of them: `"429"`, `"500-599"`, `"408,409"`. Default: 408, 409, 429 and 500–599 by back-off. */
    readonly byStatus?: Readonly<Record<string, FetchRetryStrategy>>;
    /** When no connection came about, or it broke. Default: back-off. */
    readonly connectionError?: RetryOptions;
    /** When a try took longer than `timeoutInMs`. Default: back-off. */
    readonly timeout?: RetryOptions;
  };
}

export interface FetchWorld {
  readonly pauseFor: (pauseMs: number) => Promise<void>;
  readonly nowMs: () => number;
  /** Uniform in [0, 1). */
  readonly random: () => number;
}

const DEFAULT_BY_STATUS = { "408,409,429,500-599": { strategy: "backoff" } } as const satisfies Record<
  string,
  FetchRetryStrategy
>;
/** Longest pause that a header may ask for: a day. A date beyond that is no rate limit. */
const HEADER_PAUSE_MAX_MS = 24 * 60 * 60_000;

type Tried =
  | { readonly kind: "answer"; readonly response: Response }
  | { readonly kind: "timeout" | "connectionError"; readonly error: unknown };

export async function fetchWithRetries(
  input: string | URL | Request,
  init: FetchRetryOptions,
  world: FetchWorld,
): Promise<Response> {
  const { retry, timeoutInMs, ...request } = init;
  const byStatus = strategies(retry?.byStatus ?? DEFAULT_BY_STATUS);
  const policies = {
    timeout: checkedPolicy("retry.timeout", retry?.timeout),
    connectionError: checkedPolicy("retry.connectionError", retry?.connectionError),
  };
  // A body that is a stream can be read once.
  const isRepeatable = !(request.body instanceof ReadableStream);
  for (let attempt = 1; ; attempt += 1) {
    const tried = await tryOnce(input, request, timeoutInMs);
    const pauseMs = isRepeatable ? pauseAfter(tried, attempt, { byStatus, policies, world }) : undefined;
    if (pauseMs === undefined) {
      if (tried.kind === "answer") return tried.response;
      throw tried.error;
    }
    if (tried.kind === "answer") await tried.response.body?.cancel();
    await world.pauseFor(pauseMs);
  }
}

async function tryOnce(
  input: string | URL | Request,
  init: RequestInit,
  timeoutInMs: number | undefined,
): Promise<Tried> {
  const timeout = timeoutInMs === undefined ? undefined : AbortSignal.timeout(timeoutInMs);
  const own = init.signal ?? undefined;
  const signals = [own, timeout].filter((signal) => signal !== undefined);
  const signal = signals.length === 0 ? undefined : AbortSignal.any(signals);
  try {
    const response = await fetch(input instanceof Request ? input.clone() : input, { ...init, signal });
    return { kind: "answer", response };
  } catch (error) {
    if (own?.aborted === true) throw error;
    return { kind: timeout?.aborted === true ? "timeout" : "connectionError", error };
  }
}

interface Rules {
  readonly byStatus: readonly StatusRule[];
  readonly policies: Readonly<Record<"timeout" | "connectionError", RetryPolicy>>;
  readonly world: FetchWorld;
}

/** Undefined: no further try. */
function pauseAfter(tried: Tried, attempt: number, { byStatus, policies, world }: Rules): number | undefined {
  if (tried.kind !== "answer") return retryDelayMs(policies[tried.kind], attempt, world.random());
  const { response } = tried;
  const rule = byStatus.find(({ matches }) => matches(response.status));
  if (rule === undefined) return undefined;
  const byPolicy = retryDelayMs(rule.policy, attempt, world.random());
  if (byPolicy === undefined || rule.strategy.strategy === "backoff") return byPolicy;
  return headerPauseMs(rule.strategy, response.headers, world.nowMs()) ?? byPolicy;
}

/** Undefined: the headers do not say how long. */
function headerPauseMs(strategy: HeadersStrategy, headers: Headers, nowMs: number): number | undefined {
  const reset = headers.get(strategy.resetHeader);
  const remaining = headers.get(strategy.remainingHeader);
  if (reset === null || (remaining !== null && Number(remaining) > 0)) return undefined;
  const pauseMs = resetAtMs(reset, strategy.resetFormat ?? "unix_timestamp", nowMs) - nowMs;
  if (!Number.isFinite(pauseMs)) return undefined;
  return Math.min(Math.max(0, Math.ceil(pauseMs)), HEADER_PAUSE_MAX_MS);
}

function resetAtMs(text: string, format: NonNullable<HeadersStrategy["resetFormat"]>, nowMs: number): number {
  switch (format) {
    case "unix_timestamp":
      return text.trim() === "" ? Number.NaN : Number(text) * 1_000;
    case "unix_timestamp_in_ms":
      return text.trim() === "" ? Number.NaN : Number(text);
    case "iso_8601":
      return Date.parse(text);
    case "iso_8601_duration_openai_variant":
      return nowMs + durationMs(text);
  }
}

const UNIT_MS = { d: 86_400_000, h: 3_600_000, m: 60_000, s: 1_000, ms: 1 } as const;

/** Of `1m30s`, `6m0s`, `250ms`, `1.5s`; NaN for anything else. */
function durationMs(text: string): number {
  if (!/^(?:\d+(?:\.\d+)?(?:ms|d|h|m|s))+$/.test(text)) return Number.NaN;
  let sumMs = 0;
  for (const [, amount, unit] of text.matchAll(/(\d+(?:\.\d+)?)(ms|d|h|m|s)/g)) {
    for (const [name, ms] of Object.entries(UNIT_MS)) if (name === unit) sumMs += Number(amount) * ms;
  }
  return sumMs;
}

interface StatusRule {
  readonly matches: (status: number) => boolean;
  readonly strategy: FetchRetryStrategy;
  readonly policy: RetryPolicy;
}

/** @throws TypeError for a key that names no status codes, and for a malformed policy. */
function strategies(byStatus: Readonly<Record<string, FetchRetryStrategy>>): readonly StatusRule[] {
  return Object.entries(byStatus).map(([codes, strategy]) => {
    const ranges = codes.split(",").map((part) => rangeOf(part.trim(), codes));
    const policy = checkedPolicy(
      `retry.byStatus["${codes}"]`,
      strategy.strategy === "backoff" ? strategy : { maxAttempts: strategy.maxAttempts },
    );
    return { matches: (status) => ranges.some(([from, to]) => status >= from && status <= to), strategy, policy };
  });
}

function rangeOf(part: string, codes: string): readonly [number, number] {
  const [, from, to = from] = /^(\d{3})(?:-(\d{3}))?$/.exec(part) ?? [];
  if (from === undefined || to === undefined) {
    throw new TypeError(`retry.byStatus["${codes}"]: status codes are written 429, 408,409 or 500-599`);
  }
  return [Number(from), Number(to)];
}

function checkedPolicy(where: string, options: RetryOptions | undefined): RetryPolicy {
  const mistake = options === undefined ? undefined : retryPolicyMistake(options);
  if (mistake !== undefined) throw new TypeError(`${where}: ${mistake}`);
  return resolveRetryPolicy(options);
}
