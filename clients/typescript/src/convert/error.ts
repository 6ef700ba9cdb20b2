/** The one way in for errors of the wire: to the classes of RES-9, knowing which are worth another try (RES-10). */

import { anyUnpack, durationMs } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError } from "@connectrpc/connect";
import { platform } from "#platform";
import {
  AbortError,
  ApiConnectionError,
  ApiError,
  type ApiErrorCode,
  type ApiErrorOptions,
  AuthenticationError,
  BadRequestError,
  ConflictError,
  InternalServerError,
  NotFoundError,
  PermissionDeniedError,
  RateLimitError,
  UnprocessableEntityError,
} from "../errors.js";
import { type ErrorInfo, ErrorInfoSchema, RetryInfoSchema } from "../gen/google/rpc/error_details_pb.js";
import type { Status } from "../gen/google/rpc/status_pb.js";

const CODE_NAMES = {
  [Code.Canceled]: "canceled",
  [Code.Unknown]: "unknown",
  [Code.InvalidArgument]: "invalid_argument",
  [Code.DeadlineExceeded]: "deadline_exceeded",
  [Code.NotFound]: "not_found",
  [Code.AlreadyExists]: "already_exists",
  [Code.PermissionDenied]: "permission_denied",
  [Code.ResourceExhausted]: "resource_exhausted",
  [Code.FailedPrecondition]: "failed_precondition",
  [Code.Aborted]: "aborted",
  [Code.OutOfRange]: "out_of_range",
  [Code.Unimplemented]: "unimplemented",
  [Code.Internal]: "internal",
  [Code.Unavailable]: "unavailable",
  [Code.DataLoss]: "data_loss",
  [Code.Unauthenticated]: "unauthenticated",
} as const satisfies Readonly<Record<Code, ApiErrorCode>>;

/** An error with what it carries beside its text. */
interface WireError {
  readonly code: ApiErrorCode;
  readonly message: string;
  readonly info: ErrorInfo | undefined;
  readonly retryAfterMs: number | undefined;
  readonly cause: unknown;
}

/**
 * What a failed call rejects with.
 * @param thrown what the transport threw.
 * @param baseURL named where the server could not be reached.
 * @param signal the caller's: an error after it aborted is an AbortError.
 */
export function callError(thrown: unknown, baseURL: string, signal?: AbortSignal): ApiError | AbortError {
  if (thrown instanceof ApiError || thrown instanceof AbortError) return thrown;
  if (signal?.aborted === true) return new AbortError(undefined, { cause: signal.reason });
  const error = ConnectError.from(thrown);
  const info = error.findDetails(ErrorInfoSchema)[0];
  return apiError(
    {
      code: info === undefined && platform.isUnreachable(error.cause) ? "unavailable" : CODE_NAMES[error.code],
      message: error.rawMessage,
      info,
      retryAfterMs: delayOf(error.findDetails(RetryInfoSchema)[0]?.retryDelay),
      // What the service says is all said; of what failed on the way, the transport knows more.
      cause: info === undefined ? error : undefined,
    },
    baseURL,
  );
}

/** What an item of a call rejects with, while the call as a whole succeeded. */
export function statusError(status: Status, baseURL: string): ApiError {
  let info: ErrorInfo | undefined;
  let retryAfterMs: number | undefined;
  for (const detail of status.details) {
    info ??= anyUnpack(detail, ErrorInfoSchema);
    retryAfterMs ??= delayOf(anyUnpack(detail, RetryInfoSchema)?.retryDelay);
  }
  return apiError(
    { code: codeName(status.code), message: status.message, info, retryAfterMs, cause: undefined },
    baseURL,
  );
}

function codeName(code: number): ApiErrorCode {
  const known: Readonly<Record<number, ApiErrorCode>> = CODE_NAMES;
  return known[code] ?? "unknown";
}

function delayOf(delay: Parameters<typeof durationMs>[0] | undefined): number | undefined {
  return delay === undefined ? undefined : durationMs(delay);
}

function apiError(error: WireError, baseURL: string): ApiError {
  const { code, message, info, retryAfterMs, cause } = error;
  const options = { code, message, reason: info?.reason, metadata: { ...info?.metadata }, retryAfterMs, cause };
  switch (code) {
    case "invalid_argument":
    case "out_of_range":
      return new BadRequestError(options);
    case "unauthenticated":
      return new AuthenticationError(options);
    case "permission_denied":
      return new PermissionDeniedError(options);
    case "not_found":
      return new NotFoundError(options);
    case "already_exists":
      return new ConflictError(options);
    case "aborted":
      // The service says why; a connection that was reset in the middle says nothing (ERR-1).
      return info === undefined ? connectionError(options, baseURL) : new ConflictError(options);
    case "failed_precondition":
      return new UnprocessableEntityError(options);
    case "resource_exhausted":
      return retryAfterMs === undefined || info?.reason === "QUEUE_FULL"
        ? new UnprocessableEntityError(options)
        : new RateLimitError({ ...options, retryAfterMs });
    case "unavailable":
      return info === undefined ? connectionError(options, baseURL) : new InternalServerError(options);
    case "deadline_exceeded":
    case "canceled":
      // Not cancelled by the caller, so by something on the way.
      return connectionError(options, baseURL);
    case "internal":
    case "unknown":
    case "data_loss":
    case "unimplemented":
      return new InternalServerError(options);
  }
}

const LOOPBACK = /^https?:\/\/(?:localhost|127(?:\.\d+){3}|\[::1\])(?::|\/|$)/i;

/** CFG-1: names the address and, for a loopback one, says how to start the server. */
function connectionError(options: ApiErrorOptions, baseURL: string): ApiConnectionError {
  const hint = LOOPBACK.test(baseURL) ? `. Is the server running? Start one with: npx hairtrigger dev tasks.ts` : "";
  return new ApiConnectionError({ ...options, message: `No answer from ${baseURL}: ${options.message}${hint}` });
}

/** Whether the same request may succeed if it is sent again (RES-10). Only requests that are safe to repeat are made. */
export function isWorthAnotherTry(error: unknown): error is ApiError {
  if (!(error instanceof ApiError)) return false;
  if (error instanceof ApiConnectionError) return true;
  switch (error.code) {
    case "unavailable":
    case "aborted":
      return true;
    case "resource_exhausted":
      return error.retryAfterMs !== undefined;
    case "internal":
      return error.reason === undefined;
    default:
      return false;
  }
}
