/** Wait tokens as the SDK shows them (section 15). */
import { WaitpointTimeoutError } from "./errors.js";
import type { IdempotencyKey } from "./idempotency-key.js";
import type { UntypedValue } from "./run.js";

export type TokenStatus = "WAITING" | "COMPLETED" | "TIMED_OUT";

/** A token by its id, or by anything that has it. */
export type TokenReference = string | { readonly id: string };

export interface CreateTokenOptions {
  /** When it times out: a duration such as `"1h30m"`, a date-time, or a `Date`. Default `"10m"`. */
  readonly timeout?: string | Date;
  /** An unexpired key gives the token that has it. Forms as in triggers. */
  readonly idempotencyKey?: string | readonly string[] | IdempotencyKey;
  /** How long the key names the token, a duration of at least `"1s"`. Default `"1h"`. */
  readonly idempotencyKeyTTL?: string;
  /** At most 10 labels of 1 to 128 characters, to find tokens by. */
  readonly tags?: string | readonly string[];
}

/** A token that was asked for. */
export interface CreatedToken {
  /** `waitpoint_` and 26 lower-case base32 characters. */
  readonly id: string;
  /** A POST of JSON to it completes the token without credentials: keep it secret. */
  readonly url: string;
  /** It existed already, through its idempotency key. */
  readonly isCached: boolean;
  /** Completes this token and nothing else, from a browser too; valid for 24 hours. */
  readonly publicAccessToken: string;
}

/** An item of `wait.listTokens`. */
export interface ListedToken {
  readonly id: string;
  readonly url: string;
  readonly status: TokenStatus;
  /** When it was completed or timed out. */
  readonly completedAt?: Date;
  readonly timeoutAt: Date;
  /** As its author wrote it; absent: none, or its time is over. */
  readonly idempotencyKey?: string;
  readonly idempotencyKeyExpiresAt?: Date;
  readonly tags: readonly string[];
  readonly createdAt: Date;
}

/** A retrieved token. */
export interface RetrievedToken<T = unknown> extends ListedToken {
  /** What it was completed with. */
  readonly output?: T;
  /** Set if it has timed out. */
  readonly error?: WaitpointTimeoutError;
}

export interface ListTokensOptions {
  readonly status?: TokenStatus | readonly TokenStatus[];
  /** The key as its author wrote it. */
  readonly idempotencyKey?: string;
  /** Tokens with any of these. */
  readonly tags?: string | readonly string[];
  /** Made within this span up to now, a duration string such as `"7d"`. */
  readonly period?: string;
  /** Made at this time or later: a `Date` or Unix milliseconds. */
  readonly from?: Date | number;
  /** Made before this time. */
  readonly to?: Date | number;
  /** Tokens on a page, 1 to 100. Default 25. */
  readonly limit?: number;
  /** A cursor of an earlier page. */
  readonly after?: string;
  readonly before?: string;
}

/** What came of a token (WAI-8). */
export type TokenResult<T = UntypedValue> =
  | { readonly ok: true; readonly output: T }
  | { readonly ok: false; readonly error: WaitpointTimeoutError };

/** A promise of what comes of a token, which can also give the data alone. */
export class TokenPromise<T = UntypedValue> extends Promise<TokenResult<T>> {
  /** What `then` makes is an ordinary promise. */
  static override get [Symbol.species](): PromiseConstructor {
    return Promise;
  }

  constructor(result: Promise<TokenResult<T>>) {
    super((resolve, reject) => {
      result.then(resolve, reject);
    });
  }

  /** The data. @throws WaitpointTimeoutError if nobody completed the token in time; what the promise itself rejects with. */
  async unwrap(): Promise<T> {
    const result = await this;
    if (result.ok) return result.output;
    throw result.error;
  }
}

/** @param timeoutAt when nobody had completed the token. */
export function timeoutError(timeoutAt: Date): WaitpointTimeoutError {
  return new WaitpointTimeoutError(`Waitpoint timed out at ${timeoutAt.toISOString()}`);
}
