/**
 * Batches: each verb is one transaction, so a batch is there whole or not at all. Everything that could refuse it is looked at before the
 * first write, because calls of one group share a transaction and only an error of ours rolls one back.
 */
import {
  type BatchFailure,
  type BatchItem,
  type BatchOpener,
  type BatchState,
  type NewBatch,
  openBatch,
  sealed,
  withChunk,
} from "../../domain/batch.js";
import { isWindowOpen } from "../../domain/idempotency.js";
import { decodeId, encodeId } from "../../domain/ids.js";
import type { RunKey } from "../../domain/run.js";
import type { BatchRef, BatchView, FindBatches, ReadBatchItems, RunRef, SealBatch } from "../store.js";
import { answeredBefore, rememberAnswer } from "./answers.js";
import type { BatchAnswer, BatchInsert } from "./batch-insert.js";
import type { Context } from "./context.js";
import {
  bytesAt,
  bytesToHex,
  hexToBytes,
  numberAt,
  optionalBytesAt,
  optionalNumberAt,
  optionalTextAt,
  type Row,
  textAt,
} from "./database.js";
import { insertRuns, queueSize } from "./insert.js";
import type { InsertRow } from "./insert-row.js";
import { holderOfKey } from "./keys.js";
import { unpackRows } from "./packed-rows.js";
import { FINAL_FROM, placeNumber, runIdBytes } from "./run-row.js";
import { isTokenUsed, useToken } from "./token-uses.js";

const ID_BYTES = 16;

// ── one more chunk ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────

export function insertBatch(context: Context, params: BatchInsert): BatchAnswer {
  const { batch: made, chunk, nowMs } = params;
  context.sees(nowMs);
  const env = context.names.environment(made.environment);
  const stored = findBatch(context, env, made.id);
  if (stored === undefined) {
    if (isTokenUsedByOther(context, params)) return { kind: "tokenUsed" };
    const holder = chunk.index === 0 ? holderOf(context, params) : undefined;
    if (holder !== undefined) {
      if (params.token !== undefined) useToken(context, params.token);
      return { kind: "cached", batch: holder };
    }
    if (chunk.index !== 0) return { kind: "outOfOrder", batch: undefined };
  } else {
    const answer = answerOfStored(stored, params);
    if (answer !== undefined) return answer;
  }
  const rows = unpackRows(params.rows);
  const found = hitsOf(context, rows, nowMs);
  const full = firstWithoutRoom(context, rows, found);
  if (full !== undefined) return full;
  const state = stored?.state ?? openBatch(made);
  if (stored === undefined && params.token !== undefined) useToken(context, params.token);
  const row = stored?.row ?? insertRecord(context, env, params, state);
  if (rows.length === 0) return { kind: "created", batch: state, hits: [], pushes: [], ignoredLimits: [] };
  const { ignoredLimits, pushes } = insertNew(context, rows, found);
  writeChunk(context, { batch: row, insert: params, rows, hits: found, pushes });
  const next = withChunk(state, rows.length, nowMs);
  writeState(context, row, next);
  const named = (runs: ReadonlyMap<number, Uint8Array>) =>
    [...runs].map(([at, id]) => [at, encodeId("run", id)] as const);
  return { kind: "created", batch: next, hits: named(found), pushes: named(pushes), ignoredLimits };
}

/** AUT-3. A repeat of the request that was answered by it is no second use. */
function isTokenUsedByOther(context: Context, { token, requestHash, nowMs }: BatchInsert): boolean {
  if (token === undefined || !isTokenUsed(context, token)) return false;
  return requestHash === undefined || answeredBefore(context, hexToBytes(requestHash), nowMs) === undefined;
}

/** What a batch that is there already answers; undefined: the chunk is its next one. */
function answerOfStored(
  { state, request }: StoredBatch,
  { requestHash, chunk, rows }: BatchInsert,
): BatchAnswer | undefined {
  if (request === undefined || requestHash === undefined || bytesToHex(request) !== requestHash) {
    throw new Error(`${state.id} exists already, and was not made by this request`);
  }
  const isOpening = rows.numbers.length === 0;
  if (!state.isStreamed || isOpening || chunk.index < state.chunkCount) return { kind: "repeat", batch: state };
  if (state.sealedAtMs !== undefined) return { kind: "sealed", batch: state };
  const isNext = chunk.index === state.chunkCount && chunk.firstIndex === state.itemCount;
  return isNext ? undefined : { kind: "outOfOrder", batch: state };
}

