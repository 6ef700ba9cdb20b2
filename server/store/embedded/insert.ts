/**
 * New runs. Ordinary ones (no key, no limit on the queue's size, nothing beside the row) are inserted several to a statement; that a run
 * of this id exists already, which only a repeated request can mean, is seen by the number of rows that went in. All others are looked
 * at one by one, in the order of the port.
 */
import { encodeId } from "../../domain/ids.js";
import { answeredBefore, hasAnswers, rememberAnswer } from "./answers.js";
import type { Context } from "./context.js";
import { bytesToHex, numberAt, optionalBytesAt, type SqlValue, textsOf } from "./database.js";
import { debounceOf, pushHolder, takeDebounceKey } from "./debounce.js";
import { type InsertAnswer, type InsertRow, type RowDebounce, SPEC_IN_ROW_BYTES } from "./insert-row.js";
import { clearKey, holderOfKey } from "./keys.js";
import { nameObjects } from "./objects.js";
import { queuedCount } from "./queues.js";
import { addTags } from "./tags.js";
import { isTokenUsed, useToken } from "./token-uses.js";

/** Rows of one statement, largest first: few sizes, so that few statements are prepared. */
const CHUNKS = [16, 4, 1] as const;

export function insertRuns(context: Context, rows: readonly InsertRow[]): readonly InsertAnswer[] {
  const answers: InsertAnswer[] = [];
  const areAnswersKept = hasAnswers(context);
  const isPlain = (row: InsertRow): boolean =>
    row.keyHash === undefined &&
    row.debounceJson === undefined &&
    row.queueSizeMax === undefined &&
    row.metadataJson === undefined &&
    row.tagsJson === undefined &&
    row.token === undefined &&
    row.objectsJson === undefined &&
    row.spec.length <= SPEC_IN_ROW_BYTES &&
    !(areAnswersKept && row.requestHash !== undefined);
  for (let at = 0; at < rows.length; ) {
    const end = endOfStretch(rows, at, isPlain);
    if (end === at) {
      const row = rows[at];
      if (row !== undefined) answers.push(insertOne(context, row));
      at += 1;
      continue;
    }
    for (const size of CHUNKS) {
      for (; end - at >= size; at += size) answers.push(...insertPlain(context, rows.slice(at, at + size)));
    }
  }
  return answers;
}

/** The end of the rows from `at` that are plain and set the same columns; `at` where its row is not plain. */
function endOfStretch(rows: readonly InsertRow[], at: number, isPlain: (row: InsertRow) => boolean): number {
  const shape = rows[at]?.shape.text;
  let end = at;
  for (let row = rows[end]; row !== undefined && row.shape.text === shape && isPlain(row); row = rows[end]) end += 1;
  return end;
}

/** Where a row belongs, as numbers. */
interface Place {
  readonly env: number;
  readonly task: number;
  readonly queue: number;
  readonly partition: number | undefined;
}

function placeOf(context: Context, row: InsertRow): Place {
  context.sees(row.nowMs);
  const env = context.names.environment(row.environment);
  const queue = context.queues.ensure(row.environment, env, row.queue, row.queueLimit);
  return {
    env,
    task: context.names.task(env, row.task),
    queue: queue.id,
    partition: row.isWaiting ? context.queues.partition(queue.id, row.concurrencyKey) : undefined,
  };
}

/** QUE-11, QUE-15. @returns false where a registration declares the queue, so that the trigger's limit is ignored. */
function takeLimit(context: Context, id: number, limit: number | undefined): boolean {
  if (limit === undefined) return true;
  const queue = context.queues.byId(id);
  if (queue.isDeclared) return false;
  if (limit !== queue.baseLimit) {
    context.flush();
    context.queues.setBaseLimit(queue.id, limit);
  }
  return true;
}

const ROW_COLUMNS = "env, task, queue, partition, target, id, request, spec";
const ROW_COLUMN_COUNT = ROW_COLUMNS.split(",").length;

/** Statements by shape and number of rows. */
const plainSql = new Map<string, Map<number, string>>();

function sqlOf(row: InsertRow, count: number): string {
  const sizes = plainSql.get(row.shape.text) ?? new Map<number, string>();
  plainSql.set(row.shape.text, sizes);
  const known = sizes.get(count);
  if (known !== undefined) return known;
  const values = `(${Array.from({ length: row.values.length + ROW_COLUMN_COUNT }, () => "?").join(", ")})`;
  const sql = `INSERT INTO runs (${row.shape.text}, ${ROW_COLUMNS}) VALUES ${Array.from({ length: count }, () => values).join(", ")}
    ON CONFLICT (id) DO NOTHING`;
  sizes.set(count, sql);
  return sql;
}

function insertPlain(context: Context, rows: readonly InsertRow[]): readonly InsertAnswer[] {
  const [first] = rows;
  if (first === undefined) return [];
  const places = rows.map((row) => placeOf(context, row));
  const params: SqlValue[] = [];
  for (const [index, row] of rows.entries()) {
    const place = places[index];
    if (place === undefined) continue;
    const target = row.isWaiting ? place.task : null;
    params.push(...row.values, place.env, place.task, place.queue, place.partition ?? null, target, row.id);
    params.push(row.requestHash ?? null, row.spec);
  }
  const { count, lastRow } = context.db.insertMany(sqlOf(first, rows.length), params);
  const fresh = count === rows.length ? undefined : freshRows(context, rows, { count, lastRow });
  return rows.map((row, index) => {
    const place = places[index];
    if (place === undefined || (fresh !== undefined && !fresh.has(index))) return repeatOf(context, row);
    return created(context, row, place);
  });
}

