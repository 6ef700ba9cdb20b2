/** Pages of runs, newest first by (creation, id) (RUN-17…20): one query for the page, one for what lies behind its cursor. */
import type { Document } from "mongodb";
import type { RunCursor, RunFilter, RunPage, RunQuery } from "../store.js";
import { filterOf } from "./client.js";
import type { Context } from "./context.js";
import { type RunDoc, readState, WITHOUT_BODIES } from "./run-doc.js";

export async function listRuns(context: Context, query: RunQuery): Promise<RunPage> {
  const { limit, after, before, filter, environment } = query;
  const base = [{ environment }, ...conditionsOf(filter)];
  const isNewer = before !== undefined;
  const cursor = before ?? after;
  const [found, behind] = await Promise.all([
    readPage(context, [...base, ...beyond(cursor, isNewer, false)], isNewer, limit + 1),
    cursor === undefined ? [] : readPage(context, [...base, ...beyond(cursor, !isNewer, true)], !isNewer, 1),
  ]);
  const page = found.slice(0, limit);
  if (isNewer) page.reverse();
  const hasMore = found.length > limit;
  const hasBehind = behind.length > 0;
  return {
    runs: page.map(readState),
    hasOlder: isNewer ? hasBehind : hasMore,
    hasNewer: isNewer ? hasMore : hasBehind,
  };
}

export async function countRuns(
  context: Context,
  { environment, filter }: { readonly environment: string; readonly filter: RunFilter },
): Promise<number> {
  const [counted] = await context.runs.aggregate<{ readonly count: number }>([
    { $match: { $and: [{ environment }, ...conditionsOf(filter)] } },
    { $count: "count" },
  ]);
  return counted?.count ?? 0;
}

async function readPage(
  context: Context,
  conditions: readonly Document[],
  isNewer: boolean,
  limit: number,
): Promise<RunDoc[]> {
  const direction = isNewer ? 1 : -1;
  const found = await context.runs.find(filterOf<RunDoc>({ $and: conditions }), {
    sort: { createdAtMs: direction, _id: direction },
    limit,
    projection: WITHOUT_BODIES,
  });
  return [...found];
}

/** Runs on one side of a cursor; the bound of the creation alone is what an index can use. */
function beyond(cursor: RunCursor | undefined, isNewer: boolean, isInclusive: boolean): readonly Document[] {
  if (cursor === undefined) return [];
  const { createdAtMs, runId } = cursor;
  const own = isInclusive ? { $eq: runId } : {};
  const side = isNewer ? { $gt: runId } : { $lt: runId };
  const sameTime = [{ createdAtMs, _id: side }, ...(isInclusive ? [{ createdAtMs, _id: own }] : [])];
  return [
    { createdAtMs: isNewer ? { $gte: createdAtMs } : { $lte: createdAtMs } },
    { $or: [{ createdAtMs: isNewer ? { $gt: createdAtMs } : { $lt: createdAtMs } }, ...sameTime] },
  ];
}

function conditionsOf(filter: RunFilter): readonly Document[] {
  const {
    statuses = [],
    taskIds = [],
    tags = [],
    queues = [],
    allTags = [],
    fromMs,
    toMs,
    updatedFromMs,
    isTest,
    batchId,
  } = filter;
  const conditions: Document[] = [];
  const oneOf = (field: string, values: readonly string[]): void => {
    if (values.length > 0) conditions.push({ [field]: { $in: [...new Set(values)] } });
  };
  oneOf("status", statuses);
  oneOf("taskId", taskIds);
  oneOf("tags", tags);
  oneOf("queue", queues);
  for (const tag of allTags) conditions.push({ tags: tag });
  if (updatedFromMs !== undefined) conditions.push({ updatedAtMs: { $gte: updatedFromMs } });
  if (fromMs !== undefined) conditions.push({ createdAtMs: { $gte: fromMs } });
  if (toMs !== undefined) conditions.push({ createdAtMs: { $lte: toMs } });
  if (isTest !== undefined) conditions.push({ isTest });
  if (batchId !== undefined) conditions.push({ batchId: { $exists: true, $eq: batchId } });
  return conditions;
}