/** The batch that this request was answered with, or that holds the key. */
function holderOf(context: Context, params: BatchInsert): BatchState | undefined {
  const { batch, requestHash, requestExpiresAtMs, nowMs } = params;
  if (batch.key === undefined) return undefined;
  const request = requestHash === undefined ? undefined : hexToBytes(requestHash);
  const before = request === undefined ? undefined : answeredBefore(context, request, nowMs);
  if (before !== undefined) {
    const answered = batchOf(context, context.db.get(`SELECT ${COLUMNS} FROM batches WHERE id = ?`, before.run));
    if (answered !== undefined) return answered.state;
  }
  const keyHash = hexToBytes(batch.key.recordHash);
  const holder = batchOf(context, context.db.get(`SELECT ${COLUMNS} FROM batches WHERE key_hash = ?`, keyHash));
  if (holder?.state.key === undefined) return undefined;
  if (!isWindowOpen(holder.state.key.expiresAtMs, nowMs)) {
    context.db.run("UPDATE batches SET key_hash = NULL, key = NULL WHERE row = ?", holder.row);
    return undefined;
  }
  if (request !== undefined) {
    const run = idBytes(holder.state.id) ?? new Uint8Array(0);
    rememberAnswer(context, { requestHash: request, run, isCached: true, expiresAtMs: requestExpiresAtMs });
  }
  return holder.state;
}

/** Positions whose key a run holds, or an earlier position (IDM-17), and the run that is there. */
function hitsOf(context: Context, rows: readonly InsertRow[], nowMs: number): ReadonlyMap<number, Uint8Array> {
  const hits = new Map<number, Uint8Array>();
  const known = new Map<string, Uint8Array>();
  for (const [at, row] of rows.entries()) {
    if (row.keyHash === undefined) continue;
    const key = bytesToHex(row.keyHash);
    const own = known.get(key);
    if (own !== undefined) {
      hits.set(at, own);
      continue;
    }
    const holder = holderOfKey(context, row.keyHash, nowMs);
    const isHit = holder?.keeps === true;
    if (isHit) hits.set(at, holder.id);
    known.set(key, isHit ? holder.id : row.id);
  }
  return hits;
}

/** QUE-10: the first run that its queue has no room for, those of the batch before it counted. */
function firstWithoutRoom(
  context: Context,
  rows: readonly InsertRow[],
  hits: ReadonlyMap<number, Uint8Array>,
): BatchAnswer | undefined {
  const sizes = new Map<string, number>();
  for (const [index, row] of rows.entries()) {
    if (hits.has(index) || !(row.isWaiting || row.queueSizeMax !== undefined)) continue;
    const isAsked = sizes.has(row.queue) || row.queueSizeMax !== undefined;
    if (!isAsked) continue;
    const size = sizes.get(row.queue) ?? queueSize(context, row);
    if (row.queueSizeMax !== undefined && size >= row.queueSizeMax) return { kind: "queueFull", index, size };
    sizes.set(row.queue, row.isWaiting ? size + 1 : size);
  }
  return undefined;
}

/** @returns declared queues whose limit was ignored, and positions that pushed a run instead of making one (DEB-10). */
function insertNew(
  context: Context,
  rows: readonly InsertRow[],
  hits: ReadonlyMap<number, Uint8Array>,
): { readonly ignoredLimits: readonly string[]; readonly pushes: ReadonlyMap<number, Uint8Array> } {
  const positions = [...rows.keys()].filter((at) => !hits.has(at));
  const fresh = rows.filter((_, at) => !hits.has(at)).map((row) => ({ ...row, queueSizeMax: undefined }));
  const ignored = new Set<string>();
  const pushes = new Map<number, Uint8Array>();
  for (const [at, answer] of insertRuns(context, fresh).entries()) {
    const row = fresh[at];
    const id = answer.kind === "pushed" ? runIdBytes(answer.run.id) : undefined;
    if (id !== undefined) {
      pushes.set(positions[at] ?? at, id);
      continue;
    }
    if (answer.kind !== "created" || row === undefined) throw new Error(`a run of a batch was ${answer.kind}`);
    if (answer.queueLimitIgnored) ignored.add(row.queue);
  }
  return { ignoredLimits: [...ignored], pushes };
}

