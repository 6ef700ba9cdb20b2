/**
 * Repair: what a server left half done when it stopped between two writes, found by the marks that the first write set. Everything here is
 * what the server would have done itself, and safe to repeat, and by several at once.
 *
 * - Runs that owe follow-ups: slots to be freed, heads to be made.
 * - Slots whose heads were to be opened after a holder was removed.
 * - Holders that stayed pending: the claim may have succeeded, failed, or may still come. The run is fenced by raising its generation, so
 *   that a late claim fails; then the holder is confirmed or removed by what the run shows.
 * - Batches that were made and whose runs are not all published; batches whose making came to no end (batch-publish.ts).
 * - Queues whose change of settings is not finished.
 */
import { repairBatches } from "./batch-publish.js";
import { filterOf } from "./client.js";
import type { Context } from "./context.js";
import { type FollowUp, followUp } from "./follow-up.js";
import { finishQueue } from "./queues.js";
import { type RunDoc, WITHOUT_BODIES } from "./run-doc.js";
import type { QueueDoc } from "./settings.js";
import { confirmSlots, freeSlots, type Holder, openPartitions, type SlotsDoc } from "./slots.js";

/** What is under way is left alone for this long. */
const PATIENCE_MS = 5_000;
/** Longer than a claim takes, or a server that is about to finish it pauses (design 7). */
const PENDING_MS = 15_000;

/** @returns how many records were repaired. */
export async function repair(
  context: Context,
  { nowMs, limit }: { readonly nowMs: number; readonly limit: number },
): Promise<number> {
  const batches = await repairBatches(context, { nowMs, limit });
  const untilMs = nowMs - PATIENCE_MS;
  const [runs, opens, pending, queues] = await Promise.all([
    context.runs.find(filterOf<RunDoc>({ owes: { $exists: true, $lte: untilMs } }), {
      sort: { owes: 1 },
      limit,
      projection: WITHOUT_BODIES,
    }),
    context.slots.find(filterOf<SlotsDoc>({ opens: { $exists: true, $lte: untilMs } }), { limit }),
    context.slots.find(filterOf<SlotsDoc>({ "holders.at": { $lte: nowMs - PENDING_MS } }), { limit }),
    context.queues.find(filterOf<QueueDoc>({ owes: { $exists: true, $lte: untilMs } }), { limit }),
  ]);
  await followUp(context, runs.map(owedBy), nowMs);
  if (opens.length > 0)
    await openPartitions(
      context,
      opens.map(({ _id }) => _id),
    );
  if (pending.length > 0) await settlePending(context, pending, nowMs);
  for (const queue of queues) await finishQueue(context, queue);
  return batches + runs.length + opens.length + pending.length + queues.length;
}

function owedBy(doc: RunDoc): FollowUp {
  const { _id, environment, queue = "", concurrencyKey, l, pos, free = [], owed } = doc;
  return { run: { _id, environment, queue, concurrencyKey, l, pos }, free, owed };
}

interface Pending {
  readonly partition: string;
  readonly holder: Holder;
  readonly runId: string;
  readonly generation: number;
}

async function settlePending(context: Context, docs: readonly SlotsDoc[], nowMs: number): Promise<void> {
  const pending = docs.flatMap(({ _id, holders }) =>
    holders.flatMap((holder): readonly Pending[] => {
      if (holder.at === undefined || holder.at > nowMs - PENDING_MS) return [];
      const at = holder.i.lastIndexOf(":");
      return [{ partition: _id, holder, runId: holder.i.slice(0, at), generation: Number(holder.i.slice(at + 1)) }];
    }),
  );
  await context.runs.bulk(
    pending.map(({ runId, generation }) => ({
      updateOne: { filter: { _id: runId, gen: generation - 1 }, update: { $set: { gen: generation } } },
    })),
  );
  const runs = await context.runs.findByIds(
    pending.map(({ runId }) => runId),
    WITHOUT_BODIES,
  );
  // One token, one write: tokens tell twins of one generation apart.
  for (const [token, own] of byToken(pending)) {
    const kept = own.filter((entry) => isHeld(runs.get(entry.runId), entry));
    const gone = own.filter((entry) => !kept.includes(entry));
    await confirmSlots(context, holdersOf(kept), token);
    await freeSlots(context, { holders: holdersOf(gone), token, nowMs });
  }
}

/** Whether the run, or code of it that lingers, shows that it holds this slot. */
function isHeld(doc: RunDoc | undefined, { generation, holder }: Pending): boolean {
  if (doc === undefined) return false;
  if (doc.slot === generation) return doc.slotBy === holder.k;
  return doc.linger?.some(({ g }) => g === generation) === true;
}

function byToken(pending: readonly Pending[]): ReadonlyMap<string, readonly Pending[]> {
  const groups = new Map<string, Pending[]>();
  for (const entry of pending) groups.set(entry.holder.k, [...(groups.get(entry.holder.k) ?? []), entry]);
  return groups;
}

function holdersOf(pending: readonly Pending[]): ReadonlyMap<string, readonly string[]> {
  const holders = new Map<string, string[]>();
  for (const { partition, holder } of pending) holders.set(partition, [...(holders.get(partition) ?? []), holder.i]);
  return holders;
}
