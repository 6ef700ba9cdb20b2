/** Which runs a list shows (RUN-17), and where in it a page token stands. */
import type { WatchRunsRequest, RunFilter as WireFilter } from "#proto/hairtrigger/v1/run_service_pb.js";
import { parseDuration } from "../../domain/duration.js";
import { appError, invalidStatus, rejectIfAny, shown, type Violation } from "../../domain/error.js";
import { RUN_STATUSES } from "../../domain/run-status.js";
import type { RunCursor, RunFilter } from "../../engine/engine.js";
import { statusOfWire, wireStatusText } from "./status.js";
import { msOfDuration, msOfTimestamp } from "./time.js";

/** @param nowMs a period counts back from here. @throws AppError INVALID_STATUS, INVALID_DURATION. */
export function filterOf(wire: WireFilter | undefined, nowMs: number): RunFilter {
  if (wire === undefined) return {};
  const statuses = wire.statuses.map((status) => ({ status, name: statusOfWire(status) }));
  const unknown = statuses.filter(({ name }) => name === undefined).map(({ status }) => wireStatusText(status));
  const periodMs = periodOf(wire.periodSpec);
  const violations: Violation[] = [];
  if (unknown.length > 0) violations.push(...invalidStatus("filter.statuses", unknown, RUN_STATUSES).violations);
  if (periodMs === "malformed") violations.push(periodViolation(wire.periodSpec));
  rejectIfAny(violations);
  const fromMs = [
    wire.fromTime === undefined ? undefined : Math.ceil(msOfTimestamp(wire.fromTime)),
    typeof periodMs === "number" ? nowMs - periodMs : undefined,
  ].filter((ms) => ms !== undefined);
  return {
    statuses: statuses.flatMap(({ name }) => name ?? []),
    taskIds: wire.taskIds,
    tags: wire.tags,
    queues: wire.queues,
    // Filters are ANDed: the later beginning holds.
    fromMs: fromMs.length === 0 ? undefined : Math.max(...fromMs),
    // The contract's end is exclusive, the port's is not; runs are created at whole milliseconds.
    toMs: wire.toTime === undefined ? undefined : Math.ceil(msOfTimestamp(wire.toTime)) - 1,
    isTest: wire.isTest,
    batchId: wire.batchId === "" ? undefined : wire.batchId,
  };
}

function periodOf(spec: WireFilter["periodSpec"]): number | "malformed" | undefined {
  switch (spec.case) {
    case "period":
      return parseDuration(spec.value) ?? "malformed";
    case "periodFor": {
      const ms = msOfDuration(spec.value);
      return ms >= 0 ? ms : "malformed";
    }
    case undefined:
      return undefined;
  }
}

function periodViolation(spec: WireFilter["periodSpec"]): Violation {
  const got =
    spec.case === "period"
      ? shown(spec.value)
      : spec.case === "periodFor"
        ? `${msOfDuration(spec.value) / 1_000}s`
        : "";
  return {
    field: "filter.period",
    reason: "INVALID_DURATION",
    message: `Invalid period: ${got}`,
    metadata: { got, allowed: "a duration such as 7d or 1h30m" },
  };
}

/** What a page token of a list of runs holds. Made by us alone, so only its form is looked at. */
export interface RunPlace {
  readonly filter: RunFilter;
  /** Older runs, or newer ones. */
  readonly after?: RunCursor;
  readonly before?: RunCursor;
}

/** @throws AppError INVALID_PAGE for what an older version of this server may have signed. */
export function runPlaceOf(value: unknown): RunPlace {
  if (isPlace(value)) return value;
  throw appError("INVALID_PAGE", "The page token is of another version of this server");
}

function isPlace(value: unknown): value is RunPlace {
  if (typeof value !== "object" || value === null || !("filter" in value)) return false;
  const hasFilter = typeof value.filter === "object" && value.filter !== null;
  return hasFilter && (("after" in value && isCursor(value.after)) || ("before" in value && isCursor(value.before)));
}

function isCursor(value: unknown): value is RunCursor {
  if (typeof value !== "object" || value === null || !("createdAtMs" in value) || !("runId" in value)) return false;
  return typeof value.createdAtMs === "number" && typeof value.runId === "string";
}

const DAY_MS = 86_400_000;
/** RUN-24. */
const CREATED_WITHIN_MS = DAY_MS;
const CREATED_WITHIN_MAX_MS = 7 * DAY_MS;

/** How far back existing runs are shown to a watcher; more than a week is a week. @throws AppError INVALID_DURATION. */
export function createdFromOf(spec: WatchRunsRequest["createdAfterSpec"], nowMs: number): number {
  const earliestMs = nowMs - CREATED_WITHIN_MAX_MS;
  switch (spec.case) {
    case "createdWithin": {
      const ms = parseDuration(spec.value);
      if (ms !== undefined) return Math.max(nowMs - ms, earliestMs);
      const got = shown(spec.value);
      const message = `Invalid createdAt: ${got}`;
      const metadata = { got, allowed: "a duration such as 1h or 7d, or an instant" };
      throw appError("INVALID_DURATION", message, {
        metadata,
        violations: [{ field: "createdWithin", reason: "INVALID_DURATION", message, metadata }],
      });
    }
    case "createdAfterTime":
      return Math.max(Math.ceil(msOfTimestamp(spec.value)), earliestMs);
    case undefined:
      return nowMs - CREATED_WITHIN_MS;
  }
}
