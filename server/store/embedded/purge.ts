/**
 * Housekeeping (RUN-9). `purge_key` is the time a run finished, so that the retention can be changed; a run that must be kept longer
 * (a day from its creation, an hour after its key) gets a later one when purge meets it, and so does not stand in front of the others.
 */
import { purgeAtMs } from "../../domain/run.js";
import type { Purged } from "../store.js";
import { purgeAnswers } from "./answers.js";
import { purgeBatches } from "./batches.js";
import type { Context } from "./context.js";
import { numberAt } from "./database.js";
import { dropObjects } from "./objects.js";
import { RUN_COLUMNS, readRun, type StoredRun } from "./run-row.js";
import { endLingeringOfRun } from "./slots.js";
import { purgeStreams, removeStreams } from "./streams.js";
import { removeTag } from "./tags.js";
import { purgeTokenUses } from "./token-uses.js";
import { purgeWaitpoints } from "./waitpoints.js";

export interface Purge {
  readonly nowMs: number;
  readonly finishedRunsKeptMs: number;
  readonly limit: number;
}

export function purge(context: Context, { nowMs, finishedRunsKeptMs, limit }: Purge): Purged {
  context.flush();
  const rows = context.db.all(
    `SELECT ${RUN_COLUMNS} FROM runs WHERE purge_key <= ? ORDER BY purge_key LIMIT ?`,
    nowMs - finishedRunsKeptMs,
    limit,
  );
  const objectKeys: string[] = [];
  let removed = 0;
  for (const row of rows) {
    const stored = readRun(row, context.names);
    const atMs = purgeAtMs(stored.state, finishedRunsKeptMs);
    if (atMs === undefined || atMs > nowMs) {
      const key = atMs === undefined ? null : atMs - finishedRunsKeptMs;
      context.db.run("UPDATE runs SET purge_key = ? WHERE row = ?", key, stored.row);
      continue;
    }
    objectKeys.push(...dropObjects(context, stored.row));
    removeRun(context, stored);
    removed += 1;
  }
  purgeBatches(context, { nowMs, finishedRunsKeptMs, limit });
  purgeWaitpoints(context, { nowMs, finishedRunsKeptMs, limit });
  purgeStreams(context, nowMs, limit);
  purgeAnswers(context, nowMs, limit);
  purgeTokenUses(context, nowMs, limit);
  context.flush();
  purgePartitions(context, limit);
  return { removed, objectKeys };
}

function removeRun(context: Context, stored: StoredRun): void {
  const { row, state } = stored;
  for (const tag of state.tags) removeTag(context, stored, tag);
  endLingeringOfRun(context, row);
  context.db.run("DELETE FROM specs WHERE run = ?", row);
  context.db.run("DELETE FROM metadata WHERE run = ?", row);
  context.db.run("DELETE FROM metadata_sources WHERE run = ?", row);
  removeStreams(context, row);
  context.db.run("DELETE FROM results WHERE run = ?", row);
  context.db.run("DELETE FROM logs WHERE run = ?", row);
  context.db.run("DELETE FROM runs WHERE row = ?", row);
}

/**
 * Partitions without holders and without claimable runs; a run that comes back to one makes it anew. They are looked through in turn,
 * `limit` at a time, rather than by an index that every start and end of a run would have to move.
 */
function purgePartitions(context: Context, limit: number): void {
  const rows = context.db.all(
    `SELECT id, holders = 0 AND NOT EXISTS (SELECT 1 FROM heads WHERE heads.partition = partitions.id)
     FROM partitions WHERE id > ? ORDER BY id LIMIT ?`,
    context.partitionCursor,
    limit,
  );
  for (const row of rows) {
    if (numberAt(row, 1) === 1) context.db.run("DELETE FROM partitions WHERE id = ?", numberAt(row, 0));
  }
  const last = rows[rows.length - 1];
  context.partitionCursor = last === undefined || rows.length < limit ? 0 : numberAt(last, 0);
  if (rows.length > 0) context.queues.forgetPartitions();
}
