/**
 * Pages of runs, newest first by (creation, id) (RUN-17…20).
 *
 * One member of the filter drives: each of its values is a stream in the order of the page, read from an index, and the streams are
 * merged. The other members are conditions on the rows that the streams pass. The member with the fewest runs drives, found by counting
 * each up to a small bound; a guess by kind was rejected: "failed runs of this task" may be a million runs of one and three of the other.
 */
import type { RunState } from "../../domain/run.js";
import { statusOfPlace } from "../../domain/run-machine.js";
import type { RunCursor, RunPage, RunQuery } from "../store.js";
import type { Context } from "./context.js";
import { bytesAt, numberAt, type Row, type SqlValue } from "./database.js";
import { PLACE_COUNT, placeOfNumber, RUN_COLUMNS, readRun, runIdBytes } from "./run-row.js";

/** How far members are counted to choose between them. */
const COUNTED_MAX = 500;

/** One member of the filter. */
interface Member {
  /** Column of `runs`; `tag` is that of `run_tags`. */
  readonly column: "batch" | "tag" | "queue" | "task" | "place";
  readonly values: readonly SqlValue[];
}

interface Plan {
  readonly env: number;
  /** undefined: no member; all runs of the environment. */
  readonly driver: Member | undefined;
  readonly others: readonly Member[];
  readonly query: RunQuery;
}

/** A run's position; what streams give before the page is read. */
interface Entry {
  readonly row: number;
  readonly createdMs: number;
  readonly id: Uint8Array;
}

interface Side {
  readonly cursor: RunCursor | undefined;
  readonly isNewer: boolean;
  /** The cursor's own run as well. */
  readonly isInclusive: boolean;
  readonly limit: number;
}

export function listRuns(context: Context, query: RunQuery): RunPage {
  const plan = planOf(context, query);
  if (plan === undefined) return { runs: [], hasOlder: false, hasNewer: false };
  const { limit, after, before } = query;
  const isNewer = before !== undefined;
  const cursor = before ?? after;
  const entries = entriesOf(context, plan, { cursor, isNewer, isInclusive: false, limit: limit + 1 });
  const page = entries.slice(0, limit);
  const hasMore = entries.length > limit;
  const hasBehind =
    cursor !== undefined &&
    entriesOf(context, plan, { cursor, isNewer: !isNewer, isInclusive: true, limit: 1 }).length > 0;
  if (isNewer) page.reverse();
  return {
    runs: page.map(({ row }) => runAt(context, row)),
    hasOlder: isNewer ? hasBehind : hasMore,
    hasNewer: isNewer ? hasMore : hasBehind,
  };
}

function runAt(context: Context, row: number): RunState {
  return readRun(context.db.get(`SELECT ${RUN_COLUMNS} FROM runs WHERE row = ?`, row) ?? [], context.names).state;
}

/** Undefined where the filter names nothing that exists. */
function planOf(context: Context, query: RunQuery): Plan | undefined {
  const env = context.names.findEnvironment(query.environment);
  if (env === undefined) return undefined;
  const members = membersOf(context, env, query);
  if (members.some(({ values }) => values.length === 0)) return undefined;
  const plan = { env, query, others: members };
  if (members.length < 2) return { ...plan, driver: members[0], others: [] };
  const counted = members.map((member) => ({
    member,
    count: countUpTo(context, { ...plan, driver: member, others: [] }),
  }));
  counted.sort((a, b) => a.count - b.count);
  const driver = counted[0]?.member;
  return { ...plan, driver, others: members.filter((member) => member !== driver) };
}

function membersOf(context: Context, env: number, { filter }: RunQuery): readonly Member[] {
  const { batchId, tags = [], queues = [], taskIds = [], statuses = [] } = filter;
  const members: Member[] = [];
  if (batchId !== undefined) members.push({ column: "batch", values: [batchId] });
  if (tags.length > 0) members.push({ column: "tag", values: [...new Set(tags)] });
  if (queues.length > 0)
    members.push({ column: "queue", values: known(queues, (name) => queueNumber(context, env, name)) });
  if (taskIds.length > 0)
    members.push({ column: "task", values: known(taskIds, (id) => context.names.findTask(env, id)) });
  if (statuses.length > 0) {
    const places = Array.from({ length: PLACE_COUNT }, (_, place) => place);
    const isAsked = (place: number): boolean => statuses.includes(statusOfPlace(placeOfNumber(place)).status);
    members.push({ column: "place", values: places.filter(isAsked) });
  }
  return members;
}

