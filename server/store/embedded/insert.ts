/** New runs. */
import { encodeId } from "../../domain/ids.js";
import { placeOf } from "../../domain/run-machine.js";
import type { InsertRun, InsertRunResult } from "../store.js";
import { answeredBefore, rememberAnswer } from "./answers.js";
import type { Context } from "./context.js";
import { bytesToHex, hexToBytes, optionalBytesAt, type SqlValue } from "./database.js";
import { holderOfKey } from "./keys.js";
import { type Queue, queuedCount } from "./queues.js";
import { insertedColumns, runIdBytes } from "./run-row.js";

/**
 * Specs up to this size lie in the row of the run, so that a small run is one row; larger ones beside it, so that claims and reports,
 * which write the row anew, do not move them.
 */
const SPEC_IN_ROW_BYTES = 2_048;

export function insertRuns(context: Context, items: readonly InsertRun[]): readonly InsertRunResult[] {
  return items.map((item) => insertRun(context, item));
}

function insertRun(context: Context, item: InsertRun): InsertRunResult {
  const { run, request, nowMs } = item;
  const id = runIdBytes(run.id);
  if (id === undefined) throw new TypeError(`not a run id: ${run.id}`);
  context.sees(nowMs);
  const before = request === undefined ? undefined : repeatOf(context, item, id);
  if (before !== undefined) return before;

  const holder = run.key === undefined ? undefined : holderOfKey(context, run.key.recordHash, nowMs);
  if (holder !== undefined) {
    if (request !== undefined) rememberAnswer(context, request, holder);
    return { kind: "cached", runId: encodeId("run", holder) };
  }
  const env = context.names.environment(run.environment);
  const known = context.queues.find(env, run.queue);
  if (item.queueSizeMax !== undefined) {
    context.flush();
    const size = known === undefined ? 0 : queuedCount(context, known.id);
    if (size >= item.queueSizeMax) return { kind: "queueFull", size };
  }
  const queue = known ?? context.queues.ensure(run.environment, env, run.queue, item.queueLimit);
  const queueLimitIgnored = known !== undefined && !takeLimit(context, known, item.queueLimit);
  store(context, item, { id, env, queue });
  return { kind: "created", run, queueLimitIgnored };
}

/** What an earlier try of the same request was answered with. */
function repeatOf(context: Context, { run, request, nowMs }: InsertRun, id: Uint8Array): InsertRunResult | undefined {
  if (request === undefined) return undefined;
  const own = context.db.get("SELECT request FROM runs WHERE id = ?", id);
  if (own !== undefined) {
    const hash = optionalBytesAt(own, 0);
    if (hash === undefined || bytesToHex(hash) !== request.hash) throw new Error(`run ${run.id} exists already`);
    return { kind: "repeat", runId: run.id, isCached: false };
  }
  const answered = answeredBefore(context, request.hash, nowMs);
  return answered === undefined ? undefined : { kind: "repeat", runId: encodeId("run", answered), isCached: true };
}

/** QUE-11, QUE-15. @returns false where a registration declares the queue, so that the trigger's limit is ignored. */
function takeLimit(context: Context, queue: Queue, limit: number | undefined): boolean {
  if (limit === undefined) return true;
  if (queue.isDeclared) return false;
  if (limit !== queue.baseLimit) {
    context.flush();
    context.queues.setBaseLimit(queue.id, limit);
  }
  return true;
}

interface Place {
  readonly id: Uint8Array;
  readonly env: number;
  readonly queue: Queue;
}

function store(context: Context, item: InsertRun, { id, env, queue }: Place): void {
  const { run, spec, metadataJson, request } = item;
  const place = placeOf(run);
  if (place !== "QUEUED_WAITING" && place !== "DELAYED") throw new TypeError(`a new run cannot be ${place}`);
  const task = context.names.task(env, run.taskId);
  const { columns, values } = insertedColumns(run);
  const add = (column: string, value: SqlValue): void => {
    columns.push(column);
    values.push(value);
  };
  add("id", id);
  add("env", env);
  add("task", task);
  add("queue", queue.id);
  if (request !== undefined) add("request", hexToBytes(request.hash));
  if (run.key !== undefined) add("key_hash", hexToBytes(run.key.recordHash));
  if (metadataJson !== undefined) add("has_metadata", 1);
  const isSpecInRow = spec.length <= SPEC_IN_ROW_BYTES;
  if (isSpecInRow) add("spec", spec);
  if (place === "QUEUED_WAITING") {
    const partition = context.queues.partition(queue.id, run.concurrencyKey);
    add("partition", partition);
    add("target", task);
    context.pending.touchHead(partition, task);
    context.pending.addQueued(queue.id, task, 1);
  }
  const row = context.db.insert(
    `INSERT INTO runs (${columns.join(", ")}) VALUES (${columns.map(() => "?").join(", ")})`,
    ...values,
  );
  if (!isSpecInRow) context.db.run("INSERT INTO specs (run, spec) VALUES (?, ?)", row, spec);
  if (metadataJson !== undefined) {
    context.db.run("INSERT INTO metadata (run, json) VALUES (?, ?)", row, metadataJson);
  }
  addTags(context, { env, row, id, createdAtMs: run.createdAtMs, tags: run.tags });
}

/** Makes a run findable by these tags (RUN-17). */
export function addTags(
  context: Context,
  run: {
    readonly env: number;
    readonly row: number;
    readonly id: Uint8Array;
    readonly createdAtMs: number;
    readonly tags: readonly string[];
  },
): void {
  for (const tag of run.tags) {
    context.db.run(
      "INSERT OR IGNORE INTO run_tags (env, tag, created_ms, id, run) VALUES (?, ?, ?, ?, ?)",
      run.env,
      tag,
      run.createdAtMs,
      run.id,
      run.row,
    );
  }
}
