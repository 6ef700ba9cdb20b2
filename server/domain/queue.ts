/** Names, limits and order of queues (section 14). Where a slot is taken and freed is in `slot.ts` and the stores. */
import { shown, type Violation } from "./error.js";
import type { Limits } from "./limits.js";
import { isLonger } from "./text.js";

const TASK_PREFIX = "task/";

/** The queue that a task has by itself (QUE-1). */
export function queueNameForTask(taskId: string): string {
  return `${TASK_PREFIX}${taskId}`;
}

const NOT_IN_NAMES = /[^\p{L}\p{Nd}_\-/]/gu;

/**
 * A queue name without the characters that names cannot have, or undefined if none is left: then the task's own queue
 * is meant (QUE-3). Letters and digits are those of every script; accents written apart are joined first.
 */
export function cleanQueueName(name: string): string | undefined {
  const cleaned = name.normalize("NFC").replace(NOT_IN_NAMES, "");
  return cleaned === "" ? undefined : cleaned;
}

/** `task`: a task's own queue · `custom`: a named one. */
export type QueueType = "task" | "custom";

/** A queue as readers see it: without `task/` (QUE-30). {@link queueNameOf} is the inverse. */
export interface QueueLabel {
  readonly type: QueueType;
  readonly name: string;
}

export function queueLabel(queueName: string): QueueLabel {
  return queueName.startsWith(TASK_PREFIX)
    ? { type: "task", name: queueName.slice(TASK_PREFIX.length) }
    : { type: "custom", name: queueName };
}

/** The name that a queue is kept under, from how readers name it (QUE-29). */
export function queueNameOf(label: QueueLabel): string {
  return label.type === "task" ? queueNameForTask(label.name) : label.name;
}

/** The limit in force, for the queue or each of its partitions: the override, else the base; undefined: unlimited. */
export function effectiveLimit(queue: {
  readonly baseLimit: number | undefined;
  readonly overrideLimit: number | undefined;
}): number | undefined {
  return queue.overrideLimit ?? queue.baseLimit;
}

/**
 * 2^52 ms, 142,000 years: further apart no two queue times lie, and any order stays an exact integer, in memory and in
 * the store, for whatever finite priority.
 */
const PRIORITY_MS_MAX = 2 ** 52;

/**
 * The order value of a run: queue time − priority × 1,000, in whole milliseconds (QUE-26). Smaller starts first.
 * @param queueTimeMs Unix milliseconds.
 * @param prioritySeconds any finite number; negative is later.
 */
export function orderOf(queueTimeMs: number, prioritySeconds: number): number {
  const headStartMs = Math.min(Math.max(prioritySeconds * 1_000, -PRIORITY_MS_MAX), PRIORITY_MS_MAX);
  return Math.round(queueTimeMs - headStartMs);
}

/** The refusal of a concurrency limit that is no integer from 0 to the maximum (QUE-11, QUE-32); 0 is a pause (QUE-7). */
export function concurrencyLimitViolation(
  field: string,
  limit: number,
  limits: Pick<Limits, "concurrencyLimitMax">,
): Violation | undefined {
  const { concurrencyLimitMax } = limits;
  if (Number.isInteger(limit) && limit >= 0 && limit <= concurrencyLimitMax) {
    return undefined;
  }
  const allowed = `an integer from 0 to ${concurrencyLimitMax}`;
  return {
    field,
    reason: "INVALID_CONCURRENCY_LIMIT",
    message: `Concurrency limit must be ${allowed}, got ${limit}`,
    metadata: { got: String(limit), allowed },
  };
}

/** The refusal of a cleaned queue name that is too long (QUE-3). */
export function queueNameViolation(
  field: string,
  cleaned: string,
  limits: Pick<Limits, "queueNameLengthMax">,
): Violation | undefined {
  const { queueNameLengthMax } = limits;
  if (!isLonger(cleaned, queueNameLengthMax)) {
    return undefined;
  }
  return {
    field,
    reason: "INVALID_QUEUE_NAME",
    message: `Queue name must be ${queueNameLengthMax} characters or less`,
    metadata: { got: shown(cleaned), allowed: String(queueNameLengthMax) },
  };
}

/** The refusal of a concurrency key that is too long (QUE-20). */
export function concurrencyKeyViolation(
  field: string,
  key: string,
  limits: Pick<Limits, "concurrencyKeyLengthMax">,
): Violation | undefined {
  const { concurrencyKeyLengthMax } = limits;
  if (!isLonger(key, concurrencyKeyLengthMax)) {
    return undefined;
  }
  return {
    field,
    reason: "INVALID_REQUEST",
    message: `concurrencyKey must be ${concurrencyKeyLengthMax} characters or less`,
    metadata: { got: shown(key), allowed: String(concurrencyKeyLengthMax) },
  };
}
