/** Which objects of the payload store are named by which run (PAY-11). */
import type { Context } from "./context.js";
import { textAt } from "./database.js";

/** @param row of the run that names them from now on. */
export function nameObjects(context: Context, row: number, keys: readonly string[]): void {
  for (const key of keys) context.db.run("INSERT OR IGNORE INTO objects (key, run) VALUES (?, ?)", key, row);
}

/** The run is removed. @returns what it named. */
export function dropObjects(context: Context, row: number): readonly string[] {
  const keys = context.db.all("SELECT key FROM objects WHERE run = ?", row).map((found) => textAt(found, 0));
  if (keys.length > 0) context.db.run("DELETE FROM objects WHERE run = ?", row);
  return keys;
}

export function findUnnamedObjects(context: Context, keys: readonly string[]): readonly string[] {
  return keys.filter((key) => context.db.get("SELECT 1 FROM objects WHERE key = ?", key) === undefined);
}
