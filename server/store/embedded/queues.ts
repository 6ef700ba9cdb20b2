/**
 * Queues and their partitions. Every partition is represented by heads, whether its queue has a limit or not: turning a limit on, pausing
 * or overriding is one change of settings and of the open flags, and moves no run.
 */
import { queueId } from "../../domain/ids.js";
import { effectiveLimit } from "../../domain/queue.js";
import type { ListQueues, QueueChange, QueueChangeResult, QueueRef, QueueView } from "../store.js";
import type { Context } from "./context.js";
import { type Database, numberAt, optionalNumberAt, optionalTextAt, type Row, textAt } from "./database.js";

export interface Queue {
  readonly id: number;
  readonly env: number;
  readonly name: string;
  readonly publicId: string;
  readonly isDeclared: boolean;
  readonly isPaused: boolean;
  readonly baseLimit: number | undefined;
  readonly overrideLimit: number | undefined;
  readonly overrideAtMs: number | undefined;
  readonly overrideBy: string | undefined;
  /** In force; undefined: unlimited. */
  readonly limit: number | undefined;
}

const COLUMNS = "id, env, name, public_id, declared, paused, base_limit, override_limit, override_ms, override_by";

/** Settings and partitions kept in memory before they are forgotten and read again. */
const KEPT_MAX = 20_000;

/** The partition of runs without a concurrency key (QUE-18); an empty key is no key (QUE-20). */
const NO_KEY = "";

export class Queues {
  readonly #db: Database;
  readonly #byName = new Map<number, Map<string, Queue>>();
  readonly #byId = new Map<number, Queue>();
  readonly #partitions = new Map<number, Map<string, number>>();
  #partitionCount = 0;

  constructor(db: Database) {
    this.#db = db;
  }

  /** After a rollback, or when partitions were removed. */
  forget(): void {
    this.#byName.clear();
    this.#byId.clear();
    this.forgetPartitions();
  }

  find(env: number, name: string): Queue | undefined {
    const known = this.#byName.get(env)?.get(name);
    if (known !== undefined) return known;
    return this.#keep(this.#db.get(`SELECT ${COLUMNS} FROM queues WHERE env = ? AND name = ?`, env, name));
  }

  byId(id: number): Queue {
    const known = this.#byId.get(id) ?? this.#keep(this.#db.get(`SELECT ${COLUMNS} FROM queues WHERE id = ?`, id));
    if (known === undefined) throw new Error(`queue ${id} is missing`);
    return known;
  }

  /** The queue, made on first use with this base limit (QUE-11). */
  ensure(environment: string, env: number, name: string, baseLimit: number | undefined): Queue {
    const known = this.find(env, name);
    if (known !== undefined) return known;
    this.#db.run(
      "INSERT INTO queues (env, name, public_id, base_limit) VALUES (?, ?, ?, ?)",
      env,
      name,
      queueId(environment, name),
      baseLimit ?? null,
    );
    const made = this.find(env, name);
    if (made === undefined) throw new Error(`queue ${name} was not stored`);
    return made;
  }

  setDeclared(id: number): void {
    this.#db.run("UPDATE queues SET declared = 1 WHERE id = ?", id);
    this.#reload(id);
  }

  setBaseLimit(id: number, limit: number): void {
    this.#db.run("UPDATE queues SET base_limit = ? WHERE id = ?", limit, id);
    this.#settled(id);
  }

  setPaused(id: number, isPaused: boolean): void {
    this.#db.run("UPDATE queues SET paused = ? WHERE id = ?", isPaused ? 1 : 0, id);
    this.#settled(id);
  }

  setOverride(
    id: number,
    override: { readonly limit: number; readonly atMs: number; readonly by: string } | null,
  ): void {
    this.#db.run(
      "UPDATE queues SET override_limit = ?, override_ms = ?, override_by = ? WHERE id = ?",
      override?.limit ?? null,
      override?.atMs ?? null,
      override?.by ?? null,
      id,
    );
    this.#settled(id);
  }

  /** Whether a partition with so many holders may start another run. */
  hasRoom(id: number, holders: number): boolean {
    return this.room(id, holders) > 0;
  }

  /** How many more runs a partition with so many holders may start. */
  room(id: number, holders: number): number {
    const { isPaused, limit } = this.byId(id);
    if (isPaused) return 0;
    return limit === undefined ? Number.POSITIVE_INFINITY : limit - holders;
  }

  /** The partition of a concurrency key; made where it is missing, as unused ones are removed. */
  partition(queue: number, concurrencyKey: string | undefined): number {
    const key = concurrencyKey ?? NO_KEY;
    const known = this.#partitions.get(queue)?.get(key);
    if (known !== undefined) return known;
    const row = this.#db.get("SELECT id FROM partitions WHERE queue = ? AND key = ?", queue, key);
    const id = row === undefined ? this.#newPartition(queue, key) : numberAt(row, 0);
    if (this.#partitionCount >= KEPT_MAX) this.forgetPartitions();
    const partitions = this.#partitions.get(queue) ?? new Map<string, number>();
    this.#partitions.set(queue, partitions.set(key, id));
    this.#partitionCount += 1;
    return id;
  }

  openPartition(partition: number, isOpen: boolean): void {
    const open = isOpen ? 1 : 0;
    this.#db.run("UPDATE partitions SET open = ? WHERE id = ?", open, partition);
    this.#db.run("UPDATE heads SET open = ? WHERE partition = ?", open, partition);
  }

  forgetPartitions(): void {
    this.#partitions.clear();
    this.#partitionCount = 0;
  }

  #newPartition(queue: number, key: string): number {
    return this.#db.insert(
      "INSERT INTO partitions (queue, key, open) VALUES (?, ?, ?)",
      queue,
      key,
      this.hasRoom(queue, 0) ? 1 : 0,
    );
  }

  /** After a change of settings: the partitions that it opens or closes. */
  #settled(id: number): void {
    this.#reload(id);
    const { isPaused, limit } = this.byId(id);
    const rows = this.#db.all("SELECT id, holders, open FROM partitions WHERE queue = ?", id);
    for (const row of rows) {
      const isOpen = !isPaused && (limit === undefined || numberAt(row, 1) < limit);
      if (isOpen !== (numberAt(row, 2) === 1)) this.openPartition(numberAt(row, 0), isOpen);
    }
  }

  #reload(id: number): void {
    this.#keep(this.#db.get(`SELECT ${COLUMNS} FROM queues WHERE id = ?`, id));
  }

  #keep(row: Row | undefined): Queue | undefined {
    if (row === undefined) return undefined;
    const queue = readQueueRow(row);
    if (this.#byId.size >= KEPT_MAX) {
      this.#byId.clear();
      this.#byName.clear();
    }
    this.#byId.set(queue.id, queue);
    const names = this.#byName.get(queue.env) ?? new Map<string, Queue>();
    this.#byName.set(queue.env, names.set(queue.name, queue));
    return queue;
  }
}

