/**
 * Pages of runs, newest first by (creation, id) (RUN-17…20).
 *
 * A page is merged from streams, each a range of an index that has the order of the page: of runs by (task, place), for all tasks and
 * places that the filter leaves; or, where the filter names them and fewer runs are in them, of a tag, a queue or a batch. What the
 * streams do not select are conditions on the rows that they pass. A stream is read in pages that double, so that merging hundreds of
 * them reads a few rows of each.
 */

import { queueLabel } from "../../domain/queue.js";
import type { RunState } from "../../domain/run.js";
import { statusOfPlace } from "../../domain/run-machine.js";
import type { RunCursor, RunFilter, RunPage, RunQuery } from "../store.js";
import type { Context } from "./context.js";
import { bytesAt, numberAt, type SqlValue } from "./database.js";
import { merge, type Ordered } from "./merge.js";
import { PLACE_COUNT, placeOfNumber, RUN_COLUMNS, readRun, runIdBytes } from "./run-row.js";

/** How far candidates are counted to choose the smallest. */
const COUNTED_MAX = 500;

/** First page of a stream; each further one is twice as long. */
const FIRST_PAGE = 2;

/** One range of an index. */
interface Stream {
  readonly table: "runs" | "run_tags";
  readonly condition: string;
  readonly params: readonly SqlValue[];
}

/** Streams that together have all runs of the page, and conditions on their rows. */
interface Plan {
  readonly streams: readonly Stream[];
  readonly conditions: readonly Condition[];
}

interface Condition {
  readonly sql: string;
  readonly params: readonly SqlValue[];
}

/** Where a stream begins. */
interface Side {
  readonly cursor: RunCursor | undefined;
  readonly isNewer: boolean;
  /** The cursor's own run as well. */
  readonly isInclusive: boolean;
  /** Bounds of the creation, both inclusive. */
  readonly fromMs: number | undefined;
  readonly toMs: number | undefined;
}

interface Entry extends Ordered {
  readonly row: number;
}

export function listRuns(context: Context, query: RunQuery): RunPage {
  const env = context.names.findEnvironment(query.environment);
  if (env === undefined) return { runs: [], hasOlder: false, hasNewer: false };
  const plan = planOf(context, env, query.filter);
  const { limit, after, before } = query;
  const { fromMs, toMs } = query.filter;
  const isNewer = before !== undefined;
  const cursor = before ?? after;
  const entries = entriesOf(context, plan, { cursor, isNewer, isInclusive: false, fromMs, toMs }, limit + 1);
  const page = entries.slice(0, limit);
  const hasMore = entries.length > limit;
  const hasBehind =
    cursor !== undefined &&
    entriesOf(context, plan, { cursor, isNewer: !isNewer, isInclusive: true, fromMs, toMs }, 1).length > 0;
  if (isNewer) page.reverse();
  return {
    runs: page.map(({ row }) => runAt(context, row)),
    hasOlder: isNewer ? hasBehind : hasMore,
    hasNewer: isNewer ? hasMore : hasBehind,
  };
}

const ROW_SQL = `SELECT ${RUN_COLUMNS} FROM runs WHERE row = ?`;

function runAt(context: Context, row: number): RunState {
  return readRun(context.db.get(ROW_SQL, row) ?? [], context.names).state;
}

// ── the plan ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

