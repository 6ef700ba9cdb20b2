/** Sessions: one row per worker process, kept while runs name it. */
import type { SessionRecord } from "../../domain/session.js";
import type { KeepSession } from "../store.js";
import type { Context } from "./context.js";
import { numberAt, type Row, textAt } from "./database.js";
import { endLingeringOfSession } from "./slots.js";

const COLUMNS = "row, env, id, worker_name, sdk, epoch, tasks, concurrency, connected_ms, until_ms, lapsed";

/** Numbers kept in memory before they are forgotten and read again: more than workers are connected. */
const SESSIONS_KEPT = 10_000;

/** The number of a session, lapsed or not. */
export function sessionRow(context: Context, env: number, sessionId: string): number | undefined {
  const name = `${env}/${sessionId}`;
  const known = context.sessionRows.get(name);
  if (known !== undefined) return known;
  const row = readSessionRow(context, env, sessionId);
  if (row === undefined) return undefined;
  if (context.sessionRows.size >= SESSIONS_KEPT) context.sessionRows.clear();
  context.sessionRows.set(name, row);
  return row;
}

/** The same, for a reading connection: it does not hear when the writer removes a session. */
export function readSessionRow(context: Context, env: number, sessionId: string): number | undefined {
  const row = context.db.get("SELECT row FROM sessions WHERE env = ? AND id = ?", env, sessionId);
  return row === undefined ? undefined : numberAt(row, 0);
}

/** The number of a session that may claim: known, and not declared lapsed. */
export function standingSessionRow(context: Context, env: number, sessionId: string): number | undefined {
  const row = context.db.get("SELECT row FROM sessions WHERE env = ? AND id = ? AND lapsed = 0", env, sessionId);
  return row === undefined ? undefined : numberAt(row, 0);
}

export function openSession(context: Context, session: SessionRecord): "opened" | "lapsed" | "superseded" {
  context.sees(session.connectedAtMs);
  const env = context.names.environment(session.environment);
  const known = context.db.get(`SELECT ${COLUMNS} FROM sessions WHERE env = ? AND id = ?`, env, session.id);
  if (known === undefined) {
    insertSession(context, env, session);
    return "opened";
  }
  const row = numberAt(known, 0);
  if (numberAt(known, 10) === 1) {
    if (hasLiveRuns(context, row)) return "lapsed";
    removeSession(context, row);
    insertSession(context, env, session);
    return "opened";
  }
  if (numberAt(known, 5) > session.connectionEpoch) return "superseded";
  context.db.run(
    `UPDATE sessions SET worker_name = ?, sdk = ?, epoch = ?, tasks = ?, concurrency = ?, connected_ms = ?,
       until_ms = MAX(until_ms, ?) WHERE row = ?`,
    session.workerName,
    session.sdk,
    session.connectionEpoch,
    JSON.stringify(session.taskIds),
    session.concurrency,
    session.connectedAtMs,
    session.untilMs,
    row,
  );
  return "opened";
}

function insertSession(context: Context, env: number, session: SessionRecord): void {
  context.db.run(
    `INSERT INTO sessions (env, id, worker_name, sdk, epoch, tasks, concurrency, connected_ms, until_ms)
     VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`,
    env,
    session.id,
    session.workerName,
    session.sdk,
    session.connectionEpoch,
    JSON.stringify(session.taskIds),
    session.concurrency,
    session.connectedAtMs,
    session.untilMs,
  );
}

export function keepSessions(context: Context, items: readonly KeepSession[]): readonly boolean[] {
  return items.map((item) => {
    const env = context.names.findEnvironment(item.environment);
    if (env === undefined) return false;
    const changed = context.db.run(
      "UPDATE sessions SET until_ms = MAX(until_ms, ?) WHERE env = ? AND id = ? AND lapsed = 0 AND epoch <= ?",
      item.untilMs,
      env,
      item.sessionId,
      item.connectionEpoch,
    );
    return changed > 0;
  });
}

export function lapseSessions(
  context: Context,
  { nowMs, limit }: { readonly nowMs: number; readonly limit: number },
): readonly SessionRecord[] {
  context.sees(nowMs);
  const earlier = context.db.all(`SELECT ${COLUMNS} FROM sessions WHERE lapsed = 1 ORDER BY row LIMIT ?`, limit);
  const past = context.db.all(
    `SELECT ${COLUMNS} FROM sessions WHERE lapsed = 0 AND until_ms < ? ORDER BY until_ms LIMIT ?`,
    nowMs,
    limit,
  );
  const lapsed: SessionRecord[] = [];
  for (const known of past) {
    const row = numberAt(known, 0);
    context.db.run("UPDATE sessions SET lapsed = 1 WHERE row = ?", row);
    endLingeringOfSession(context, row);
    lapsed.push(readSession(context, known));
    if (!hasLiveRuns(context, row)) removeSession(context, row);
  }
  for (const known of earlier) {
    const row = numberAt(known, 0);
    if (!hasLiveRuns(context, row)) removeSession(context, row);
    else if (lapsed.length < limit) lapsed.push(readSession(context, known));
  }
  return lapsed;
}

export function closeSession(
  context: Context,
  params: { readonly environment: string; readonly sessionId: string },
): boolean {
  const env = context.names.findEnvironment(params.environment);
  const row = env === undefined ? undefined : sessionRow(context, env, params.sessionId);
  if (row === undefined) return true;
  if (hasLiveRuns(context, row)) return false;
  removeSession(context, row);
  return true;
}

export function listSessions(
  context: Context,
  { environment }: { readonly environment: string },
): readonly SessionRecord[] {
  const env = context.names.findEnvironment(environment);
  if (env === undefined) return [];
  const rows = context.db.all(`SELECT ${COLUMNS} FROM sessions WHERE env = ? AND lapsed = 0 ORDER BY id`, env);
  return rows.map((row) => readSession(context, row));
}

function hasLiveRuns(context: Context, row: number): boolean {
  return context.db.get("SELECT 1 FROM runs WHERE holder = ? LIMIT 1", row) !== undefined;
}

function removeSession(context: Context, row: number): void {
  endLingeringOfSession(context, row);
  context.db.run("DELETE FROM sessions WHERE row = ?", row);
  context.sessionRows.clear();
}

function readSession(context: Context, row: Row): SessionRecord {
  const taskIds: unknown = JSON.parse(textAt(row, 6));
  return {
    environment: context.names.environmentName(numberAt(row, 1)),
    id: textAt(row, 2),
    workerName: textAt(row, 3),
    sdk: textAt(row, 4),
    connectionEpoch: numberAt(row, 5),
    taskIds: Array.isArray(taskIds) ? taskIds.filter((id) => typeof id === "string") : [],
    concurrency: numberAt(row, 7),
    connectedAtMs: numberAt(row, 8),
    untilMs: numberAt(row, 9),
  };
}
