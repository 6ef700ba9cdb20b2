/**
 * Queues: their records, figures, and what a change of settings brings with it (design 7).
 *
 * Claims act on settings that are at most a cache time old. So:
 * - What restricts (a pause, a lower limit) is one write, and answered after the cache time.
 * - What relaxes opens the heads at once, and once more in a last pass by `repair`: a claimer that still thought of the older limit may
 *   have closed a head that was made meanwhile.
 * - Turning a limit on blocks the queue, waits until every server knows, enters holders for all its executing runs and lingering code,
 *   puts its waiting runs under heads, and unblocks it. Turning one off moves nothing: runs under heads of a queue without a limit are
 *   claimed without a slot, and holders that are left go with their runs.
 * Where a run stands is thus a matter of cost and not of truth; a claimer that meets one in the claim index of a limited queue moves it.
 */
import type { Document } from "mongodb";
import type { ListQueues, QueueChange, QueueChangeResult, QueueRef, QueueView } from "../store.js";
import { filterOf } from "./client.js";
import { type Context, pause, ROUNDS_MAX, racesLost } from "./context.js";
import { enterHolders, moveUnderHeads } from "./enter.js";
import { openQueue } from "./heads.js";
import { queueIdOf } from "./run-doc.js";
import { limitOf, type QueueDoc } from "./settings.js";

/** A queue that a trigger or a registration names. */
export interface NamedQueue {
  readonly environment: string;
  readonly name: string;
  /** Base limit that it gives. */
  readonly queueLimit: number | undefined;
  readonly nowMs: number;
}

/**
 * Makes queues on first use, with the base limits given (QUE-11, QUE-15: the last wins).
 * @returns `ignored`: queues declared by a registration, as `environment|name`; their limit stays.
 */
export async function ensureQueues(
  context: Context,
  queues: readonly NamedQueue[],
): Promise<{ readonly ignored: ReadonlySet<string> }> {
  const last = new Map<string, NamedQueue>();
  for (const queue of queues) {
    const id = queueIdOf(queue.environment, queue.name);
    const before = last.get(id);
    last.set(id, queue.queueLimit === undefined && before !== undefined ? before : queue);
  }
  const unsure = [...last].filter(
    ([, { environment, name, queueLimit }]) => queueLimit !== undefined || !context.settings.exists(environment, name),
  );
  const present = new Map(await context.queues.findByIds(unsure.map(([id]) => id)));
  const missing = unsure.filter(([id]) => !present.has(id));
  const duplicates = await context.queues.insertMany(missing.map(([id, queue]) => newQueue(id, queue)));
  for (const { environment, queueLimit } of missing.map(([, queue]) => queue)) {
    if (queueLimit !== undefined) context.settings.forget(environment);
  }
  const made = missing.filter((_, index) => duplicates.has(index)).map(([id]) => id);
  for (const [id, doc] of await context.queues.findByIds(made)) present.set(id, doc);
  context.settings.learn(unsure.map(([id]) => id));
  const ignored = new Set<string>();
  for (const [id, doc] of present) {
    const limit = last.get(id)?.queueLimit;
    if (limit === undefined) continue;
    if (doc.declared) ignored.add(`${doc.environment}|${doc.name}`);
    else if (doc.base !== limit) {
      await changeSettings(context, doc, last.get(id)?.nowMs ?? 0, (current) =>
        current.declared || current.base === limit ? undefined : { ...current, base: limit },
      );
    }
  }
  return { ignored };
}

function newQueue(id: string, { environment, name, queueLimit }: NamedQueue): QueueDoc {
  const limited = queueLimit === undefined ? {} : { base: queueLimit, special: true as const };
  return { _id: id, environment, name, v: 1, declared: false, paused: false, ...limited };
}

/** Declares queues, made before, with these base limits (QUE-15). */
export async function declareQueues(context: Context, queues: readonly NamedQueue[]): Promise<void> {
  const docs = await context.queues.findByIds(queues.map(({ environment, name }) => queueIdOf(environment, name)));
  for (const { environment, name, queueLimit, nowMs } of queues) {
    const doc = docs.get(queueIdOf(environment, name));
    if (doc === undefined) continue;
    await changeSettings(context, doc, nowMs, (current) => {
      const base = queueLimit ?? current.base;
      return current.declared && current.base === base ? undefined : { ...current, declared: true, base };
    });
  }
}

// ── changes of settings ────────────────────────────────────────────────────────────────────────────────────────────────────────────

