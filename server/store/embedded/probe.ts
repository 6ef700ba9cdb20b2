import type { Context } from "./context.js";

/** Whether a write succeeds: one is made. */
export function probe(context: Context, _argument: undefined): void {
  context.db.run("INSERT OR REPLACE INTO meta (name, value) VALUES ('probe', 1)");
}
