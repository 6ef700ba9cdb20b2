/** What a batch call rejects with when the server refuses it, or its stream breaks (RES-13). */
import { type ApiError, RateLimitError } from "./errors.js";

/** Where it failed: payloads could not be stored, the batch was refused, or its input ended early (BAT-19). */
export type BatchPhase = "offload" | "create" | "stream";

export interface BatchTriggerErrorOptions {
  readonly phase: BatchPhase;
  /** Undefined: there is none, or its id is not known. */
  readonly batchId?: string | undefined;
  readonly itemCount: number;
  readonly acceptedCount: number;
  readonly cause: unknown;
  readonly apiError?: ApiError | undefined;
}

/** No ApiError itself; what the server said is in `apiError`. Recognised by `name`. */
export class BatchTriggerError extends Error {
  override readonly name: string = "BatchTriggerError";
  readonly phase: BatchPhase;
  readonly batchId: string | undefined;
  /** Items that were handed over so far. */
  readonly itemCount: number;
  /** Items that have a run; these stay and run. */
  readonly acceptedCount: number;
  readonly isRateLimited: boolean;
  /** Milliseconds after which another try makes sense. */
  readonly retryAfterMs: number | undefined;
  readonly apiError: ApiError | undefined;

  constructor(options: BatchTriggerErrorOptions) {
    super(messageOf(options), { cause: options.cause });
    const { apiError } = options;
    this.phase = options.phase;
    this.batchId = options.batchId;
    this.itemCount = options.itemCount;
    this.acceptedCount = options.acceptedCount;
    this.apiError = apiError;
    this.isRateLimited = apiError instanceof RateLimitError;
    this.retryAfterMs = apiError?.retryAfterMs;
  }
}

function messageOf({ phase, batchId, itemCount, acceptedCount, cause, apiError }: BatchTriggerErrorOptions): string {
  const text = apiError?.message ?? (cause instanceof Error ? cause.message : String(cause));
  switch (phase) {
    case "create":
      return apiError instanceof RateLimitError
        ? `Failed to create batch with ${itemCount} items: Rate limit exceeded - retry after ${Math.ceil(apiError.retryAfterMs / 1_000)}s`
        : `Failed to create batch with ${itemCount} items: ${text}`;
    case "offload":
      return `Failed to offload payloads of batch with ${itemCount} items: ${text}`;
    case "stream":
      return `Failed to stream batch ${batchId ?? "(unknown)"}, ${acceptedCount} items were accepted: ${text}`;
  }
}