// ── records ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

interface StoredBatch {
  readonly row: number;
  readonly request: Uint8Array | undefined;
  readonly state: BatchState;
}

const COLUMNS = `row, id, env, request, is_streamed, is_awaited, key_hash, key, opener, items, chunks, created_ms, updated_ms,
  sealed_ms, failure`;

/** What `key` holds beside the hash. */
type KeyText = Omit<RunKey, "recordHash">;

function batchOf(context: Context, row: Row | undefined): StoredBatch | undefined {
  if (row === undefined) return undefined;
  const keyHash = optionalBytesAt(row, 6);
  // Texts of this store's own making.
  const key: KeyText | null = JSON.parse(optionalTextAt(row, 7) ?? "null");
  const opener: BatchOpener | null = JSON.parse(optionalTextAt(row, 8) ?? "null");
  const failure: BatchFailure | null = JSON.parse(optionalTextAt(row, 14) ?? "null");
  return {
    row: numberAt(row, 0),
    request: optionalBytesAt(row, 3),
    state: {
      environment: context.names.environmentName(numberAt(row, 2)),
      id: encodeId("batch", bytesAt(row, 1)),
      isStreamed: numberAt(row, 4) === 1,
      isAwaited: numberAt(row, 5) === 1,
      key: keyHash === undefined || key === null ? undefined : keyOf(keyHash, key),
      opener: opener ?? undefined,
      itemCount: numberAt(row, 9),
      chunkCount: numberAt(row, 10),
      createdAtMs: numberAt(row, 11),
      updatedAtMs: numberAt(row, 12),
      sealedAtMs: optionalNumberAt(row, 13),
      failure:
        failure === null
          ? undefined
          : { message: failure.message, code: failure.code, index: failure.index, taskId: failure.taskId },
    },
  };
}

function keyOf(hash: Uint8Array, { text, scope, expiresAtMs }: KeyText): RunKey {
  return { recordHash: bytesToHex(hash), text, scope, expiresAtMs };
}

function idBytes(batchId: string): Uint8Array | undefined {
  return decodeId("batch", batchId);
}

function findBatch(context: Context, env: number | undefined, batchId: string): StoredBatch | undefined {
  const id = idBytes(batchId);
  if (id === undefined || env === undefined) return undefined;
  return batchOf(context, context.db.get(`SELECT ${COLUMNS} FROM batches WHERE id = ? AND env = ?`, id, env));
}

/** @returns its row. */
function insertRecord(context: Context, env: number, { batch, requestHash }: BatchInsert, state: BatchState): number {
  const id = idBytes(batch.id);
  if (id === undefined) throw new TypeError(`not a batch id: ${batch.id}`);
  return context.db.insert(
    `INSERT INTO batches (id, env, request, is_streamed, is_awaited, key_hash, key, opener, opener_run, items, chunks, created_ms,
       updated_ms, open_ms) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 0, 0, ?, ?, ?)`,
    id,
    env,
    requestHash === undefined ? null : hexToBytes(requestHash),
    batch.isStreamed ? 1 : 0,
    batch.isAwaited ? 1 : 0,
    batch.key === undefined ? null : hexToBytes(batch.key.recordHash),
    keyJson(batch.key),
    batch.opener === undefined ? null : JSON.stringify(batch.opener),
    openerRun(batch),
    state.createdAtMs,
    state.updatedAtMs,
    state.updatedAtMs,
  );
}

function keyJson(key: RunKey | undefined): string | null {
  if (key === undefined) return null;
  const { text, scope, expiresAtMs } = key;
  return JSON.stringify({ text, scope, expiresAtMs });
}

