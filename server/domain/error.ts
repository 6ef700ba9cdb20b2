/**
 * Refusals: what a call can be answered with instead of its result.
 *
 * A refusal is an {@link AppError} with a gRPC code, a stable reason and metadata (ERR-1). The reasons are those of
 * the error catalogue (behaviour.md section 21) and never change their meaning (ERR-2). Only `server/rpc/error.ts`
 * maps them to the wire. A *run's* failure is data, see `failure.ts`, and never an AppError.
 */

/** Canonical gRPC status names, without OK. */
export type ErrorCode =
  | "CANCELLED"
  | "UNKNOWN"
  | "INVALID_ARGUMENT"
  | "DEADLINE_EXCEEDED"
  | "NOT_FOUND"
  | "ALREADY_EXISTS"
  | "PERMISSION_DENIED"
  | "RESOURCE_EXHAUSTED"
  | "FAILED_PRECONDITION"
  | "ABORTED"
  | "OUT_OF_RANGE"
  | "UNIMPLEMENTED"
  | "INTERNAL"
  | "UNAVAILABLE"
  | "DATA_LOSS"
  | "UNAUTHENTICATED";

interface ReasonRow {
  readonly code: ErrorCode;
  /** Where it is set, the refusal carries `google.rpc.RetryInfo`, with this pause unless the raiser knows better. */
  readonly retryAfterMs?: number;
}

/** THE CATALOGUE of section 21: reason → code. Texts are kept by the constructors that raise them. */
export const REASONS = {
  INVALID_IDEMPOTENCY_KEY: { code: "INVALID_ARGUMENT" },
  INVALID_IDEMPOTENCY_KEY_TTL: { code: "INVALID_ARGUMENT" },
  INVALID_DELAY: { code: "INVALID_ARGUMENT" },
  INVALID_TTL: { code: "INVALID_ARGUMENT" },
  INVALID_DURATION: { code: "INVALID_ARGUMENT" },
  INVALID_DEBOUNCE: { code: "INVALID_ARGUMENT" },
  TOO_MANY_TAGS: { code: "INVALID_ARGUMENT" },
  INVALID_TAG: { code: "INVALID_ARGUMENT" },
  INVALID_METADATA: { code: "INVALID_ARGUMENT" },
  INVALID_QUEUE_NAME: { code: "INVALID_ARGUMENT" },
  INVALID_CONCURRENCY_LIMIT: { code: "INVALID_ARGUMENT" },
  BATCH_TOO_LARGE: { code: "INVALID_ARGUMENT" },
  BATCH_EMPTY: { code: "INVALID_ARGUMENT" },
  BATCH_CHUNK_OUT_OF_ORDER: { code: "INVALID_ARGUMENT" },
  INVALID_STATUS: { code: "INVALID_ARGUMENT" },
  INVALID_PAGE: { code: "INVALID_ARGUMENT" },
  INVALID_REQUEST: { code: "INVALID_ARGUMENT" },
  PAYLOAD_TOO_LARGE: { code: "RESOURCE_EXHAUSTED" },
  MESSAGE_TOO_LARGE: { code: "RESOURCE_EXHAUSTED" },
  BATCH_PAYLOAD_TOO_LARGE: { code: "RESOURCE_EXHAUSTED" },
  METADATA_TOO_LARGE: { code: "RESOURCE_EXHAUSTED" },
  QUEUE_FULL: { code: "RESOURCE_EXHAUSTED", retryAfterMs: 1_000 },
  RATE_LIMITED: { code: "RESOURCE_EXHAUSTED", retryAfterMs: 1_000 },
  PARENT_RUN_FINAL: { code: "FAILED_PRECONDITION" },
  RUN_NOT_DELAYED: { code: "FAILED_PRECONDITION" },
  RUN_FINAL: { code: "FAILED_PRECONDITION" },
  QUEUE_NOT_OVERRIDDEN: { code: "FAILED_PRECONDITION" },
  BATCH_SEALED: { code: "FAILED_PRECONDITION" },
  TOKEN_ALREADY_USED: { code: "FAILED_PRECONDITION" },
  STALE_LEASE: { code: "FAILED_PRECONDITION" },
  UNSUPPORTED_CLIENT: { code: "FAILED_PRECONDITION" },
  RUN_NOT_FOUND: { code: "NOT_FOUND" },
  BATCH_NOT_FOUND: { code: "NOT_FOUND" },
  QUEUE_NOT_FOUND: { code: "NOT_FOUND" },
  WAITPOINT_NOT_FOUND: { code: "NOT_FOUND" },
  /** Beyond the catalogue: `TaskService.RetrieveTask` of a task that nothing ever registered. */
  TASK_NOT_FOUND: { code: "NOT_FOUND" },
  /** Beyond the catalogue: `AuthService.RevokeKey` of an unknown key (AUT-9). */
  KEY_NOT_FOUND: { code: "NOT_FOUND" },
  IDEMPOTENCY_KEY_NOT_FOUND: { code: "NOT_FOUND" },
  INVALID_CREDENTIALS: { code: "UNAUTHENTICATED" },
  TOKEN_EXPIRED: { code: "UNAUTHENTICATED" },
  SCOPE_MISSING: { code: "PERMISSION_DENIED" },
  SECRET_KEY_REQUIRED: { code: "PERMISSION_DENIED" },
  CREATE_RACE_LOST: { code: "ABORTED" },
  PAYLOAD_STORE_UNAVAILABLE: { code: "UNAVAILABLE", retryAfterMs: 1_000 },
  STORE_UNAVAILABLE: { code: "UNAVAILABLE", retryAfterMs: 1_000 },
} as const satisfies Readonly<Record<string, ReasonRow>>;

