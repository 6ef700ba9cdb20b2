/**
 * Trigger: from what a caller sent to a stored run (TRG-10 gives the order of checks; design 6). Everything wrong with an item is found
 * before anything is written; the store then decides in one atomic step per item between an own earlier request, the holder of the key,
 * a full queue and a new run.
 */
import { type AppError, appError, isAppError, rejectIfAny, runNotFound, tokenAlreadyUsed } from "../../domain/error.js";
import { keyRecordHash } from "../../domain/idempotency.js";
import { derivedId, newId } from "../../domain/ids.js";
import { payloadViolations } from "../../domain/payload.js";
import { queueNameForTask } from "../../domain/queue.js";
import { newRun, type RunKey, type RunState } from "../../domain/run.js";
import { similarTaskIds, type TaskRecord } from "../../domain/task.js";
import { familyOfCaller, keyOfCaller } from "../../domain/token-caller.js";
import { type CheckedOptions, checkTriggerOptions } from "../../domain/trigger-options.js";
import { parseTtl, resolveTtl } from "../../domain/ttl.js";
import type { InsertDebounce, InsertRun, InsertRunResult } from "../../store/store.js";
import type { EngineDeps, TriggerItem, TriggerOutcome } from "../engine.js";
import { emitChanged, emitMoved } from "../moved.js";
import type { TaskRegistry } from "../task-registry.js";
import { type AwaitedRun, attachWaiters, queueTimeOf, requireWaiter } from "./awaited.js";
import { dropUnused, offload } from "./offload.js";
import { requestMark } from "./request.js";

/** TriggerTask and TriggerTasks share their memory of requests (design 6). */
export const TRIGGER_FAMILY = "trigger";
/** TRG-6a. */
export const SIMILAR_MAX = 3;
/** How long an awaited trigger that hit an existing run is answered with it again: a year, longer than results are kept. */
const JOINED_KNOWN_MS = 366 * 86_400_000;

export type Trigger = (environment: string, items: readonly TriggerItem[]) => Promise<readonly TriggerOutcome[]>;

/** An item that passed every check that needs no write. */
interface Prepared {
  readonly item: TriggerItem;
  readonly insert: InsertRun;
}

export function createTrigger(deps: EngineDeps, registry: TaskRegistry): Trigger {
  return async (environment, items) => {
    const nowMs = deps.clock.nowMs();
    const [tasks, parents] = await Promise.all([registry.read(environment), readParents(deps, environment, items)]);
    const checked = items.map((item): Prepared | AppError => {
      try {
        const insert = prepare(deps, { environment, item, nowMs, tasks, parents });
        if (item.replayOf === undefined) deps.rates.charge(environment, 0);
        return { item, insert };
      } catch (error) {
        if (isAppError(error)) return error;
        throw error;
      }
    });
    const prepared = await offload(deps, checked);
    const inserts = prepared.flatMap((entry) => (isAppError(entry) ? [] : [entry.insert]));
    const results = inserts.length === 0 ? [] : await deps.store.insertRuns(inserts);
    await dropUnused(deps, inserts, results);
    let next = 0;
    const outcomes = prepared.map((entry): TriggerOutcome => {
      if (isAppError(entry)) return { ok: false, error: entry };
      const result = results[next++];
      if (result === undefined) throw new Error("the store answered fewer items than it was asked");
      return outcomeOf(deps, entry, result, tasks);
    });
    return items.some(({ awaitedBy }) => awaitedBy !== undefined)
      ? attachAwaited(deps, environment, items, outcomes)
      : outcomes;
  };
}

/** The runs that somebody is about to wait for, of these triggers; what is said of them includes whether they are over. */
async function attachAwaited(
  deps: EngineDeps,
  environment: string,
  items: readonly TriggerItem[],
  outcomes: readonly TriggerOutcome[],
): Promise<readonly TriggerOutcome[]> {
  const attached = new Map<number, AwaitedRun>();
  outcomes.forEach((outcome, index) => {
    const lease = items[index]?.awaitedBy;
    if (lease === undefined || !outcome.ok) return;
    attached.set(index, {
      environment,
      runId: outcome.runId,
      isNew: outcome.isNew,
      parentRunId: lease.runId,
    });
  });
  const areOver = await attachWaiters(deps, [...attached.values()]);
  const indexes = [...attached.keys()];
  return outcomes.map((outcome, index) =>
    outcome.ok ? { ...outcome, isOver: areOver[indexes.indexOf(index)] === true } : outcome,
  );
}