/** Which rows went in: the last `count` up to `lastRow`; of several with one id, the first. */
function freshRows(
  context: Context,
  rows: readonly InsertRow[],
  { count, lastRow }: { readonly count: number; readonly lastRow: number },
): ReadonlySet<number> {
  // Where none went in, `lastRow` is what the connection inserted last, into whichever table.
  if (count === 0) return new Set();
  const before = lastRow - count;
  const seen = new Set<string>();
  const fresh = new Set<number>();
  for (const [index, { id }] of rows.entries()) {
    const row = context.db.get("SELECT row FROM runs WHERE id = ?", id);
    const name = bytesToHex(id);
    if (row !== undefined && numberAt(row, 0) > before && !seen.has(name)) fresh.add(index);
    seen.add(name);
  }
  return fresh;
}

function created(context: Context, row: InsertRow, { partition, queue, task }: Place): InsertAnswer {
  if (partition !== undefined) {
    context.pending.touchHead(partition, task);
    context.pending.addQueued(queue, task, 1);
  }
  return { kind: "created", queueLimitIgnored: !takeLimit(context, queue, row.queueLimit) };
}

// ── one by one ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

function insertOne(context: Context, row: InsertRow): InsertAnswer {
  const { requestHash, keyHash, nowMs } = row;
  context.sees(nowMs);
  if (requestHash !== undefined) {
    if (context.db.get("SELECT 1 FROM runs WHERE id = ?", row.id) !== undefined) return repeatOf(context, row);
    const answered = answeredBefore(context, requestHash, nowMs);
    if (answered !== undefined) {
      return { kind: "repeat", runId: encodeId("run", answered.run), isCached: answered.isCached };
    }
  }
  if (row.token !== undefined && isTokenUsed(context, row.token)) return { kind: "tokenUsed" };
  const holder = keyHash === undefined ? undefined : holderOfKey(context, keyHash, nowMs);
  if (holder?.keeps === true) {
    if (row.token !== undefined) useToken(context, row.token);
    if (requestHash !== undefined) {
      rememberAnswer(context, {
        requestHash,
        run: holder.id,
        isCached: true,
        expiresAtMs: row.requestExpiresAtMs,
      });
    }
    return { kind: "cached", runId: encodeId("run", holder.id) };
  }
  const debounce = debounceOf(row);
  const pushed = debounce === undefined ? undefined : pushHolder(context, row, debounce);
  if (pushed !== undefined) {
    if (row.token !== undefined) useToken(context, row.token);
    return { kind: "pushed", run: pushed };
  }
  const size = row.queueSizeMax === undefined ? 0 : queueSize(context, row);
  if (row.queueSizeMax !== undefined && size >= row.queueSizeMax) return { kind: "queueFull", size };
  if (holder !== undefined) clearKey(context, holder.row);
  if (row.token !== undefined) useToken(context, row.token);
  const place = placeOf(context, row);
  insertWhole(context, row, place, debounce);
  return created(context, row, place);
}

/** What the request that made the run of this id is answered again. @throws Error where another request, or none, made it. */
function repeatOf(context: Context, { id, requestHash }: InsertRow): InsertAnswer {
  const row = context.db.get("SELECT request FROM runs WHERE id = ?", id);
  const stored = row === undefined ? undefined : optionalBytesAt(row, 0);
  const runId = encodeId("run", id);
  if (stored === undefined || requestHash === undefined || bytesToHex(stored) !== bytesToHex(requestHash)) {
    throw new Error(`${runId} exists already, and was not made by this request`);
  }
  return { kind: "repeat", runId, isCached: false };
}

export function queueSize(context: Context, row: InsertRow): number {
  const env = context.names.findEnvironment(row.environment);
  const queue = env === undefined ? undefined : context.queues.find(env, row.queue);
  if (queue === undefined) return 0;
  context.flush();
  return queuedCount(context, queue.id);
}

function insertWhole(context: Context, row: InsertRow, place: Place, debounce: RowDebounce | undefined): void {
  const { id, spec, metadataJson } = row;
  const isSpecInRow = spec.length <= SPEC_IN_ROW_BYTES;
  const values = [...row.values, place.env, place.task, place.queue, place.partition ?? null];
  const runRow = context.db.insert(
    `INSERT INTO runs (${row.shape.text}, ${ROW_COLUMNS}, key_hash, debounce_hash, has_metadata)
     VALUES (${row.values.map(() => "?").join(", ")}, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
    ...values,
    row.isWaiting ? place.task : null,
    id,
    row.requestHash ?? null,
    isSpecInRow ? spec : null,
    row.keyHash ?? null,
    debounce === undefined ? null : takeDebounceKey(context, debounce),
    metadataJson === undefined ? 0 : 1,
  );
  if (!isSpecInRow) context.db.run("INSERT INTO specs (run, spec) VALUES (?, ?)", runRow, spec);
  if (metadataJson !== undefined) {
    context.db.run("INSERT INTO metadata (run, json) VALUES (?, ?)", runRow, metadataJson);
  }
  nameObjects(context, runRow, textsOf(row.objectsJson));
  addTags(context, { env: place.env, row: runRow, id, createdAtMs: row.createdAtMs, tags: textsOf(row.tagsJson) });
}