/** @param change the record after it; undefined: nothing to change. @returns whether what may start became less. */
async function changeSettings(
  context: Context,
  known: QueueDoc,
  nowMs: number,
  change: (doc: QueueDoc) => QueueDoc | undefined,
): Promise<{ readonly isRestricted: boolean }> {
  let before = known;
  for (let round = 0; round < ROUNDS_MAX; round += 1) {
    const after = change(before);
    if (after === undefined) return { isRestricted: false };
    const step = stepOf(before, after);
    const isEntering = before.entering === true || step.turnsOn;
    const owes = step.isRelaxed || isEntering ? nowMs : before.owes;
    const next = withMarks({ ...after, v: before.v + 1 }, isEntering, owes);
    if (await replace(context, before, next)) {
      context.settings.forget(before.environment);
      if (step.isRelaxed) await openQueue(context, { ...next, version: next.v });
      if (isEntering) await finishEntering(context, next);
      return { isRestricted: step.isRestricted };
    }
    before = (await context.queues.findByIds([known._id])).get(known._id) ?? before;
  }
  throw racesLost(`queue ${known.name}`);
}

function stepOf(before: QueueDoc, after: QueueDoc) {
  const was = limitOf(before) ?? Number.POSITIVE_INFINITY;
  const will = limitOf(after) ?? Number.POSITIVE_INFINITY;
  return {
    turnsOn: was === Number.POSITIVE_INFINITY && will < was,
    isRelaxed: will > was || (before.paused && !after.paused),
    isRestricted: will < was || (!before.paused && after.paused),
  };
}

function withMarks(doc: QueueDoc, isEntering: boolean, owes: number | undefined): QueueDoc {
  const isSpecial = limitOf(doc) !== undefined || doc.paused || isEntering;
  return {
    ...doc,
    special: isSpecial ? true : undefined,
    entering: isEntering ? true : undefined,
    owes,
  };
}

async function replace(context: Context, before: QueueDoc, next: QueueDoc): Promise<boolean> {
  const { _id, ...fields } = next;
  const set: Document = {};
  const unset: Document = {};
  for (const [name, value] of Object.entries(fields)) {
    if (value === undefined) unset[name] = "";
    else set[name] = value;
  }
  return context.queues.updateOne(
    { _id, v: before.v },
    { $set: set, ...(Object.keys(unset).length > 0 ? { $unset: unset } : {}) },
  );
}

/** All servers know of the limit after the cache time; then nothing of the queue starts without a slot any more. */
async function finishEntering(context: Context, queue: QueueDoc): Promise<void> {
  await pause(context, context.settings.spreadMs);
  await enterQueue(context, queue._id);
}

/** What turning a limit on still owes; safe to repeat, and by several at once. */
export async function enterQueue(context: Context, id: string): Promise<void> {
  for (let round = 0; round < ROUNDS_MAX; round += 1) {
    const queue = (await context.queues.findByIds([id])).get(id);
    if (queue?.entering !== true) return;
    if (limitOf(queue) !== undefined) {
      await enterHolders(context, queue);
      while ((await moveUnderHeads(context, { environment: queue.environment, queue: queue.name })) > 0);
    }
    const next = withMarks({ ...queue, v: queue.v + 1 }, false, undefined);
    if (await replace(context, queue, next)) {
      context.settings.forget(queue.environment);
      return;
    }
  }
  throw racesLost(`queue ${id}`);
}

/** The last pass of a relaxed queue. */
export async function finishQueue(context: Context, queue: QueueDoc): Promise<void> {
  if (queue.entering === true) return enterQueue(context, queue._id);
  await openQueue(context, { ...queue, version: queue.v });
  await context.queues.updateOne({ _id: queue._id, v: queue.v }, { $unset: { owes: "" } });
}

// ── verbs ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

export async function changeQueue(context: Context, change: QueueChange): Promise<QueueChangeResult> {
  const found = await findByRef(context, change);
  if (found === undefined) return { kind: "unknown" };
  if (change.kind === "reset" && found.override === undefined) return { kind: "notOverridden" };
  const { isRestricted } = await changeSettings(context, found, change.nowMs, (doc) => changed(doc, change));
  if (isRestricted) await pause(context, context.settings.spreadMs);
  const fresh = await findByRef(context, change);
  const [queue] = fresh === undefined ? [] : await viewsOf(context, [fresh]);
  return queue === undefined ? { kind: "unknown" } : { kind: "changed", queue };
}

