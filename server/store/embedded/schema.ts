/**
 * The tables, and the steps from one version of the file to the next. A released step is never edited; a change is a new step.
 *
 * - `runs` holds the state in columns, a small spec and the small output of a run that completed at its first attempt. What a claim or a
 *   report need not move lies beside it: large specs, metadata, results (output, failure, attempts), logs.
 * - What a run's state can change is a column; what its trigger fixed is one JSON text (`fixed`), NULL where all of it is ordinary, beside
 *   columns for what queries ask for.
 * - A run that can be claimed has a `target`: its task, or (negative) the session that it is bound to. `heads` has the best such run of
 *   each partition and target, *open* while the partition has room: what a claim looks at. Heads are kept exact by the transaction that
 *   changes the runs (pending.ts).
 * - A key is the unique index over `key_hash` (a debounce key: `debounce_hash`): the run that has the columns is the holder, so the record
 *   and the run cannot disagree.
 * - One index serves all lists: by (task, place), which every list merges as far as it has to (list.ts). Indexes by creation, task, queue
 *   and status each were measured at a sixth of the cost of a run, for lists that are read a thousand times less often than runs are
 *   written. A run that waits elsewhere than in its task's own queue (is_elsewhere) has one by queue besides.
 * - One index over the held runs serves both who asks for those of a session and who asks for those not confirmed in time: they are no more
 *   than the places of all workers, and each index more costs a claim and a report 3 µs each.
 * - Every other index is partial: it has entries for the runs that its duty looks for and for no others.
 */
import type { Database } from "./database.js";
import { numberAt } from "./database.js";

