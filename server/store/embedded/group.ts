/**
 * A group of calls as one transaction: everything that arrived while the last one was committed.
 *
 * Invariant: an outcome `done` leaves this file only after COMMIT returned.
 *
 * A verb that throws must harm no other verb of its group. Groups are therefore tried without savepoints first, which nearly all of them
 * pass; when a verb throws, everything is rolled back and the group is carried out anew with a savepoint around each verb. That costs a
 * rare group twice its time, and saves all others two statements a verb, and lets counters and heads be written once a group.
 *
 * SQLite ends a transaction by itself when the disk is full, and a savepoint opened after that would be committed alone. So after every
 * error the connection is asked whether the transaction still stands; if not, nothing of the group happened and all of it fails.
 */
import type { Context } from "./context.js";
import { insertRuns } from "./insert.js";
import type { InsertRow } from "./insert-row.js";
import { type Call, runVerb } from "./verbs.js";

export type Outcome =
  | { readonly kind: "done"; readonly value: unknown }
  /** The verb threw; nothing of it was kept. */
  | { readonly kind: "failed"; readonly error: unknown }
  /** The store could not be written or read; nothing of the group was kept. */
  | { readonly kind: "unavailable"; readonly error: unknown };

export function runGroup(context: Context, calls: readonly Call[]): readonly Outcome[] {
  try {
    return transact(context, () => runTogether(context, calls));
  } catch (error) {
    if (isStoreFault(error)) return calls.map(() => ({ kind: "unavailable", error }));
    if (calls.length === 1) return [{ kind: "failed", error }];
  }
  try {
    return transact(context, () => calls.map((call) => runAlone(context, call)));
  } catch (error) {
    return calls.map(() => ({ kind: "unavailable", error }));
  }
}

/** Reads see one state of the store and change nothing. */
export function runReads(context: Context, calls: readonly Call[]): readonly Outcome[] {
  return calls.map((call) => {
    try {
      return done(runVerb(context, call));
    } catch (error) {
      return isStoreFault(error) ? { kind: "unavailable", error } : { kind: "failed", error };
    }
  });
}

/** Inserts that stand side by side become one, so that their rows share statements; the others run one after the other. */
function runTogether(context: Context, calls: readonly Call[]): readonly Outcome[] {
  const outcomes: Outcome[] = [];
  for (let at = 0; at < calls.length; ) {
    const inserts = insertsFrom(calls, at);
    if (inserts.length < 2) {
      const call = calls[at];
      if (call !== undefined) outcomes.push(done(runVerb(context, call)));
      at += 1;
      continue;
    }
    const answers = insertRuns(context, inserts.flat());
    let taken = 0;
    for (const { length } of inserts) outcomes.push(done(answers.slice(taken, (taken += length))));
    at += inserts.length;
  }
  return outcomes;
}

function insertsFrom(calls: readonly Call[], from: number): readonly (readonly InsertRow[])[] {
  const inserts: (readonly InsertRow[])[] = [];
  for (let at = from; at < calls.length; at += 1) {
    const rows = calls[at]?.inserts;
    if (rows === undefined) break;
    inserts.push(rows);
  }
  return inserts;
}

function done(value: unknown): Outcome {
  return { kind: "done", value };
}

function transact<T>(context: Context, work: () => T): T {
  const { db } = context;
  db.exec("BEGIN IMMEDIATE");
  try {
    const result = work();
    context.finish();
    db.exec("COMMIT");
    return result;
  } catch (error) {
    if (db.isTransaction) db.exec("ROLLBACK");
    context.forget();
    throw error;
  }
}

function runAlone(context: Context, call: Call): Outcome {
  const { db } = context;
  db.exec("SAVEPOINT verb");
  try {
    const value = runVerb(context, call);
    context.flush();
    db.exec("RELEASE verb");
    return done(value);
  } catch (error) {
    if (!db.isTransaction || isStoreFault(error)) throw error;
    db.exec("ROLLBACK TO verb");
    db.exec("RELEASE verb");
    context.forget();
    return { kind: "failed", error };
  }
}

export const SQLITE_FULL = 13;

/** Primary result codes of SQLite that speak of the file and its disk, not of our statement. */
const FAULTS: ReadonlySet<number> = new Set([
  5, // BUSY
  6, // LOCKED
  7, // NOMEM
  8, // READONLY
  10, // IOERR
  11, // CORRUPT
  SQLITE_FULL,
  14, // CANTOPEN
  15, // PROTOCOL
  22, // NOLFS
  26, // NOTADB
]);

/** Whether the error is of the file or its disk, told by SQLite or by the system; every other error is a mistake of ours. */
export function isStoreFault(error: unknown): boolean {
  if (error instanceof Error && "syscall" in error) return true;
  const code = sqliteCode(error);
  return code !== undefined && FAULTS.has(code & 0xff);
}

export function sqliteCode(error: unknown): number | undefined {
  if (!(error instanceof Error) || !("errcode" in error)) return undefined;
  return typeof error.errcode === "number" ? error.errcode : undefined;
}