function changed(doc: QueueDoc, change: QueueChange): QueueDoc | undefined {
  switch (change.kind) {
    case "pause":
      return doc.paused ? undefined : { ...doc, paused: true };
    case "resume":
      return doc.paused ? { ...doc, paused: false } : undefined;
    case "override":
      return { ...doc, override: { limit: change.limit, atMs: change.nowMs, by: change.by } };
    case "reset":
      return doc.override === undefined ? undefined : { ...doc, override: undefined };
  }
}

export async function readQueue(context: Context, ref: QueueRef): Promise<QueueView | undefined> {
  const doc = await findByRef(context, ref);
  return doc === undefined ? undefined : (await viewsOf(context, [doc]))[0];
}

export async function listQueues(
  context: Context,
  { environment, page, perPage }: ListQueues,
): Promise<{ readonly queues: readonly QueueView[]; readonly count: number }> {
  const filter = filterOf<QueueDoc>({ environment });
  const [docs, counts] = await Promise.all([
    context.queues.find(filter, { sort: { name: 1 }, skip: (page - 1) * perPage, limit: perPage }),
    context.queues.aggregate<{ readonly count: number }>([{ $match: { environment } }, { $count: "count" }]),
  ]);
  return { queues: await viewsOf(context, docs), count: counts[0]?.count ?? 0 };
}

async function findByRef(context: Context, ref: QueueRef): Promise<QueueDoc | undefined> {
  const id = "name" in ref ? queueIdOf(ref.environment, ref.name) : ref.queueId;
  const doc = (await context.queues.findByIds([id])).get(id);
  return doc?.environment === ref.environment ? doc : undefined;
}

// ── figures ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

interface Group {
  readonly _id: { readonly queue: string; readonly status: string; readonly task: string };
  readonly count: number;
}

interface LingerGroup {
  readonly _id: string;
  readonly count: number;
}

/** Figures are counted when they are asked for, by index: a counter document per queue leaks, and every run would write it. */
async function viewsOf(context: Context, docs: readonly QueueDoc[]): Promise<readonly QueueView[]> {
  const [first] = docs;
  if (first === undefined) return [];
  const { environment } = first;
  const queue = { $in: docs.map(({ name }) => name) };
  const [groups, lingering] = await Promise.all([
    context.runs.aggregate<Group>([
      { $match: { environment, queue, status: { $in: ["QUEUED", "EXECUTING"] } } },
      { $group: { _id: { queue: "$queue", status: "$status", task: "$taskId" }, count: { $sum: 1 } } },
    ]),
    context.runs.aggregate<LingerGroup>([
      { $match: { environment, queue, lingers: { $gt: 0 } } },
      { $group: { _id: "$queue", count: { $sum: "$lingers" } } },
    ]),
  ]);
  return docs.map((doc) => {
    const own = groups.filter(({ _id }) => _id.queue === doc.name);
    const queued = own.filter(({ _id }) => _id.status === "QUEUED");
    const executing = own.filter(({ _id }) => _id.status === "EXECUTING");
    const lingers = lingering.filter(({ _id }) => _id === doc.name);
    return {
      environment,
      queueId: doc._id,
      name: doc.name,
      isDeclared: doc.declared,
      isPaused: doc.paused,
      baseLimit: doc.base,
      override: doc.override,
      running: sum(executing) + sum(lingers),
      queued: sum(queued),
      queuedTaskIds: queued.map(({ _id }) => _id.task).toSorted(),
    };
  });
}

function sum(groups: readonly { readonly count: number }[]): number {
  return groups.reduce((total, { count }) => total + count, 0);
}

/** QUEUED runs of queues, parked ones included (QUE-10), by `environment|queue`. */
export async function queuedCounts(
  context: Context,
  queues: readonly { readonly environment: string; readonly queue: string }[],
): Promise<ReadonlyMap<string, number>> {
  if (queues.length === 0) return new Map();
  const environments = [...new Set(queues.map(({ environment }) => environment))];
  const counts = await Promise.all(
    environments.map(async (environment) => {
      const names = queues.filter((queue) => queue.environment === environment).map(({ queue }) => queue);
      const groups = await context.runs.aggregate<LingerGroup>([
        { $match: { environment, queue: { $in: [...new Set(names)] }, status: "QUEUED" } },
        { $group: { _id: "$queue", count: { $sum: 1 } } },
      ]);
      return groups.map(({ _id, count }): [string, number] => [`${environment}|${_id}`, count]);
    }),
  );
  return new Map(counts.flat());
}