/** Stable name of a refusal, in UPPER_SNAKE. */
export type Reason = keyof typeof REASONS;

/** What was got and what is allowed, as strings (ERR-1); by convention under the keys `got` and `allowed`. */
export type ErrorMetadata = Readonly<Record<string, string>>;

/** One thing wrong with a request; a refused request names all of them (ERR-1). */
export interface Violation {
  /** Path of the field in JSON spelling, such as `options.tags`. */
  readonly field: string;
  readonly reason: Reason;
  /** Contains the text of section 21. */
  readonly message: string;
  readonly metadata?: ErrorMetadata;
}

/** Details of a refusal beside its reason and message. */
export interface AppErrorDetails {
  readonly metadata?: ErrorMetadata;
  readonly violations?: readonly Violation[];
  /** Milliseconds after which a repeat makes sense; default: the reason's row. */
  readonly retryAfterMs?: number;
  /** What went wrong underneath: for the log, never for the caller. */
  readonly cause?: unknown;
}

/** A refusal. Make it with {@link appError} or one of the named constructors. */
export class AppError extends Error {
  override readonly name = "AppError";
  readonly code: ErrorCode;
  readonly reason: Reason;
  readonly metadata: ErrorMetadata;
  readonly violations: readonly Violation[];
  readonly retryAfterMs: number | undefined;

  constructor(reason: Reason, message: string, details: AppErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    const row: ReasonRow = REASONS[reason];
    this.code = row.code;
    this.reason = reason;
    this.metadata = details.metadata ?? {};
    this.violations = details.violations ?? [];
    this.retryAfterMs = details.retryAfterMs ?? row.retryAfterMs;
  }
}

/** A refusal with the code of its reason. */
export function appError(reason: Reason, message: string, details?: AppErrorDetails): AppError {
  return new AppError(reason, message, details);
}

/** Whether a thrown value is a refusal and not a bug or a fault of the machine. */
export function isAppError(value: unknown): value is AppError {
  return value instanceof AppError;
}

/**
 * The refusal for a request with these violations: reason, message and metadata of the first, all of them attached.
 */
export function violationsError(first: Violation, ...others: readonly Violation[]): AppError {
  return appError(first.reason, first.message, {
    metadata: first.metadata,
    violations: [first, ...others],
  });
}

/**
 * Refuses a request that has violations.
 * @throws AppError with the first violation's reason, message and metadata, and all violations.
 */
export function rejectIfAny(violations: readonly Violation[]): void {
  const [first, ...others] = violations;
  if (first !== undefined) {
    throw violationsError(first, ...others);
  }
}

/** Most code points of a caller's text that a message or its metadata repeats; a refusal must stay small. */
const SHOWN_LENGTH_MAX = 100;

/** A caller's value as a refusal repeats it: at most 100 code points, an ellipsis for the rest. */
export function shown(text: string): string {
  if (text.length <= SHOWN_LENGTH_MAX) {
    return text;
  }
  // Twice as many UTF-16 units hold enough code points: the rest of a long text is not walked.
  const points = Array.from(text.slice(0, (SHOWN_LENGTH_MAX + 1) * 2));
  return points.length <= SHOWN_LENGTH_MAX ? text : `${points.slice(0, SHOWN_LENGTH_MAX).join("")}…`;
}

// Not found. An id of another environment is answered in the same words (section 2).

