/** Queues and their names ⇄ messages. */
import { create } from "@bufbuild/protobuf";
import { timestampDate } from "@bufbuild/protobuf/wkt";
import { InternalServerError } from "../errors.js";
import { type Queue, QueueType as WireType } from "../gen/hairtrigger/v1/queue_pb.js";
import { QueueSelectorSchema, type QueueSelector as WireSelector } from "../gen/hairtrigger/v1/queue_service_pb.js";
import type { QueueItem, QueueSelector } from "../queue-item.js";

const WIRE_TYPES = { task: WireType.TASK, custom: WireType.CUSTOM } as const;

/** @throws TypeError for a type that queues do not have. */
export function selector(queue: QueueSelector): WireSelector {
  if (typeof queue === "string") return create(QueueSelectorSchema, { selector: { case: "queueId", value: queue } });
  const { name } = queue;
  if (!Object.hasOwn(WIRE_TYPES, queue.type)) throw new TypeError('A queue has type "task" or "custom"');
  return create(QueueSelectorSchema, {
    selector: { case: "typedName", value: { type: WIRE_TYPES[queue.type], name } },
  });
}

/** @throws InternalServerError for an answer without queue. */
export function queueItem(queue: Queue | undefined): QueueItem {
  if (queue === undefined) throw new InternalServerError({ code: "internal", message: "The answer has no queue" });
  const { current, base, override, overrideTime, overriddenBy = "" } = queue.concurrency ?? {};
  return {
    id: queue.id,
    name: queue.name,
    type: queue.type === WireType.TASK ? "task" : "custom",
    running: queue.running,
    queued: queue.queued,
    paused: queue.paused,
    concurrencyLimit: queue.concurrencyLimit ?? null,
    concurrency: {
      current: current ?? null,
      base: base ?? null,
      override: override ?? null,
      overriddenAt: overrideTime === undefined ? null : timestampDate(overrideTime),
      overriddenBy: overriddenBy === "" ? null : overriddenBy,
    },
    unservedTasks: queue.unservedTaskIds,
  };
}
