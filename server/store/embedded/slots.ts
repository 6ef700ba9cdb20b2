/** Lingering holders: code that may still run for a run that executes no more, and holds its slot for a while (QUE-4). */
import type { EndLingering } from "../store.js";
import type { Context } from "./context.js";
import { numberAt, type Row } from "./database.js";
import { runIdBytes } from "./run-row.js";

export function endLingering(context: Context, which: EndLingering): number {
  if (which.kind === "expired") {
    context.sees(which.nowMs);
    return free(
      context,
      context.db.all(
        "SELECT run, fence, partition FROM lingering WHERE since_ms <= ? ORDER BY since_ms LIMIT ?",
        which.nowMs - which.graceMs,
        which.limit,
      ),
    );
  }
  const id = runIdBytes(which.runId);
  const env = context.names.findEnvironment(which.environment);
  if (id === undefined || env === undefined) return 0;
  return free(
    context,
    context.db.all(
      `SELECT run, fence, partition FROM lingering
       WHERE run = (SELECT row FROM runs WHERE id = ? AND env = ?) AND fence = ?`,
      id,
      env,
      which.fence,
    ),
  );
}

export function endLingeringOfSession(context: Context, session: number): void {
  free(context, context.db.all("SELECT run, fence, partition FROM lingering WHERE session = ?", session));
}

/** With the record of the run itself; its code has long ended (CAN-3). */
export function endLingeringOfRun(context: Context, run: number): void {
  free(context, context.db.all("SELECT run, fence, partition FROM lingering WHERE run = ?", run));
}

function free(context: Context, rows: readonly Row[]): number {
  for (const row of rows) {
    context.db.run("DELETE FROM lingering WHERE run = ? AND fence = ?", numberAt(row, 0), numberAt(row, 1));
    context.pending.addHolders(numberAt(row, 2), -1);
  }
  return rows.length;
}
