/**
 * Indexes, made at start; making one that is there costs nothing. Partial ones have entries for the runs that a duty or a claim looks for
 * and for no others, and a query repeats their filter literally. Unique is `_id` alone. TTL indexes are housekeeping: what has expired is
 * decided by comparing times in guards.
 */
import type { IndexDescription } from "mongodb";
import type { Context } from "./context.js";

const PRESENT = { $exists: true } as const;

/** Partial: only documents that have the field. */
function having(field: string, key: Readonly<Record<string, 1 | -1>>, name: string): IndexDescription {
  return { name, key, partialFilterExpression: { [field]: PRESENT } };
}

const RUNS: readonly IndexDescription[] = [
  having("u", { environment: 1, u: 1, pos: 1 }, "claim"),
  having("l", { l: 1, pos: 1 }, "behind"),
  having("dueMs", { dueMs: 1 }, "due"),
  having("expiryMs", { expiryMs: 1 }, "expiry"),
  having("pickUpDeadlineMs", { pickUpDeadlineMs: 1 }, "pick_up"),
  having("deadlineMs", { deadlineMs: 1 }, "deadline"),
  having("holder", { holder: 1 }, "holder"),
  having("owes", { owes: 1 }, "owes"),
  having("parentRunId", { environment: 1, parentRunId: 1, createdAtMs: 1, _id: 1 }, "children"),
  having("waitingFor", { environment: 1, waitingFor: 1 }, "waiting_for"),
  having("batchId", { environment: 1, batchId: 1, createdAtMs: -1, _id: -1 }, "batch"),
  having("objects", { objects: 1 }, "objects"),
  having("batchId", { environment: 1, batchId: 1, status: 1 }, "batch_status"),
  having("purgeKey", { purgeKey: 1 }, "purge"),
  { name: "todo", key: { updatedAtMs: 1 }, partialFilterExpression: { todo: { $gt: 0 } } },
  { name: "lingering", key: { "linger.at": 1 }, partialFilterExpression: { lingers: { $gt: 0 } } },
  { name: "lingering_session", key: { "linger.s": 1 }, partialFilterExpression: { lingers: { $gt: 0 } } },
  { name: "lingering_queue", key: { environment: 1, queue: 1 }, partialFilterExpression: { lingers: { $gt: 0 } } },
  { name: "figures", key: { environment: 1, queue: 1, status: 1, taskId: 1 } },
  { name: "list", key: { environment: 1, createdAtMs: -1, _id: -1 } },
  { name: "list_task", key: { environment: 1, taskId: 1, createdAtMs: -1, _id: -1 } },
  { name: "list_queue", key: { environment: 1, queue: 1, createdAtMs: -1, _id: -1 } },
  { name: "list_status", key: { environment: 1, status: 1, createdAtMs: -1, _id: -1 } },
  { name: "list_tag", key: { environment: 1, tags: 1, createdAtMs: -1, _id: -1 } },
  { name: "purge_ttl", key: { purgeAt: 1 }, expireAfterSeconds: 0 },
];

const TTL: IndexDescription = { name: "expire_ttl", key: { expireAt: 1 }, expireAfterSeconds: 0 };

export async function createIndexes(context: Context): Promise<void> {
  await Promise.all([
    context.runs.createIndexes(RUNS),
    context.keys.createIndexes([TTL, { name: "until", key: { untilMs: 1 } }]),
    context.batches.createIndexes([
      having("openMs", { openMs: 1 }, "open"),
      having("openerRun", { openerRun: 1 }, "opener"),
      having("makingMs", { makingMs: 1 }, "making"),
      having("owes", { owes: 1 }, "owes"),
      having("purgeKey", { purgeKey: 1 }, "purge"),
      having("aborted", { updatedAtMs: 1 }, "aborted"),
    ]),
    context.chunks.createIndexes([
      { name: "batch", key: { batch: 1, end: 1 } },
      { name: "token", key: { token: 1 } },
      having("hits", { hits: 1 }, "hits"),
      having("at", { at: 1 }, "at"),
    ]),
    context.pendingRuns.createIndexes([
      { name: "batch", key: { batch: 1, token: 1 } },
      { name: "token", key: { token: 1 } },
      { name: "at", key: { at: 1 } },
    ]),
    context.answers.createIndexes([TTL, { name: "until", key: { untilMs: 1 } }]),
    context.metadataSources.createIndexes([TTL]),
    context.streams.createIndexes([{ name: "check", key: { checkAtMs: 1 } }]),
    context.streamChunks.createIndexes([{ name: "source", key: { runId: 1, source: 1, last: -1 } }]),
    context.waitpoints.createIndexes([
      having("dueMs", { dueMs: 1 }, "due"),
      having("owes", { owes: 1 }, "owes"),
      having("completedAtMs", { completedAtMs: 1 }, "completed"),
      { name: "list", key: { environment: 1, createdAtMs: -1, _id: -1 } },
      { name: "list_tag", key: { environment: 1, tags: 1, createdAtMs: -1, _id: -1 } },
    ]),
    context.tokenUses.createIndexes([TTL, { name: "forget", key: { forgetAtMs: 1 } }]),
    context.heads.createIndexes([
      { name: "open", key: { environment: 1, target: 1, pos: 1 }, partialFilterExpression: { open: true } },
      { name: "partition", key: { partition: 1 } },
      { name: "queue", key: { environment: 1, queue: 1 } },
    ]),
    context.slots.createIndexes([
      { name: "pending", key: { "holders.at": 1 } },
      having("opens", { opens: 1 }, "opens"),
    ]),
    context.queues.createIndexes([
      { name: "name", key: { environment: 1, name: 1 } },
      { name: "special", key: { environment: 1 }, partialFilterExpression: { special: true } },
      having("owes", { owes: 1 }, "owes"),
    ]),
    context.sessions.createIndexes([
      { name: "environment", key: { environment: 1, sessionId: 1 } },
      { name: "until", key: { untilMs: 1 }, partialFilterExpression: { lapsed: false } },
      { name: "lapsed", key: { lapsedMs: 1 }, partialFilterExpression: { lapsed: true } },
    ]),
    context.tasks.createIndexes([{ name: "environment", key: { environment: 1, taskId: 1 } }]),
  ]);
}