function openerRun({ opener }: NewBatch): Uint8Array | null {
  return opener === undefined ? null : (runIdBytes(opener.runId) ?? null);
}

/** A sealed batch is no longer found by those who look for open ones. */
function writeState(context: Context, row: number, state: BatchState): void {
  const isSealed = state.sealedAtMs !== undefined;
  context.db.run(
    `UPDATE batches SET items = ?, chunks = ?, updated_ms = ?, open_ms = ?, sealed_ms = ?, failure = ?, purge_key = ?,
       opener_run = CASE WHEN ? THEN NULL ELSE opener_run END, key_hash = CASE WHEN ? THEN NULL ELSE key_hash END WHERE row = ?`,
    state.itemCount,
    state.chunkCount,
    state.updatedAtMs,
    isSealed ? null : state.updatedAtMs,
    state.sealedAtMs ?? null,
    state.failure === undefined ? null : JSON.stringify(state.failure),
    state.sealedAtMs ?? null,
    isSealed ? 1 : 0,
    state.key === undefined ? 1 : 0,
    row,
  );
}

// ── positions ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

/** What a chunk says of its positions beside the ids of their runs. */
interface ChunkItems {
  readonly tasks: readonly string[];
  /** Position → number in `tasks`; none where all have the same. */
  readonly task?: readonly number[];
  /** Positions that are hits. */
  readonly hits?: readonly number[];
  readonly keys?: readonly (string | null)[];
}

interface WrittenChunk {
  readonly batch: number;
  readonly insert: BatchInsert;
  readonly rows: readonly InsertRow[];
  readonly hits: ReadonlyMap<number, Uint8Array>;
  readonly pushes: ReadonlyMap<number, Uint8Array>;
}

function writeChunk(context: Context, { batch, insert, rows, hits, pushes }: WrittenChunk): void {
  const { chunk, keyTexts } = insert;
  const tasks = [...new Set(rows.map(({ task }) => task))];
  const numbers = new Map(tasks.map((task, number) => [task, number]));
  const ids = new Uint8Array(rows.length * ID_BYTES);
  for (const [at, row] of rows.entries()) ids.set(hits.get(at) ?? pushes.get(at) ?? row.id, at * ID_BYTES);
  const items: ChunkItems = {
    tasks,
    ...(tasks.length === 1 ? {} : { task: rows.map(({ task }) => numbers.get(task) ?? 0) }),
    ...(hits.size === 0 ? {} : { hits: [...hits.keys()] }),
    ...(keyTexts.length === 0 ? {} : { keys: keyTexts.map((text) => text ?? null) }),
  };
  context.db.run(
    "INSERT INTO batch_chunks (batch, first, runs, items) VALUES (?, ?, ?, ?)",
    batch,
    chunk.firstIndex,
    ids,
    JSON.stringify(items),
  );
  const own = new Set(rows.map(({ id }) => bytesToHex(id)));
  for (const id of [...hits.values(), ...pushes.values()]) {
    // What this call made is found by its batch.
    if (!own.has(bytesToHex(id))) context.db.run(INSERT_HIT, batch, id);
  }
}

/** A run that is over needs no look. */
const INSERT_HIT = `INSERT OR IGNORE INTO batch_hits (batch, run) SELECT ?, id FROM runs WHERE id = ? AND place < ${FINAL_FROM}`;

export function readBatchItems(context: Context, params: ReadBatchItems): readonly BatchItem[] {
  const { environment, batchId, fromIndex, limit } = params;
  const stored = findBatch(context, context.names.findEnvironment(environment), batchId);
  if (stored === undefined) return [];
  const items: BatchItem[] = [];
  const first = context.db.get(
    "SELECT MAX(first) FROM batch_chunks WHERE batch = ? AND first <= ?",
    stored.row,
    fromIndex,
  );
  let next = first === undefined ? undefined : (optionalNumberAt(first, 0) ?? 0);
  while (next !== undefined && items.length < limit) {
    const row = context.db.get(
      "SELECT first, runs, items FROM batch_chunks WHERE batch = ? AND first >= ? ORDER BY first LIMIT 1",
      stored.row,
      next,
    );
    if (row === undefined) break;
    const all = itemsOf(row);
    items.push(...all.filter(({ index }) => index >= fromIndex).slice(0, limit - items.length));
    next = numberAt(row, 0) + all.length;
  }
  return items;
}

