/** Runs that a duty has to look at, each kind by its own partial index, whose filter the query repeats literally. */
import type { Document } from "mongodb";
import type { RunState } from "../../domain/run.js";
import { LIVE_STATUSES } from "../../domain/run-status.js";
import type { FindRuns } from "../store.js";
import { filterOf } from "./client.js";
import type { Context } from "./context.js";
import { holderOf, type RunDoc, readState, WITHOUT_BODIES } from "./run-doc.js";

export async function findRuns(context: Context, query: FindRuns): Promise<readonly RunState[]> {
  const { filter, sort } = whereOf(query);
  const options = { sort, limit: query.limit, projection: WITHOUT_BODIES };
  return (await context.runs.find(filterOf<RunDoc>(filter), options)).map(readState);
}

export interface Where {
  readonly filter: Document;
  readonly sort: Record<string, 1>;
}

export function whereOf(query: FindRuns): Where {
  switch (query.kind) {
    case "due":
      return { filter: { dueMs: { $exists: true, $lte: query.nowMs } }, sort: { dueMs: 1 } };
    case "expired":
      return { filter: { expiryMs: { $exists: true, $lte: query.nowMs } }, sort: { expiryMs: 1 } };
    case "unconfirmed":
      return { filter: { pickUpDeadlineMs: { $exists: true, $lte: query.nowMs } }, sort: { pickUpDeadlineMs: 1 } };
    case "overrun":
      return { filter: { deadlineMs: { $exists: true, $lte: query.nowMs } }, sort: { deadlineMs: 1 } };
    case "todo":
      return { filter: { todo: { $gt: 0 }, updatedAtMs: { $lte: query.untilMs } }, sort: { updatedAtMs: 1 } };
    case "session":
      return {
        filter: { holder: { $exists: true, $eq: holderOf(query.environment, query.sessionId) } },
        sort: { _id: 1 },
      };
    case "children": {
      const { environment, parentRunId } = query;
      const filter = { environment, parentRunId: { $exists: true, $eq: parentRunId }, status: { $in: LIVE_STATUSES } };
      return { filter, sort: { createdAtMs: 1, _id: 1 } };
    }
    case "waiting": {
      const waitingFor = { $exists: true, $in: [...query.waitingFor] };
      return { filter: { environment: query.environment, waitingFor, status: "WAITING" }, sort: { waitingFor: 1 } };
    }
  }
}
