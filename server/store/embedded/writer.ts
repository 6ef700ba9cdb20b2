/** The one writing connection of a store: carries out groups, and opens the file again when it had a fault. */
import { randomBytes } from "node:crypto";
import { openForWriting } from "./connection.js";
import type { Context } from "./context.js";
import { bytesAt } from "./database.js";
import { isStoreFault, type Outcome, runGroup, runReads, SQLITE_FULL, sqliteCode } from "./group.js";
import type { Call } from "./verbs.js";

export interface Opened {
  readonly lastTimeMs: number;
  readonly secret: Uint8Array;
}

/** Bytes of the store's secret. */
const SECRET_BYTES = 32;

export class Writer {
  readonly #location: string;
  #context: Context | undefined;
  #isClosed = false;

  constructor(location: string) {
    this.#location = location;
  }

  open(): Opened {
    this.#context = openForWriting(this.#location);
    const { db, lastTimeMs } = this.#context;
    const row = db.get("SELECT value FROM meta WHERE name = 'secret'");
    if (row !== undefined) return { lastTimeMs, secret: bytesAt(row, 0) };
    const secret = new Uint8Array(randomBytes(SECRET_BYTES));
    db.run("INSERT INTO meta (name, value) VALUES ('secret', ?)", secret);
    return { lastTimeMs, secret };
  }

  execute(calls: readonly Call[]): readonly Outcome[] {
    const context = this.#reopened();
    if (!(context instanceof Error)) {
      const outcomes = runGroup(context, calls);
      this.#closeAfterFault(outcomes);
      return outcomes;
    }
    return calls.map(() => ({ kind: "unavailable", error: context }));
  }

  /** Reads without a transaction: what is committed, between groups. */
  read(calls: readonly Call[]): readonly Outcome[] {
    const context = this.#reopened();
    if (context instanceof Error) return calls.map(() => ({ kind: "unavailable", error: context }));
    return runReads(context, calls);
  }

  /** For tests that look at what is stored. */
  query(sql: string): readonly unknown[] {
    const context = this.#reopened();
    if (context instanceof Error) throw context;
    return context.db.all(sql);
  }

  close(): void {
    this.#isClosed = true;
    this.#context?.db.close();
    this.#context = undefined;
  }

  #reopened(): Context | Error {
    if (this.#context !== undefined) return this.#context;
    if (this.#isClosed) return new Error("the store is stopped");
    try {
      this.#context = openForWriting(this.#location);
      return this.#context;
    } catch (error) {
      return error instanceof Error ? error : new Error(String(error));
    }
  }

  /** A full disk leaves the connection sound; after any other fault nothing that it holds in memory is trusted. */
  #closeAfterFault(outcomes: readonly Outcome[]): void {
    const [first] = outcomes;
    if (first?.kind !== "unavailable" || !isStoreFault(first.error)) return;
    if ((sqliteCode(first.error) ?? 0) === SQLITE_FULL) return;
    try {
      this.#context?.db.close();
    } finally {
      this.#context = undefined;
    }
  }
}