const VERSION_1 = `
CREATE TABLE meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID;

CREATE TABLE environments (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);

-- Known once a run or a registration names it; declared while declaration is there.
CREATE TABLE tasks (
  id INTEGER PRIMARY KEY, env INTEGER NOT NULL, name TEXT NOT NULL, declaration TEXT, registered_ms INTEGER,
  UNIQUE (env, name)
);

CREATE TABLE queues (
  id INTEGER PRIMARY KEY, env INTEGER NOT NULL, name TEXT NOT NULL, public_id TEXT NOT NULL UNIQUE,
  declared INTEGER NOT NULL DEFAULT 0, paused INTEGER NOT NULL DEFAULT 0, base_limit INTEGER,
  override_limit INTEGER, override_ms INTEGER, override_by TEXT, holders INTEGER NOT NULL DEFAULT 0,
  UNIQUE (env, name)
);

-- How many runs of a task are QUEUED in a queue.
CREATE TABLE queue_tasks (
  queue INTEGER NOT NULL, task INTEGER NOT NULL, queued INTEGER NOT NULL, PRIMARY KEY (queue, task)
) WITHOUT ROWID;

-- holders: EXECUTING runs and rows of lingering. open: not paused, and below the limit.
CREATE TABLE partitions (
  id INTEGER PRIMARY KEY AUTOINCREMENT, queue INTEGER NOT NULL, key TEXT NOT NULL,
  holders INTEGER NOT NULL DEFAULT 0, open INTEGER NOT NULL,
  UNIQUE (queue, key)
);

CREATE TABLE heads (
  partition INTEGER NOT NULL, target INTEGER NOT NULL, order_ms INTEGER NOT NULL, run BLOB NOT NULL,
  open INTEGER NOT NULL, PRIMARY KEY (partition, target)
) WITHOUT ROWID;
CREATE INDEX heads_open ON heads (target, order_ms, run, partition) WHERE open = 1;

CREATE TABLE runs (
  row INTEGER PRIMARY KEY, id BLOB NOT NULL UNIQUE, env INTEGER NOT NULL, task INTEGER NOT NULL, place INTEGER NOT NULL,
  version INTEGER NOT NULL, queue INTEGER NOT NULL, partition INTEGER, target INTEGER, order_ms INTEGER NOT NULL,
  fence INTEGER NOT NULL DEFAULT 0, attempt INTEGER NOT NULL DEFAULT 0, holder INTEGER, session TEXT, report_fence INTEGER,
  pick_up_ms INTEGER, pick_up_failures INTEGER NOT NULL DEFAULT 0, interruptions INTEGER NOT NULL DEFAULT 0,
  created_ms INTEGER NOT NULL, updated_ms INTEGER NOT NULL, started_ms INTEGER, finished_ms INTEGER, purge_key INTEGER,
  attempt_started_ms INTEGER, active_since_ms INTEGER, attempt_active_ms INTEGER NOT NULL DEFAULT 0,
  earlier_active_ms INTEGER NOT NULL DEFAULT 0, due_ms INTEGER, delayed_until_ms INTEGER, expire_ms INTEGER,
  expired_ms INTEGER, policy_max_attempts INTEGER, attempt_max_duration_s INTEGER, deadline_ms INTEGER, retry_ms INTEGER,
  waiting_for TEXT, awaited INTEGER NOT NULL DEFAULT 0, todo INTEGER NOT NULL DEFAULT 0, tags TEXT, fixed TEXT,
  key_hash BLOB, key_expires_ms INTEGER, batch TEXT, parent TEXT, is_test INTEGER NOT NULL DEFAULT 0,
  is_elsewhere INTEGER NOT NULL DEFAULT 0, request BLOB, has_metadata INTEGER NOT NULL DEFAULT 0,
  has_results INTEGER NOT NULL DEFAULT 0, debounce_hash BLOB, spec BLOB, output BLOB
);
CREATE UNIQUE INDEX runs_key ON runs (key_hash) WHERE key_hash IS NOT NULL;
CREATE UNIQUE INDEX runs_debounce ON runs (debounce_hash) WHERE debounce_hash IS NOT NULL;
CREATE INDEX runs_claim ON runs (partition, target, order_ms, id) WHERE target IS NOT NULL;
CREATE INDEX runs_held ON runs (holder, pick_up_ms) WHERE holder IS NOT NULL;
CREATE INDEX runs_due ON runs (due_ms) WHERE due_ms IS NOT NULL;
CREATE INDEX runs_expire ON runs (expire_ms) WHERE expire_ms IS NOT NULL AND started_ms IS NULL;
CREATE INDEX runs_deadline ON runs (deadline_ms) WHERE deadline_ms IS NOT NULL;
CREATE INDEX runs_todo ON runs (updated_ms) WHERE todo <> 0;
CREATE INDEX runs_purge ON runs (purge_key) WHERE purge_key IS NOT NULL;
CREATE INDEX runs_parent ON runs (parent, created_ms) WHERE parent IS NOT NULL;
CREATE INDEX runs_batch ON runs (env, batch, created_ms, id) WHERE batch IS NOT NULL;
CREATE INDEX runs_queue ON runs (queue, created_ms, id) WHERE is_elsewhere = 1;
CREATE INDEX runs_test ON runs (env, created_ms, id) WHERE is_test = 1;
CREATE INDEX runs_list ON runs (task, place, created_ms, id);
CREATE TABLE run_tags (
  env INTEGER NOT NULL, tag TEXT NOT NULL, created_ms INTEGER NOT NULL, id BLOB NOT NULL, run INTEGER NOT NULL,
  PRIMARY KEY (env, tag, created_ms, id)
) WITHOUT ROWID;

CREATE TABLE specs (run INTEGER PRIMARY KEY, spec BLOB NOT NULL);
CREATE TABLE metadata (run INTEGER PRIMARY KEY, json TEXT NOT NULL);
-- Up to which number the operations of a source are in a run's metadata (REQ-1).
CREATE TABLE metadata_sources (
  run INTEGER NOT NULL, source TEXT NOT NULL, last INTEGER NOT NULL, PRIMARY KEY (run, source)
) WITHOUT ROWID;
CREATE TABLE results (run INTEGER PRIMARY KEY, attempts TEXT, failure TEXT, output BLOB);
CREATE TABLE logs (run INTEGER PRIMARY KEY, lines TEXT NOT NULL);

-- Code that may still run for a run that no longer executes (QUE-4).
CREATE TABLE lingering (
  run INTEGER NOT NULL, fence INTEGER NOT NULL, partition INTEGER NOT NULL, queue INTEGER NOT NULL, session INTEGER,
  since_ms INTEGER NOT NULL, PRIMARY KEY (run, fence)
) WITHOUT ROWID;
CREATE INDEX lingering_since ON lingering (since_ms);
CREATE INDEX lingering_session ON lingering (session) WHERE session IS NOT NULL;

-- AUTOINCREMENT: targets name sessions, so a number is never given twice.
CREATE TABLE sessions (
  row INTEGER PRIMARY KEY AUTOINCREMENT, env INTEGER NOT NULL, id TEXT NOT NULL, worker_name TEXT NOT NULL, sdk TEXT NOT NULL,
  epoch INTEGER NOT NULL, tasks TEXT NOT NULL, concurrency INTEGER NOT NULL, connected_ms INTEGER NOT NULL,
  until_ms INTEGER NOT NULL, lapsed INTEGER NOT NULL DEFAULT 0,
  UNIQUE (env, id)
);
CREATE INDEX sessions_until ON sessions (until_ms) WHERE lapsed = 0;
CREATE INDEX sessions_lapsed ON sessions (row) WHERE lapsed = 1;

CREATE TABLE answers (request BLOB PRIMARY KEY, run BLOB NOT NULL, cached INTEGER NOT NULL, expires_ms INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX answers_expires ON answers (expires_ms);
`;

