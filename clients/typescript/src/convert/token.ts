/** Tokens: messages ⇄ what the SDK shows and takes. */
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { type Timestamp, timestampDate, timestampFromDate } from "@bufbuild/protobuf/wkt";
import { badRequest, InternalServerError } from "../errors.js";
import { type Token, TokenStatus as WireStatus } from "../gen/hairtrigger/v1/waitpoint_pb.js";
import {
  type CreateTokenRequestSchema,
  type ListTokensRequest,
  ListTokensRequestSchema,
} from "../gen/hairtrigger/v1/waitpoint_service_pb.js";
import type { UntypedValue } from "../run.js";
import {
  type ListedToken,
  type ListTokensOptions,
  type RetrievedToken,
  type TokenStatus,
  timeoutError,
} from "../token.js";
import { payloadValue } from "./payload.js";
import { instant, pageNumber } from "./run-filter.js";

const WIRE_STATUSES = {
  WAITING: WireStatus.WAITING,
  COMPLETED: WireStatus.COMPLETED,
  TIMED_OUT: WireStatus.TIMED_OUT,
} as const satisfies Readonly<Record<TokenStatus, WireStatus>>;

const STATUSES: readonly TokenStatus[] = ["WAITING", "COMPLETED", "TIMED_OUT"];

/** @throws InternalServerError for a status that this version does not know. */
export function tokenStatus(status: WireStatus): TokenStatus {
  const known = STATUSES.find((name) => WIRE_STATUSES[name] === status);
  if (known !== undefined) return known;
  throw new InternalServerError({ code: "internal", message: `Unknown token status ${status}` });
}

export function listedToken(token: Token): ListedToken {
  const { completeTime, idempotencyKey, idempotencyKeyExpireTime } = token;
  return {
    id: token.id,
    url: token.url,
    status: tokenStatus(token.status),
    timeoutAt: dateOf(token.timeoutTime),
    createdAt: dateOf(token.createTime),
    tags: token.tags,
    ...(completeTime === undefined ? {} : { completedAt: timestampDate(completeTime) }),
    ...(idempotencyKey === "" ? {} : { idempotencyKey }),
    ...(idempotencyKeyExpireTime === undefined
      ? {}
      : { idempotencyKeyExpiresAt: timestampDate(idempotencyKeyExpireTime) }),
  };
}

export function retrievedToken(token: Token): RetrievedToken<UntypedValue> {
  const listed = listedToken(token);
  switch (listed.status) {
    case "WAITING":
      return listed;
    case "COMPLETED":
      return { ...listed, output: payloadValue(token.output) };
    case "TIMED_OUT":
      return { ...listed, error: timeoutError(listed.timeoutAt) };
  }
}

function dateOf(time: Timestamp | undefined): Date {
  if (time !== undefined) return timestampDate(time);
  throw new InternalServerError({ code: "internal", message: "The answer lacks a time" });
}

/** @throws BadRequestError for what the wire cannot carry. */
export function listTokensMessage(options: ListTokensOptions): ListTokensRequest {
  const { status, idempotencyKey, tags, period, from, to, limit, after, before } = options;
  const given = listOf(status);
  const unknown = given.filter((name) => !STATUSES.includes(name));
  if (unknown.length > 0) {
    const got = unknown.map(String).join(", ");
    throw badRequest("INVALID_STATUS", `Invalid status values: ${got}`, { got, allowed: STATUSES.join(", ") });
  }
  return create(ListTokensRequestSchema, {
    filter: {
      statuses: given.map((name) => WIRE_STATUSES[name]),
      idempotencyKey,
      tags: listOf(tags),
      period,
      fromTime: instant("from", from),
      toTime: instant("to", to),
    },
    pageSize: pageNumber("limit", limit),
    pageToken: after ?? before,
  });
}

function listOf<T extends string>(value: T | readonly T[] | undefined): T[] {
  if (value === undefined) return [];
  return typeof value === "string" ? [value] : [...value];
}

type TimeoutSpec = MessageInitShape<typeof CreateTokenRequestSchema>["timeoutSpec"];

/** An invalid `Date` is sent as the text it has, for the server to refuse. */
export function timeoutSpec(timeout: string | Date | undefined): TimeoutSpec {
  if (timeout === undefined) return { case: undefined };
  if (timeout instanceof Date && !Number.isNaN(timeout.getTime())) {
    return { case: "timeoutUntil", value: timestampFromDate(timeout) };
  }
  return { case: "timeout", value: String(timeout) };
}
