/**
 * Pages of runs, newest first by (creation, id) (RUN-17…20).
 *
 * A page is merged from streams, each a range of an index that has the order of the page: of runs by (task, place), for all tasks and
 * places that the filter leaves; or, where the filter names them and fewer runs are in them, of a tag, a queue, a batch or the tests. What the
 * streams do not select are conditions on the rows that they pass. The first entries of all pairs of task and place are one query; a
 * stream is read further, in pages that double, only when its first entry is on the page.
 */

import { queueLabel } from "../../domain/queue.js";
import type { RunState } from "../../domain/run.js";
import { statusOfPlace } from "../../domain/run-machine.js";
import type { RunCursor, RunFilter, RunPage, RunQuery } from "../store.js";
import type { Context } from "./context.js";
import { bytesAt, numberAt, type SqlValue } from "./database.js";
import { Merge, type Ordered } from "./merge.js";
import { PLACE_COUNT, placeOfNumber, RUN_COLUMNS, readRun, runIdBytes } from "./run-row.js";

/** How far candidates are counted to choose the smallest. */
const COUNTED_MAX = 500;

/** First page of a stream; each further one is twice as long. */
const FIRST_PAGE = 2;

/** A range of an index, in the order of the page. */
interface Stream {
  readonly table: "runs" | "run_tags";
  readonly condition: string;
  readonly params: readonly SqlValue[];
}

/** All pairs of tasks and places: too many to open each, so those that have runs are found by one query. */
interface Grid {
  readonly tasks: readonly number[];
  readonly places: readonly number[];
  /** A further condition on their runs. */
  readonly also: string;
}

