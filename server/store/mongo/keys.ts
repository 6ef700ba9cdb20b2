/**
 * Keys (design 6). A key record names a run; the run is the authority: its status, its window, and whether it still shows the key. A
 * record that names no run is the trace of a creation that has not come, or never will: the next caller inserts under that id, so nobody
 * waits and one key never yields two runs.
 */
import { isWindowOpen, keepsKey } from "../../domain/idempotency.js";
import type { RunState } from "../../domain/run.js";
import type { ResetKey } from "../store.js";
import { answersBefore, expiryDate, rememberAnswers } from "./answers.js";
import { filterOf, type Identified } from "./client.js";
import type { Context } from "./context.js";
import type { RunDoc } from "./run-doc.js";

/** `_id`: {@link keyRecordHash}. */
export interface KeyDoc extends Identified {
  readonly environment: string;
  readonly run: string;
  /** The batch that claimed it for a run of its own: while that is being made, it has to be waited for. */
  readonly batch?: string;
  /** The failed run that it was taken from by a batch, and that has to show it no longer. */
  readonly from?: string;
  /** Token of the batch's maker that claimed it. */
  readonly by?: string;
  /** End of the longest window that was claimed under it, Unix ms. {@link expireAt} is for the TTL index. */
  readonly untilMs: number;
  readonly expireAt: Date;
}

/** What a key record says, read together with its run. */
export type KeyHolder =
  | { readonly kind: "none" }
  /** Names this run, which does not exist. */
  | { readonly kind: "promised"; readonly record: KeyDoc }
  /** The run is the answer (`keeps`), or the next run takes the key from it. */
  | { readonly kind: "held"; readonly record: KeyDoc; readonly run: RunDoc; readonly keeps: boolean };

/** What is read of a holder. */
export const HOLDER_FIELDS = { environment: 1, status: 1, key: 1, req: 1 } as const;

export function holderOfKey(record: KeyDoc | undefined, run: RunDoc | undefined, nowMs: number): KeyHolder {
  if (record === undefined) return { kind: "none" };
  if (run === undefined) return { kind: "promised", record };
  return { kind: "held", record, run, keeps: showsKey(run, record._id, nowMs) && keeps(run.status) };
}

/** The failed run that loses its key; known to the record where a batch took it that was not made. */
export function loserOf(holder: KeyHolder): string | undefined {
  if (holder.kind === "none") return undefined;
  return holder.kind === "held" ? holder.run._id : holder.record.from;
}

function keeps(status: RunState["status"] | undefined): boolean {
  return status !== undefined && keepsKey(status);
}

function showsKey(run: RunDoc, recordHash: string, nowMs: number): boolean {
  return run.key?.recordHash === recordHash && isWindowOpen(run.key.expiresAtMs, nowMs);
}

/** A key that is to name a new run. */
export interface KeyClaim {
  readonly recordHash: string;
  readonly environment: string;
  readonly runId: string;
  readonly untilMs: number;
  readonly nowMs: number;
  readonly holder: KeyHolder;
}

/** Makes key records name new runs. @returns for each whether it does; false: somebody else was quicker. */
export async function claimKeys(context: Context, claims: readonly KeyClaim[]): Promise<readonly boolean[]> {
  const fresh = claims.filter(({ holder }) => holder.kind === "none");
  const moved = claims.filter(({ holder }) => holder.kind !== "none");
  const [duplicates] = await Promise.all([
    context.keys.insertMany(
      fresh.map(({ recordHash, environment, runId, untilMs, nowMs }) => ({
        _id: recordHash,
        environment,
        run: runId,
        untilMs,
        expireAt: expiryDate(context, untilMs, nowMs),
      })),
    ),
    context.keys.bulk(
      moved.flatMap(({ recordHash, runId, untilMs, nowMs, holder }) =>
        holder.kind === "none"
          ? []
          : [
              {
                updateOne: {
                  filter: { _id: recordHash, run: holder.record.run },
                  update: {
                    $set: { run: runId },
                    $max: { untilMs, expireAt: expiryDate(context, untilMs, nowMs) },
                  },
                },
              },
            ],
      ),
    ),
  ]);
  const present = await context.keys.findByIds(moved.map(({ recordHash }) => recordHash));
  const lost = new Set(fresh.filter((_, index) => duplicates.has(index)));
  return claims.map((claim) => {
    if (claim.holder.kind === "none") return !lost.has(claim);
    return present.get(claim.recordHash)?.run === claim.runId;
  });
}

/** Runs that no longer hold their key show it no longer (IDM-25). */
export async function dropKeys(
  context: Context,
  dropped: readonly { readonly runId: string; readonly recordHash: string }[],
): Promise<void> {
  await context.runs.bulk(
    dropped.map(({ runId, recordHash }) => ({
      updateOne: {
        filter: filterOf<RunDoc>({ _id: runId, "key.recordHash": recordHash }),
        update: { $unset: { key: "" } },
      },
    })),
  );
}

/**
 * IDM-28. Under a request id the target is remembered first; then the effect, guarded by it: a repeat does the rest and can take nothing
 * from a later run.
 */
export async function resetKey(context: Context, params: ResetKey): Promise<{ readonly runId: string } | undefined> {
  const { recordHash, request, nowMs } = params;
  const before = request === undefined ? undefined : (await answersBefore(context, [request.hash])).get(request.hash);
  if (before !== undefined && before.untilMs > nowMs) return take(context, recordHash, before.run);
  const record = (await context.keys.findByIds([recordHash])).get(recordHash);
  if (record === undefined || record.environment !== params.environment) return undefined;
  const run = (await context.runs.findByIds([record.run], HOLDER_FIELDS)).get(record.run);
  if (run === undefined) {
    await context.keys.deleteMany({ _id: recordHash, run: record.run });
    return undefined;
  }
  if (!showsKey(run, recordHash, nowMs)) return undefined;
  if (request !== undefined) {
    const answer = { requestHash: request.hash, runId: run._id, isCached: false, untilMs: request.expiresAtMs };
    await rememberAnswers(context, [answer], nowMs);
  }
  return take(context, recordHash, run._id);
}

/** The run first, for it decides; then the record. */
async function take(context: Context, recordHash: string, runId: string): Promise<{ readonly runId: string }> {
  await dropKeys(context, [{ runId, recordHash }]);
  await context.keys.deleteMany({ _id: recordHash, run: runId });
  return { runId };
}
