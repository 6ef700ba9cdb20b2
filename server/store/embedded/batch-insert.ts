/** A batch on its way to the thread that writes: its runs packed as those of `insertRuns` are, and what comes back of them. */
import type { BatchItem, BatchState, NewBatch } from "../../domain/batch.js";
import type { RunState } from "../../domain/run.js";
import type { InsertBatch, InsertBatchResult } from "../store.js";
import { toInsertRow, toTokenUse } from "./insert-row.js";
import { type PackedRows, packRows } from "./packed-rows.js";
import type { TokenUse } from "./token-uses.js";

export interface BatchInsert {
  readonly batch: NewBatch;
  readonly chunk: InsertBatch["chunk"];
  readonly rows: PackedRows;
  /** As users wrote them, by position; empty where no item has one. */
  readonly keyTexts: readonly (string | undefined)[];
  /** Hex. */
  readonly requestHash: string | undefined;
  readonly requestExpiresAtMs: number;
  readonly token: TokenUse | undefined;
  readonly nowMs: number;
}

/** Runs that were created are those that were given, so they do not travel back. */
export type BatchAnswer =
  | {
      readonly kind: "created";
      readonly batch: BatchState;
      /** Position in the chunk → the run that was there before. */
      readonly hits: readonly (readonly [at: number, runId: string])[];
      /** The same of debounced items that pushed a run, which is no hit. */
      readonly pushes: readonly (readonly [at: number, runId: string])[];
      readonly ignoredLimits: readonly string[];
    }
  | Exclude<InsertBatchResult, { readonly kind: "created" }>;

export function toBatchInsert({ batch, chunk, items, request, token, nowMs }: InsertBatch): BatchInsert {
  // A batch remembers its request itself.
  const rows = items.map((item) => toInsertRow({ ...item, request: undefined }));
  const keyTexts = items.map(({ run }) => run.key?.text);
  return {
    batch,
    chunk,
    rows: packRows(rows),
    keyTexts: keyTexts.some((text) => text !== undefined) ? keyTexts : [],
    requestHash: request?.hash,
    requestExpiresAtMs: request?.expiresAtMs ?? 0,
    token: toTokenUse(token),
    nowMs,
  };
}

export function createdItems(
  { items, chunk }: InsertBatch,
  { hits, pushes }: Extract<BatchAnswer, { readonly kind: "created" }>,
): { readonly items: readonly BatchItem[]; readonly created: readonly RunState[] } {
  const hitAt = new Map(hits);
  const pushAt = new Map(pushes);
  return {
    items: items.map(({ run }, at) => ({
      index: chunk.firstIndex + at,
      runId: hitAt.get(at) ?? pushAt.get(at) ?? run.id,
      taskId: run.taskId,
      isCached: hitAt.has(at),
      keyText: run.key?.text,
    })),
    created: items.flatMap(({ run }, at) => (hitAt.has(at) || pushAt.has(at) ? [] : [run])),
  };
}
