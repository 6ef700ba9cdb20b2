/**
 * One process owns a directory. The lock is an exclusive transaction on a small file beside the store: the operating system ends it with
 * the process, however that dies, so no stale lock can be left; and it is not a lock of the store's own file, which readers in other
 * threads have to open. Who owns it is written into a text file, for the message only.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Database } from "./database.js";
import { sqliteCode } from "./group.js";

const SQLITE_BUSY = 5;

export interface Lock {
  release(): void;
}

/** @throws Error naming the process that owns the directory. */
export function lockDirectory(directory: string): Lock {
  const owner = join(directory, "owner");
  const db = new Database({ location: join(directory, "lock.db"), isReadOnly: false, busyMs: 0 });
  try {
    db.exec("BEGIN EXCLUSIVE");
    writeFileSync(owner, `${process.pid}\n`);
  } catch (error) {
    db.close();
    if (sqliteCode(error) === SQLITE_BUSY) throw new Error(inUse(directory, owner), { cause: error });
    throw error;
  }
  return { release: () => db.close() };
}

function inUse(directory: string, owner: string): string {
  return `The store ${directory} is in use by process ${readOwner(owner)}: stop it first, or use another directory`;
}

function readOwner(file: string): string {
  try {
    return readFileSync(file, "utf8").trim();
  } catch {
    return "(unknown)";
  }
}
