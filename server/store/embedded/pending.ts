/**
 * What the runs changed in a transaction mean for counters and heads, collected and written once: sixty-four inserts into one queue are
 * one counter update and one head, not sixty-four.
 *
 * Invariants after {@link Pending.flush}, which every transaction ends with, and which precedes everything that reads them:
 * - `partitions.holders` = EXECUTING runs + rows of `lingering` of the partition; `queues.holders` is their sum;
 *   `queue_tasks.queued` = QUEUED runs, parked ones included.
 * - `partitions.open` = the queue is not paused and holders are below its limit.
 * - `heads` has exactly one row per (partition, target) that has a claimable run: the best one, and the partition's `open`. Heads are
 *   computed anew from the runs and never adjusted, so none can hide a run.
 */
import { bytesAt, type Database, numberAt } from "./database.js";
import type { Queues } from "./queues.js";

export class Pending {
  readonly #db: Database;
  readonly #queues: Queues;
  /** Partition → change of its holders. */
  readonly #holders = new Map<number, number>();
  /** Queue → task → change of its QUEUED runs. */
  readonly #queued = new Map<number, Map<number, number>>();
  /** Partition → targets whose best run may be another one. */
  readonly #heads = new Map<number, Set<number>>();

  constructor(db: Database, queues: Queues) {
    this.#db = db;
    this.#queues = queues;
  }

  addHolders(partition: number, count: number): void {
    this.#holders.set(partition, (this.#holders.get(partition) ?? 0) + count);
  }

  addQueued(queue: number, task: number, count: number): void {
    const tasks = this.#queued.get(queue) ?? new Map<number, number>();
    tasks.set(task, (tasks.get(task) ?? 0) + count);
    this.#queued.set(queue, tasks);
  }

  /** A run came to, or left, this place in the order. */
  touchHead(partition: number, target: number): void {
    const targets = this.#heads.get(partition);
    if (targets === undefined) this.#heads.set(partition, new Set([target]));
    else targets.add(target);
  }

  flush(): void {
    if (this.#holders.size > 0) this.#writeHolders();
    if (this.#queued.size > 0) this.#writeQueued();
    if (this.#heads.size > 0) this.#writeHeads();
  }

  /** After a rollback: what was collected did not happen. */
  forget(): void {
    this.#holders.clear();
    this.#queued.clear();
    this.#heads.clear();
  }

  #writeHolders(): void {
    for (const [partition, count] of this.#holders) {
      if (count === 0) continue;
      const row = this.#db.get(
        "UPDATE partitions SET holders = holders + ? WHERE id = ? RETURNING queue, holders, open",
        count,
        partition,
      );
      if (row === undefined) throw new Error(`partition ${partition} is missing`);
      const queue = numberAt(row, 0);
      this.#db.run("UPDATE queues SET holders = holders + ? WHERE id = ?", count, queue);
      const isOpen = this.#queues.hasRoom(queue, numberAt(row, 1));
      if (isOpen !== (numberAt(row, 2) === 1)) this.#queues.openPartition(partition, isOpen);
    }
    this.#holders.clear();
  }

  #writeQueued(): void {
    for (const [queue, tasks] of this.#queued) {
      for (const [task, count] of tasks) {
        if (count === 0) continue;
        this.#db.run(
          `INSERT INTO queue_tasks (queue, task, queued) VALUES (?, ?, ?)
           ON CONFLICT DO UPDATE SET queued = queued + excluded.queued`,
          queue,
          task,
          count,
        );
      }
    }
    this.#queued.clear();
  }

  #writeHeads(): void {
    for (const [partition, targets] of this.#heads) {
      for (const target of targets) this.#writeHead(partition, target);
    }
    this.#heads.clear();
  }

  #writeHead(partition: number, target: number): void {
    const best = this.#db.get(
      "SELECT order_ms, id FROM runs WHERE partition = ? AND target = ? ORDER BY order_ms, id LIMIT 1",
      partition,
      target,
    );
    if (best === undefined) {
      this.#db.run("DELETE FROM heads WHERE partition = ? AND target = ?", partition, target);
      return;
    }
    this.#db.run(
      `INSERT INTO heads (partition, target, order_ms, run, open)
       VALUES (?, ?, ?, ?, (SELECT open FROM partitions WHERE id = ?))
       ON CONFLICT DO UPDATE SET order_ms = excluded.order_ms, run = excluded.run WHERE run <> excluded.run`,
      partition,
      target,
      numberAt(best, 0),
      bytesAt(best, 1),
      partition,
    );
  }
}