function readQueueRow(row: Row): Queue {
  const baseLimit = optionalNumberAt(row, 6);
  const overrideLimit = optionalNumberAt(row, 7);
  return {
    id: numberAt(row, 0),
    env: numberAt(row, 1),
    name: textAt(row, 2),
    publicId: textAt(row, 3),
    isDeclared: numberAt(row, 4) === 1,
    isPaused: numberAt(row, 5) === 1,
    baseLimit,
    overrideLimit,
    overrideAtMs: optionalNumberAt(row, 8),
    overrideBy: optionalTextAt(row, 9),
    limit: effectiveLimit({ baseLimit, overrideLimit }),
  };
}

// ── verbs ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

export function changeQueue(context: Context, change: QueueChange): QueueChangeResult {
  context.flush();
  context.sees(change.nowMs);
  const found = findByRef(context, change);
  if (found === undefined) return { kind: "unknown" };
  const { id } = found;
  switch (change.kind) {
    case "pause":
    case "resume": {
      const isPaused = change.kind === "pause";
      if (found.isPaused !== isPaused) context.queues.setPaused(id, isPaused);
      break;
    }
    case "override":
      context.queues.setOverride(id, { limit: change.limit, atMs: change.nowMs, by: change.by });
      break;
    case "reset":
      if (found.overrideLimit === undefined) return { kind: "notOverridden" };
      context.queues.setOverride(id, null);
      break;
  }
  return { kind: "changed", queue: viewOf(context, readFresh(context, id), change.environment) };
}

export function readQueue(context: Context, ref: QueueRef): QueueView | undefined {
  const queue = findByRef(context, ref);
  return queue === undefined ? undefined : viewOf(context, readFresh(context, queue.id), ref.environment);
}

export function listQueues(
  context: Context,
  { environment, page, perPage }: ListQueues,
): { readonly queues: readonly QueueView[]; readonly count: number } {
  const env = context.names.findEnvironment(environment);
  if (env === undefined) return { queues: [], count: 0 };
  const rows = context.db.all(
    `SELECT ${COLUMNS}, holders FROM queues WHERE env = ? ORDER BY name LIMIT ? OFFSET ?`,
    env,
    perPage,
    (page - 1) * perPage,
  );
  const count = numberAt(context.db.get("SELECT COUNT(*) FROM queues WHERE env = ?", env) ?? [], 0);
  return { queues: rows.map((row) => viewOf(context, row, environment)), count };
}

function findByRef(context: Context, ref: QueueRef): Queue | undefined {
  const env = context.names.findEnvironment(ref.environment);
  if (env === undefined) return undefined;
  const row =
    "name" in ref
      ? context.db.get(`SELECT ${COLUMNS} FROM queues WHERE env = ? AND name = ?`, env, ref.name)
      : context.db.get(`SELECT ${COLUMNS} FROM queues WHERE public_id = ? AND env = ?`, ref.queueId, env);
  return row === undefined ? undefined : readQueueRow(row);
}

function readFresh(context: Context, id: number): Row {
  return context.db.get(`SELECT ${COLUMNS}, holders FROM queues WHERE id = ?`, id) ?? [];
}

function viewOf(context: Context, row: Row, environment: string): QueueView {
  const queue = readQueueRow(row);
  const tasks = context.db.all(
    `SELECT tasks.name, queue_tasks.queued FROM queue_tasks JOIN tasks ON tasks.id = queue_tasks.task
     WHERE queue = ? AND queued > 0 ORDER BY tasks.name`,
    queue.id,
  );
  const { overrideLimit, overrideAtMs } = queue;
  return {
    environment,
    queueId: queue.publicId,
    name: queue.name,
    isDeclared: queue.isDeclared,
    isPaused: queue.isPaused,
    baseLimit: queue.baseLimit,
    override:
      overrideLimit === undefined || overrideAtMs === undefined
        ? undefined
        : { limit: overrideLimit, atMs: overrideAtMs, by: queue.overrideBy ?? "" },
    running: numberAt(row, 10),
    queued: tasks.reduce((sum, task) => sum + numberAt(task, 1), 0),
    queuedTaskIds: tasks.map((task) => textAt(task, 0)),
  };
}

/** QUEUED runs of a queue, parked ones included (QUE-10). What is pending must have been flushed. */
export function queuedCount(context: Context, queue: number): number {
  const row = context.db.get("SELECT TOTAL(queued) FROM queue_tasks WHERE queue = ?", queue);
  return row === undefined ? 0 : numberAt(row, 0);
}
