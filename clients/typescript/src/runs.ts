/** Reads and changes runs (section 18). */
import type { ApiAnswer, ApiPromise } from "./api-promise.js";
import { cancel as bulkCancel, replay as bulkReplay } from "./bulk.js";
import { call, sendOnce } from "./call.js";
import { systemClock } from "./clock.js";
import { callSettings } from "./configuration.js";
import { isWorthAnotherTry } from "./convert/error.js";
import { listedRun, retrievedRun, runStatus } from "./convert/run.js";
import { listRunsMessage } from "./convert/run-filter.js";
import { delaySpec } from "./convert/trigger-options.js";
import { AbortError, InternalServerError } from "./errors.js";
import type { Run } from "./gen/hairtrigger/v1/run_pb.js";
import type { RetrieveRunResponse } from "./gen/hairtrigger/v1/run_service_pb.js";
import type { AnyRunHandle, HandleOutput, HandlePayload } from "./handle.js";
import { withData } from "./large-data.js";
import { Page, PagePromise } from "./page.js";
import { newRequestId } from "./request-id.js";
import type { RequestOptions } from "./request-options.js";
import type { ListedRun, RetrievedRun, UntypedValue } from "./run.js";
import { currentRun } from "./run-context.js";
import type { ListRunsOptions } from "./run-filter.js";
import { isFinal } from "./run-status.js";
import {
  type RunSubscription,
  type SingleRunSubscription,
  type SubscribeOptions,
  type SubscribeToRunsOptions,
  type SubscribeToTagOptions,
  subscribe,
  subscribeToBatch as subscribeToBatchRuns,
  subscribeToTags,
} from "./run-subscription.js";
import type { AnyTask, TaskOutput, TaskPayload } from "./task.js";

/** A run by its id, or by anything that has it. */
export type RunReference = string | { readonly id: string };

function idOf(run: RunReference): string {
  return typeof run === "string" ? run : run.id;
}

/** @throws InternalServerError for an answer without run. */
function present(run: Run | undefined): Run {
  if (run !== undefined) return run;
  throw new InternalServerError({ code: "internal", message: "The answer has no run" });
}

/**
 * Returns a run, readable from the moment its trigger was answered. Typed by a handle, or by a task: `runs.retrieve<typeof myTask>(id)`.
 * @throws NotFoundError RUN_NOT_FOUND.
 */
function retrieve<H extends AnyRunHandle>(
  handle: H,
  requestOptions?: RequestOptions,
): ApiPromise<RetrievedRun<HandlePayload<H>, HandleOutput<H>>>;
function retrieve(
  run: RunReference,
  requestOptions?: RequestOptions,
): ApiPromise<RetrievedRun<UntypedValue, UntypedValue>>;
function retrieve<T extends AnyTask>(
  run: RunReference,
  requestOptions?: RequestOptions,
): ApiPromise<RetrievedRun<TaskPayload<T>, TaskOutput<T>>>;
function retrieve(
  run: RunReference,
  requestOptions?: RequestOptions,
): ApiPromise<RetrievedRun<UntypedValue, UntypedValue>> {
  return call(
    requestOptions,
    () => ({ runId: idOf(run) }),
    async ({ runs: service }, request, options) =>
      retrievedRun(await withData(present((await service.retrieveRun(request, options)).run))),
  );
}

/**
 * Lists runs, newest first; without a time filter all of them.
 *
 * ```ts
 * for await (const run of runs.list({ status: "FAILED", period: "1d" })) console.log(run.id);
 * ```
 * @throws BadRequestError INVALID_STATUS, without a request; INVALID_PAGE for a limit out of 1 to 100 or a cursor of another list.
 */
function list(options: ListRunsOptions = {}, requestOptions?: RequestOptions): PagePromise<ListedRun> {
  return new PagePromise(listPage(options, requestOptions));
}

async function listPage(
  options: ListRunsOptions,
  requestOptions: RequestOptions | undefined,
): Promise<ApiAnswer<Page<ListedRun>>> {
  const { data, response } = await call(
    requestOptions,
    () => listRunsMessage(options),
    ({ runs: service }, request, callOptions) => service.listRuns(request, callOptions),
  ).withResponse();
  const { runs: items, nextPageToken, previousPageToken } = data;
  const { after: _after, before: _before, ...filter } = options;
  const pagination = {
    ...(nextPageToken === "" ? {} : { next: nextPageToken }),
    ...(previousPageToken === "" ? {} : { previous: previousPageToken }),
  };
  const page = new Page(items.map(listedRun), pagination, (cursor) => list({ ...filter, ...cursor }, requestOptions));
  return { data: page, response };
}

export interface CancelOptions {
  /** Becomes the run's error message. Default `Canceled by user`. */
  readonly reason?: string;
}

