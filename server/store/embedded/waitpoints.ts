/** Waitpoints: one row each. As with runs, the row that has the key columns is the key's holder. */
import { isWindowOpen } from "../../domain/idempotency.js";
import { decodeId, encodeId } from "../../domain/ids.js";
import { endWaitpoint, WAITPOINT_STATUSES, type Waitpoint } from "../../domain/waitpoint.js";
import type {
  EndWaitpoint,
  EndWaitpointResult,
  FindWaitpoints,
  InsertWaitpoint,
  InsertWaitpointResult,
  TokenCursor,
  TokenPage,
  TokenQuery,
  WaitpointRef,
} from "../store.js";
import type { Context } from "./context.js";
import {
  bytesAt,
  bytesToHex,
  hexToBytes,
  numberAt,
  optionalBytesAt,
  optionalNumberAt,
  optionalTextAt,
  type Row,
  type SqlValue,
  textAt,
} from "./database.js";

const COLUMNS =
  "row, id, env, kind, status, created_ms, timeout_ms, completed_ms, output, key_hash, key_text, key_scope, key_expires_ms, tags, request";

export function insertWaitpoints(
  context: Context,
  items: readonly InsertWaitpoint[],
): readonly InsertWaitpointResult[] {
  return items.map((item) => insert(context, item));
}

