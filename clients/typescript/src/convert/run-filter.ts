/** Filters of lists → message. */
import { create } from "@bufbuild/protobuf";
import { durationFromMs, type Timestamp, timestampFromDate } from "@bufbuild/protobuf/wkt";
import { badRequest } from "../errors.js";
import {
  type ListRunsRequest,
  ListRunsRequestSchema,
  RunFilterSchema,
  type RunFilter as WireFilter,
} from "../gen/hairtrigger/v1/run_service_pb.js";
import type { ListRunsOptions, QueueReference, RunFilter } from "../run-filter.js";
import { RUN_STATUSES, type RunStatus } from "../run-status.js";
import { wireStatus } from "./run.js";

/** Largest number that the wire carries where it carries an integer. */
const INT32_MAX = 2_147_483_647;

/** @throws BadRequestError for what the wire cannot carry. */
export function listRunsMessage(options: ListRunsOptions): ListRunsRequest {
  return create(ListRunsRequestSchema, {
    filter: filterMessage(options),
    pageSize: pageNumber("limit", options.limit),
    pageToken: options.after ?? options.before,
  });
}

/** @throws BadRequestError for what the wire cannot carry. */
export function filterMessage(filter: RunFilter): WireFilter {
  return create(RunFilterSchema, {
    statuses: statuses(filter.status),
    taskIds: listOf(filter.taskIdentifier),
    tags: listOf(filter.tag),
    queues: listOf(filter.queue).map(fullName),
    fromTime: instant("from", filter.from),
    toTime: instant("to", filter.to),
    periodSpec: periodSpec(filter.period),
    isTest: filter.isTest,
    batchId: filter.batch,
  });
}

function listOf<T extends string | object>(value: T | readonly T[] | undefined): T[] {
  if (value === undefined) return [];
  return isList(value) ? [...value] : [value];
}

function isList<T>(value: T | readonly T[]): value is readonly T[] {
  return Array.isArray(value);
}

/** RUN-20: unknown statuses cannot be sent, they have no number. */
function statuses(filter: RunFilter["status"]) {
  const given = listOf(filter);
  const unknown = given.filter((status) => !isStatus(status));
  if (unknown.length > 0) {
    const got = unknown.map(String).join(", ");
    throw badRequest("INVALID_STATUS", `Invalid status values: ${got}`, { got, allowed: RUN_STATUSES.join(", ") });
  }
  return given.map(wireStatus);
}

function isStatus(status: unknown): status is RunStatus {
  return RUN_STATUSES.some((known) => known === status);
}

function fullName(queue: QueueReference): string {
  if (typeof queue === "string") return queue;
  return queue.type === "task" ? `task/${queue.name}` : queue.name;
}

export function instant(name: string, time: Date | number | undefined): Timestamp | undefined {
  if (time === undefined || time === null) return undefined;
  const date = new Date(time);
  if (!Number.isNaN(date.getTime())) return timestampFromDate(date);
  throw badRequest("INVALID_REQUEST", `${name} must be a Date or Unix milliseconds, got ${String(time)}`, {
    got: String(time),
    allowed: "a Date or Unix milliseconds",
  });
}

function periodSpec(period: string | number | undefined): WireFilter["periodSpec"] {
  if (period === undefined || period === null) return { case: undefined };
  if (typeof period === "string") return { case: "period", value: period };
  if (Number.isFinite(period)) return { case: "periodFor", value: durationFromMs(period) };
  throw badRequest("INVALID_DURATION", `Invalid period: ${period}`, {
    got: String(period),
    allowed: "a duration such as 7d, or milliseconds",
  });
}

/** Numbers of pages and sizes; a range is the server's to judge, a fraction has no form on the wire. */
export function pageNumber(name: string, value: number | undefined): number | undefined {
  if (value === undefined || value === null) return undefined;
  if (Number.isInteger(value) && Math.abs(value) <= INT32_MAX) return value;
  throw badRequest("INVALID_PAGE", `${name} must be an integer, got ${String(value)}`, {
    got: String(value),
    allowed: "an integer",
  });
}