function itemsOf(row: Row): readonly BatchItem[] {
  const first = numberAt(row, 0);
  const runs = bytesAt(row, 1);
  // Written by writeChunk.
  const { tasks, task, hits = [], keys }: ChunkItems = JSON.parse(textAt(row, 2));
  const isHit = new Set(hits);
  return Array.from({ length: runs.length / ID_BYTES }, (_, at) => ({
    index: first + at,
    runId: encodeId("run", runs.subarray(at * ID_BYTES, (at + 1) * ID_BYTES)),
    taskId: tasks[task?.[at] ?? 0] ?? "",
    isCached: isHit.has(at),
    keyText: keys?.[at] ?? undefined,
  }));
}

// ── reading, sealing, looking ──────────────────────────────────────────────────────────────────────────────────────────────────────

export function readBatches(context: Context, refs: readonly BatchRef[]): readonly (BatchView | undefined)[] {
  return refs.map(({ environment, batchId }) => {
    const stored = findBatch(context, context.names.findEnvironment(environment), batchId);
    return stored === undefined ? undefined : { batch: stored.state, hasLiveRun: hasLiveRun(context, stored) };
  });
}

const LIVE_OWN = `SELECT 1 FROM runs WHERE batch = ? AND place < ${FINAL_FROM} LIMIT 1`;
const LIVE_HIT = `SELECT 1 FROM batch_hits CROSS JOIN runs ON runs.id = batch_hits.run
  WHERE batch_hits.batch = ? AND runs.place < ${FINAL_FROM} LIMIT 1`;

function hasLiveRun(context: Context, { row, state }: StoredBatch): boolean {
  return context.db.get(LIVE_OWN, state.id) !== undefined || context.db.get(LIVE_HIT, row) !== undefined;
}

export function sealBatches(context: Context, items: readonly SealBatch[]): readonly (BatchState | undefined)[] {
  return items.map(({ environment, batchId, failure, idleSinceMs, nowMs }) => {
    const stored = findBatch(context, context.names.findEnvironment(environment), batchId);
    if (stored === undefined) return undefined;
    const { state, row } = stored;
    const isTooYoung = idleSinceMs !== undefined && state.updatedAtMs > idleSinceMs;
    if (state.sealedAtMs !== undefined || isTooYoung) return state;
    context.sees(nowMs);
    const next = sealed(state, failure, nowMs);
    writeState(context, row, next);
    return next;
  });
}

/** An attempt is over when its run is held by nobody, by another session, or in another attempt. */
const ORPHANED = `opener_run IS NOT NULL AND NOT EXISTS (
  SELECT 1 FROM runs WHERE runs.id = batches.opener_run
    AND runs.place BETWEEN ${placeNumber("QUEUED_BOUND")} AND ${placeNumber("WAITING")}
    AND runs.session = json_extract(opener, '$.sessionId') AND runs.attempt = json_extract(opener, '$.number')
    AND runs.attempt_started_ms = json_extract(opener, '$.startedAtMs')
) LIMIT ?`;

export function findBatches(context: Context, query: FindBatches): readonly BatchState[] {
  const rows =
    query.kind === "idle"
      ? context.db.all(
          `SELECT ${COLUMNS} FROM batches WHERE open_ms <= ? ORDER BY open_ms LIMIT ?`,
          query.untilMs,
          query.limit,
        )
      : context.db.all(`SELECT ${COLUMNS} FROM batches WHERE ${ORPHANED}`, query.limit);
  return rows.flatMap((row) => batchOf(context, row)?.state ?? []);
}

export function awaitBatches(context: Context, refs: readonly BatchRef[]): void {
  for (const { environment, batchId } of refs) {
    const env = context.names.findEnvironment(environment);
    const id = idBytes(batchId);
    if (env === undefined || id === undefined) continue;
    context.db.run("UPDATE batches SET is_awaited = 1 WHERE id = ? AND env = ?", id, env);
  }
}

