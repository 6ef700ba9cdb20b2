/** Queues: record with figures → message (QUE-30), and how callers name one. */
import { create } from "@bufbuild/protobuf";
import {
  type Queue,
  QueueConcurrencySchema,
  QueueSchema,
  QueueType as WireType,
} from "#proto/hairtrigger/v1/queue_pb.js";
import type { QueueSelector as WireSelector } from "#proto/hairtrigger/v1/queue_service_pb.js";
import { invalidRequest } from "../../domain/error.js";
import { queueLabel, queueNameOf } from "../../domain/queue.js";
import type { QueueItem, QueueSelector } from "../../engine/engine.js";
import { timestampOf } from "./time.js";

/** Ids of tasks that one answer names. */
const UNSERVED_MAX = 100;

export function wireQueue(item: QueueItem): Queue {
  const { type, name } = queueLabel(item.name);
  return create(QueueSchema, {
    id: item.queueId,
    name,
    type: type === "task" ? WireType.TASK : WireType.CUSTOM,
    running: item.running,
    queued: item.queued,
    paused: item.isPaused,
    concurrencyLimit: item.limit,
    concurrency: create(QueueConcurrencySchema, {
      current: item.limit,
      base: item.baseLimit,
      override: item.override?.limit,
      overrideTime: timestampOf(item.override?.atMs),
      overriddenBy: item.override?.by ?? "",
    }),
    unservedTaskIds: item.unservedTaskIds.slice(0, UNSERVED_MAX),
  });
}

/** @throws AppError INVALID_REQUEST where nothing is named, which the structural rules refuse before. */
export function selectorOf(queue: WireSelector | undefined): QueueSelector {
  const selector = queue?.selector;
  switch (selector?.case) {
    case "queueId":
      return { queueId: selector.value };
    case "typedName": {
      const { type, name } = selector.value;
      return { name: queueNameOf({ type: type === WireType.TASK ? "task" : "custom", name }) };
    }
    default:
      throw invalidRequest("queue", "queue is required");
  }
}
