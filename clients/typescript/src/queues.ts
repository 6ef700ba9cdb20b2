/** Reads and changes queues (§14.6). All of it needs the secret key. */
import type { ApiPromise } from "./api-promise.js";
import { call } from "./call.js";
import { systemClock } from "./clock.js";
import { queueItem, selector } from "./convert/queue.js";
import { pageNumber } from "./convert/run-filter.js";
import type { QueueItem, QueueSelector } from "./queue-item.js";
import { newRequestId } from "./request-id.js";
import type { RequestOptions } from "./request-options.js";

export interface ListQueuesOptions {
  /** Number of the page, from 1. Default 1. */
  readonly page?: number;
  /** Queues on a page, 1 to 100. Default 25. */
  readonly perPage?: number;
}

export interface QueuePage {
  readonly data: readonly QueueItem[];
  readonly pagination: {
    readonly currentPage: number;
    /** At least 1. */
    readonly totalPages: number;
    /** Queues on all pages. */
    readonly count: number;
  };
}

/** Lists queues by name. @throws BadRequestError INVALID_PAGE. */
function list(options: ListQueuesOptions = {}, requestOptions?: RequestOptions): ApiPromise<QueuePage> {
  return call(
    requestOptions,
    () => ({ page: pageNumber("page", options.page), perPage: pageNumber("perPage", options.perPage) }),
    async ({ queues: service }, request, callOptions) => {
      const { queues: items, currentPage, totalPages, count } = await service.listQueues(request, callOptions);
      return { data: items.map(queueItem), pagination: { currentPage, totalPages, count } };
    },
  );
}

/** Returns a queue with its present figures. @throws NotFoundError QUEUE_NOT_FOUND. */
function retrieve(queue: QueueSelector, requestOptions?: RequestOptions): ApiPromise<QueueItem> {
  return call(
    requestOptions,
    () => ({ queue: selector(queue) }),
    async ({ queues: service }, request, options) => queueItem((await service.retrieveQueue(request, options)).queue),
  );
}

/**
 * Stops starting runs of a queue: executing ones go on, triggers are accepted. Resolves when it holds on all servers. Idempotent.
 * @throws NotFoundError QUEUE_NOT_FOUND.
 */
function pause(queue: QueueSelector, requestOptions?: RequestOptions): ApiPromise<QueueItem> {
  return call(
    requestOptions,
    () => change(queue),
    async ({ queues: service }, request, options) => queueItem((await service.pauseQueue(request, options)).queue),
  );
}

/** Starts the runs of a paused queue again, in their order. Idempotent. @throws NotFoundError QUEUE_NOT_FOUND. */
function resume(queue: QueueSelector, requestOptions?: RequestOptions): ApiPromise<QueueItem> {
  return call(
    requestOptions,
    () => change(queue),
    async ({ queues: service }, request, options) => queueItem((await service.resumeQueue(request, options)).queue),
  );
}

/**
 * Sets a limit that wins over those of registrations and triggers until it is reset. Executing runs above a lowered limit finish.
 * @param concurrencyLimit an integer from 0 (nothing starts) to 100,000.
 * @throws BadRequestError INVALID_CONCURRENCY_LIMIT; NotFoundError QUEUE_NOT_FOUND.
 */
function overrideConcurrencyLimit(
  queue: QueueSelector,
  concurrencyLimit: number,
  requestOptions?: RequestOptions,
): ApiPromise<QueueItem> {
  return call(
    requestOptions,
    () => ({ ...change(queue), concurrencyLimit }),
    async ({ queues: service }, request, options) =>
      queueItem((await service.overrideConcurrencyLimit(request, options)).queue),
  );
}

/**
 * Returns to the base limit, which may have changed meanwhile.
 * @throws UnprocessableEntityError QUEUE_NOT_OVERRIDDEN; NotFoundError QUEUE_NOT_FOUND.
 */
function resetConcurrencyLimit(queue: QueueSelector, requestOptions?: RequestOptions): ApiPromise<QueueItem> {
  return call(
    requestOptions,
    () => change(queue),
    async ({ queues: service }, request, options) =>
      queueItem((await service.resetConcurrencyLimit(request, options)).queue),
  );
}

/** What every change of a queue is asked for with. */
function change(queue: QueueSelector) {
  return { queue: selector(queue), requestId: newRequestId(systemClock) };
}

/** Reads and changes queues. */
export const queues = { list, retrieve, pause, resume, overrideConcurrencyLimit, resetConcurrencyLimit } as const;