export function doneBatches(context: Context, runs: readonly RunRef[]): readonly BatchRef[] {
  const rows = new Map<number, StoredBatch>();
  const note = (row: Row): void => {
    const stored = batchOf(context, row);
    if (stored?.state.isAwaited === true) rows.set(stored.row, stored);
  };
  for (const { environment, runId } of runs) {
    const env = context.names.findEnvironment(environment);
    const id = runIdBytes(runId);
    if (env === undefined || id === undefined) continue;
    const own = context.db.get("SELECT batch FROM runs WHERE id = ? AND env = ?", id, env);
    const batchId = own === undefined ? undefined : optionalTextAt(own, 0);
    const ownBatch = batchId === undefined ? undefined : idBytes(batchId);
    if (ownBatch !== undefined) {
      const row = context.db.get(`SELECT ${COLUMNS} FROM batches WHERE id = ? AND env = ?`, ownBatch, env);
      if (row !== undefined) note(row);
    }
    const hitBy = `SELECT ${COLUMNS} FROM batches WHERE row IN (SELECT batch FROM batch_hits WHERE run = ?) AND env = ?`;
    for (const row of context.db.all(hitBy, id, env)) note(row);
  }
  return [...rows.values()].flatMap((stored) => {
    const { environment, id: batchId, sealedAtMs } = stored.state;
    return sealedAtMs !== undefined && !settleHits(context, stored) ? [{ environment, batchId }] : [];
  });
}

/** Forgets hits that have ended, so that no look passes them twice. @returns whether some run of the batch is live. */
function settleHits(context: Context, stored: StoredBatch): boolean {
  if (context.db.get(LIVE_OWN, stored.state.id) !== undefined) return true;
  for (;;) {
    const row = context.db.get(
      "SELECT batch_hits.run, runs.place FROM batch_hits LEFT JOIN runs ON runs.id = batch_hits.run WHERE batch_hits.batch = ? LIMIT 1",
      stored.row,
    );
    if (row === undefined) return false;
    if ((optionalNumberAt(row, 1) ?? FINAL_FROM) < FINAL_FROM) return true;
    context.db.run("DELETE FROM batch_hits WHERE batch = ? AND run = ?", stored.row, bytesAt(row, 0));
  }
}

/** Batches whose runs are all purged, past their own time and an hour after their key (RUN-9). */
export function purgeBatches(
  context: Context,
  {
    nowMs,
    finishedRunsKeptMs,
    limit,
  }: { readonly nowMs: number; readonly finishedRunsKeptMs: number; readonly limit: number },
): void {
  const rows = context.db.all(
    `SELECT ${COLUMNS} FROM batches WHERE purge_key <= ? ORDER BY purge_key LIMIT ?`,
    nowMs - finishedRunsKeptMs,
    limit,
  );
  for (const row of rows) {
    const stored = batchOf(context, row);
    if (stored === undefined) continue;
    const { state } = stored;
    const keyEndMs = state.key === undefined ? 0 : state.key.expiresAtMs + KEY_LATER_MS;
    const atMs = Math.max((state.sealedAtMs ?? nowMs) + finishedRunsKeptMs, state.createdAtMs + DAY_MS, keyEndMs);
    const hasRun = context.db.get("SELECT 1 FROM runs WHERE env = ? AND batch = ? LIMIT 1", numberAt(row, 2), state.id);
    if (atMs > nowMs || hasRun !== undefined) {
      const nextMs = Math.max(atMs, hasRun === undefined ? 0 : nowMs + DAY_MS);
      context.db.run("UPDATE batches SET purge_key = ? WHERE row = ?", nextMs - finishedRunsKeptMs, stored.row);
      continue;
    }
    context.db.run("DELETE FROM batch_chunks WHERE batch = ?", stored.row);
    context.db.run("DELETE FROM batch_hits WHERE batch = ?", stored.row);
    context.db.run("DELETE FROM batches WHERE row = ?", stored.row);
  }
}

const DAY_MS = 86_400_000;
const KEY_LATER_MS = 3_600_000;