/** What is known when a run is prepared. */
export interface PrepareContext {
  readonly environment: string;
  /** Of the item in the request, such as `items[3].`; default: the request is the item. */
  readonly path?: string;
  /** The batch that creates the run, and its id there. */
  readonly batch?: { readonly id: string; readonly index: number; readonly runId: string };
  readonly item: TriggerItem;
  readonly nowMs: number;
  readonly tasks: ReadonlyMap<string, TaskRecord>;
  readonly parents: ReadonlyMap<string, RunState>;
}

/** The insert of one item. @throws AppError with every violation of the item. */
export function prepare(deps: EngineDeps, context: PrepareContext): InsertRun {
  const { environment, item, nowMs, tasks, batch, path = "" } = context;
  const { limits } = deps;
  const checked = checkTriggerOptions(item.options, limits, nowMs, `${path}options`);
  const payload = payloadViolations(`${path}payload`, item.payload, limits);
  rejectIfAny([...payload, ...(checked.ok ? [] : checked.violations)]);
  if (!checked.ok) throw new Error("unreachable: refused options have violations");
  const { options } = checked;
  const task = tasks.get(item.taskId);
  const parent = parentOf(context);
  const waiter = item.awaitedBy === undefined ? undefined : requireWaiter(parent, item.awaitedBy, item.taskId);
  const run = newRun({
    environment,
    id: batch?.runId ?? idOf(deps, environment, item, nowMs),
    taskId: item.taskId,
    queue: options.queueName ?? task?.queueName ?? queueNameForTask(item.taskId),
    concurrencyKey: options.concurrencyKey,
    prioritySeconds: options.prioritySeconds,
    // A future delay sets the first due time, the debounce delay those of later calls (section 6.5).
    delayedUntilMs: options.dueMs ?? (options.debounce === undefined ? undefined : nowMs + options.debounce.delayMs),
    ttl: resolveTtl([options.ttl, task?.ttl === undefined ? undefined : parseTtl(task.ttl)], limits.ttlMaxMs),
    maxAttempts: options.maxAttempts,
    maxDurationSeconds: options.maxDurationSeconds,
    key: keyOf(environment, item, options, nowMs),
    parent: lineage(context),
    replayOf: item.replayOf,
    triggerFunction: item.triggerFunction,
    isTest: item.isTest || (parent?.isTest ?? false),
    tags: options.tags,
    awaited: waiter !== undefined,
    queueTimeMs: waiter === undefined ? undefined : queueTimeOf(waiter),
    batch,
    nowMs,
  });
  const request = requestMark({ environment, family: familyOf(item), requestId: item.requestId, nowMs }, limits);
  return {
    run,
    spec: item.spec,
    metadataJson: options.metadataJson,
    token: item.caller?.oneTime,
    // A run that waits for long is executed again long after, and has to find what it joined.
    request:
      request === undefined || waiter === undefined ? request : { ...request, expiresAtMs: nowMs + JOINED_KNOWN_MS },
    debounce: debounceOf(environment, item, options),
    queueSizeMax: run.status === "DELAYED" ? undefined : limits.queueSizeMax,
    queueLimit: options.queueLimit,
    nowMs,
  };
}

/** With a request id the run's id is a pure function of it, so that a repeat finds its own run without another record (REQ-1). */
function idOf({ entropy }: EngineDeps, environment: string, item: TriggerItem, nowMs: number): string {
  if (item.requestId !== undefined) return derivedId("run", environment, familyOf(item), item.requestId);
  return newId("run", nowMs, entropy.bytes(10));
}

function familyOf({ caller, taskId }: TriggerItem): string {
  return familyOfCaller(caller, TRIGGER_FAMILY, taskId);
}

function keyOf(
  environment: string,
  { taskId, caller }: TriggerItem,
  options: CheckedOptions,
  nowMs: number,
): RunKey | undefined {
  if (options.key === undefined) return undefined;
  const { hash, text, scope } = options.key;
  return {
    recordHash: keyRecordHash("run", environment, taskId, keyOfCaller(caller, hash)),
    text,
    scope,
    expiresAtMs: nowMs + options.keyTtlMs,
  };
}

