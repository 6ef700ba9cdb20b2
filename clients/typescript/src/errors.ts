/** What calls of the service reject with (RES-9). A run's failure is data and never one of these. */

/** gRPC codes as Connect spells them. */
export type ApiErrorCode =
  | "canceled"
  | "unknown"
  | "invalid_argument"
  | "deadline_exceeded"
  | "not_found"
  | "already_exists"
  | "permission_denied"
  | "resource_exhausted"
  | "failed_precondition"
  | "aborted"
  | "out_of_range"
  | "unimplemented"
  | "internal"
  | "unavailable"
  | "data_loss"
  | "unauthenticated";

export interface ApiErrorOptions {
  readonly code: ApiErrorCode;
  readonly message: string;
  readonly reason?: string;
  readonly metadata?: Readonly<Record<string, string>>;
  readonly retryAfterMs?: number;
  readonly cause?: unknown;
}

/** A refused or failed call. Its subclasses say what kind; `name` is `"TriggerApiError"` for all of them. */
export class ApiError extends Error {
  override readonly name: string = "TriggerApiError";
  readonly code: ApiErrorCode;
  /** Stable name of the refusal, such as `"RUN_NOT_FOUND"`; undefined if the answer did not come from the service. */
  readonly reason: string | undefined;
  /** What was got, what is allowed, and more, by reason. */
  readonly metadata: Readonly<Record<string, string>>;
  /** Milliseconds after which the server suggests another try; undefined: it suggests none. */
  readonly retryAfterMs: number | undefined;

  constructor(options: ApiErrorOptions) {
    super(options.message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = options.code;
    this.reason = options.reason;
    this.metadata = options.metadata ?? {};
    this.retryAfterMs = options.retryAfterMs;
  }
}

/** The request is malformed: INVALID_ARGUMENT, OUT_OF_RANGE. */
export class BadRequestError extends ApiError {}

/** No credentials, unknown ones, or an expired token: UNAUTHENTICATED. */
export class AuthenticationError extends ApiError {}

/** The credentials do not allow this: PERMISSION_DENIED. */
export class PermissionDeniedError extends ApiError {}

/** NOT_FOUND. */
export class NotFoundError extends ApiError {}

/** ALREADY_EXISTS, ABORTED. */
export class ConflictError extends ApiError {}

/** The state does not allow this, or a size or count limit is exceeded: FAILED_PRECONDITION, RESOURCE_EXHAUSTED. */
export class UnprocessableEntityError extends ApiError {}

/** Too many requests: RESOURCE_EXHAUSTED with a time after which to try again. */
export class RateLimitError extends ApiError {
  override readonly retryAfterMs: number;

  constructor(options: ApiErrorOptions & { readonly retryAfterMs: number }) {
    super(options);
    this.retryAfterMs = options.retryAfterMs;
  }
}

/** The service failed, or its answer cannot be understood. */
export class InternalServerError extends ApiError {}

/** The service could not be reached, or did not answer in time. */
export class ApiConnectionError extends ApiError {}

/** The caller's signal ended the call. */
export class AbortError extends Error {
  override readonly name: string = "AbortError";

  constructor(message = "The call was aborted", options?: { readonly cause?: unknown }) {
    super(message, options);
  }
}

/** There are no credentials to call with (CFG-4); thrown before any network traffic. */
export class ApiClientMissingError extends Error {
  override readonly name: string = "ApiClientMissingError";

  constructor() {
    super(
      "No credentials: set TRIGGER_SECRET_KEY, call configure({ accessToken }), or pass requestOptions.clientConfig.accessToken",
    );
  }
}

/** Thrown by a task to fail its run now, whatever its retry policy says (RTY-10). Recognised by `name`. */
export class AbortTaskRunError extends Error {
  override readonly name: string = "AbortTaskRunError";
}

/** The output of an awaited run was asked for, and it has none (RES-4). */
export class SubtaskUnwrapError extends Error {
  override readonly name: string = "SubtaskUnwrapError";
  /** Id of its task. */
  readonly taskId: string;
  readonly runId: string;

  /** @param cause what the run failed with, as `result.error` is. */
  constructor(taskId: string, runId: string, cause: unknown) {
    const text = cause instanceof Error ? `: ${cause.message}` : "";
    super(`Error in ${taskId}${text}`, { cause });
    this.taskId = taskId;
    this.runId = runId;
  }
}

/** Nobody completed a token in time (WAI-8). */
export class WaitpointTimeoutError extends Error {
  override readonly name: string = "WaitpointTimeoutError";
}

/** A refusal that the SDK finds by itself, without a request; it has the form of the server's. */
export function badRequest(
  reason: string,
  message: string,
  metadata: Readonly<Record<string, string>> = {},
): BadRequestError {
  return new BadRequestError({ code: "invalid_argument", reason, message, metadata });
}
