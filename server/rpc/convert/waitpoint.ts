/** Tokens and instants: messages ⇄ what the engine takes and gives. */
import { create, fromBinary } from "@bufbuild/protobuf";
import { type Payload, PayloadSchema } from "#proto/hairtrigger/v1/payload_pb.js";
import { type Token, TokenSchema, TokenStatus } from "#proto/hairtrigger/v1/waitpoint_pb.js";
import type {
  CreateTimerRequest,
  CreateTokenRequest,
  TokenFilter as WireFilter,
} from "#proto/hairtrigger/v1/waitpoint_service_pb.js";
import type { DelayInput } from "../../domain/delay.js";
import { parseDuration } from "../../domain/duration.js";
import { appError, invalidRequest, invalidStatus, rejectIfAny, type Violation } from "../../domain/error.js";
import type { IdempotencyKeyInput } from "../../domain/idempotency.js";
import { decodeLease, type Lease } from "../../domain/lease.js";
import { WAITPOINT_STATUSES, type Waitpoint, type WaitpointStatus, waitTimeViolation } from "../../domain/waitpoint.js";
import type { TokenCursor, TokenFilter } from "../../engine/engine.js";
import { scopeOfWire, wireScope } from "./status.js";
import { msOfDuration, msOfTimestamp, timestampOf } from "./time.js";

const WIRE_STATUSES = {
  WAITING: TokenStatus.WAITING,
  COMPLETED: TokenStatus.COMPLETED,
  TIMED_OUT: TokenStatus.TIMED_OUT,
} as const satisfies Readonly<Record<WaitpointStatus, TokenStatus>>;

/** @param url that completes it. @param nowMs decides whether its key still names it. */
export function wireToken(token: Waitpoint, { url, nowMs }: { readonly url: string; readonly nowMs: number }): Token {
  const key = token.key !== undefined && token.key.expiresAtMs > nowMs ? token.key : undefined;
  return create(TokenSchema, {
    id: token.id,
    status: WIRE_STATUSES[token.status],
    url,
    createTime: timestampOf(token.createdAtMs),
    timeoutTime: timestampOf(token.timeoutAtMs),
    completeTime: timestampOf(token.completedAtMs),
    idempotencyKey: key?.text ?? "",
    idempotencyKeyScope: wireScope(key?.scope),
    idempotencyKeyExpireTime: timestampOf(key?.expiresAtMs),
    tags: [...token.tags],
    output: outputOf(token),
  });
}

export function outputOf({ output }: Waitpoint): Payload | undefined {
  return output === undefined ? undefined : fromBinary(PayloadSchema, output);
}

export function timeoutOf({ timeoutSpec }: CreateTokenRequest): DelayInput | undefined {
  switch (timeoutSpec.case) {
    case "timeout":
      return timeoutSpec.value;
    case "timeoutFor":
      return { durationMs: msOfDuration(timeoutSpec.value) };
    case "timeoutUntil":
      return { instantMs: msOfTimestamp(timeoutSpec.value) };
    case undefined:
      return undefined;
  }
}

/** @throws AppError INVALID_REQUEST */
export function untilOf({ untilSpec }: CreateTimerRequest): DelayInput {
  switch (untilSpec.case) {
    case "for":
      return { durationMs: msOfDuration(untilSpec.value) };
    case "until":
      return { instantMs: msOfTimestamp(untilSpec.value) };
    case undefined:
      throw invalidRequest("until", "until is required");
  }
}

/** @throws AppError INVALID_REQUEST */
export function timerLeaseOf({ lease }: CreateTimerRequest): Lease {
  const own = decodeLease(lease);
  if (own === undefined) throw invalidRequest("lease", "The lease was not made here");
  return own;
}

export function keyOf(request: CreateTokenRequest | CreateTimerRequest): {
  readonly key: IdempotencyKeyInput | undefined;
  readonly keyTtl: string | undefined;
} {
  const { idempotencyKey, idempotencyKeyTtl, idempotencyKeyText, idempotencyKeyScope } = request;
  const key =
    idempotencyKey === ""
      ? undefined
      : {
          key: idempotencyKey,
          scope: scopeOfWire(idempotencyKeyScope),
          userKey: idempotencyKeyText === "" ? undefined : idempotencyKeyText,
        };
  return { key, keyTtl: idempotencyKeyTtl === "" ? undefined : idempotencyKeyTtl };
}

/** @param nowMs a period counts back from here. @throws AppError INVALID_STATUS, INVALID_DURATION. */
export function tokenFilterOf(wire: WireFilter | undefined, nowMs: number): TokenFilter {
  if (wire === undefined) return {};
  const violations: Violation[] = [];
  const statuses = wire.statuses.map((status) => WAITPOINT_STATUSES.find((name) => WIRE_STATUSES[name] === status));
  const unknown = wire.statuses.filter((_, index) => statuses[index] === undefined).map(String);
  if (unknown.length > 0) violations.push(...invalidStatus("filter.statuses", unknown, WAITPOINT_STATUSES).violations);
  const periodMs = wire.period === "" ? undefined : parseDuration(wire.period);
  if (wire.period !== "" && periodMs === undefined) violations.push(waitTimeViolation("filter.period", wire.period));
  rejectIfAny(violations);
  const from = wire.fromTime === undefined ? undefined : Math.ceil(msOfTimestamp(wire.fromTime));
  const froms = [from, periodMs === undefined ? undefined : nowMs - periodMs].filter((ms) => ms !== undefined);
  return {
    statuses: statuses.flatMap((status) => status ?? []),
    tags: wire.tags,
    ...(wire.idempotencyKey === "" ? {} : { keyText: wire.idempotencyKey }),
    ...(froms.length === 0 ? {} : { fromMs: Math.max(...froms) }),
    // The contract's end is exclusive, the port's is not.
    ...(wire.toTime === undefined ? {} : { toMs: Math.ceil(msOfTimestamp(wire.toTime)) - 1 }),
  };
}

/** What a page token of a list of tokens holds. Made by us alone, so only its form is looked at. */
export interface TokenPlace {
  readonly filter: TokenFilter;
  readonly after?: TokenCursor;
  readonly before?: TokenCursor;
}

/** @throws AppError INVALID_PAGE for what an older version of this server may have signed. */
export function tokenPlaceOf(value: unknown): TokenPlace {
  if (isPlace(value)) return value;
  throw appError("INVALID_PAGE", "The page token is of another version of this server");
}

function isPlace(value: unknown): value is TokenPlace {
  if (typeof value !== "object" || value === null || !("filter" in value)) return false;
  const hasFilter = typeof value.filter === "object" && value.filter !== null;
  return hasFilter && (("after" in value && isCursor(value.after)) || ("before" in value && isCursor(value.before)));
}

function isCursor(value: unknown): value is TokenCursor {
  if (typeof value !== "object" || value === null || !("createdAtMs" in value) || !("waitpointId" in value))
    return false;
  return typeof value.createdAtMs === "number" && typeof value.waitpointId === "string";
}
