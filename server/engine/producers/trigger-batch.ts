/**
 * Batches of one call: everything wrong with any item is found before anything is written; then one store verb creates all or none (BAT-8).
 */
import { batchBytesViolations, batchCountViolations, type NewBatch } from "../../domain/batch.js";
import { isAppError, rejectIfAny, tokenAlreadyUsed, type Violation } from "../../domain/error.js";
import {
  type CheckedKey,
  checkIdempotencyKey,
  keyRecordHash,
  keyTtlViolation,
  parseKeyTtl,
} from "../../domain/idempotency.js";
import { batchRunId, derivedId, newUuid } from "../../domain/ids.js";
import type { RunKey, TriggerFunction } from "../../domain/run.js";
import { similarTaskIds, type TaskRecord } from "../../domain/task.js";
import { batchCaller, keyOfCaller, requestOfCaller } from "../../domain/token-caller.js";
import type { InsertBatchResult, InsertRun } from "../../store/store.js";
import type {
  BatchCall,
  BatchTriggerItem,
  EngineDeps,
  TriggerBatchParams,
  TriggeredBatch,
  UnknownTask,
} from "../engine.js";
import type { TaskRegistry } from "../task-registry.js";
import { attachBatchWaiter } from "./awaited-batch.js";
import { offloadBatch } from "./offload.js";
import { requestMark } from "./request.js";
import { announceNew, limitIgnored, prepare, queueFull, readParents, SIMILAR_MAX } from "./trigger.js";

/** Batches of one call and streamed ones share their memory of requests: both ids are functions of the request alone. */
export const BATCH_FAMILY = "batch";

/** BAT-25: positions that an answer names. */
export const ITEMS_SHOWN_MAX = 1_000;

export type TriggerBatch = (params: TriggerBatchParams) => Promise<TriggeredBatch>;

export function createTriggerBatch(deps: EngineDeps, registry: TaskRegistry): TriggerBatch {
  return async (params) => {
    const { environment, items } = params;
    const nowMs = deps.clock.nowMs();
    const caller =
      params.caller &&
      batchCaller(
        params.caller,
        items.map(({ taskId }) => taskId),
      );
    const names = batchNames(deps, { ...params, caller }, nowMs);
    rejectIfAny(batchCountViolations(items.length, deps.limits));
    const { key, violations: ofKey } = batchKey(deps, { ...params, caller }, nowMs);
    const violations = [...params.formViolations, ...ofKey, ...batchBytesViolations(payloadsOf(items), deps.limits)];
    const place = { ...names, firstIndex: 0, violations, nowMs };
    const { inserts, tasks } = await prepareItems(deps, registry, params, items, place);
    const batch: NewBatch = {
      environment,
      id: names.batchId,
      isStreamed: false,
      isAwaited: params.awaitedBy !== undefined,
      key,
      opener: undefined,
      nowMs,
    };
    const result = await deps.store.insertBatch({
      batch,
      chunk: { index: 0, firstIndex: 0 },
      items: inserts,
      request: names.request,
      token: caller?.oneTime,
      nowMs,
    });
    const answer = await answerOf(deps, result, inserts, tasks);
    const told = caller === undefined ? answer : { ...answer, unknownTasks: answer.unknownTasks.map(withoutOthers) };
    if (params.awaitedBy === undefined) return told;
    const isNew = result.kind === "created";
    const isDone = await attachBatchWaiter(deps, { batch: answer.batch, isNew, lease: params.awaitedBy });
    return { ...told, isDone };
  };
}

/** To a token the other tasks are none of its business. */
export function withoutOthers({ taskId }: UnknownTask): UnknownTask {
  return { taskId, similarTaskIds: [] };
}

function payloadsOf(items: readonly BatchTriggerItem[]) {
  return items.map(({ payload }) => payload);
}

/** The ids that a batch call gives: pure functions of its request id, or of one made here (REQ-1). */
export function batchNames(deps: EngineDeps, { environment, requestId, caller }: BatchCall, nowMs: number) {
  const { entropy, limits } = deps;
  const named = requestOfCaller(caller, requestId ?? newUuid(nowMs, entropy.bytes(10)));
  const request = requestMark({ environment, family: BATCH_FAMILY, requestId: named, nowMs }, limits);
  return { batchId: derivedId("batch", environment, BATCH_FAMILY, named), requestId: named, request };
}

/** The key of the batch, and what is wrong with it (BAT-20). */
export function batchKey(
  { limits }: Pick<EngineDeps, "limits">,
  { environment, key: input, keyTtl, caller }: BatchCall,
  nowMs: number,
): { readonly key: RunKey | undefined; readonly violations: Violation[] } {
  const violations: Violation[] = [];
  const checked: CheckedKey | undefined = checkIdempotencyKey(input, "options.idempotencyKey", limits, violations);
  const ttlMs = keyTtl === undefined ? limits.idempotencyKeyTtlMs : parseKeyTtl(keyTtl, limits.durationMaxMs);
  if (ttlMs === undefined) violations.push(keyTtlViolation("options.idempotencyKeyTtl", keyTtl ?? ""));
  if (checked === undefined || ttlMs === undefined) return { key: undefined, violations };
  const { hash, text, scope } = checked;
  const recordHash = keyRecordHash("batch", environment, "", keyOfCaller(caller, hash));
  return { key: { recordHash, text, scope, expiresAtMs: nowMs + ttlMs }, violations };
}

