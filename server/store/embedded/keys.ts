/**
 * Keys. The run that has the key columns is the holder, and the unique index over them is the record: a record without a run, or of
 * another run, cannot exist. The window stored on the run decides; a holder that loses its key loses the columns.
 */
import { isWindowOpen, keepsKey } from "../../domain/idempotency.js";
import { encodeId } from "../../domain/ids.js";
import { statusOfPlace } from "../../domain/run-machine.js";
import type { ResetKey } from "../store.js";
import { answeredBefore, rememberAnswer } from "./answers.js";
import type { Context } from "./context.js";
import { bytesAt, hexToBytes, numberAt } from "./database.js";
import { placeOfNumber } from "./run-row.js";

/** Who has a key, and whether the next trigger with it gets that run (section 8.5). */
export interface KeyHolder {
  readonly row: number;
  readonly id: Uint8Array;
  /** False: its window is closed or its status does not keep the key; a new run takes it by {@link clearKey}. */
  readonly keeps: boolean;
}

export function holderOfKey(context: Context, recordHash: Uint8Array, nowMs: number): KeyHolder | undefined {
  const row = context.db.get("SELECT row, id, place, key_expires_ms FROM runs WHERE key_hash = ?", recordHash);
  if (row === undefined) return undefined;
  const { status } = statusOfPlace(placeOfNumber(numberAt(row, 2)));
  const keeps = isWindowOpen(numberAt(row, 3), nowMs) && keepsKey(status);
  return { row: numberAt(row, 0), id: bytesAt(row, 1), keeps };
}

/** IDM-28. A run outside its window holds no key any more; a failed one does until the next trigger. */
export function resetKey(context: Context, params: ResetKey): { readonly runId: string } | undefined {
  context.sees(params.nowMs);
  const { request } = params;
  const requestHash = request === undefined ? undefined : hexToBytes(request.hash);
  if (requestHash !== undefined) {
    const before = answeredBefore(context, requestHash, params.nowMs);
    if (before !== undefined) return { runId: encodeId("run", before.run) };
  }
  const env = context.names.findEnvironment(params.environment);
  const row = context.db.get(
    "SELECT row, id, key_expires_ms, env FROM runs WHERE key_hash = ?",
    hexToBytes(params.recordHash),
  );
  if (row === undefined || numberAt(row, 3) !== env || !isWindowOpen(numberAt(row, 2), params.nowMs)) return undefined;
  clearKey(context, numberAt(row, 0));
  if (request !== undefined && requestHash !== undefined) {
    rememberAnswer(context, { requestHash, run: bytesAt(row, 1), isCached: false, expiresAtMs: request.expiresAtMs });
  }
  return { runId: encodeId("run", bytesAt(row, 1)) };
}

export function clearKey(context: Context, row: number): void {
  context.db.run("UPDATE runs SET key_hash = NULL, key_expires_ms = NULL WHERE row = ?", row);
  context.held.forget(row);
}