/** Public tokens that were used once and are used up, and secret keys that were made at run time: their hashes, never the keys. */
const WITH_TOKENS = `
CREATE TABLE token_uses (token BLOB PRIMARY KEY, forget_ms INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX token_uses_forget ON token_uses (forget_ms);
CREATE TABLE secret_keys (
  name TEXT PRIMARY KEY, environment TEXT NOT NULL, digest BLOB NOT NULL, signing_key BLOB NOT NULL, description TEXT NOT NULL,
  origin TEXT NOT NULL, created_ms INTEGER NOT NULL, revoked_ms INTEGER
) WITHOUT ROWID;
`;

/** Waits: who waits for what is found without a scan; since which attempt waits are re-joined. */
const WAITS = `
ALTER TABLE runs ADD COLUMN rejoin_attempt INTEGER;
CREATE INDEX runs_waiting ON runs (waiting_for) WHERE waiting_for IS NOT NULL;
`;

/**
 * Batches. A chunk is one row with the ids of its positions side by side: what a batch shows is read from few rows, also after its runs were
 * purged, and a run is no larger for being a member. `batch_hits` has the runs that an awaited or any other batch found made by others, as
 * long as they may be live.
 */
const BATCHES = `
CREATE TABLE batches (
  row INTEGER PRIMARY KEY, id BLOB NOT NULL UNIQUE, env INTEGER NOT NULL, request BLOB, is_streamed INTEGER NOT NULL,
  is_awaited INTEGER NOT NULL, key_hash BLOB, key TEXT, opener TEXT, opener_run BLOB, items INTEGER NOT NULL, chunks INTEGER NOT NULL,
  created_ms INTEGER NOT NULL, updated_ms INTEGER NOT NULL, open_ms INTEGER, sealed_ms INTEGER, failure TEXT, purge_key INTEGER
);
CREATE UNIQUE INDEX batches_key ON batches (key_hash) WHERE key_hash IS NOT NULL;
CREATE INDEX batches_open ON batches (open_ms) WHERE open_ms IS NOT NULL;
CREATE INDEX batches_opener ON batches (opener_run) WHERE opener_run IS NOT NULL;
CREATE INDEX batches_purge ON batches (purge_key) WHERE purge_key IS NOT NULL;
CREATE TABLE batch_chunks (
  batch INTEGER NOT NULL, first INTEGER NOT NULL, runs BLOB NOT NULL, items TEXT NOT NULL, PRIMARY KEY (batch, first)
) WITHOUT ROWID;
CREATE TABLE batch_hits (batch INTEGER NOT NULL, run BLOB NOT NULL, PRIMARY KEY (batch, run)) WITHOUT ROWID;
CREATE INDEX batch_hits_run ON batch_hits (run);
CREATE INDEX runs_batch_live ON runs (batch) WHERE batch IS NOT NULL AND place < 6;
`;