export interface ItemsPlace {
  readonly batchId: string;
  readonly requestId: string;
  readonly firstIndex: number;
  /** Of what concerns the batch as a whole; told with those of the items. */
  readonly violations: readonly Violation[];
  readonly nowMs: number;
}

/** @throws AppError with the violations of all items, each under its path. */
export async function prepareItems(
  deps: EngineDeps,
  registry: TaskRegistry,
  call: Pick<BatchCall, "environment" | "parentRunId" | "isTest" | "caller"> & Pick<TriggerBatchParams, "awaitedBy">,
  items: readonly BatchTriggerItem[],
  place: ItemsPlace,
): Promise<{ readonly inserts: readonly InsertRun[]; readonly tasks: ReadonlyMap<string, TaskRecord> }> {
  const { environment, parentRunId, isTest, awaitedBy } = call;
  const { batchId, requestId, firstIndex, nowMs } = place;
  const [tasks, parents] = await Promise.all([registry.read(environment), readParents(deps, environment, [call])]);
  const violations = [...place.violations];
  const known = new Set(violations.map(({ field }) => field));
  const triggerFunction: TriggerFunction = awaitedBy === undefined ? "batchTrigger" : "batchTriggerAndWait";
  // The batch uses a one-time token up, not each of its items.
  const caller = call.caller && { ...call.caller, oneTime: undefined };
  const inserts = items.flatMap((item, at): readonly InsertRun[] => {
    const index = firstIndex + at;
    const batch = { id: batchId, index, runId: batchRunId(environment, requestId, index) };
    const own = { ...item, requestId: undefined, parentRunId, awaitedBy, isTest, triggerFunction, caller };
    try {
      return [prepare(deps, { environment, item: own, path: `items[${at}].`, batch, nowMs, tasks, parents })];
    } catch (error) {
      if (!isAppError(error) || error.violations.length === 0) throw error;
      violations.push(...error.violations.filter(({ field }) => !known.has(field)));
      return [];
    }
  });
  rejectIfAny(violations);
  deps.rates.charge(environment, items.length);
  return { inserts: await offloadBatch(deps, items, inserts), tasks };
}

async function answerOf(
  deps: EngineDeps,
  result: InsertBatchResult,
  inserts: readonly InsertRun[],
  tasks: ReadonlyMap<string, TaskRecord>,
): Promise<TriggeredBatch> {
  switch (result.kind) {
    case "created": {
      announceRuns(deps, result);
      const { batch, items } = result;
      const warnings = result.ignoredLimits.map(limitIgnored);
      return { batch, isCached: false, isDone: false, items, unknownTasks: unknownTasks(inserts, tasks), warnings };
    }
    case "repeat":
    case "cached": {
      const { batch } = result;
      const { environment, id: batchId } = batch;
      const items = await deps.store.readBatchItems({ environment, batchId, fromIndex: 0, limit: ITEMS_SHOWN_MAX });
      const isCached = result.kind === "cached";
      return { batch, isCached, isDone: false, items, unknownTasks: unknownTasks(inserts, tasks), warnings: [] };
    }
    case "queueFull":
      throw fullQueue(inserts, result);
    case "tokenUsed":
      throw tokenAlreadyUsed(inserts[0]?.run.taskId ?? "a batch");
    case "sealed":
    case "outOfOrder":
      throw new Error(`a batch of one call was ${result.kind}`);
  }
}

export function announceRuns(
  deps: EngineDeps,
  { created }: Extract<InsertBatchResult, { readonly kind: "created" }>,
): void {
  for (const run of created) announceNew(deps, run);
}

export function fullQueue(
  inserts: readonly InsertRun[],
  { index, size }: Extract<InsertBatchResult, { readonly kind: "queueFull" }>,
): Error {
  const insert = inserts[index];
  return insert === undefined ? new Error("no such item") : queueFull(insert.run.taskId, insert, size);
}

/** TRG-6a, each task once. */
export function unknownTasks(
  inserts: readonly InsertRun[],
  tasks: ReadonlyMap<string, TaskRecord>,
): readonly UnknownTask[] {
  const unknown = new Set(inserts.map(({ run }) => run.taskId).filter((taskId) => !tasks.has(taskId)));
  return [...unknown].map((taskId) => ({
    taskId,
    similarTaskIds: similarTaskIds(taskId, [...tasks.keys()], SIMILAR_MAX),
  }));
}
