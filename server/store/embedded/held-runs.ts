/**
 * The runs that workers hold, as the writing connection last stored them: what a claim has just written need not be read back for the
 * report that follows. Only the writer fills this; everything that changes a row of `runs` goes through `writeApplied`, which keeps the
 * new state, or tells by {@link HeldRuns.forget}. After a rollback nothing here holds.
 */
import type { StoredRun } from "./run-row.js";

/** Runs kept in memory before they are forgotten and read again: about what the workers of one server hold. */
const KEPT_MAX = 10_000;

export class HeldRuns {
  readonly #byId = new Map<string, StoredRun>();
  readonly #ids = new Map<number, string>();

  get(runId: string): StoredRun | undefined {
    return this.#byId.get(runId);
  }

  keep(stored: StoredRun): void {
    if (this.#byId.size >= KEPT_MAX) this.clear();
    this.#byId.set(stored.state.id, stored);
    this.#ids.set(stored.row, stored.state.id);
  }

  forget(row: number): void {
    const id = this.#ids.get(row);
    if (id === undefined) return;
    this.#ids.delete(row);
    this.#byId.delete(id);
  }

  clear(): void {
    this.#byId.clear();
    this.#ids.clear();
  }
}
