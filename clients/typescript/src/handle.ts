/** What a trigger returns. */

/** Carries payload and output types of a run; no such member exists at run time. */
declare const runTypes: unique symbol;

/**
 * A triggered run (TRG-1), typed with its task (TYP-3): `runs.retrieve(handle)` and `runs.poll(handle)` know payload and output.
 * It is plain data: it may be stored as JSON and its `id` used alone.
 */
export interface RunHandle<TIdentifier extends string = string, TPayload = unknown, TOutput = unknown> {
  /** `run_` and 26 lower-case base32 characters. */
  readonly id: string;
  /** Id of the task. */
  readonly taskIdentifier: TIdentifier;
  /**
   * A token that reads this run, for a browser: valid for 1 hour, or as long as `requestOptions.publicAccessToken.expirationTime` says
   * (TRG-3).
   */
  readonly publicAccessToken: string;
  /** The run existed already, through an idempotency key (TRG-2). */
  readonly isCached: boolean;
  /** What was accepted but ignored, in words, such as a limit given for a declared queue (QUE-11). Absent: nothing. */
  readonly warnings?: readonly string[];
  readonly [runTypes]?: { readonly payload: TPayload; readonly output: TOutput };
}

/** A run of a batch (BAT-1); the token is the batch's. */
export interface BatchedRunHandle<TIdentifier extends string = string, TPayload = unknown, TOutput = unknown> {
  readonly id: string;
  /** Id of the task. */
  readonly taskIdentifier: TIdentifier;
  /** The run existed already, through an idempotency key, also through that of an earlier position (IDM-17). */
  readonly isCached: boolean;
  /** As it was written. */
  readonly idempotencyKey?: string;
  readonly [runTypes]?: { readonly payload: TPayload; readonly output: TOutput };
}

/** Any handle. */
export type AnyRunHandle = RunHandle | BatchedRunHandle;

/** Payload type of a handle's run. */
export type HandlePayload<H extends AnyRunHandle> = H extends { readonly [runTypes]?: { readonly payload: infer P } }
  ? P
  : never;

/** Output type of a handle's run. */
export type HandleOutput<H extends AnyRunHandle> = H extends { readonly [runTypes]?: { readonly output: infer O } }
  ? O
  : never;
