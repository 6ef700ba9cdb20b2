/** Debounced calls: the run that has a key's `debounce_hash` is its holder, and is pushed while the domain allows it (section 9). */
import { applyPush } from "../../domain/debounce.js";
import type { RunState } from "../../domain/run.js";
import { isRefused } from "../../domain/run-change.js";
import { rememberAnswer } from "./answers.js";
import { writeApplied } from "./change.js";
import type { Context } from "./context.js";
import { hexToBytes, textsOf } from "./database.js";
import { fixedText } from "./fixed.js";
import { type InsertRow, type RowDebounce, SPEC_IN_ROW_BYTES } from "./insert-row.js";
import { nameObjects } from "./objects.js";
import { RUN_COLUMNS, readRun, runIdBytes, type StoredRun } from "./run-row.js";

export function debounceOf({ debounceJson }: InsertRow): RowDebounce | undefined {
  return debounceJson === undefined ? undefined : JSON.parse(debounceJson);
}

/** Pushes the holder of the key. @returns it afterwards; undefined where the call makes a run of its own. */
export function pushHolder(context: Context, row: InsertRow, debounce: RowDebounce): RunState | undefined {
  const found = context.db.get(
    `SELECT ${RUN_COLUMNS} FROM runs WHERE debounce_hash = ?`,
    hexToBytes(debounce.recordHash),
  );
  if (found === undefined) return undefined;
  const stored = readRun(found, context.names);
  const applied = applyPush(stored.state, { ...debounce, nowMs: row.nowMs });
  if (isRefused(applied)) return undefined;
  context.sees(applied.next.updatedAtMs);
  writeApplied(context, stored, applied, row.nowMs);
  context.rowWrites.flush();
  if (debounce.isTrailing) replaceSpec(context, stored, row, applied.next);
  const id = runIdBytes(stored.state.id);
  if (row.requestHash !== undefined && id !== undefined) {
    const { requestHash, requestExpiresAtMs: expiresAtMs } = row;
    rememberAnswer(context, { requestHash, run: id, isCached: false, expiresAtMs });
  }
  return applied.next;
}

/** What the state does not hold of it; metadata that the call does not give stays (DEB-3). */
function replaceSpec(context: Context, { row }: StoredRun, insert: InsertRow, next: RunState): void {
  const { spec, metadataJson } = insert;
  nameObjects(context, row, textsOf(insert.objectsJson));
  const isInRow = spec.length <= SPEC_IN_ROW_BYTES;
  context.db.run("UPDATE runs SET fixed = ?, spec = ? WHERE row = ?", fixedText(next), isInRow ? spec : null, row);
  if (isInRow) context.db.run("DELETE FROM specs WHERE run = ?", row);
  else context.db.run("INSERT OR REPLACE INTO specs (run, spec) VALUES (?, ?)", row, spec);
  if (metadataJson === undefined) return;
  context.db.run("INSERT OR REPLACE INTO metadata (run, json) VALUES (?, ?)", row, metadataJson);
  context.db.run("UPDATE runs SET has_metadata = 1 WHERE row = ?", row);
}

/** Takes the key from its holder, if there is one. @returns what the new holder shows. */
export function takeDebounceKey(context: Context, { recordHash }: RowDebounce): Uint8Array {
  const hash = hexToBytes(recordHash);
  context.db.run("UPDATE runs SET debounce_hash = NULL WHERE debounce_hash = ?", hash);
  return hash;
}