function planOf(context: Context, env: number, filter: RunFilter): Plan {
  const { batchId, tags = [], queues = [], taskIds = [], statuses = [] } = filter;
  const tasks = taskIds.length === 0 ? undefined : known(taskIds, (id) => context.names.findTask(env, id));
  const places = statuses.length === 0 ? undefined : placesOf(filter);
  const queueIds = queues.length === 0 ? undefined : known(queues, (name) => queueNumber(context, env, name));

  const base = (): Plan => ({
    streams: taskStreams(context, tasks ?? allTasks(context, env), places, ""),
    conditions: [...rowConditions(filter), ...inQueues(queueIds), ...withTags(tags), ...inBatch(batchId)],
  });
  const others: Plan[] = [];
  const rows = [...rowConditions(filter), ...oneOf("task", tasks), ...oneOf("place", places)];
  if (batchId !== undefined) {
    const stream: Stream = { table: "runs", condition: "runs.env = ? AND runs.batch = ?", params: [env, batchId] };
    others.push({ streams: [stream], conditions: [...rows, ...inQueues(queueIds), ...withTags(tags)] });
  }
  if (tags.length > 0) {
    const streams = [...new Set(tags)].map((tag): Stream => {
      return { table: "run_tags", condition: "run_tags.env = ? AND run_tags.tag = ?", params: [env, tag] };
    });
    others.push({ streams, conditions: [...rows, ...inQueues(queueIds), ...inBatch(batchId)] });
  }
  if (queueIds !== undefined) {
    const streams = queueStreams(context, env, { queues, queueIds, places });
    others.push({ streams, conditions: [...rows, ...withTags(tags), ...inBatch(batchId)] });
  }
  if (others.length === 0) return base();
  const candidates = tasks === undefined && places === undefined ? others : [...others, base()];
  return candidates.length === 1 ? (candidates[0] ?? base()) : smallest(context, candidates);
}

function known(names: readonly string[], numberOf: (name: string) => number | undefined): readonly number[] {
  return [...new Set(names)].map(numberOf).filter((id) => id !== undefined);
}

function queueNumber(context: Context, env: number, name: string): number | undefined {
  const row = context.db.get("SELECT id FROM queues WHERE env = ? AND name = ?", env, name);
  return row === undefined ? undefined : numberAt(row, 0);
}

function placesOf({ statuses = [] }: RunFilter): readonly number[] {
  const places = Array.from({ length: PLACE_COUNT }, (_, place) => place);
  return places.filter((place) => statuses.includes(statusOfPlace(placeOfNumber(place)).status));
}

function allTasks(context: Context, env: number): readonly number[] {
  return context.db.all("SELECT id FROM tasks WHERE env = ?", env).map((row) => numberAt(row, 0));
}

/** A stream per task and place; where no place is asked for, only those that the task has runs in. */
function taskStreams(
  context: Context,
  tasks: readonly number[],
  places: readonly number[] | undefined,
  also: string,
): readonly Stream[] {
  const condition = `runs.task = ? AND runs.place = ?${also}`;
  return tasks.flatMap((task) =>
    (places ?? placesWithRuns(context, task)).map(
      (place): Stream => ({ table: "runs", condition, params: [task, place] }),
    ),
  );
}

function placesWithRuns(context: Context, task: number): readonly number[] {
  const places: number[] = [];
  for (let after = -1; ; ) {
    const sql = "SELECT place FROM runs WHERE task = ? AND place > ? ORDER BY place LIMIT 1";
    const row = context.db.get(sql, task, after);
    if (row === undefined) return places;
    after = numberAt(row, 0);
    places.push(after);
  }
}

interface QueueFilter {
  readonly queues: readonly string[];
  readonly queueIds: readonly number[];
  readonly places: readonly number[] | undefined;
}

/** Runs that were sent to a queue have an index by it; those in their task's own queue are found by the task. */
function queueStreams(context: Context, env: number, { queues, queueIds, places }: QueueFilter): readonly Stream[] {
  const sent = queueIds.map(
    (id): Stream => ({
      table: "runs",
      condition: "runs.queue = ? AND runs.is_elsewhere = 1",
      params: [id],
    }),
  );
  const labels = queues.map(queueLabel).filter(({ type }) => type === "task");
  const tasks = known(
    labels.map(({ name }) => name),
    (name) => context.names.findTask(env, name),
  );
  return [...sent, ...taskStreams(context, tasks, places, " AND runs.is_elsewhere = 0")];
}

/** The candidate with the fewest runs, each counted up to a bound. A guess by kind cannot know that a tag is rare. */
function smallest(context: Context, candidates: readonly Plan[]): Plan {
  const counted = candidates.map((plan) => ({ plan, count: countUpTo(context, plan) }));
  const [first, ...rest] = counted;
  if (first === undefined) throw new TypeError("no candidate");
  return rest.reduce((best, other) => (other.count < best.count ? other : best), first).plan;
}

function countUpTo(context: Context, { streams }: Plan): number {
  let count = 0;
  for (const { table, condition, params } of streams) {
    if (count >= COUNTED_MAX) break;
    const sql = `SELECT COUNT(*) FROM (SELECT 1 FROM ${table} WHERE ${condition} LIMIT ${COUNTED_MAX})`;
    count += numberAt(context.db.get(sql, ...params) ?? [], 0);
  }
  return count;
}

