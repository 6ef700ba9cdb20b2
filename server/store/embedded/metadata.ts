/** Changes of metadata, each with the number of its source in one transaction (design 8). */
import { changeMetadata as changeOf } from "../../domain/run-metadata.js";
import { kept } from "../../domain/run-moves.js";
import type { ChangeMetadata, ChangeMetadataResult } from "../store.js";
import { findRun, writeApplied } from "./change.js";
import type { Context } from "./context.js";
import { numberAt, textAt } from "./database.js";

export function changeMetadata(context: Context, items: readonly ChangeMetadata[]): readonly ChangeMetadataResult[] {
  const results = items.map((item) => changeOne(context, item));
  context.rowWrites.flush();
  return results;
}

function changeOne(context: Context, item: ChangeMetadata): ChangeMetadataResult {
  const stored = findRun(context, item.environment, item.runId);
  if (stored === undefined) return { kind: "refused", refusal: { reason: "unknown" }, run: undefined };
  const { row, state } = stored;
  const { source, operations, nowMs } = item;
  const found = context.db.get("SELECT json FROM metadata WHERE run = ?", row);
  const before = found === undefined ? undefined : textAt(found, 0);
  const appliedUpTo = source === undefined ? 0 : lastOf(context, row, source);
  const outcome = changeOf(state, before, { ...item, appliedUpTo });
  switch (outcome.kind) {
    case "same":
      return { kind: "applied", run: state, isChanged: false, metadataJson: before ?? "{}", refusal: undefined };
    case "refused":
      return { kind: "refused", refusal: outcome.refusal, run: state };
    case "changed":
      context.sees(outcome.run.updatedAtMs);
      writeApplied(context, stored, kept(outcome.run), nowMs);
      context.db.run("INSERT OR REPLACE INTO metadata (run, json) VALUES (?, ?)", row, outcome.json);
      if (before === undefined) context.db.run("UPDATE runs SET has_metadata = 1 WHERE row = ?", row);
      if (source !== undefined) {
        const last = operations.at(-1)?.sequence ?? 0;
        context.db.run(
          "INSERT OR REPLACE INTO metadata_sources (run, source, last) VALUES (?, ?, ?)",
          row,
          source,
          last,
        );
      }
      return {
        kind: "applied",
        run: outcome.run,
        isChanged: true,
        metadataJson: outcome.json,
        refusal: outcome.refusal,
      };
  }
}

function lastOf(context: Context, row: number, source: string): number {
  const found = context.db.get("SELECT last FROM metadata_sources WHERE run = ? AND source = ?", row, source);
  return found === undefined ? 0 : numberAt(found, 0);
}
