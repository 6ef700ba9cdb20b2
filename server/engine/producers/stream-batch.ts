/**
 * Streamed batches: opened, then filled chunk by chunk, then sealed (BAT-15…19). A stream holds one chunk at a time; its caller reads the next
 * one only when this one is stored, so that a fast sender is slowed down by the store and by nothing else.
 */
import {
  BATCH_STREAM_TIMEOUT,
  type BatchFailure,
  type BatchOpener,
  type BatchState,
  batchBytesViolations,
  batchCountViolations,
  batchFailure,
  type NewBatch,
} from "../../domain/batch.js";
import {
  batchChunkOutOfOrder,
  batchEmpty,
  batchNotFound,
  batchSealed,
  invalidRequest,
  rejectIfAny,
  runNotFound,
  staleLease,
  tokenAlreadyUsed,
} from "../../domain/error.js";
import { isLegal, placeOf } from "../../domain/run-machine.js";
import { batchCaller } from "../../domain/token-caller.js";
import type { InsertBatchResult, InsertRun } from "../../store/store.js";
import type { BatchChunk, BatchStream, EngineDeps, OpenBatchParams, UnknownTask } from "../engine.js";
import type { TaskRegistry } from "../task-registry.js";
import { attachBatchWaiter } from "./awaited-batch.js";
import { limitIgnored } from "./trigger.js";
import {
  announceRuns,
  batchKey,
  batchNames,
  fullQueue,
  prepareItems,
  unknownTasks,
  withoutOthers,
} from "./trigger-batch.js";

/** Unknown tasks, and warnings, that one call is told of. */
const TOLD_MAX = 100;

export function createStreamBatch(deps: EngineDeps, registry: TaskRegistry) {
  return async (params: OpenBatchParams): Promise<BatchStream> => {
    const nowMs = deps.clock.nowMs();
    // What a token names is for its scopes alone, so that no token is answered with a batch of tasks that it may not trigger.
    const caller = params.caller && batchCaller(params.caller, params.scopes ?? []);
    const { key, violations } = batchKey(deps, { ...params, caller }, nowMs);
    rejectIfAny([...params.formViolations, ...violations]);
    const opener = await openerOf(deps, params);
    const names = batchNames(deps, { ...params, caller }, nowMs);
    const batch: NewBatch = {
      environment: params.environment,
      id: names.batchId,
      isStreamed: true,
      isAwaited: params.awaitedBy !== undefined,
      key,
      opener,
      nowMs,
    };
    const result = await deps.store.insertBatch({
      batch,
      chunk: { index: 0, firstIndex: 0 },
      items: [],
      request: names.request,
      token: caller?.oneTime,
      nowMs,
    });
    if (result.kind === "tokenUsed") throw tokenAlreadyUsed("a batch");
    if (result.kind !== "created" && result.kind !== "repeat" && result.kind !== "cached") {
      throw new Error(`the opening of a batch was ${result.kind}`);
    }
    if (result.kind === "repeat" && !result.batch.isStreamed) {
      throw invalidRequest("open.requestId", "open.requestId names a batch that was made by one call");
    }
    const stream = new LiveStream({ deps, registry, params, batch, names }, result);
    await stream.attachWaiter();
    return stream;
  };
}

/** @throws AppError STALE_LEASE where the attempt is over, RUN_NOT_FOUND. */
async function openerOf(
  { store }: Pick<EngineDeps, "store">,
  { environment, parentRunId, attempt }: OpenBatchParams,
): Promise<BatchOpener | undefined> {
  if (attempt === undefined || parentRunId === undefined) return undefined;
  const [run] = await store.readRuns([{ environment, runId: parentRunId }]);
  if (run === undefined) throw runNotFound(parentRunId);
  const isCurrent =
    isLegal("interrupt", placeOf(run)) && run.sessionId === attempt.sessionId && run.attempt === attempt.number;
  if (!isCurrent || run.attemptStartedAtMs === undefined) throw staleLease(parentRunId);
  return { runId: parentRunId, ...attempt, startedAtMs: run.attemptStartedAtMs };
}

interface Parts {
  readonly deps: EngineDeps;
  readonly registry: TaskRegistry;
  readonly params: OpenBatchParams;
  readonly batch: NewBatch;
  readonly names: ReturnType<typeof batchNames>;
}

class LiveStream implements BatchStream {
  readonly isCached: boolean;
  isDone = false;
  readonly #parts: Parts;
  readonly #unknown = new Map<string, UnknownTask>();
  readonly #warnings = new Set<string>();
  #batch: BatchState;
  #accepted = 0;
  #deduplicated = 0;

