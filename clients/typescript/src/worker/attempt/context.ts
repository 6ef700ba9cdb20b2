/** `ctx` of an attempt (HOK-10), from what the server sent. */
import { timestampDate } from "@bufbuild/protobuf/wkt";
import type { RunSpec } from "../../gen/hairtrigger/v1/run_pb.js";
import { IdempotencyKeyScope } from "../../gen/hairtrigger/v1/trigger_options_pb.js";
import type { Assignment } from "../../gen/hairtrigger/worker/v1/worker_pb.js";
import type { TaskRunContext } from "../../task-context.js";

export interface ContextParams {
  readonly assignment: Assignment;
  readonly spec: RunSpec;
  readonly attempt: number;
  readonly tags: readonly string[];
  readonly activeBeforeMs: number;
  readonly maxAttempts: number;
  /** Seconds; undefined: no limit. */
  readonly maxDuration: number | undefined;
  readonly environment: string;
  readonly now: Date;
}

export function runContext(params: ContextParams): TaskRunContext {
  const { assignment, spec, now, environment, maxDuration } = params;
  const { options } = spec;
  return {
    task: { id: spec.taskId },
    attempt: { number: params.attempt, startedAt: now },
    run: {
      id: assignment.runId,
      tags: params.tags,
      isTest: spec.isTest,
      isReplay: spec.replayOfRunId !== "",
      createdAt: assignment.createTime === undefined ? now : timestampDate(assignment.createTime),
      startedAt: assignment.startTime === undefined ? now : timestampDate(assignment.startTime),
      ...idempotency(spec),
      maxAttempts: params.maxAttempts,
      ...(maxDuration === undefined ? {} : { maxDuration }),
      priority: options?.prioritySeconds ?? 0,
      ...(spec.parentRunId === "" ? {} : { parentTaskRunId: spec.parentRunId }),
      ...(spec.rootRunId === "" ? {} : { rootTaskRunId: spec.rootRunId }),
      durationMs: Math.round(params.activeBeforeMs),
    },
    queue: { id: assignment.queueId, name: assignment.queueName },
    environment: { id: environment, slug: environment },
    ...(spec.batchId === "" ? {} : { batch: { id: spec.batchId } }),
  };
}

const HASH = /^[0-9a-f]{64}$/;

/** IDM-8: the text as the user wrote it; the scope is undefined for a bare hash. */
function idempotency({ options }: RunSpec): Pick<TaskRunContext["run"], "idempotencyKey" | "idempotencyKeyScope"> {
  if (options === undefined || options.idempotencyKey === "") return {};
  const { idempotencyKey, idempotencyKeyText, idempotencyKeyScope } = options;
  const scope = scopeName(idempotencyKeyScope) ?? (HASH.test(idempotencyKey) ? undefined : "global");
  return {
    idempotencyKey: idempotencyKeyText === "" ? idempotencyKey : idempotencyKeyText,
    ...(scope === undefined ? {} : { idempotencyKeyScope: scope }),
  };
}

function scopeName(scope: IdempotencyKeyScope): "run" | "attempt" | "global" | undefined {
  switch (scope) {
    case IdempotencyKeyScope.RUN:
      return "run";
    case IdempotencyKeyScope.ATTEMPT:
      return "attempt";
    case IdempotencyKeyScope.GLOBAL:
      return "global";
    case IdempotencyKeyScope.UNSPECIFIED:
      return undefined;
  }
}
