/** The last log lines of a run, kept together: they are read together and bounded (LOG-1). */
import type { AppendLogs, LogLine } from "../store.js";
import { findRun } from "./change.js";
import type { Context } from "./context.js";
import { textAt } from "./database.js";
import { linesOf } from "./read.js";

export function appendLogs(context: Context, entries: readonly AppendLogs[]): void {
  for (const entry of entries) {
    const stored = findRun(context, entry.environment, entry.runId);
    if (stored === undefined || entry.lines.length === 0) continue;
    const before = context.db.get("SELECT lines FROM logs WHERE run = ?", stored.row);
    const lines = lastLines([...(before === undefined ? [] : linesOf(textAt(before, 0))), ...entry.lines], entry);
    context.db.run("INSERT OR REPLACE INTO logs (run, lines) VALUES (?, ?)", stored.row, JSON.stringify(lines));
  }
}

function lastLines(
  lines: readonly LogLine[],
  { linesMax, bytesMax }: { readonly linesMax: number; readonly bytesMax: number },
): readonly LogLine[] {
  let first = lines.length;
  let bytes = 0;
  while (first > 0 && lines.length - first < linesMax) {
    const line = lines[first - 1];
    bytes += line === undefined ? 0 : Buffer.byteLength(line.message) + Buffer.byteLength(line.fieldsJson ?? "");
    if (bytes > bytesMax) break;
    first -= 1;
  }
  return lines.slice(first);
}
