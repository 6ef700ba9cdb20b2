/**
 * What verbs work with: the connection and what is known and pending in the present transaction. One per connection.
 */
import { type Database, numberAt } from "./database.js";
import { HeldRuns } from "./held-runs.js";
import { Names } from "./names.js";
import { Pending } from "./pending.js";
import { Queues } from "./queues.js";
import { RowWrites } from "./row-writes.js";

/**
 * The last time is stored this much ahead, so that it is not one more page of every transaction. Shorter than any start takes, so no
 * clock is set ahead by it.
 */
const AHEAD_MS = 100;

export class Context {
  readonly db: Database;
  readonly names: Names;
  readonly queues: Queues;
  readonly pending: Pending;
  readonly rowWrites: RowWrites;
  readonly held = new HeldRuns();
  /** Sessions by `<environment>/<id>`, lapsed or not, as far as they were asked for. */
  readonly sessionRows = new Map<string, number>();
  /** Where the search for unused partitions goes on. */
  partitionCursor = 0;
  #lastTimeMs = 0;
  #storedTimeMs = 0;

  constructor(db: Database) {
    this.db = db;
    this.names = new Names(db);
    this.queues = new Queues(db);
    this.pending = new Pending(db, this.queues);
    this.rowWrites = new RowWrites(db);
    this.#lastTimeMs = readLastTime(db);
    this.#storedTimeMs = this.#lastTimeMs;
  }

  /** A time that is written with this transaction; no later clock may start below it (design 12). */
  sees(timeMs: number): void {
    if (timeMs > this.#lastTimeMs) this.#lastTimeMs = timeMs;
  }

  get lastTimeMs(): number {
    return this.#lastTimeMs;
  }

  /** Writes counters and heads; before everything that reads them, and at the end of a transaction. */
  flush(): void {
    this.rowWrites.flush();
    this.pending.flush();
  }

  /** The last writes of a transaction. */
  finish(): void {
    this.flush();
    if (this.#lastTimeMs <= this.#storedTimeMs) return;
    const value = this.#lastTimeMs + AHEAD_MS;
    this.db.run("INSERT OR REPLACE INTO meta (name, value) VALUES ('last_time', ?)", value);
    this.#storedTimeMs = value;
  }

  /** After a rollback: nothing that was learned in the transaction holds. */
  forget(): void {
    this.names.forget();
    this.queues.forget();
    this.pending.forget();
    this.rowWrites.forget();
    this.held.clear();
    this.sessionRows.clear();
    this.#storedTimeMs = 0;
  }
}

function readLastTime(db: Database): number {
  const row = db.get("SELECT value FROM meta WHERE name = 'last_time'");
  return row === undefined ? 0 : numberAt(row, 0);
}
