/**
 * The one file that turns refusals into what travels: AppError → ConnectError with `google.rpc` details (ERR-1), and the errors that the
 * RPC framework raises by itself (malformed JSON, a body too large, an unknown method), which know no reasons, into the same shape.
 */
import { create, createRegistry } from "@bufbuild/protobuf";
import { anyPack, type Duration, DurationSchema } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError } from "@connectrpc/connect";
import { BadRequestSchema, ErrorInfoSchema, RetryInfoSchema } from "#proto/google/rpc/error_details_pb.js";
import { type Status, StatusSchema } from "#proto/google/rpc/status_pb.js";
import {
  type AppError,
  type ErrorCode,
  type ErrorMetadata,
  invalidRequest,
  invalidStatus,
  isAppError,
  messageTooLarge,
  shown,
} from "../domain/error.js";
import { RUN_STATUSES } from "../domain/run-status.js";

/** Domain of every ErrorInfo (ERR-1). */
export const ERROR_DOMAIN = "hairtrigger";

/** What details are made of; JSON needs to know the messages behind `google.protobuf.Any`. */
export const detailRegistry = createRegistry(ErrorInfoSchema, BadRequestSchema, RetryInfoSchema);

const CODES = {
  CANCELLED: Code.Canceled,
  UNKNOWN: Code.Unknown,
  INVALID_ARGUMENT: Code.InvalidArgument,
  DEADLINE_EXCEEDED: Code.DeadlineExceeded,
  NOT_FOUND: Code.NotFound,
  ALREADY_EXISTS: Code.AlreadyExists,
  PERMISSION_DENIED: Code.PermissionDenied,
  RESOURCE_EXHAUSTED: Code.ResourceExhausted,
  FAILED_PRECONDITION: Code.FailedPrecondition,
  ABORTED: Code.Aborted,
  OUT_OF_RANGE: Code.OutOfRange,
  UNIMPLEMENTED: Code.Unimplemented,
  INTERNAL: Code.Internal,
  UNAVAILABLE: Code.Unavailable,
  DATA_LOSS: Code.DataLoss,
  UNAUTHENTICATED: Code.Unauthenticated,
} as const satisfies Readonly<Record<ErrorCode, Code>>;

const NAMES: ReadonlyMap<number, string> = new Map(Object.entries(CODES).map(([name, code]) => [code, name]));

/** Canonical name of a code, for logs; 0 is OK. */
export function codeName(code: number): string {
  if (code === 0) return "OK";
  return NAMES.get(code) ?? `CODE_${code}`;
}

/** Where a repeat makes sense without a better figure: as for an unreachable store. */
const RETRY_DEFAULT_MS = 1_000;

type Detail = ConstructorParameters<typeof ConnectError>[3] extends readonly (infer D)[] | undefined ? D : never;

/** A refusal as it travels. */
export function connectErrorOf(refusal: AppError): ConnectError {
  const details: Detail[] = [errorInfo(refusal.reason, refusal.metadata)];
  if (refusal.violations.length > 0) {
    const fieldViolations = refusal.violations.map(({ field, message, reason }) => ({
      field,
      description: message,
      reason,
    }));
    details.push({ desc: BadRequestSchema, value: { fieldViolations } });
  }
  if (refusal.retryAfterMs !== undefined) details.push(retryInfo(refusal.retryAfterMs));
  return new ConnectError(refusal.message, CODES[refusal.code], undefined, details, refusal);
}

/** A refusal inside an answer, as `TriggerTasks` gives them: the same details. */
export function statusOf(refusal: AppError): Status {
  const { code, rawMessage, details } = connectErrorOf(refusal);
  return create(StatusSchema, {
    code,
    message: rawMessage,
    details: details.flatMap((detail) =>
      "desc" in detail ? [anyPack(detail.desc, create(detail.desc, detail.value))] : [],
    ),
  });
}

/** What a caller learns of a mistake of ours: nothing but where its story is told. */
export function faultError(requestId: string): ConnectError {
  return new ConnectError(
    `Internal error; the server's log tells more under request ${requestId}`,
    Code.Internal,
    undefined,
    [errorInfo("INTERNAL", { requestId })],
  );
}

/** The server is about to stop and ends its streams; the caller goes on elsewhere, or here after a while. */
export function stoppingError(): ConnectError {
  return new ConnectError("The server is stopping", Code.Unavailable, undefined, [
    errorInfo("SERVER_STOPPING", {}),
    retryInfo(RETRY_DEFAULT_MS),
  ]);
}

/** A method that no service here has. */
export function unknownMethodError(path: string): ConnectError {
  return new ConnectError(`No method ${shown(path)}`, Code.Unimplemented, undefined, [
    errorInfo("METHOD_NOT_FOUND", { method: shown(path) }),
  ]);
}