/** due: when it ends by itself, while it waits. owes: since when those who wait for it are to be woken. */
const WAITPOINTS = `
CREATE TABLE waitpoints (
  row INTEGER PRIMARY KEY, id BLOB NOT NULL UNIQUE, env INTEGER NOT NULL, kind TEXT NOT NULL, status TEXT NOT NULL,
  created_ms INTEGER NOT NULL, timeout_ms INTEGER NOT NULL, due_ms INTEGER, completed_ms INTEGER, owes_ms INTEGER, key_hash BLOB,
  key_text TEXT, key_scope TEXT, key_expires_ms INTEGER, tags TEXT, request BLOB, output BLOB
);
CREATE UNIQUE INDEX waitpoints_key ON waitpoints (key_hash) WHERE key_hash IS NOT NULL;
CREATE INDEX waitpoints_due ON waitpoints (due_ms) WHERE due_ms IS NOT NULL;
CREATE INDEX waitpoints_owes ON waitpoints (owes_ms) WHERE owes_ms IS NOT NULL;
CREATE INDEX waitpoints_completed ON waitpoints (completed_ms) WHERE completed_ms IS NOT NULL;
CREATE INDEX waitpoints_list ON waitpoints (env, created_ms, id) WHERE kind = 'token';
`;

/** Objects of the payload store that runs name; no two runs name the same. */
const OBJECTS = `
CREATE TABLE objects (key TEXT PRIMARY KEY, run INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX objects_run ON objects (run);
`;

/** Streams of runs (RUN-27). check_ms: when to look whether its chunks can go. */
const STREAMS = `
CREATE TABLE streams (run INTEGER PRIMARY KEY, chunks INTEGER NOT NULL, bytes INTEGER NOT NULL, check_ms INTEGER NOT NULL);
CREATE INDEX streams_check ON streams (check_ms);
CREATE TABLE stream_chunks (
  run INTEGER NOT NULL, position INTEGER NOT NULL, key TEXT NOT NULL, json TEXT NOT NULL, PRIMARY KEY (run, position)
);
CREATE TABLE stream_sources (
  run INTEGER NOT NULL, source TEXT NOT NULL, last INTEGER NOT NULL, PRIMARY KEY (run, source)
) WITHOUT ROWID;
`;

/** MIGRATIONS[n] leads from version n to n + 1. */
const MIGRATIONS: readonly string[] = [VERSION_1, WITH_TOKENS, WAITS, BATCHES, WAITPOINTS, OBJECTS, STREAMS];

export const SCHEMA_VERSION = MIGRATIONS.length;

export function readSchemaVersion(db: Database): number {
  return numberAt(db.get("PRAGMA user_version") ?? [], 0);
}

/**
 * Brings a file to the present version, in one transaction.
 * @throws Error for a file of a newer version, which is left untouched.
 */
export function migrate(db: Database): void {
  const version = readSchemaVersion(db);
  if (version > SCHEMA_VERSION) {
    throw new Error(
      `The store was written by a newer version of Hairtrigger (schema ${version}, this version knows ${SCHEMA_VERSION}); ` +
        "it was left untouched. Start the newer version again, or use another directory",
    );
  }
  if (version === SCHEMA_VERSION) return;
  db.exec("BEGIN IMMEDIATE");
  try {
    for (const step of MIGRATIONS.slice(version)) db.exec(step);
    db.exec(`PRAGMA user_version = ${SCHEMA_VERSION}`);
    db.exec("COMMIT");
  } catch (error) {
    if (db.isTransaction) db.exec("ROLLBACK");
    throw error;
  }
}
