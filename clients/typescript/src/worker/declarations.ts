/** What a worker declares when it says hello: who it is, its tasks, their queues. */
import { hostname } from "node:os";
import { create } from "@bufbuild/protobuf";
import {
  type RetryPolicy as RetryPolicyMessage,
  RetryPolicySchema,
  TaskIsolation,
  type WorkerIdentity,
  WorkerIdentitySchema,
} from "../gen/hairtrigger/v1/task_pb.js";
import {
  QueueDeclarationSchema,
  type TaskDeclaration,
  TaskDeclarationSchema,
} from "../gen/hairtrigger/worker/v1/worker_pb.js";
import type { RetryPolicy } from "../retry-policy.js";
import type { TaskDefinition } from "../task.js";
import { SDK_VERSION } from "../version.js";
import { effectiveMaxDuration } from "./attempt/task-plan.js";
import { durationOf } from "./session/messages.js";

export interface DeclarationDefaults {
  readonly retry: Partial<RetryPolicy> | undefined;
  readonly ttl: string | number | undefined;
  readonly maxDuration: number | undefined;
}

/** Settings of the worker configuration stand in for what a task leaves open: the server knows only what is declared. */
export function taskDeclaration(task: TaskDefinition, defaults: DeclarationDefaults): TaskDeclaration {
  const ttl = task.ttl ?? defaults.ttl;
  const maxDuration = effectiveMaxDuration(task.maxDuration, defaults.maxDuration);
  return create(TaskDeclarationSchema, {
    id: task.id,
    description: task.description ?? "",
    queue:
      task.queue === undefined
        ? undefined
        : create(QueueDeclarationSchema, {
            name: task.queue.name ?? "",
            concurrencyLimit: task.queue.concurrencyLimit,
          }),
    retry: retryMessage({ ...withoutUndefined(defaults.retry), ...withoutUndefined(task.retry) }),
    ttl: ttl === undefined ? "" : typeof ttl === "number" ? `${ttl}s` : ttl,
    maxDurationSeconds: maxDuration === undefined ? undefined : Math.ceil(maxDuration),
    isolation: task.isolation === "process" ? TaskIsolation.PROCESS : TaskIsolation.NONE,
  });
}

function retryMessage(policy: Partial<RetryPolicy>): RetryPolicyMessage | undefined {
  if (Object.keys(policy).length === 0) return undefined;
  const { maxAttempts, factor, minTimeoutInMs, maxTimeoutInMs, randomize } = policy;
  return create(RetryPolicySchema, {
    maxAttempts,
    factor,
    minDelay: minTimeoutInMs === undefined ? undefined : durationOf(minTimeoutInMs),
    maxDelay: maxTimeoutInMs === undefined ? undefined : durationOf(maxTimeoutInMs),
    randomize,
  });
}

function withoutUndefined(policy: Partial<RetryPolicy> | undefined): Partial<RetryPolicy> {
  return Object.fromEntries(Object.entries(policy ?? {}).filter(([, value]) => value !== undefined));
}

export function workerIdentity(): WorkerIdentity {
  const host = hostname();
  return create(WorkerIdentitySchema, {
    name: `${host}-${process.pid}`,
    host,
    pid: process.pid,
    sdk: `hairtrigger-typescript/${SDK_VERSION}`,
    runtime: `node/${process.versions.node}`,
  });
}