/**
 * Cancels a run and its live children; on a final run it changes nothing. Code that executes is told by its `signal`.
 * @throws NotFoundError RUN_NOT_FOUND.
 */
function cancel(
  run: RunReference,
  options: CancelOptions = {},
  requestOptions?: RequestOptions,
): ApiPromise<{ readonly id: string }> {
  return call(
    requestOptions,
    () => ({ runId: idOf(run), reason: options.reason, requestId: newRequestId(systemClock) }),
    async ({ runs: service }, request, callOptions) => ({ id: (await service.cancelRun(request, callOptions)).runId }),
  );
}

/**
 * Moves the due time of a DELAYED run, earlier or later; its ttl counts from the new time.
 * @param options.delay as for a trigger; a duration counts from now, `"0s"` is due now. A past instant is refused.
 * @throws UnprocessableEntityError RUN_NOT_DELAYED; BadRequestError INVALID_DELAY; NotFoundError RUN_NOT_FOUND.
 */
function reschedule<H extends AnyRunHandle>(
  handle: H,
  options: { readonly delay: string | Date },
  requestOptions?: RequestOptions,
): ApiPromise<RetrievedRun<HandlePayload<H>, HandleOutput<H>>>;
function reschedule(
  run: RunReference,
  options: { readonly delay: string | Date },
  requestOptions?: RequestOptions,
): ApiPromise<RetrievedRun<UntypedValue, UntypedValue>>;
function reschedule(
  run: RunReference,
  options: { readonly delay: string | Date },
  requestOptions?: RequestOptions,
): ApiPromise<RetrievedRun<UntypedValue, UntypedValue>> {
  return call(
    requestOptions,
    () => ({ runId: idOf(run), delaySpec: delaySpec(options.delay), requestId: newRequestId(systemClock) }),
    async ({ runs: service }, request, callOptions) =>
      retrievedRun(await withData(present((await service.rescheduleRun(request, callOptions)).run))),
  );
}

/**
 * Makes a new run of the same task with the same payload, from any status, at once and without parent. Tags, metadata as first triggered, queue,
 * concurrency key and test flag are carried over; nothing else is (RUN-15).
 * @returns id of the new run.
 * @throws NotFoundError RUN_NOT_FOUND.
 */
function replay(run: RunReference, requestOptions?: RequestOptions): ApiPromise<{ readonly id: string }> {
  return call(
    requestOptions,
    () => ({ runId: idOf(run), requestId: newRequestId(systemClock) }),
    async ({ runs: service }, request, callOptions) => ({ id: (await service.replayRun(request, callOptions)).runId }),
  );
}

export interface PollOptions {
  /** Pause between two polls in milliseconds; fixed, without back-off. Default 1,000. */
  readonly pollIntervalMs?: number;
  /** Polls before it gives up. Default 500. */
  readonly maxPolls?: number;
}

const POLL_INTERVAL_MS = 1_000;
const POLLS_MAX = 500;

/**
 * Retrieves a run until its status is final, whatever it is; never throws for a failed run. A poll that fails because the server is away counts
 * as a poll (RES-10). Inside a task it is no wait: the run stays EXECUTING with its slot.
 * @throws Error after `maxPolls` polls; NotFoundError RUN_NOT_FOUND; AbortError when the run that it is called in is cancelled.
 */
function poll<H extends AnyRunHandle>(
  handle: H,
  options?: PollOptions,
  requestOptions?: RequestOptions,
): Promise<RetrievedRun<HandlePayload<H>, HandleOutput<H>>>;
function poll(
  run: RunReference,
  options?: PollOptions,
  requestOptions?: RequestOptions,
): Promise<RetrievedRun<UntypedValue, UntypedValue>>;
function poll<T extends AnyTask>(
  run: RunReference,
  options?: PollOptions,
  requestOptions?: RequestOptions,
): Promise<RetrievedRun<TaskPayload<T>, TaskOutput<T>>>;
async function poll(
  run: RunReference,
  options: PollOptions = {},
  requestOptions?: RequestOptions,
): Promise<RetrievedRun<UntypedValue, UntypedValue>> {
  const runId = idOf(run);
  const { pollIntervalMs = POLL_INTERVAL_MS, maxPolls = POLLS_MAX } = options;
  const settings = callSettings(requestOptions);
  const signal = liveSignal();
  for (let polled = 1; polled <= maxPolls; polled += 1) {
    const state = await pollOnce(() =>
      sendOnce(settings, ({ runs: service }, callOptions) => service.retrieveRun({ runId }, callOptions)),
    );
    if (state?.isCompleted === true) return state;
    if (polled < maxPolls) await sleep(pollIntervalMs, signal);
  }
  throw new Error(`Run ${runId} did not complete after ${maxPolls} attempts`);
}