  constructor(parts: Parts, { kind, batch }: { readonly kind: string; readonly batch: BatchState }) {
    this.#parts = parts;
    this.#batch = batch;
    this.isCached = kind === "cached";
  }

  get batch(): BatchState {
    return this.#batch;
  }

  get itemsAccepted(): number {
    return this.#accepted;
  }

  get itemsDeduplicated(): number {
    return this.#deduplicated;
  }

  get unknownTasks(): readonly UnknownTask[] {
    return [...this.#unknown.values()].slice(0, TOLD_MAX);
  }

  get warnings(): readonly string[] {
    return [...this.#warnings].slice(0, TOLD_MAX);
  }

  async add(chunk: BatchChunk): Promise<void> {
    const { deps, registry, params, batch, names } = this.#parts;
    const { index, count } = chunk;
    if (this.#isKnown(chunk)) return;
    if (this.#batch.sealedAtMs !== undefined) throw batchSealed(batch.id);
    if (index !== this.#batch.chunkCount) throw batchChunkOutOfOrder(index, this.#batch.chunkCount);
    rejectIfAny(batchCountViolations(count, deps.limits));
    await openerOf(deps, params);
    const nowMs = deps.clock.nowMs();
    const firstIndex = this.#batch.itemCount;
    const { items, violations: form } = chunk.decode(firstIndex);
    const payloads = items.map(({ payload }) => payload);
    const violations = [...form, ...(count === 1 ? [] : batchBytesViolations(payloads, deps.limits))];
    const place = { ...names, firstIndex, violations, nowMs };
    const { inserts, tasks } = await prepareItems(deps, registry, params, items, place);
    const result = await deps.store.insertBatch({
      batch,
      chunk: { index, firstIndex },
      items: inserts,
      request: names.request,
      nowMs,
    });
    this.#take(chunk, inserts, result);
    for (const task of unknownTasks(inserts, tasks)) {
      const told = params.caller === undefined ? task : withoutOthers(task);
      if (this.#unknown.size < TOLD_MAX) this.#unknown.set(task.taskId, told);
    }
  }

  #isKnown({ index, count }: BatchChunk): boolean {
    if (index >= this.#batch.chunkCount) return false;
    this.#deduplicated += count;
    return true;
  }

  #take(chunk: BatchChunk, inserts: readonly InsertRun[], result: InsertBatchResult): void {
    switch (result.kind) {
      case "created":
        announceRuns(this.#parts.deps, result);
        for (const queue of result.ignoredLimits) this.#warnings.add(limitIgnored(queue));
        this.#batch = result.batch;
        this.#accepted += chunk.count;
        return;
      case "repeat":
        this.#batch = result.batch;
        this.#deduplicated += chunk.count;
        return;
      case "queueFull":
        throw fullQueue(inserts, result);
      case "sealed":
        throw batchSealed(result.batch.id);
      case "outOfOrder":
        if (result.batch === undefined) throw batchNotFound(this.#batch.id);
        // Another call of this batch was quicker.
        this.#batch = result.batch;
        if (!this.#isKnown(chunk)) throw batchChunkOutOfOrder(chunk.index, result.batch.chunkCount);
        return;
      case "cached":
      case "tokenUsed":
        throw new Error(`a chunk of a stream was ${result.kind}`);
    }
  }

  async seal(failure: BatchFailure | undefined): Promise<void> {
    const { environment, id: batchId } = this.#batch;
    const { deps } = this.#parts;
    const kept = failure === undefined ? undefined : batchFailure(failure);
    const nowMs = deps.clock.nowMs();
    const item = { environment, batchId, failure: kept, idleSinceMs: undefined, nowMs };
    const [sealed] = await deps.store.sealBatches([item]);
    if (sealed === undefined) throw batchNotFound(batchId);
    this.#batch = sealed;
    if (sealed.itemCount === 0 && failure === undefined) throw batchEmpty();
    // Nobody waits for what ended early (BAT-19).
    if (failure === undefined) await this.attachWaiter();
  }

  /** Once the batch is whole, so that none of its runs is missed. */
  async attachWaiter(): Promise<void> {
    const { deps, params } = this.#parts;
    const { awaitedBy: lease } = params;
    if (lease === undefined || this.#batch.sealedAtMs === undefined) return;
    // Its own runs were made as awaited ones; those that joined from elsewhere were not.
    const isNew = !this.isCached;
    this.isDone = await attachBatchWaiter(deps, { batch: this.#batch, isNew, lease });
  }
}

/** Why the server ended an input by itself (BAT-18). */
export function abandoned(message: string): BatchFailure {
  return { message, code: BATCH_STREAM_TIMEOUT, index: undefined, taskId: undefined };
}
