/** Tasks and workers: records → messages, declarations → records. */
import { create } from "@bufbuild/protobuf";
import {
  RetryPolicySchema,
  type Task,
  TaskIsolation,
  TaskSchema,
  type RetryPolicy as WirePolicy,
  type Worker,
  WorkerIdentitySchema,
  WorkerSchema,
  WorkerState,
} from "#proto/hairtrigger/v1/task_pb.js";
import type {
  TaskDeclaration as WireDeclaration,
  QueueDeclaration as WireQueue,
} from "#proto/hairtrigger/worker/v1/worker_pb.js";
import type { Violation } from "../../domain/error.js";
import { queueId } from "../../domain/ids.js";
import type { Limits } from "../../domain/limits.js";
import { MAX_DURATION_NONE } from "../../domain/max-duration.js";
import { cleanQueueName, concurrencyLimitViolation, queueNameForTask, queueNameViolation } from "../../domain/queue.js";
import { type PartialRetryPolicy, retryPolicyViolations } from "../../domain/retry.js";
import type { SessionRecord } from "../../domain/session.js";
import type { QueueDeclaration, TaskDeclaration, TaskRecord } from "../../domain/task.js";
import { parseTtl, ttlViolation } from "../../domain/ttl.js";
import { durationOf, msOfDuration, timestampOf } from "./time.js";

/** @param workers sessions that stand. */
export function wireTask(task: TaskRecord, workers: readonly SessionRecord[]): Task {
  const queueName = task.queueName ?? queueNameForTask(task.id);
  return create(TaskSchema, {
    id: task.id,
    description: task.description ?? "",
    queueName,
    queueId: queueId(task.environment, queueName),
    retry: task.retry === undefined ? undefined : wirePolicy(task.retry),
    ttl: task.ttl ?? "",
    maxDurationSeconds: task.maxDurationSeconds,
    isolation: task.isolation === "process" ? TaskIsolation.PROCESS : TaskIsolation.NONE,
    createTime: timestampOf(task.registeredAtMs),
    updateTime: timestampOf(task.registeredAtMs),
    workerCount: workers.filter(({ taskIds }) => taskIds.includes(task.id)).length,
  });
}

export function wireWorker(session: SessionRecord, limits: Limits, nowMs: number): Worker {
  const heartbeatMs = session.untilMs - limits.sessionMs;
  return create(WorkerSchema, {
    id: session.id,
    identity: create(WorkerIdentitySchema, { name: session.workerName, sdk: session.sdk }),
    taskIds: [...session.taskIds],
    concurrency: session.concurrency,
    state: nowMs - heartbeatMs > limits.silentMs ? WorkerState.SILENT : WorkerState.ACTIVE,
    connectTime: timestampOf(session.connectedAtMs),
    heartbeatTime: timestampOf(heartbeatMs),
  });
}

function wirePolicy(policy: PartialRetryPolicy): WirePolicy {
  return create(RetryPolicySchema, {
    maxAttempts: policy.maxAttempts,
    factor: policy.factor,
    minDelay: policy.minTimeoutMs === undefined ? undefined : durationOf(policy.minTimeoutMs),
    maxDelay: policy.maxTimeoutMs === undefined ? undefined : durationOf(policy.maxTimeoutMs),
    randomize: policy.randomize,
  });
}

function policyOf(policy: WirePolicy): PartialRetryPolicy {
  return {
    maxAttempts: policy.maxAttempts,
    factor: policy.factor,
    minTimeoutMs: policy.minDelay === undefined ? undefined : msOfDuration(policy.minDelay),
    maxTimeoutMs: policy.maxDelay === undefined ? undefined : msOfDuration(policy.maxDelay),
    randomize: policy.randomize,
  };
}

/** What a worker declares. Violations are added to `violations`. @param path of the declaration in the request. */
export function declarationOf(
  wire: WireDeclaration,
  path: string,
  limits: Limits,
  violations: Violation[],
): TaskDeclaration {
  const queueName = wire.queue === undefined ? undefined : cleanQueueName(wire.queue.name);
  const concurrencyLimit = wire.queue?.concurrencyLimit;
  const found = [
    queueName === undefined ? undefined : queueNameViolation(`${path}.queue.name`, queueName, limits),
    concurrencyLimit === undefined
      ? undefined
      : concurrencyLimitViolation(`${path}.queue.concurrencyLimit`, concurrencyLimit, limits),
    wire.ttl !== "" && parseTtl(wire.ttl, limits.durationMaxMs) === undefined
      ? ttlViolation(`${path}.ttl`, wire.ttl)
      : undefined,
  ];
  const retry = wire.retry === undefined ? undefined : policyOf(wire.retry);
  violations.push(...found.filter((violation) => violation !== undefined));
  if (retry !== undefined) violations.push(...retryPolicyViolations(`${path}.retry`, retry));
  return {
    id: wire.id,
    description: wire.description === "" ? undefined : wire.description,
    queueName,
    concurrencyLimit,
    retry,
    ttl: wire.ttl === "" ? undefined : wire.ttl,
    maxDurationSeconds: declaredDuration(wire.maxDurationSeconds, limits),
    isolation: wire.isolation === TaskIsolation.PROCESS ? "process" : undefined,
  };
}

/** Undefined where no name is left (QUE-3): then no queue is meant. */
export function queueDeclarationOf(
  wire: WireQueue,
  path: string,
  limits: Limits,
  violations: Violation[],
): QueueDeclaration | undefined {
  const name = cleanQueueName(wire.name);
  const { concurrencyLimit } = wire;
  if (name === undefined) return undefined;
  const found = [
    queueNameViolation(`${path}.name`, name, limits),
    concurrencyLimit === undefined
      ? undefined
      : concurrencyLimitViolation(`${path}.concurrencyLimit`, concurrencyLimit, limits),
  ];
  violations.push(...found.filter((violation) => violation !== undefined));
  return { name, concurrencyLimit };
}

/** DUR-1: 0 is not given, below the minimum is raised; `timeout.None` of a task is no limit. */
function declaredDuration(seconds: number | undefined, limits: Limits): number | undefined {
  if (seconds === undefined || seconds <= 0 || seconds === MAX_DURATION_NONE) return undefined;
  return Math.max(seconds, limits.maxDurationMinSeconds);
}
