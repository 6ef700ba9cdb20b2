/** Streams of runs (RUN-27): chunks in one order for each run, each with the number of its source in one transaction. */
import { publish, type StreamChunk, streamsUntilMs } from "../../domain/run-streams.js";
import type { AppendStream, AppendStreamResult, Store } from "../store.js";
import { findRun } from "./change.js";
import type { Context } from "./context.js";
import { numberAt, textAt } from "./database.js";
import { RUN_COLUMNS, readRun } from "./run-row.js";

export function appendStreams(context: Context, items: readonly AppendStream[]): readonly AppendStreamResult[] {
  return items.map((item) => appendOne(context, item));
}

function appendOne(context: Context, item: AppendStream): AppendStreamResult {
  const stored = findRun(context, item.environment, item.runId);
  if (stored === undefined) return { isChanged: false, refusal: { reason: "unknown" } };
  const { row, state } = stored;
  const { db } = context;
  const known = db.get("SELECT chunks, bytes FROM streams WHERE run = ?", row);
  const source = db.get("SELECT last FROM stream_sources WHERE run = ? AND source = ?", row, item.source);
  const before =
    known === undefined ? { chunks: 0, bytes: 0 } : { chunks: numberAt(known, 0), bytes: numberAt(known, 1) };
  const appliedUpTo = source === undefined ? 0 : numberAt(source, 0);
  const { added, totals, refusal } = publish(state, before, { ...item, appliedUpTo });
  const last = added.at(-1);
  if (last === undefined) return { isChanged: false, refusal };
  added.forEach(({ key, json }, index) => {
    db.run(
      "INSERT INTO stream_chunks (run, position, key, json) VALUES (?, ?, ?, ?)",
      row,
      before.chunks + index + 1,
      key,
      json,
    );
  });
  db.run("INSERT OR REPLACE INTO stream_sources (run, source, last) VALUES (?, ?, ?)", row, item.source, last.sequence);
  db.run(
    "INSERT OR REPLACE INTO streams (run, chunks, bytes, check_ms) VALUES (?, ?, ?, ?)",
    row,
    totals.chunks,
    totals.bytes,
    streamsUntilMs(state, item.nowMs),
  );
  return { isChanged: true, refusal };
}

export function readStream(context: Context, query: Parameters<Store["readStream"]>[0]): readonly StreamChunk[] {
  const stored = findRun(context, query.environment, query.runId);
  if (stored === undefined) return [];
  const chunks: StreamChunk[] = [];
  let bytes = 0;
  // One by one: what does not fit any more is not read.
  for (let after = query.after; chunks.length < query.limit && bytes < query.bytesMax; ) {
    const found = context.db.get(
      "SELECT position, key, json FROM stream_chunks WHERE run = ? AND position > ? ORDER BY position LIMIT 1",
      stored.row,
      after,
    );
    if (found === undefined) break;
    after = numberAt(found, 0);
    const json = textAt(found, 2);
    bytes += json.length;
    chunks.push({ position: after, key: textAt(found, 1), json });
  }
  return chunks;
}

export function purgeStreams(context: Context, nowMs: number, limit: number): void {
  const { db } = context;
  for (const found of db.all("SELECT run FROM streams WHERE check_ms <= ? ORDER BY check_ms LIMIT ?", nowMs, limit)) {
    const row = numberAt(found, 0);
    const run = db.get(`SELECT ${RUN_COLUMNS} FROM runs WHERE row = ?`, row);
    const untilMs = streamsUntilMs(run === undefined ? undefined : readRun(run, context.names).state, nowMs);
    if (untilMs > nowMs) db.run("UPDATE streams SET check_ms = ? WHERE run = ?", untilMs, row);
    else removeStreams(context, row);
  }
}

export function removeStreams({ db }: Context, row: number): void {
  db.run("DELETE FROM stream_chunks WHERE run = ?", row);
  db.run("DELETE FROM stream_sources WHERE run = ?", row);
  db.run("DELETE FROM streams WHERE run = ?", row);
}