function insert(context: Context, { waitpoint, request, nowMs }: InsertWaitpoint): InsertWaitpointResult {
  context.sees(nowMs);
  const id = idBytes(waitpoint.id);
  const own = context.db.get(`SELECT ${COLUMNS} FROM waitpoints WHERE id = ?`, id);
  if (own !== undefined) {
    const made = optionalBytesAt(own, 14);
    if (made === undefined || request === undefined || bytesToHex(made) !== request.hash) {
      throw new Error(`${waitpoint.id} exists already, and was not made by this request`);
    }
    return { kind: "repeat", waitpoint: readRow(context, own) };
  }
  const { key } = waitpoint;
  const hash = key === undefined ? null : hexToBytes(key.recordHash);
  const holder =
    hash === null ? undefined : context.db.get(`SELECT ${COLUMNS} FROM waitpoints WHERE key_hash = ?`, hash);
  if (holder !== undefined) {
    const known = readRow(context, holder);
    if (known.key !== undefined && isWindowOpen(known.key.expiresAtMs, nowMs))
      return { kind: "cached", waitpoint: known };
    context.db.run("UPDATE waitpoints SET key_hash = NULL, key_expires_ms = NULL WHERE row = ?", numberAt(holder, 0));
  }
  context.db.run(
    `INSERT INTO waitpoints (id, env, kind, status, created_ms, timeout_ms, due_ms, key_hash, key_text, key_scope,
       key_expires_ms, tags, request) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
    id,
    context.names.environment(waitpoint.environment),
    waitpoint.kind,
    waitpoint.status,
    waitpoint.createdAtMs,
    waitpoint.timeoutAtMs,
    waitpoint.timeoutAtMs,
    hash,
    key?.text ?? null,
    key?.scope ?? null,
    key?.expiresAtMs ?? null,
    waitpoint.tags.length === 0 ? null : JSON.stringify(waitpoint.tags),
    request === undefined ? null : hexToBytes(request.hash),
  );
  return { kind: "created", waitpoint };
}

export function readWaitpoints(context: Context, refs: readonly WaitpointRef[]): readonly (Waitpoint | undefined)[] {
  return refs.map((ref) => {
    const row = find(context, ref);
    return row === undefined ? undefined : readRow(context, row);
  });
}

export function endWaitpoints(context: Context, items: readonly EndWaitpoint[]): readonly EndWaitpointResult[] {
  return items.map((item) => {
    context.sees(item.end.nowMs);
    const row = find(context, item);
    if (row === undefined) return { isApplied: false, waitpoint: undefined };
    const before = readRow(context, row);
    const after = endWaitpoint(before, item.end);
    if (after === undefined) return { isApplied: false, waitpoint: before };
    context.db.run(
      "UPDATE waitpoints SET status = ?, completed_ms = ?, owes_ms = ?, due_ms = NULL, output = ? WHERE row = ?",
      after.status,
      after.completedAtMs ?? null,
      after.completedAtMs ?? null,
      after.output ?? null,
      numberAt(row, 0),
    );
    return { isApplied: true, waitpoint: after };
  });
}

export function settleWaitpoints(context: Context, refs: readonly WaitpointRef[]): void {
  for (const ref of refs) {
    const row = find(context, ref);
    if (row !== undefined) context.db.run("UPDATE waitpoints SET owes_ms = NULL WHERE row = ?", numberAt(row, 0));
  }
}

export function findWaitpoints(context: Context, query: FindWaitpoints): readonly Waitpoint[] {
  const [column, untilMs] = query.kind === "due" ? ["due_ms", query.nowMs] : ["owes_ms", query.untilMs];
  const rows = context.db.all(
    `SELECT ${COLUMNS} FROM waitpoints WHERE ${column} <= ? ORDER BY ${column} LIMIT ?`,
    untilMs,
    query.limit,
  );
  return rows.map((row) => readRow(context, row));
}

export function listTokens(context: Context, query: TokenQuery): TokenPage {
  const { limit, after, before } = query;
  const env = context.names.findEnvironment(query.environment);
  if (env === undefined) return { tokens: [], hasOlder: false, hasNewer: false };
  const isNewer = before !== undefined;
  const cursor = before ?? after;
  const found = readPage(context, query, { env, cursor, isNewer, isInclusive: false, limit: limit + 1 });
  const behind =
    cursor === undefined
      ? []
      : readPage(context, query, { env, cursor, isNewer: !isNewer, isInclusive: true, limit: 1 });
  const page = found.slice(0, limit);
  if (isNewer) page.reverse();
  const [hasMore, hasBehind] = [found.length > limit, behind.length > 0];
  return {
    tokens: page.map((row) => readRow(context, row)),
    hasOlder: isNewer ? hasBehind : hasMore,
    hasNewer: isNewer ? hasMore : hasBehind,
  };
}

interface Page {
  readonly env: number;
  readonly cursor: TokenCursor | undefined;
  readonly isNewer: boolean;
  readonly isInclusive: boolean;
  readonly limit: number;
}

function readPage(context: Context, { filter }: TokenQuery, page: Page): Row[] {
  const conditions = ["env = ?", "kind = 'token'"];
  const params: SqlValue[] = [page.env];
  const where = (condition: string, ...values: readonly SqlValue[]): void => {
    conditions.push(condition);
    params.push(...values);
  };
  const { statuses = [], tags = [], keyText, fromMs, toMs } = filter;
  if (statuses.length > 0) where("status IN (SELECT value FROM json_each(?))", JSON.stringify(statuses));
  if (keyText !== undefined) where("key_hash IS NOT NULL AND key_text = ?", keyText);
  if (fromMs !== undefined) where("created_ms >= ?", fromMs);
  if (toMs !== undefined) where("created_ms <= ?", toMs);
  if (tags.length > 0) {
    where(
      "EXISTS (SELECT 1 FROM json_each(tags) WHERE value IN (SELECT value FROM json_each(?)))",
      JSON.stringify(tags),
    );
  }
  const { cursor, isNewer, isInclusive, limit } = page;
  if (cursor !== undefined) {
    const side = `${isNewer ? ">" : "<"}${isInclusive ? "=" : ""}`;
    where(`(created_ms, id) ${side} (?, ?)`, cursor.createdAtMs, idBytes(cursor.waitpointId));
  }
  const direction = isNewer ? "ASC" : "DESC";
  return [
    ...context.db.all(
      `SELECT ${COLUMNS} FROM waitpoints WHERE ${conditions.join(" AND ")}
       ORDER BY created_ms ${direction}, id ${direction} LIMIT ?`,
      ...params,
      limit,
    ),
  ];
}

/** Ended ones go after the retention of runs, and an hour after their key. */
export function purgeWaitpoints(
  context: Context,
  params: { readonly nowMs: number; readonly finishedRunsKeptMs: number; readonly limit: number },
): void {
  context.db.run(
    `DELETE FROM waitpoints WHERE row IN (SELECT row FROM waitpoints WHERE completed_ms <= ? AND owes_ms IS NULL
       AND (key_expires_ms IS NULL OR key_expires_ms <= ?) ORDER BY completed_ms LIMIT ?)`,
    params.nowMs - params.finishedRunsKeptMs,
    params.nowMs - KEY_LATER_MS,
    params.limit,
  );
}

/** Objects outlive the keys that name them by an hour (design 6). */
const KEY_LATER_MS = 3_600_000;

function find(context: Context, { environment, waitpointId }: WaitpointRef): Row | undefined {
  const env = context.names.findEnvironment(environment);
  const id = decodeId("waitpoint", waitpointId);
  if (env === undefined || id === undefined) return undefined;
  return context.db.get(`SELECT ${COLUMNS} FROM waitpoints WHERE id = ? AND env = ?`, id, env);
}

/** @throws TypeError for what no engine sends. */
function idBytes(waitpointId: string): Uint8Array {
  const id = decodeId("waitpoint", waitpointId);
  if (id === undefined) throw new TypeError(`not a waitpoint id: ${waitpointId}`);
  return id;
}

function readRow(context: Context, row: Row): Waitpoint {
  const status = WAITPOINT_STATUSES.find((known) => known === textAt(row, 4));
  if (status === undefined) throw new TypeError(`unknown status ${textAt(row, 4)}`);
  const tags: unknown = JSON.parse(optionalTextAt(row, 13) ?? "[]");
  return {
    environment: context.names.environmentName(numberAt(row, 2)),
    id: encodeId("waitpoint", bytesAt(row, 1)),
    kind: textAt(row, 3) === "time" ? "time" : "token",
    status,
    createdAtMs: numberAt(row, 5),
    timeoutAtMs: numberAt(row, 6),
    completedAtMs: optionalNumberAt(row, 7),
    output: optionalBytesAt(row, 8),
    key: keyOf(row),
    tags: Array.isArray(tags) ? tags.filter((tag) => typeof tag === "string") : [],
  };
}

function keyOf(row: Row): Waitpoint["key"] {
  const hash = optionalBytesAt(row, 9);
  if (hash === undefined) return undefined;
  const scope = optionalTextAt(row, 11);
  return {
    recordHash: bytesToHex(hash),
    text: textAt(row, 10),
    scope: scope === "run" || scope === "attempt" || scope === "global" ? scope : undefined,
    expiresAtMs: numberAt(row, 12),
  };
}
