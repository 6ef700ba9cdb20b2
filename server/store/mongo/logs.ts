/** The last log lines of a run, kept together: they are read together and bounded (LOG-1). */
import type { AnyBulkWriteOperation } from "mongodb";
import type { AppendLogs, LogLine } from "../store.js";
import type { Identified } from "./client.js";
import { type Context, ROUNDS_MAX, racesLost } from "./context.js";

/** `_id`: the run. */
export interface LogsDoc extends Identified {
  readonly v: number;
  readonly lines: readonly LogLine[];
}

export async function appendLogs(context: Context, entries: readonly AppendLogs[]): Promise<void> {
  const runs = await context.runs.findByIds(
    entries.map(({ runId }) => runId),
    { environment: 1 },
  );
  const wanted = entries.filter(
    ({ environment, runId, lines }) => lines.length > 0 && runs.get(runId)?.environment === environment,
  );
  let left = new Map<string, AppendLogs[]>();
  for (const entry of wanted) left.set(entry.runId, [...(left.get(entry.runId) ?? []), entry]);
  for (let round = 0; left.size > 0; round += 1) {
    if (round === ROUNDS_MAX) throw racesLost("log lines");
    left = await appendRound(context, left);
  }
}

/** @returns what somebody else wrote to meanwhile. */
async function appendRound(
  context: Context,
  entries: ReadonlyMap<string, AppendLogs[]>,
): Promise<Map<string, AppendLogs[]>> {
  const known = await context.logs.findByIds(entries.keys());
  const next = [...entries].map(([runId, appended]) => {
    const before = known.get(runId);
    const lines = appended.reduce((kept, entry) => lastLines([...kept, ...entry.lines], entry), before?.lines ?? []);
    return { _id: runId, v: (before?.v ?? 0) + 1, lines };
  });
  const { matched, made } = await context.logs.bulk(
    next.map(({ _id, v, lines }): AnyBulkWriteOperation<LogsDoc> => {
      if (!known.has(_id)) return { insertOne: { document: { _id, v, lines } } };
      return { updateOne: { filter: { _id, v: v - 1 }, update: { $set: { v, lines } } } };
    }),
  );
  if (matched + made === next.length) return new Map();
  const present = await context.logs.findByIds(entries.keys());
  const isKept = (runId: string, line: LogLine | undefined): boolean =>
    line === undefined ||
    present.get(runId)?.lines.some(({ timeMs, message }) => timeMs === line.timeMs && message === line.message) ===
      true;
  return new Map([...entries].filter(([runId, appended]) => !isKept(runId, appended.at(-1)?.lines.at(-1))));
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

export function linesOf(doc: LogsDoc | undefined): readonly LogLine[] {
  return (doc?.lines ?? []).map(({ timeMs, level, attempt, message, fieldsJson }) => {
    return { timeMs, level, attempt, message, fieldsJson };
  });
}
