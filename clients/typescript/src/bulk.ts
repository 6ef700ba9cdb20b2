/** Actions on many runs (RUN-22). */
import { call } from "./call.js";
import { systemClock } from "./clock.js";
import { filterMessage } from "./convert/run-filter.js";
import { AbortError } from "./errors.js";
import type { BulkCancelRunsResponse } from "./gen/hairtrigger/v1/run_service_pb.js";
import { newRequestId } from "./request-id.js";
import type { RequestOptions } from "./request-options.js";
import type { RunFilter } from "./run-filter.js";

/** Which runs: exactly one of the two. A filter is that of `runs.list`; an empty one matches every run. */
export type BulkTarget =
  | { readonly filter: RunFilter; readonly runIds?: undefined }
  | { readonly runIds: readonly string[]; readonly filter?: undefined };

export interface BulkProgress {
  /** Runs handled so far. */
  readonly done: number;
  /** Runs that the action is about. */
  readonly matched: number;
}

export interface BulkOptions {
  /** Ends the action between two pages with an AbortError; what was done stays done. */
  readonly signal?: AbortSignal;
  /** Called after every page of up to 500 runs. */
  readonly onProgress?: (progress: BulkProgress) => void;
}

export interface BulkCancelOptions extends BulkOptions {
  /** Becomes the runs' error message. Default `Canceled by user`. */
  readonly reason?: string;
}

export interface BulkResult {
  readonly total: number;
  readonly success: number;
  readonly failure: number;
  /** The first 100. */
  readonly failures: readonly { readonly id: string; readonly reason: string }[];
}

/** Runs of one call, as the server takes them. */
const PAGE = 500;
const FAILURES_MAX = 100;

type Answer = Pick<BulkCancelRunsResponse, "matched" | "succeeded" | "failed" | "failures" | "nextPageToken">;

/** What a page is about: a filter, or its part of the ids. */
interface Page {
  readonly filter?: ReturnType<typeof filterMessage>;
  readonly runIds: string[];
  readonly pageToken: string;
  /** One for the whole action, so that no page makes second runs when it is sent again. */
  readonly requestId: string;
}

/**
 * Cancels runs as `runs.cancel` does, page by page: those that are live and match when the action begins, or these ids. Cancelling a final
 * run by its id is a success; an unknown id is a failure of that id.
 *
 * ```ts
 * await runs.bulk.cancel({ filter: { tag: "import-7" } }, { onProgress: ({ done, matched }) => console.log(done, matched) });
 * ```
 * @throws TypeError unless exactly one of `filter` and `runIds` is given; AbortError when `options.signal` aborts.
 */
export function cancel(
  target: BulkTarget,
  options: BulkCancelOptions = {},
  requestOptions?: RequestOptions,
): Promise<BulkResult> {
  const { reason } = options;
  return all(target, options, (page) =>
    call(
      requestOptions,
      () => ({ ...page, reason }),
      ({ runs }, request, callOptions) => runs.bulkCancelRuns(request, callOptions),
    ),
  );
}

/**
 * Replays runs as `runs.replay` does, page by page: those that match and exist when the action begins, or these ids.
 * @throws as {@link cancel}.
 */
export function replay(
  target: BulkTarget,
  options: BulkOptions = {},
  requestOptions?: RequestOptions,
): Promise<BulkResult> {
  return all(target, options, (page) =>
    call(
      requestOptions,
      () => page,
      ({ runs }, request, callOptions) => runs.bulkReplayRuns(request, callOptions),
    ),
  );
}

async function all(
  target: BulkTarget,
  options: BulkOptions,
  send: (page: Page) => PromiseLike<Answer>,
): Promise<BulkResult> {
  const { filter, runIds } = target;
  if ((filter === undefined) === (runIds === undefined)) {
    throw new TypeError("A bulk action takes exactly one of filter and runIds");
  }
  const requestId = newRequestId(systemClock);
  const ids = [...new Set(runIds ?? [])];
  const failures: { id: string; reason: string }[] = [];
  let [success, failure] = [0, 0];
  const step = async (page: Page, matched?: number): Promise<string> => {
    if (options.signal?.aborted === true) throw new AbortError(undefined, { cause: options.signal.reason });
    const answer = await send(page);
    success += answer.succeeded;
    failure += answer.failed;
    failures.push(...answer.failures.map(({ runId, reason }) => ({ id: runId, reason })));
    options.onProgress?.({ done: success + failure, matched: matched ?? answer.matched });
    return answer.nextPageToken;
  };
  if (filter !== undefined) {
    const message = filterMessage(filter);
    let pageToken = "";
    do pageToken = await step({ filter: message, runIds: [], pageToken, requestId });
    while (pageToken !== "");
  }
  for (let from = 0; from < ids.length; from += PAGE) {
    await step({ runIds: ids.slice(from, from + PAGE), pageToken: "", requestId }, ids.length);
  }
  return { total: success + failure, success, failure, failures: failures.slice(0, FAILURES_MAX) };
}