function known(names: readonly string[], numberOf: (name: string) => number | undefined): readonly number[] {
  return [...new Set(names)].map(numberOf).filter((id) => id !== undefined);
}

function queueNumber(context: Context, env: number, name: string): number | undefined {
  const row = context.db.get("SELECT id FROM queues WHERE env = ? AND name = ?", env, name);
  return row === undefined ? undefined : numberAt(row, 0);
}

function countUpTo(context: Context, plan: Plan): number {
  let count = 0;
  for (const value of plan.driver?.values ?? []) {
    const { sql, params } = streamSql(plan, value, {
      cursor: undefined,
      isNewer: false,
      isInclusive: false,
      limit: COUNTED_MAX,
    });
    count += numberAt(context.db.get(`SELECT COUNT(*) FROM (${sql})`, ...params) ?? [], 0);
  }
  return count;
}

/** The first entries on one side of a cursor, nearest first. */
function entriesOf(context: Context, plan: Plan, side: Side): Entry[] {
  const values: readonly (SqlValue | undefined)[] = plan.driver?.values ?? [undefined];
  const entries = new Map<number, Entry>();
  for (const value of values) {
    const { sql, params } = streamSql(plan, value, side);
    for (const row of context.db.all(sql, ...params)) {
      const entry = entryOf(row);
      entries.set(entry.row, entry);
    }
  }
  const sign = side.isNewer ? 1 : -1;
  return [...entries.values()].toSorted((a, b) => sign * compare(a, b)).slice(0, side.limit);
}

function entryOf(row: Row): Entry {
  return { row: numberAt(row, 0), createdMs: numberAt(row, 1), id: bytesAt(row, 2) };
}

function compare(a: Entry, b: Entry): number {
  return a.createdMs - b.createdMs || Buffer.compare(a.id, b.id);
}

/** The query of one stream: the value of the driving member, the side of the cursor, and the conditions of the other members. */
function streamSql(
  { env, driver, others, query }: Plan,
  value: SqlValue | undefined,
  side: Side,
): { readonly sql: string; readonly params: readonly SqlValue[] } {
  const isByTag = driver?.column === "tag";
  const at = isByTag ? "run_tags" : "runs";
  const conditions = [`${at}.env = ?`];
  const params: SqlValue[] = [env];
  const add = (condition: string, ...values: readonly SqlValue[]): void => {
    conditions.push(condition);
    params.push(...values);
  };
  if (driver !== undefined && value !== undefined) add(`${at}.${driver.column} = ?`, value);
  if (side.cursor !== undefined) {
    const operator = `${side.isNewer ? ">" : "<"}${side.isInclusive ? "=" : ""}`;
    const id = runIdBytes(side.cursor.runId) ?? new Uint8Array(0);
    add(`(${at}.created_ms, ${at}.id) ${operator} (?, ?)`, side.cursor.createdAtMs, id);
  }
  const { fromMs, toMs, isTest } = query.filter;
  if (fromMs !== undefined) add(`${at}.created_ms >= ?`, fromMs);
  if (toMs !== undefined) add(`${at}.created_ms <= ?`, toMs);
  if (isTest !== undefined) add("runs.is_test = ?", isTest ? 1 : 0);
  for (const { column, values } of others) add(otherSql(column, values), ...values);
  const order = side.isNewer ? "ASC" : "DESC";
  const from = isByTag ? "run_tags CROSS JOIN runs ON runs.row = run_tags.run" : "runs";
  return {
    sql: `SELECT runs.row, ${at}.created_ms, ${at}.id FROM ${from} WHERE ${conditions.join(" AND ")}
          ORDER BY ${at}.created_ms ${order}, ${at}.id ${order} LIMIT ?`,
    params: [...params, side.limit],
  };
}

/** The unary plus keeps the planner from taking the index of a member that does not drive. */
function otherSql(column: Member["column"], values: readonly SqlValue[]): string {
  const list = values.map(() => "?").join(", ");
  if (column === "tag") {
    return `EXISTS (SELECT 1 FROM run_tags AS own WHERE own.env = runs.env AND own.tag IN (${list})
            AND own.created_ms = runs.created_ms AND own.id = runs.id)`;
  }
  return `+runs.${column} IN (${list})`;
}