/** RUN-12: unknown, purged, or of another environment. */
export function runNotFound(id: string): AppError {
  return appError("RUN_NOT_FOUND", `Run ${shown(id)} not found`, { metadata: { id: shown(id) } });
}

/** BAT-27: unknown, purged, or of another environment. */
export function batchNotFound(id: string): AppError {
  return appError("BATCH_NOT_FOUND", `Batch ${shown(id)} not found`, { metadata: { id: shown(id) } });
}

/** QUE-33: no registration and no run ever named it. */
export function queueNotFound(name: string): AppError {
  return appError("QUEUE_NOT_FOUND", `Queue ${shown(name)} not found`, { metadata: { queue: shown(name) } });
}

/** A task that no worker ever registered. */
export function taskNotFound(id: string): AppError {
  return appError("TASK_NOT_FOUND", `Task ${shown(id)} not found`, { metadata: { task: shown(id) } });
}

/** AUT-9: revoking a secret key that does not exist. */
export function keyNotFound(id: string): AppError {
  return appError("KEY_NOT_FOUND", `Key ${shown(id)} not found`, { metadata: { id: shown(id) } });
}

/** IDM-30: reset of a key that no run holds. */
export function idempotencyKeyNotFound(key: string, task: string): AppError {
  return appError(
    "IDEMPOTENCY_KEY_NOT_FOUND",
    `No runs found with idempotency key: ${shown(key)} and task: ${shown(task)}`,
    { metadata: { key: shown(key), task: shown(task) } },
  );
}

// Wrong state.

/** RUN-14: reschedule of a run that has left DELAYED. */
export function runNotDelayed(id: string, status: string): AppError {
  return appError("RUN_NOT_DELAYED", "Cannot reschedule a run that is not delayed", {
    metadata: { id, got: status, allowed: "DELAYED" },
  });
}

/** MET-11: metadata or tags of a run that has ended. */
export function runFinal(id: string, what: "metadata" | "tags", status: string): AppError {
  return appError("RUN_FINAL", `Cannot update ${what} for a completed run`, {
    metadata: { id, got: status, allowed: "a live run" },
  });
}

/** BAT-16: a new chunk for a batch whose input has ended. */
export function batchSealed(id: string): AppError {
  return appError("BATCH_SEALED", `Batch ${id} is already sealed`, { metadata: { id } });
}

/** BAT-16: a chunk is missing before this one. */
export function batchChunkOutOfOrder(got: number, expected: number): AppError {
  const message = `Chunk ${got} came where chunk ${expected} was expected`;
  const metadata = { got: String(got), allowed: String(expected) };
  return appError("BATCH_CHUNK_OUT_OF_ORDER", message, {
    metadata,
    violations: [{ field: "chunk.index", reason: "BATCH_CHUNK_OUT_OF_ORDER", message, metadata }],
  });
}

/** BAT-4. */
export function batchEmpty(): AppError {
  return violationsError({
    field: "items",
    reason: "BATCH_EMPTY",
    message: "Batch cannot be triggered with no items",
  });
}

/** QUE-32: reset of a limit that nobody overrode. */
export function queueNotOverridden(name: string): AppError {
  return appError("QUEUE_NOT_OVERRIDDEN", "Queue is not overridden", { metadata: { queue: name } });
}

/** RUN-8: a report, or a call inside a run, with a fence that is no longer current; it changed nothing. */
export function staleLease(runId?: string): AppError {
  return appError("STALE_LEASE", "The lease is no longer current: the run was given to another attempt, or has ended", {
    metadata: runId === undefined ? {} : { id: runId },
  });
}

/** WRK-3: a worker or SDK whose protocol version this server does not serve. */
export function unsupportedClient(params: { readonly got: string; readonly allowed: string }): AppError {
  const got = shown(params.got);
  return appError(
    "UNSUPPORTED_CLIENT",
    `Protocol version ${got} is not served here, only ${params.allowed}: update the client, or the server first`,
    { metadata: { got, allowed: params.allowed } },
  );
}

// Too much.

/** QUE-10: the queue has as many QUEUED runs as it may have. RetryInfo of 1 s. */
export function queueFull(task: string, queueSizeMax: number): AppError {
  return appError(
    "QUEUE_FULL",
    `Cannot trigger ${shown(task)} as the queue size limit for this environment has been reached. The maximum size is ${queueSizeMax}`,
    { metadata: { task: shown(task), allowed: String(queueSizeMax) } },
  );
}

