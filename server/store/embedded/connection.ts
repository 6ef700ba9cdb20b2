/** Opening a file for writing or reading, with what durability and one owner ask for. */
import { Context } from "./context.js";
import { Database } from "./database.js";
import { migrate } from "./schema.js";

/**
 * The log is copied back when it has this many pages (16 MB). Larger than SQLite's 1,000, because a page that many transactions change is
 * then copied once; small enough that a start after a crash reads it in a moment.
 */
const CHECKPOINT_PAGES = 4_000;

/** Page cache, in KiB. */
const CACHE_KIB = 32_768;

export function openForWriting(location: string): Context {
  const db = new Database({ location, isReadOnly: false });
  try {
    db.exec(`PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA fullfsync = ON; PRAGMA checkpoint_fullfsync = ON;
      PRAGMA wal_autocheckpoint = ${CHECKPOINT_PAGES}; PRAGMA cache_size = -${CACHE_KIB}; PRAGMA temp_store = MEMORY`);
    migrate(db);
    return new Context(db);
  } catch (error) {
    db.close();
    throw error;
  }
}

/** @throws Error where the file is not there yet: the writer opens first. */
export function openForReading(location: string): Context {
  const db = new Database({ location, isReadOnly: true });
  try {
    db.exec(`PRAGMA cache_size = -${CACHE_KIB}; PRAGMA temp_store = MEMORY`);
    return new Context(db);
  } catch (error) {
    db.close();
    throw error;
  }
}
