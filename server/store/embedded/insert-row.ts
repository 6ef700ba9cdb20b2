/**
 * A new run as the columns that it sets, made in the caller's thread: what can be computed there is not computed by the one thread that
 * writes, and columns travel between threads for a fraction of what an object of sixty members costs.
 */
import type { DebounceReplacement } from "../../domain/debounce.js";
import type { RunState } from "../../domain/run.js";
import { placeOf } from "../../domain/run-machine.js";
import type { OneTimeUse } from "../../domain/token-caller.js";
import type { InsertDebounce, InsertRun, InsertRunResult } from "../store.js";
import { hexToBytes, type SqlValue } from "./database.js";
import { insertedColumns, runIdBytes } from "./run-row.js";
import type { Shape } from "./shape.js";
import type { TokenUse } from "./token-uses.js";

/**
 * Specs up to this size lie in the row of the run, so that a small run is one row; larger ones beside it, so that claims and reports,
 * which write the row anew, do not move them.
 */
export const SPEC_IN_ROW_BYTES = 2_048;

export interface InsertRow {
  readonly environment: string;
  readonly task: string;
  readonly queue: string;
  readonly concurrencyKey: string | undefined;
  readonly id: Uint8Array;
  readonly requestHash: Uint8Array | undefined;
  readonly requestExpiresAtMs: number;
  readonly keyHash: Uint8Array | undefined;
  readonly queueSizeMax: number | undefined;
  readonly queueLimit: number | undefined;
  readonly token: TokenUse | undefined;
  readonly nowMs: number;
  readonly createdAtMs: number;
  /** JSON of {@link RowDebounce}; undefined: none. */
  readonly debounceJson: string | undefined;
  /** QUEUED, and not DELAYED. */
  readonly isWaiting: boolean;
  readonly metadataJson: string | undefined;
  /** JSON of the tags; undefined: none. */
  readonly tagsJson: string | undefined;
  /** JSON of the objects that the spec names; undefined: none. */
  readonly objectsJson: string | undefined;
  readonly spec: Uint8Array;
  /** The other columns that differ from the defaults, and their values. */
  readonly shape: Shape;
  readonly values: readonly SqlValue[];
}

/** A debounced call, with what a trailing one replaces. */
export interface RowDebounce extends InsertDebounce {
  readonly replacement: DebounceReplacement | undefined;
}

/** What became of an item; a created run is the one that was given, so it does not travel back. */
export type InsertAnswer =
  | { readonly kind: "created"; readonly queueLimitIgnored: boolean }
  | Exclude<InsertRunResult, { readonly kind: "created" }>;

/** @throws TypeError for what no engine sends: another id than ours, another place than that of a new run. */
export function toInsertRow(item: InsertRun): InsertRow {
  const { run, request } = item;
  const id = runIdBytes(run.id);
  if (id === undefined) throw new TypeError(`not a run id: ${run.id}`);
  const place = placeOf(run);
  if (place !== "QUEUED_WAITING" && place !== "DELAYED") throw new TypeError(`a new run cannot be ${place}`);
  const { shape, values } = insertedColumns(run);
  return {
    environment: run.environment,
    task: run.taskId,
    queue: run.queue,
    concurrencyKey: run.concurrencyKey,
    id,
    requestHash: request === undefined ? undefined : hexToBytes(request.hash),
    requestExpiresAtMs: request?.expiresAtMs ?? 0,
    keyHash: run.key === undefined ? undefined : hexToBytes(run.key.recordHash),
    queueSizeMax: item.queueSizeMax,
    queueLimit: item.queueLimit,
    token: toTokenUse(item.token),
    nowMs: item.nowMs,
    createdAtMs: run.createdAtMs,
    debounceJson: item.debounce === undefined ? undefined : debounceJson(item.debounce, run),
    isWaiting: place === "QUEUED_WAITING",
    metadataJson: item.metadataJson,
    tagsJson: run.tags.length === 0 ? undefined : JSON.stringify(run.tags),
    objectsJson: item.objectKeys === undefined ? undefined : JSON.stringify(item.objectKeys),
    spec: item.spec,
    shape,
    values,
  };
}

function debounceJson(debounce: InsertDebounce, { tags, maxAttempts, maxDurationSeconds }: RunState): string {
  const row: RowDebounce = {
    ...debounce,
    replacement: debounce.isTrailing ? { tags, maxAttempts, maxDurationSeconds } : undefined,
  };
  return JSON.stringify(row);
}

export function toTokenUse(token: OneTimeUse | undefined): TokenUse | undefined {
  return token === undefined ? undefined : { hash: hexToBytes(token.hash), forgetAtMs: token.forgetAtMs };
}