/** BAT-5, BAT-6: the token bucket of the environment or of the key is empty. */
export function rateLimited(params: {
  readonly limit: number;
  readonly remaining: number;
  /** Unix milliseconds at which the bucket is full again. */
  readonly resetMs: number;
  readonly retryAfterMs: number;
}): AppError {
  return appError("RATE_LIMITED", "Rate limit exceeded", {
    metadata: {
      limit: String(params.limit),
      remaining: String(params.remaining),
      reset: String(params.resetMs),
    },
    retryAfterMs: params.retryAfterMs,
  });
}

/** PAY-12: a body above the transport limit, refused before it is decoded. */
export function messageTooLarge(bytesMax: number, bytes?: number): AppError {
  const got = bytes === undefined ? "The request" : `The request of ${bytes} bytes`;
  return appError("MESSAGE_TOO_LARGE", `${got} is larger than the transport limit of ${bytesMax} bytes`, {
    metadata: { ...(bytes === undefined ? {} : { got: String(bytes) }), allowed: String(bytesMax) },
  });
}

// Who is calling.

/** AUT-5: no key, an unknown or revoked one, a token with a bad signature. Never says which part was wrong. */
export function invalidCredentials(message = "Missing or invalid credentials"): AppError {
  return appError("INVALID_CREDENTIALS", message);
}

/** AUT-5: a token past its `exp`. */
export function tokenExpired(): AppError {
  return appError("TOKEN_EXPIRED", "The access token has expired");
}

/** AUT-5: raised whether or not the object exists. */
export function scopeMissing(scope: string): AppError {
  return appError("SCOPE_MISSING", `The access token lacks the scope ${scope}`, { metadata: { allowed: scope } });
}

/** AUT-5: verbs that no public token may call. */
export function secretKeyRequired(verb: string): AppError {
  return appError("SECRET_KEY_REQUIRED", `${verb} needs a secret key`, { metadata: { method: verb } });
}

/** AUT-9: verbs for the administrator key alone. */
export function administratorRequired(verb: string): AppError {
  return appError("SCOPE_MISSING", `${verb} needs the administrator key (HAIRTRIGGER_ADMIN_KEY)`, {
    metadata: { method: verb, allowed: "the administrator key" },
  });
}

/** AUT-8: an option that only the maker of a token may set. @param option as callers write it. */
export function optionNotFixed(option: string): AppError {
  return appError("SCOPE_MISSING", `The access token does not set ${option}, which its bearer may not choose`, {
    metadata: { option, allowed: "only what the token sets" },
  });
}

/** AUT-3: the one use of the token is over. */
export function tokenAlreadyUsed(task: string): AppError {
  return appError(
    "TOKEN_ALREADY_USED",
    `Cannot trigger ${shown(task)} with a one-time use token as it has already been used.`,
    { metadata: { task: shown(task) } },
  );
}

// Malformed, where there is one thing to say; several are collected as violations.

/** Anything malformed that has no reason of its own. */
export function invalidRequest(field: string, message: string, metadata?: ErrorMetadata): AppError {
  return violationsError({ field, reason: "INVALID_REQUEST", message, metadata });
}

/** RUN-20: a bad page size, or a cursor that is not ours. */
export function invalidPage(field: string, message: string, metadata?: ErrorMetadata): AppError {
  return violationsError({ field, reason: "INVALID_PAGE", message, metadata });
}

/** RUN-20: statuses that do not exist. */
export function invalidStatus(field: string, values: readonly string[], allowed: readonly string[]): AppError {
  const got = shown(values.join(", "));
  return violationsError({
    field,
    reason: "INVALID_STATUS",
    message: `Invalid status values: ${got}`,
    metadata: { got, allowed: allowed.join(", ") },
  });
}

// Not now.

/** The database cannot be written or reached; nothing was done. @param retryAfterMs for RetryInfo, default 1 s. */
export function storeUnavailable(cause?: unknown, retryAfterMs = 1_000): AppError {
  return appError("STORE_UNAVAILABLE", "The store cannot be written at the moment, nothing was changed", {
    cause,
    retryAfterMs,
  });
}

/** PAY-10: the payload store refused five writes; no run exists. */
export function payloadStoreUnavailable(cause?: unknown, retryAfterMs = 1_000): AppError {
  return appError("PAYLOAD_STORE_UNAVAILABLE", "The payload store cannot be reached at the moment", {
    cause,
    retryAfterMs,
  });
}

/** A race for one idempotency key lost again and again; must not be seen in practice. */
export function createRaceLost(key: string): AppError {
  return appError("CREATE_RACE_LOST", `Could not create a run for idempotency key ${shown(key)} after 2 attempts`, {
    metadata: { key: shown(key) },
  });
}