/** The state of the run; undefined where the next poll may have more luck. */
async function pollOnce(
  send: () => Promise<ApiAnswer<RetrieveRunResponse>>,
): Promise<RetrievedRun<UntypedValue, UntypedValue> | undefined> {
  try {
    const { data } = await send();
    const run = present(data.run);
    // Before the end nobody sees it.
    return retrievedRun(isFinal(runStatus(run.status)) ? await withData(run) : run);
  } catch (error) {
    if (isWorthAnotherTry(error)) return undefined;
    throw error;
  }
}

/** The signal of the run that calls; one that has aborted already, as in `onCancel`, no longer ends anything. */
function liveSignal(): AbortSignal | undefined {
  const signal = currentRun()?.signal;
  return signal?.aborted === true ? undefined : signal;
}

async function sleep(delayMs: number, signal: AbortSignal | undefined): Promise<void> {
  try {
    await systemClock.sleep(delayMs, signal);
  } catch (reason) {
    throw new AbortError("The run that polled has ended", { cause: reason });
  }
}

/**
 * Follows a run: its present state, then every change, until the final one.
 *
 * ```ts
 * for await (const state of runs.subscribeToRun(handle)) console.log(state.status);
 * ```
 * @throws NotFoundError RUN_NOT_FOUND; AbortError when `options.signal` aborts.
 */
function subscribeToRun<H extends AnyRunHandle>(
  handle: H,
  options?: SubscribeOptions,
  requestOptions?: RequestOptions,
): SingleRunSubscription<HandlePayload<H>, HandleOutput<H>>;
function subscribeToRun(
  run: RunReference,
  options?: SubscribeOptions,
  requestOptions?: RequestOptions,
): SingleRunSubscription<UntypedValue, UntypedValue>;
function subscribeToRun<T extends AnyTask>(
  run: RunReference,
  options?: SubscribeOptions,
  requestOptions?: RequestOptions,
): SingleRunSubscription<TaskPayload<T>, TaskOutput<T>>;
function subscribeToRun(
  run: RunReference,
  options: SubscribeOptions = {},
  requestOptions?: RequestOptions,
): SingleRunSubscription<UntypedValue, UntypedValue> {
  return subscribe(idOf(run), options, requestOptions);
}

/**
 * Follows the runs that have **all** of these tags: those that exist, oldest first, then new ones and every change. It never ends by itself:
 * leave the loop, call `unsubscribe()` or abort `options.signal`. It reconnects by itself, also to a server that was restarted; states may be
 * skipped, the final ones always arrive.
 *
 * ```ts
 * for await (const run of runs.subscribeToRunsWithTag(["customer-7", "import"])) console.log(run.id, run.status);
 * ```
 * @throws BadRequestError INVALID_DURATION for a malformed `createdAt`; AbortError when `options.signal` aborts.
 */
function subscribeToRunsWithTag<T extends AnyTask>(
  tag: string | readonly string[],
  options?: SubscribeToTagOptions,
  requestOptions?: RequestOptions,
): RunSubscription<TaskPayload<T>, TaskOutput<T>>;
function subscribeToRunsWithTag(
  tag: string | readonly string[],
  options?: SubscribeToTagOptions,
  requestOptions?: RequestOptions,
): RunSubscription<UntypedValue, UntypedValue>;
function subscribeToRunsWithTag(
  tag: string | readonly string[],
  options: SubscribeToTagOptions = {},
  requestOptions?: RequestOptions,
): RunSubscription<UntypedValue, UntypedValue> {
  return subscribeToTags(typeof tag === "string" ? [tag] : tag, options, requestOptions);
}

/**
 * Follows the runs that a batch made, as {@link subscribeToRunsWithTag} does.
 * @throws NotFoundError BATCH_NOT_FOUND; AbortError when `options.signal` aborts.
 */
function subscribeToBatch<T extends AnyTask>(
  batch: RunReference,
  options?: SubscribeToRunsOptions,
  requestOptions?: RequestOptions,
): RunSubscription<TaskPayload<T>, TaskOutput<T>>;
function subscribeToBatch(
  batch: RunReference,
  options?: SubscribeToRunsOptions,
  requestOptions?: RequestOptions,
): RunSubscription<UntypedValue, UntypedValue>;
function subscribeToBatch(
  batch: RunReference,
  options: SubscribeToRunsOptions = {},
  requestOptions?: RequestOptions,
): RunSubscription<UntypedValue, UntypedValue> {
  return subscribeToBatchRuns(idOf(batch), options, requestOptions);
}

const bulk = { cancel: bulkCancel, replay: bulkReplay } as const;

/** Reads and changes runs. */
export const runs = {
  retrieve,
  list,
  cancel,
  reschedule,
  replay,
  poll,
  subscribeToRun,
  subscribeToRunsWithTag,
  subscribeToBatch,
  /** Actions on many runs. */
  bulk,
} as const;
