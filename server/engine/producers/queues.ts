/** Queues as operators see and steer them (QUE-29…33). */
import { appError, queueNotFound, rejectIfAny } from "../../domain/error.js";
import { concurrencyLimitViolation } from "../../domain/queue.js";
import type { QueueChange, QueueChangeResult, QueueRef, QueueView } from "../../store/store.js";
import type { EngineDeps, QueueItem, QueueSelector } from "../engine.js";
import { requirePageSize } from "./retrieve.js";

export function createQueues(deps: EngineDeps) {
  const { store, clock, limits, signals } = deps;

  async function served(environment: string): Promise<ReadonlySet<string>> {
    const nowMs = clock.nowMs();
    const sessions = await store.listSessions({ environment });
    return new Set(sessions.filter(({ untilMs }) => untilMs > nowMs).flatMap(({ taskIds }) => taskIds));
  }

  async function change(ref: QueueRef, what: QueueChange): Promise<QueueItem> {
    const result: QueueChangeResult = await store.changeQueue(what);
    if (result.kind === "unknown") throw queueNotFound(nameOf(ref));
    if (result.kind === "notOverridden") throw appError("QUEUE_NOT_OVERRIDDEN", "Queue is not overridden");
    signals.publish([{ kind: "claimable", environment: ref.environment, taskId: undefined }]);
    return toItem(result.queue, await served(ref.environment));
  }

  const list = async (environment: string, page: number, perPage: number) => {
    requirePageSize(perPage, limits.pageSizeMax);
    if (!Number.isInteger(page) || page < 1) {
      const metadata = { got: String(page), allowed: "1 or more" };
      throw appError("INVALID_PAGE", `Page must be 1 or more, got ${page}`, { metadata });
    }
    const [{ queues, count }, tasks] = await Promise.all([
      store.listQueues({ environment, page, perPage }),
      served(environment),
    ]);
    return { queues: queues.map((queue) => toItem(queue, tasks)), count };
  };

  const retrieve = async (environment: string, queue: QueueSelector) => {
    const ref = { environment, ...queue };
    const view = await store.readQueue(ref);
    if (view === undefined) throw queueNotFound(nameOf(ref));
    return toItem(view, await served(environment));
  };

  const pause = (environment: string, queue: QueueSelector) => {
    const ref = { environment, ...queue };
    return change(ref, { ...ref, kind: "pause", nowMs: clock.nowMs() });
  };

  const resume = (environment: string, queue: QueueSelector) => {
    const ref = { environment, ...queue };
    return change(ref, { ...ref, kind: "resume", nowMs: clock.nowMs() });
  };

  const reset = (environment: string, queue: QueueSelector) => {
    const ref = { environment, ...queue };
    return change(ref, { ...ref, kind: "reset", nowMs: clock.nowMs() });
  };

  const override = async (environment: string, queue: QueueSelector, limit: number, by: string) => {
    rejectIfAny([concurrencyLimitViolation("concurrencyLimit", limit, limits)].filter((found) => found !== undefined));
    const ref = { environment, ...queue };
    return change(ref, { ...ref, kind: "override", limit, by, nowMs: clock.nowMs() });
  };

  return { list, retrieve, pause, resume, reset, override };
}

function nameOf(ref: QueueRef): string {
  return "name" in ref ? ref.name : ref.queueId;
}

function toItem(view: QueueView, served: ReadonlySet<string>): QueueItem {
  return {
    ...view,
    limit: view.override?.limit ?? view.baseLimit,
    unservedTaskIds: view.queuedTaskIds.filter((taskId) => !served.has(taskId)),
  };
}
