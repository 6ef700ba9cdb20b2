/** Runs that a duty has to look at, each kind by its own partial index. */
import type { RunState } from "../../domain/run.js";
import type { FindRuns } from "../store.js";
import type { Context } from "./context.js";
import type { SqlValue } from "./database.js";
import { FINAL_FROM, placeNumber, RUN_COLUMNS, readRun } from "./run-row.js";
import { readSessionRow } from "./sessions.js";

/** A text without runs for this query: an environment or session that nothing is stored of. */
type Where = readonly [condition: string, ...params: readonly SqlValue[]] | undefined;

export function findRuns(context: Context, query: FindRuns): readonly RunState[] {
  const where = whereOf(context, query);
  if (where === undefined) return [];
  const [condition, ...params] = where;
  const rows = context.db.all(`SELECT ${RUN_COLUMNS} FROM runs WHERE ${condition} LIMIT ?`, ...params, query.limit);
  return rows.map((row) => readRun(row, context.names).state);
}

function whereOf(context: Context, query: FindRuns): Where {
  switch (query.kind) {
    case "due":
      return ["due_ms <= ? ORDER BY due_ms", query.nowMs];
    case "expired":
      return ["expire_ms <= ? AND started_ms IS NULL ORDER BY expire_ms", query.nowMs];
    case "unconfirmed":
      return ["holder IS NOT NULL AND pick_up_ms <= ?", query.nowMs];
    case "overrun":
      return ["deadline_ms <= ? ORDER BY deadline_ms", query.nowMs];
    case "todo":
      return ["todo <> 0 AND updated_ms <= ? ORDER BY updated_ms", query.untilMs];
    case "session": {
      const env = context.names.findEnvironment(query.environment);
      const session = env === undefined ? undefined : readSessionRow(context, env, query.sessionId);
      return session === undefined ? undefined : ["holder = ?", session];
    }
    case "children": {
      const env = context.names.findEnvironment(query.environment);
      if (env === undefined) return undefined;
      return [`parent = ? AND env = ? AND place < ${FINAL_FROM} ORDER BY created_ms`, query.parentRunId, env];
    }
    case "waiting": {
      const env = context.names.findEnvironment(query.environment);
      if (env === undefined) return undefined;
      return [
        `waiting_for IN (SELECT value FROM json_each(?)) AND env = ? AND place = ${placeNumber("WAITING")}`,
        JSON.stringify(query.waitingFor),
        env,
      ];
    }
  }
}