// ── conditions on rows ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

function rowConditions({ isTest }: RunFilter): readonly Condition[] {
  return isTest === undefined ? [] : [{ sql: "runs.is_test = ?", params: [isTest ? 1 : 0] }];
}

/** The unary plus keeps the planner from taking another index than that of the stream. */
function oneOf(column: string, values: readonly number[] | undefined): readonly Condition[] {
  if (values === undefined) return [];
  return [{ sql: `+runs.${column} IN (${values.map(() => "?").join(", ")})`, params: values }];
}

function inQueues(queueIds: readonly number[] | undefined): readonly Condition[] {
  return oneOf("queue", queueIds);
}

function inBatch(batchId: string | undefined): readonly Condition[] {
  return batchId === undefined ? [] : [{ sql: "+runs.batch = ?", params: [batchId] }];
}

function withTags(tags: readonly string[]): readonly Condition[] {
  if (tags.length === 0) return [];
  const sql = `EXISTS (SELECT 1 FROM run_tags AS own WHERE own.env = runs.env AND own.created_ms = runs.created_ms
    AND own.id = runs.id AND own.tag IN (${tags.map(() => "?").join(", ")}))`;
  return [{ sql, params: tags }];
}

// ── reading ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

/** The first entries on one side of a cursor, nearest first, each run once. */
function entriesOf(context: Context, { streams, conditions }: Plan, side: Side, limit: number): Entry[] {
  const sources = streams.map((stream) => ({
    firstPage: FIRST_PAGE,
    read: (after: Entry | undefined, count: number) => readStream(context, { stream, conditions, side, after, count }),
  }));
  const entries: Entry[] = [];
  let last: Entry | undefined;
  for (const entry of merge(sources, { isDescending: !side.isNewer, pageMax: limit })) {
    // A run with two tags of the filter is in two streams, side by side after the merge.
    if (entry.row !== last?.row) entries.push(entry);
    last = entry;
    if (entries.length >= limit) break;
  }
  return entries;
}

interface Reading {
  readonly stream: Stream;
  readonly conditions: readonly Condition[];
  readonly side: Side;
  readonly after: Entry | undefined;
  readonly count: number;
}

function readStream(context: Context, { stream, conditions, side, after, count }: Reading): readonly Entry[] {
  const { table } = stream;
  const all: Condition[] = [{ sql: stream.condition, params: stream.params }, ...conditions];
  const isInclusive = after === undefined && side.isInclusive;
  const operator = `${side.isNewer ? ">" : "<"}${isInclusive ? "=" : ""}`;
  const position = after === undefined ? cursorPosition(side.cursor) : [after.order, after.id];
  if (position !== undefined) {
    all.push({ sql: `(${table}.created_ms, ${table}.id) ${operator} (?, ?)`, params: position });
  }
  if (side.fromMs !== undefined) all.push({ sql: `${table}.created_ms >= ?`, params: [side.fromMs] });
  if (side.toMs !== undefined) all.push({ sql: `${table}.created_ms <= ?`, params: [side.toMs] });
  const direction = side.isNewer ? "ASC" : "DESC";
  // Tags are looked up first; their runs are joined only for the conditions on them.
  const from = table === "run_tags" ? "run_tags CROSS JOIN runs ON runs.row = run_tags.run" : "runs";
  const rows = context.db.all(
    `SELECT runs.row, ${table}.created_ms, ${table}.id FROM ${from} WHERE ${all.map(({ sql }) => sql).join(" AND ")}
     ORDER BY ${table}.created_ms ${direction}, ${table}.id ${direction} LIMIT ?`,
    ...all.flatMap(({ params }) => params),
    count,
  );
  return rows.map((row) => ({ row: numberAt(row, 0), order: numberAt(row, 1), id: bytesAt(row, 2) }));
}

function cursorPosition(cursor: RunCursor | undefined): readonly SqlValue[] | undefined {
  return cursor === undefined ? undefined : [cursor.createdAtMs, runIdBytes(cursor.runId) ?? new Uint8Array(0)];
}