function debounceOf(
  environment: string,
  { taskId, caller }: TriggerItem,
  { debounce }: CheckedOptions,
): InsertDebounce | undefined {
  if (debounce === undefined) return undefined;
  const { key, delayMs, maxDelayMs, mode } = debounce;
  const recordHash = keyRecordHash("debounce", environment, taskId, keyOfCaller(caller, key));
  return { recordHash, delayMs, maxDelayMs, isTrailing: mode === "trailing" };
}

export async function readParents(
  { store }: EngineDeps,
  environment: string,
  items: readonly Pick<TriggerItem, "parentRunId">[],
): Promise<ReadonlyMap<string, RunState>> {
  const ids = [...new Set(items.flatMap(({ parentRunId }) => parentRunId ?? []))];
  if (ids.length === 0) return new Map();
  const runs = await store.readRuns(ids.map((runId) => ({ environment, runId })));
  return new Map(runs.flatMap((run) => (run === undefined ? [] : [[run.id, run] as const])));
}

function parentOf({ item, parents }: PrepareContext): RunState | undefined {
  if (item.parentRunId === undefined) return undefined;
  const parent = parents.get(item.parentRunId);
  if (parent === undefined) throw runNotFound(item.parentRunId);
  return parent;
}

/** TRG-5. */
function lineage(context: PrepareContext): { runId: string; rootRunId: string; depth: number } | undefined {
  const parent = parentOf(context);
  if (parent === undefined) return undefined;
  return { runId: parent.id, rootRunId: parent.rootRunId ?? parent.id, depth: parent.depth };
}

function outcomeOf(
  deps: EngineDeps,
  { item, insert }: Prepared,
  result: InsertRunResult,
  tasks: ReadonlyMap<string, TaskRecord>,
): TriggerOutcome {
  const { taskId } = item;
  const isTaskKnown = tasks.has(taskId);
  const answer = (runId: string, isCached: boolean, warnings: readonly string[] = []): TriggerOutcome => ({
    ok: true,
    isNew: result.kind === "created",
    isOver: false,
    runId,
    taskId,
    isCached,
    isTaskKnown,
    // To a token the other tasks are none of its business.
    similarTaskIds:
      isTaskKnown || item.caller !== undefined ? [] : similarTaskIds(taskId, [...tasks.keys()], SIMILAR_MAX),
    warnings,
  });
  switch (result.kind) {
    case "created":
      announceNew(deps, result.run);
      return answer(result.run.id, false, result.queueLimitIgnored ? [limitIgnored(result.run.queue)] : []);
    case "repeat":
      return answer(result.runId, result.isCached);
    case "cached":
      return answer(result.runId, true);
    case "tokenUsed":
      return { ok: false, error: tokenAlreadyUsed(taskId) };
    case "pushed":
      emitMoved(deps, "push", result.run);
      if (result.run.dueMs !== undefined) deps.nudge("due", result.run.dueMs);
      return answer(result.run.id, false);
    case "queueFull":
      return { ok: false, error: queueFull(taskId, insert, result.size) };
  }
}

export function announceNew(deps: EngineDeps, run: RunState): void {
  const { environment, id: runId, taskId } = run;
  deps.events.emit("run.triggered", { environment, runId, taskId, isCached: false });
  if (run.dueMs !== undefined) deps.nudge("due", run.dueMs);
  if (run.expireAtMs !== undefined) deps.nudge("expire", run.expireAtMs);
  if (run.status === "QUEUED") deps.signals.publish([{ kind: "claimable", environment, taskId }]);
  // Nobody can watch a new run by its id yet.
  if (run.tags.length > 0 || run.batchId !== undefined) emitChanged(deps, run);
}

/** QUE-11. */
export function limitIgnored(queue: string): string {
  return `concurrencyLimit was ignored: queue ${queue} is declared by a worker; use overrideConcurrencyLimit to change its limit`;
}

/** QUE-10. */
export function queueFull(taskId: string, { run, queueSizeMax }: InsertRun, size: number): AppError {
  const message = `Cannot trigger ${taskId} as the queue size limit for this environment has been reached. The maximum size is ${queueSizeMax ?? 0}`;
  return appError("QUEUE_FULL", message, {
    metadata: { queue: run.queue, got: String(size), allowed: String(queueSizeMax ?? 0) },
  });
}
