/** Bulk actions: requests → what the engine takes, results → answers (RUN-22). */
import { create } from "@bufbuild/protobuf";
import {
  BulkFailureSchema,
  type RunFilter,
  type BulkFailure as WireFailure,
} from "#proto/hairtrigger/v1/run_service_pb.js";
import { appError, invalidRequest } from "../../domain/error.js";
import type { BulkDone, BulkParams, BulkPlace } from "../../engine/engine.js";
import type { ListName, PageTokens } from "../page-token.js";
import { filterOf } from "./run-filter.js";

/** RUN-22: of one call. */
const RUNS_MAX = 500;
/** Failures that are told. */
const FAILURES_MAX = 100;

interface BulkRequest {
  readonly filter?: RunFilter | undefined;
  readonly runIds: readonly string[];
  readonly pageSize?: number | undefined;
  readonly pageToken: string;
}

interface BulkContext {
  readonly list: ListName;
  readonly pageTokens: PageTokens;
  readonly nowMs: number;
}

/** @throws AppError INVALID_REQUEST, INVALID_PAGE, INVALID_STATUS, INVALID_DURATION. */
export function bulkParams(request: BulkRequest, { list, pageTokens, nowMs }: BulkContext): BulkParams {
  const { filter, runIds, pageSize = RUNS_MAX, pageToken } = request;
  if (runIds.length > RUNS_MAX) {
    const got = String(runIds.length);
    const allowed = `at most ${RUNS_MAX}`;
    throw invalidRequest("runIds", `One call takes ${allowed} run ids, got ${got}`, { got, allowed });
  }
  return {
    environment: list.environment,
    which: runIds.length > 0 ? { runIds } : { filter: filterOf(filter, nowMs) },
    limit: pageSize,
    place: pageToken === "" ? undefined : placeOf(pageTokens.open(list, pageToken)),
  };
}

/** @throws AppError INVALID_PAGE for what an older version of this server may have signed. */
function placeOf(value: unknown): BulkPlace {
  if (isPlace(value)) return value;
  throw appError("INVALID_PAGE", "The page token is of another version of this server");
}

/** Made by us alone, so only its form is looked at. */
function isPlace(value: unknown): value is BulkPlace {
  if (typeof value !== "object" || value === null) return false;
  const has = (name: string, type: string): boolean => typeof Reflect.get(value, name) === type;
  return has("filter", "object") && has("matched", "number") && has("index", "number");
}

export function bulkAnswer({ matched, succeeded, failures, next }: BulkDone, { list, pageTokens }: BulkContext) {
  return {
    matched,
    succeeded,
    failed: failures.length,
    failures: failures
      .slice(0, FAILURES_MAX)
      .map(
        ({ runId, error }): WireFailure =>
          create(BulkFailureSchema, { runId, reason: error.reason, message: error.message }),
      ),
    nextPageToken: next === undefined ? "" : pageTokens.sign(list, next),
  };
}
