/**
 * Many runs at once (RUN-22), a page a call. The set is frozen by the first call: what was created before it, by its filter as it was then
 * read; the place where the next call goes on carries both, so a server keeps nothing. Each run is handled as if it had been named alone.
 */
import { appError, isAppError } from "../../domain/error.js";
import type { RunState } from "../../domain/run.js";
import { isFinal, RUN_STATUSES } from "../../domain/run-status.js";
import type { RunFilter } from "../../store/store.js";
import type { BulkDone, BulkFailure, BulkParams, BulkPlace, EngineDeps } from "../engine.js";
import type { createCancel } from "./cancel.js";
import { type createReplay, replayId } from "./replay.js";

/** RUN-22. */
const PAGE_MAX = 500;
/** Runs handled side by side: they share commits. */
const TOGETHER = 100;
const LIVE = RUN_STATUSES.filter((status) => !isFinal(status));

type Handle = (runId: string) => Promise<unknown>;

export function createBulk(
  deps: EngineDeps,
  verbs: {
    readonly cancel: ReturnType<typeof createCancel>;
    readonly replay: ReturnType<typeof createReplay>;
  },
) {
  return {
    cancel: async (params: BulkParams & { readonly reason: string | undefined }): Promise<BulkDone> => {
      const { environment, reason } = params;
      const place = await placeOf(deps, params, (filter) => ({ ...filter, statuses: liveOf(filter) }));
      const page = await pageOf(deps, params, place, () => false);
      return handle(page, place, (runId) => verbs.cancel(environment, runId, reason));
    },
    replay: async (params: BulkParams & { readonly requestId: string | undefined }): Promise<BulkDone> => {
      const { environment, requestId } = params;
      // What is made now is none of what is replayed, also within this millisecond.
      const place = await placeOf(deps, params, (filter, nowMs) => ({
        ...filter,
        toMs: Math.min(filter.toMs ?? nowMs, nowMs - 1),
      }));
      const request = (runId: string): string | undefined =>
        requestId === undefined ? undefined : `bulk ${requestId} ${runId}`;
      // A repeat of the first page finds what its earlier try has made.
      const isOwn = ({ id, replayOf }: RunState): boolean =>
        requestId !== undefined && replayOf !== undefined && id === replayId(environment, request(replayOf) ?? "");
      const page = await pageOf(deps, params, place, isOwn);
      return handle(page, place, (runId) => verbs.replay(environment, runId, request(runId)));
    },
  };
}

/** Live statuses that the filter leaves; none at all match nothing, where an empty list would match everything. */
function liveOf({ statuses = [] }: RunFilter): RunFilter["statuses"] {
  return statuses.length === 0 ? LIVE : LIVE.filter((status) => statuses.includes(status));
}

interface Page {
  readonly runIds: readonly string[];
  readonly next: BulkPlace | undefined;
}

/** Where the call begins: where the last one ended, or at the newest run of the set, which is frozen and counted now. */
async function placeOf(
  { store, clock }: EngineDeps,
  { environment, which, place }: BulkParams,
  freeze: (filter: RunFilter, nowMs: number) => RunFilter,
): Promise<BulkPlace> {
  if (place !== undefined) return place;
  if ("runIds" in which) return { filter: {}, matched: new Set(which.runIds).size, index: 0 };
  const nowMs = clock.nowMs();
  const filter = freeze({ ...which.filter, toMs: Math.min(which.filter.toMs ?? nowMs, nowMs) }, nowMs);
  const isNone = filter.statuses?.length === 0 && (which.filter.statuses ?? []).length > 0;
  return { filter, matched: isNone ? 0 : await store.countRuns({ environment, filter }), index: 0 };
}

/** @throws AppError INVALID_PAGE */
async function pageOf(
  { store }: EngineDeps,
  { environment, which, limit }: BulkParams,
  place: BulkPlace,
  isLeftOut: (run: RunState) => boolean,
): Promise<Page> {
  if (!Number.isInteger(limit) || limit < 1 || limit > PAGE_MAX) {
    const message = `Page size must be between 1 and ${PAGE_MAX}, got ${limit}`;
    throw appError("INVALID_PAGE", message, { metadata: { got: String(limit), allowed: `1 to ${PAGE_MAX}` } });
  }
  if ("runIds" in which) {
    const all = [...new Set(which.runIds)];
    const end = place.index + limit;
    return {
      runIds: all.slice(place.index, end),
      next: end < all.length ? { ...place, index: end } : undefined,
    };
  }
  if (place.matched === 0) return { runIds: [], next: undefined };
  const runIds: string[] = [];
  let { after } = place;
  for (;;) {
    const wanted = limit - runIds.length;
    const { runs, hasOlder } = await store.listRuns({
      environment,
      filter: place.filter,
      limit: wanted,
      ...(after === undefined ? {} : { after }),
    });
    runIds.push(...runs.filter((run) => !isLeftOut(run)).map(({ id }) => id));
    const last = runs.at(-1);
    if (last !== undefined) after = { createdAtMs: last.createdAtMs, runId: last.id };
    if (!hasOlder || last === undefined) return { runIds, next: undefined };
    if (runIds.length >= limit) return { runIds, next: { ...place, ...(after === undefined ? {} : { after }) } };
  }
}

async function handle({ runIds, next }: Page, { matched }: BulkPlace, one: Handle): Promise<BulkDone> {
  const failures: BulkFailure[] = [];
  for (let from = 0; from < runIds.length; from += TOGETHER) {
    await Promise.all(
      runIds.slice(from, from + TOGETHER).map(async (runId) => {
        try {
          await one(runId);
        } catch (error) {
          // A store that is away is the call's failure: its repeat does the rest.
          if (!isAppError(error) || error.reason === "STORE_UNAVAILABLE") throw error;
          failures.push({ runId, error });
        }
      }),
    );
  }
  return { matched, succeeded: runIds.length - failures.length, failures, next };
}
