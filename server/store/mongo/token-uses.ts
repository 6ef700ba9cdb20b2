/**
 * Uses of one-time tokens (AUT-3). The record says what the token was used for: a run that it answered with, or a run that it is to make.
 * A run that it names and that does not exist is the trace of a creation that has not come, or never will: like a key record, it is a
 * promise, and the next caller inserts *under that id*. So nobody waits, one token never yields two runs, and a server that stops between
 * the record and the run has used nothing up.
 */
import type { OneTimeUse } from "../../domain/token-caller.js";
import type { InsertBatch, InsertBatchResult } from "../store.js";
import { expiryDate } from "./answers.js";
import type { Identified } from "./client.js";
import type { Context } from "./context.js";
import type { RunDoc } from "./run-doc.js";

/** `_id`: hash of the token. */
export interface TokenUseDoc extends Identified {
  readonly run: string;
  /** The run existed before: nothing is to be made. */
  readonly cached: boolean;
  /** Hash of the request that used it. */
  readonly request?: string;
  readonly atMs: number;
  readonly forgetAtMs: number;
  /** For the TTL index. */
  readonly expireAt: Date;
}

/** What is known of a token. */
export type KnownUse =
  | { readonly kind: "none" }
  /** Used by this very request. */
  | { readonly kind: "own"; readonly runId: string; readonly isCached: boolean }
  | { readonly kind: "used" }
  /** It is to make this run, which does not exist. */
  | { readonly kind: "promised"; readonly runId: string };

/** Runs outlive their creation by a day (design 6): within less, a run that is not there was never made. */
const PROMISE_MS = 20 * 3_600_000;

export function knownUse(params: {
  readonly record: TokenUseDoc | undefined;
  /** The run that the record names. */
  readonly run: Pick<RunDoc, "req"> | undefined;
  readonly requestHash: string | undefined;
  readonly nowMs: number;
}): KnownUse {
  const { record, run, requestHash, nowMs } = params;
  if (record === undefined) return { kind: "none" };
  const { run: runId, cached: isCached } = record;
  if (!isCached && run === undefined && nowMs < record.atMs + PROMISE_MS) return { kind: "promised", runId };
  const by = isCached ? record.request : run?.req;
  return requestHash !== undefined && by === requestHash ? { kind: "own", runId, isCached } : { kind: "used" };
}

export interface NewUse {
  readonly token: OneTimeUse;
  readonly runId: string;
  readonly isCached: boolean;
  readonly requestHash: string | undefined;
  readonly nowMs: number;
}

/** @returns positions of tokens that somebody was quicker with. */
export function useTokens(context: Context, uses: readonly NewUse[]): Promise<ReadonlySet<number>> {
  return context.tokenUses.insertMany(
    uses.map(({ token, runId, isCached, requestHash, nowMs }) => ({
      _id: token.hash,
      run: runId,
      cached: isCached,
      ...(requestHash === undefined ? {} : { request: requestHash }),
      atMs: nowMs,
      forgetAtMs: token.forgetAtMs,
      expireAt: expiryDate(context, token.forgetAtMs, nowMs),
    })),
  );
}

/**
 * A batch by a one-time token. The record comes first and belongs to the request, whose repeat does the rest: a batch takes several writes,
 * and no other request could keep its promise under the same id. What is refused gives the token back.
 */
export async function batchByToken(
  context: Context,
  { token, request, batch, nowMs }: InsertBatch,
  insert: () => Promise<InsertBatchResult>,
): Promise<InsertBatchResult> {
  if (token === undefined) return insert();
  const requestHash = request?.hash;
  const use = { token, runId: batch.id, isCached: true, requestHash, nowMs };
  if ((await useTokens(context, [use])).size > 0) {
    const record = (await context.tokenUses.findByIds([token.hash])).get(token.hash);
    if (requestHash === undefined || record?.request !== requestHash) return { kind: "tokenUsed" };
  }
  const result = await insert();
  if (result.kind === "queueFull") {
    await context.tokenUses.deleteMany({ _id: token.hash, request: requestHash });
  }
  return result;
}
