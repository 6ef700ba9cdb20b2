/** Reading batches: one with its status (BAT-25…27), and pages of what came of its runs. */
import { batchStatus } from "../../domain/batch.js";
import { batchNotFound } from "../../domain/error.js";
import type { RunDetail } from "../../store/store.js";
import type { BatchDetail, BatchResult, EngineDeps, ListBatchResults } from "../engine.js";
import { requirePageSize } from "./retrieve.js";
import { ITEMS_SHOWN_MAX } from "./trigger-batch.js";

/** @throws AppError BATCH_NOT_FOUND */
export async function retrieveBatch(
  { store }: Pick<EngineDeps, "store">,
  environment: string,
  batchId: string,
): Promise<BatchDetail> {
  const [[view], items] = await Promise.all([
    store.readBatches([{ environment, batchId }]),
    store.readBatchItems({ environment, batchId, fromIndex: 0, limit: ITEMS_SHOWN_MAX }),
  ]);
  if (view === undefined) throw batchNotFound(batchId);
  const { batch, hasLiveRun } = view;
  return { batch, status: batchStatus(batch, hasLiveRun), runIds: items.map(({ runId }) => runId) };
}

/** Outputs of one page, a single larger one aside: what one message carries well. */
const PAGE_BYTES_MAX = 4 * 1_048_576;
/** Runs that are read at once; a page of large outputs is not read whole to be thrown away. */
const READ_MAX = 25;

/** @throws AppError BATCH_NOT_FOUND, INVALID_PAGE */
export async function listBatchResults(
  { store, limits }: Pick<EngineDeps, "store" | "limits">,
  { environment, batchId, fromIndex, limit }: ListBatchResults,
): Promise<{ readonly results: readonly BatchResult[]; readonly hasMore: boolean }> {
  requirePageSize(limit, limits.pageSizeMax);
  const [[view], items] = await Promise.all([
    store.readBatches([{ environment, batchId }]),
    store.readBatchItems({ environment, batchId, fromIndex, limit: limit + 1 }),
  ]);
  if (view === undefined) throw batchNotFound(batchId);
  const results: BatchResult[] = [];
  let bytes = 0;
  while (results.length < Math.min(items.length, limit)) {
    const page = items.slice(results.length, Math.min(results.length + READ_MAX, limit));
    const details = await store.readRunDetails(page.map(({ runId }) => ({ environment, runId })));
    for (const [at, item] of page.entries()) {
      bytes += sizeOf(details[at]);
      if (results.length > 0 && bytes > PAGE_BYTES_MAX) return { results, hasMore: true };
      results.push({ item, detail: details[at] });
    }
  }
  return { results, hasMore: items.length > limit };
}

function sizeOf(detail: RunDetail | undefined): number {
  return (detail?.output?.length ?? 0) + (detail?.failure === undefined ? 0 : JSON.stringify(detail.failure).length);
}