/** Streams that together have all runs of the page, and conditions on their rows. */
interface Plan {
  readonly streams: readonly Stream[];
  readonly grid: Grid | undefined;
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

/** Runs that a filter matches, counted stream by stream where these have no run in common. */
export function countRuns(
  context: Context,
  { environment, filter }: { readonly environment: string; readonly filter: RunFilter },
): number {
  const env = context.names.findEnvironment(environment);
  if (env === undefined) return 0;
  const { streams, grid, conditions } = planOf(context, env, filter);
  const { fromMs, toMs } = filter;
  const side: Side = { cursor: undefined, isNewer: false, isInclusive: false, fromMs, toMs };
  const pairs = (grid?.tasks ?? []).flatMap((task) =>
    (grid?.places ?? []).map((place): Stream => ({ ...PAIR, params: [task, place] })),
  );
  const also = grid === undefined || grid.also === "" ? [] : [{ sql: grid.also, params: [] }];
  const count = (stream: Stream, own: readonly Condition[]): number => {
    const all = [{ sql: stream.condition, params: stream.params }, ...own, ...bounds(stream.table, side)];
    const from = stream.table === "run_tags" ? "run_tags CROSS JOIN runs ON runs.row = run_tags.run" : "runs";
    const row = context.db.get(
      `SELECT COUNT(*) FROM ${from} WHERE ${allOf(all)}`,
      ...all.flatMap(({ params }) => params),
    );
    return numberAt(row ?? [], 0);
  };
  // A run with several of the tags is counted in the stream of the first of them.
  const earlier = (index: number): readonly Condition[] =>
    streams.slice(0, index).flatMap(({ table, params }): readonly Condition[] => {
      const tag = params[1];
      if (table !== "run_tags" || typeof tag !== "string") return [];
      return withAnyTag([tag]).map(({ sql, params: own }) => ({ sql: `NOT ${sql}`, params: own }));
    });
  return [
    ...streams.map((stream, index) => count(stream, [...conditions, ...earlier(index)])),
    ...pairs.map((pair) => count(pair, [...also, ...conditions])),
  ].reduce((sum, part) => sum + part, 0);
}

const ROW_SQL = `SELECT ${RUN_COLUMNS} FROM runs WHERE row = ?`;

function runAt(context: Context, row: number): RunState {
  return readRun(context.db.get(ROW_SQL, row) ?? [], context.names).state;
}

// ── the plan ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

function planOf(context: Context, env: number, filter: RunFilter): Plan {
  const { batchId, tags = [], allTags = [], queues = [], taskIds = [], statuses = [] } = filter;
  const tasks = taskIds.length === 0 ? undefined : known(taskIds, (id) => context.names.findTask(env, id));
  const places = statuses.length === 0 ? undefined : placesOf(filter);
  const queueIds = queues.length === 0 ? undefined : known(queues, (name) => queueNumber(context, env, name));

  const base = (): Plan => ({
    streams: [],
    grid: { tasks: tasks ?? allTasks(context, env), places: places ?? ALL_PLACES, also: "" },
    conditions: [...rowConditions(filter), ...inQueues(queueIds), ...withTags(filter), ...inBatch(batchId)],
  });
  const others: Plan[] = [];
  const rows = [...rowConditions(filter), ...oneOf("task", tasks), ...oneOf("place", places)];
  if (batchId !== undefined) {
    const stream: Stream = { table: "runs", condition: "runs.env = ? AND runs.batch = ?", params: [env, batchId] };
    others.push({
      streams: [stream],
      grid: undefined,
      conditions: [...rows, ...inQueues(queueIds), ...withTags(filter)],
    });
  }
  if (filter.isTest === true) {
    // Said literally, for the planner to see that the partial index fits.
    const stream: Stream = { table: "runs", condition: "runs.env = ? AND runs.is_test = 1", params: [env] };
    const own = [...rows, ...inQueues(queueIds), ...withTags(filter), ...inBatch(batchId)];
    others.push({ streams: [stream], grid: undefined, conditions: own });
  }
  if (tags.length > 0) {
    const streams = [...new Set(tags)].map((tag): Stream => {
      return { table: "run_tags", condition: "run_tags.env = ? AND run_tags.tag = ?", params: [env, tag] };
    });
    const own = [...rows, ...inQueues(queueIds), ...inBatch(batchId), ...withAllTags(allTags)];
    others.push({ streams, grid: undefined, conditions: own });
  }
  for (const tag of allTags) {
    const stream: Stream = {
      table: "run_tags",
      condition: "run_tags.env = ? AND run_tags.tag = ?",
      params: [env, tag],
    };
    const own = [...rows, ...inQueues(queueIds), ...inBatch(batchId), ...withTags(filter)];
    others.push({ streams: [stream], grid: undefined, conditions: own });
  }
  if (queueIds !== undefined) {
    const found = inQueueIndex(context, env, { queues, queueIds, places });
    others.push({ ...found, conditions: [...rows, ...withTags(filter), ...inBatch(batchId)] });
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

const ALL_PLACES: readonly number[] = Array.from({ length: PLACE_COUNT }, (_, place) => place);

function placesOf({ statuses = [] }: RunFilter): readonly number[] {
  return ALL_PLACES.filter((place) => statuses.includes(statusOfPlace(placeOfNumber(place)).status));
}

function allTasks(context: Context, env: number): readonly number[] {
  return context.db.all("SELECT id FROM tasks WHERE env = ?", env).map((row) => numberAt(row, 0));
}

interface QueueFilter {
  readonly queues: readonly string[];
  readonly queueIds: readonly number[];
  readonly places: readonly number[] | undefined;
}

/** Runs that were sent to a queue have an index by it; those in their task's own queue are found by the task. */
function inQueueIndex(
  context: Context,
  env: number,
  { queues, queueIds, places }: QueueFilter,
): Pick<Plan, "streams" | "grid"> {
  const condition = "runs.queue = ? AND runs.is_elsewhere = 1";
  const streams = queueIds.map((id): Stream => ({ table: "runs", condition, params: [id] }));
  const labels = queues.map(queueLabel).filter(({ type }) => type === "task");
  const tasks = known(
    labels.map(({ name }) => name),
    (name) => context.names.findTask(env, name),
  );
  const grid = { tasks, places: places ?? ALL_PLACES, also: "runs.is_elsewhere = 0" };
  return { streams, grid: tasks.length === 0 ? undefined : grid };
}

/** The candidate with the fewest runs, each counted up to a bound. A guess by kind cannot know that a tag is rare. */
function smallest(context: Context, candidates: readonly Plan[]): Plan {
  const counted = candidates.map((plan) => ({ plan, count: countUpTo(context, plan) }));
  const [first, ...rest] = counted;
  if (first === undefined) throw new TypeError("no candidate");
  return rest.reduce((best, other) => (other.count < best.count ? other : best), first).plan;
}

function countUpTo(context: Context, { streams, grid }: Plan): number {
  const ranges = [...streams];
  for (const task of grid?.tasks ?? []) {
    for (const place of grid?.places ?? []) ranges.push({ ...PAIR, params: [task, place] });
  }
  let count = 0;
  for (const { table, condition, params } of ranges) {
    if (count >= COUNTED_MAX) break;
    const sql = `SELECT COUNT(*) FROM (SELECT 1 FROM ${table} WHERE ${condition} LIMIT ${COUNTED_MAX})`;
    count += numberAt(context.db.get(sql, ...params) ?? [], 0);
  }
  return count;
}

const PAIR = { table: "runs", condition: "runs.task = ? AND runs.place = ?" } as const;

// ── conditions on rows ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

function rowConditions({ isTest, updatedFromMs }: RunFilter): readonly Condition[] {
  return [
    ...(isTest === undefined ? [] : [{ sql: "runs.is_test = ?", params: [isTest ? 1 : 0] }]),
    ...(updatedFromMs === undefined ? [] : [{ sql: "+runs.updated_ms >= ?", params: [updatedFromMs] }]),
  ];
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

/** Any of the one kind, and all of the other. */
function withTags({ tags = [], allTags = [] }: RunFilter): readonly Condition[] {
  return [...withAnyTag(tags), ...withAllTags(allTags)];
}

function withAllTags(tags: readonly string[]): readonly Condition[] {
  return tags.flatMap((tag) => withAnyTag([tag]));
}

function withAnyTag(tags: readonly string[]): readonly Condition[] {
  if (tags.length === 0) return [];
  const sql = `EXISTS (SELECT 1 FROM run_tags AS own WHERE own.env = runs.env AND own.created_ms = runs.created_ms
    AND own.id = runs.id AND own.tag IN (${tags.map(() => "?").join(", ")}))`;
  return [{ sql, params: tags }];
}

// ── reading ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

/** The first entries on one side of a cursor, nearest first, each run once. */
function entriesOf(context: Context, { streams, grid, conditions }: Plan, side: Side, limit: number): Entry[] {
  const merging = new Merge<Entry>({ isDescending: !side.isNewer, pageMax: limit });
  const open = (stream: Stream, own: readonly Condition[], first?: Entry): void => {
    const read = reader(context, { stream, conditions: own, side });
    merging.add(first === undefined ? { firstPage: FIRST_PAGE, read } : { firstPage: FIRST_PAGE, read, first });
  };
  for (const stream of streams) open(stream, conditions);
  if (grid !== undefined) {
    const own = grid.also === "" ? conditions : [{ sql: grid.also, params: [] }, ...conditions];
    for (const { pair, first } of gridHeads(context, { grid, conditions: own, side })) {
      open({ ...PAIR, params: pair }, own, first);
    }
  }
  const entries: Entry[] = [];
  for (let entry = merging.next(); entry !== undefined && entries.length < limit; entry = merging.next()) {
    // A run with two tags of the filter is in two streams, side by side after the merge.
    if (entry.row !== entries.at(-1)?.row) entries.push(entry);
  }
  return entries;
}

interface Reading {
  readonly stream: Stream;
  readonly conditions: readonly Condition[];
  readonly side: Side;
}

function reader(
  context: Context,
  { stream, conditions, side }: Reading,
): (after: Entry | undefined, count: number) => readonly Entry[] {
  const { table } = stream;
  return (after, count) => {
    const position = after === undefined ? cursorCondition(table, side) : behind(table, side, after);
    const all = [{ sql: stream.condition, params: stream.params }, ...conditions, ...bounds(table, side), ...position];
    // Tags are looked up first; their runs are joined only for the conditions on them.
    const from = table === "run_tags" ? "run_tags CROSS JOIN runs ON runs.row = run_tags.run" : "runs";
    const rows = context.db.all(
      `SELECT runs.row, ${table}.created_ms, ${table}.id FROM ${from} WHERE ${allOf(all)} ${orderOf(table, side)} LIMIT ?`,
      ...all.flatMap(({ params }) => params),
      count,
    );
    return rows.map((row) => ({ row: numberAt(row, 0), order: numberAt(row, 1), id: bytesAt(row, 2) }));
  };
}

interface Head {
  readonly pair: readonly [task: number, place: number];
  readonly first: Entry;
}

/** The first entry of every pair that has one, by one query: hundreds of pairs cost a seek each and no statement each. */
function gridHeads(
  context: Context,
  { grid, conditions, side }: { readonly grid: Grid; readonly conditions: readonly Condition[]; readonly side: Side },
): readonly Head[] {
  const all = [...conditions, ...bounds("runs", side), ...cursorCondition("runs", side)];
  const rows = context.db.all(
    `SELECT pair.task, pair.place, head.row, head.created_ms, head.id FROM (
       SELECT tasks.value AS task, places.value AS place, (
         SELECT runs.row FROM runs WHERE runs.task = tasks.value AND runs.place = places.value${all.map(({ sql }) => ` AND ${sql}`).join("")}
         ${orderOf("runs", side)} LIMIT 1
       ) AS row FROM json_each(?) AS tasks CROSS JOIN json_each(?) AS places
     ) AS pair CROSS JOIN runs AS head ON head.row = pair.row`,
    ...all.flatMap(({ params }) => params),
    JSON.stringify(grid.tasks),
    JSON.stringify(grid.places),
  );
  return rows.map((row) => ({
    pair: [numberAt(row, 0), numberAt(row, 1)],
    first: { row: numberAt(row, 2), order: numberAt(row, 3), id: bytesAt(row, 4) },
  }));
}

function allOf(conditions: readonly Condition[]): string {
  return conditions.map(({ sql }) => sql).join(" AND ");
}

function orderOf(table: Stream["table"], { isNewer }: Side): string {
  const direction = isNewer ? "ASC" : "DESC";
  return `ORDER BY ${table}.created_ms ${direction}, ${table}.id ${direction}`;
}

function bounds(table: Stream["table"], { fromMs, toMs }: Side): readonly Condition[] {
  const all: Condition[] = [];
  if (fromMs !== undefined) all.push({ sql: `${table}.created_ms >= ?`, params: [fromMs] });
  if (toMs !== undefined) all.push({ sql: `${table}.created_ms <= ?`, params: [toMs] });
  return all;
}

function cursorCondition(table: Stream["table"], { cursor, isNewer, isInclusive }: Side): readonly Condition[] {
  if (cursor === undefined) return [];
  const operator = `${isNewer ? ">" : "<"}${isInclusive ? "=" : ""}`;
  const id = runIdBytes(cursor.runId) ?? new Uint8Array(0);
  return [{ sql: `(${table}.created_ms, ${table}.id) ${operator} (?, ?)`, params: [cursor.createdAtMs, id] }];
}

function behind(table: Stream["table"], { isNewer }: Side, { order, id }: Entry): readonly Condition[] {
  return [{ sql: `(${table}.created_ms, ${table}.id) ${isNewer ? ">" : "<"} (?, ?)`, params: [order, id] }];
}
