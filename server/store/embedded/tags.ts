/** Tags beside their runs: what a list by tag reads (RUN-17). */
import type { Context } from "./context.js";
import type { StoredRun } from "./run-row.js";

/** Makes a run findable by these tags (RUN-17). */
export function addTags(
  context: Context,
  run: {
    readonly env: number;
    readonly row: number;
    readonly id: Uint8Array;
    readonly createdAtMs: number;
    readonly tags: readonly string[];
  },
): void {
  for (const tag of run.tags) {
    context.db.run(
      "INSERT OR IGNORE INTO run_tags (env, tag, created_ms, id, run) VALUES (?, ?, ?, ?, ?)",
      run.env,
      tag,
      run.createdAtMs,
      run.id,
      run.row,
    );
  }
}

/** The run is no longer found by this tag. */
export function removeTag(context: Context, { env, row, state }: StoredRun, tag: string): void {
  context.db.run(
    "DELETE FROM run_tags WHERE env = ? AND tag = ? AND created_ms = ? AND run = ?",
    env,
    tag,
    state.createdAtMs,
    row,
  );
}