/** The health service was asked about a service that is not here. */
export function unknownServiceError(service: string): ConnectError {
  return new ConnectError(`Service ${shown(service)} is not served here`, Code.NotFound, undefined, [
    errorInfo("SERVICE_NOT_FOUND", { service: shown(service) }),
  ]);
}

/** A method that exists, called in a way that it does not have. */
export function wrongFormError(message: string): ConnectError {
  return new ConnectError(message, Code.Unimplemented, undefined, [errorInfo("METHOD_NOT_FOUND", {})]);
}

/** Anything can be thrown; what is passed on is an Error. */
export function errorOf(thrown: unknown): Error {
  return thrown instanceof Error ? thrown : new Error(String(thrown), { cause: thrown });
}

/** A thrown value as it travels; undefined for one that nobody foresaw: a fault. */
export function wireErrorOf(thrown: unknown, bytesMax: number): ConnectError | undefined {
  if (isAppError(thrown)) return connectErrorOf(thrown);
  if (thrown instanceof ConnectError) return thrown.details.length > 0 ? thrown : frameworkError(thrown, bytesMax);
  if (thrown instanceof Error && thrown.name === "AbortError")
    return new ConnectError("The call was cancelled", Code.Canceled);
  return undefined;
}

/**
 * An error of the framework with the reason that fits; undefined: a fault of ours. The framework tells a caller's mistake from its own by
 * code alone, except for a malformed binary body, which it calls INTERNAL with a fixed beginning (pinned version; a test guards it).
 * @param bytesMax the transport limit in force, named where it was exceeded (PAY-12).
 */
export function frameworkError(
  error: { readonly code: Code; readonly rawMessage: string },
  bytesMax: number,
): ConnectError | undefined {
  const { code, rawMessage } = error;
  switch (code) {
    case Code.InvalidArgument: {
      const status = UNKNOWN_STATUS.exec(rawMessage)?.[1];
      if (status !== undefined) return connectErrorOf(invalidStatus("filter.statuses", [status], RUN_STATUSES));
      return connectErrorOf(invalidRequest(fieldOf(rawMessage), shownLong(rawMessage)));
    }
    case Code.ResourceExhausted:
      return connectErrorOf(messageTooLarge(bytesMax));
    case Code.Internal:
      return rawMessage.startsWith(PARSE_BINARY)
        ? connectErrorOf(invalidRequest("", "The message is not a valid Protobuf message of this method"))
        : undefined;
    case Code.Unimplemented:
      return new ConnectError(rawMessage, code, undefined, [errorInfo("METHOD_NOT_FOUND", {})]);
    case Code.DeadlineExceeded:
      return new ConnectError("The deadline has passed; what the call asked for may still happen", code, undefined, [
        errorInfo("DEADLINE_EXCEEDED", {}),
      ]);
    case Code.Canceled:
    case Code.Aborted:
      return new ConnectError("The call was cancelled", Code.Canceled);
    default:
      return undefined;
  }
}

const PARSE_BINARY = "parse binary:";

/** How the JSON decoder names a field that it does not know, or cannot read. */
const UNKNOWN_KEY = /key "([^"]*)" is unknown/;
const BAD_FIELD = /decode (?:field|oneof) [\w.]+\.(\w+) from JSON/;

/** RUN-20: a status that does not exist has a reason of its own, also where the decoder finds it before the domain. */
const UNKNOWN_STATUS = /decode enum hairtrigger\.v1\.RunStatus from JSON: "?([^"]*)"?$/;

/** Path of the field that a decoding error is about, as far as it says; a nested one is named without its parents. */
function fieldOf(message: string): string {
  const unknown = UNKNOWN_KEY.exec(message)?.[1];
  if (unknown !== undefined) return shown(unknown);
  const snake = BAD_FIELD.exec(message)?.[1] ?? "";
  return snake.replace(/_([a-z0-9])/g, (_, letter: string) => letter.toUpperCase());
}

/** Decoding errors quote the caller's text; a refusal stays small. */
const MESSAGE_LENGTH_MAX = 500;

function shownLong(text: string): string {
  return text.length <= MESSAGE_LENGTH_MAX ? text : `${text.slice(0, MESSAGE_LENGTH_MAX)}…`;
}

function errorInfo(reason: string, metadata: ErrorMetadata): Detail {
  return { desc: ErrorInfoSchema, value: { reason, domain: ERROR_DOMAIN, metadata: { ...metadata } } };
}

function retryInfo(retryAfterMs: number): Detail {
  return { desc: RetryInfoSchema, value: { retryDelay: durationOf(retryAfterMs) } };
}

function durationOf(ms: number): Duration {
  const seconds = Math.floor(ms / 1_000);
  return create(DurationSchema, { seconds: BigInt(seconds), nanos: Math.round((ms - seconds * 1_000) * 1_000_000) });
}
