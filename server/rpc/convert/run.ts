/** Runs as readers see them: the record's state is what holds; the payload comes from the spec. */
import { create, fromBinary } from "@bufbuild/protobuf";
import { PayloadSchema } from "#proto/hairtrigger/v1/payload_pb.js";
import {
  AttemptSummarySchema,
  RelatedRunSchema,
  RelatedRunsSchema,
  type Run,
  type RunListItem,
  RunListItemSchema,
  RunSchema,
  type WaitingFor,
  WaitingForSchema,
  type AttemptSummary as WireAttempt,
  AttemptOutcome as WireOutcome,
  type RelatedRun as WireRelated,
} from "#proto/hairtrigger/v1/run_pb.js";
import { queueId } from "../../domain/ids.js";
import { defaultLimits } from "../../domain/limits.js";
import { MAX_DURATION_NONE } from "../../domain/max-duration.js";
import { attemptCount, durationMs, isPausing, type RunState } from "../../domain/run.js";
import { isFinal } from "../../domain/run-status.js";
import { parseWaitTarget, type WaitTarget } from "../../domain/wait.js";
import type { RelatedRun, RunDetail } from "../../engine/engine.js";
import { wireFailure } from "./failure.js";
import { wireLogLine } from "./log-line.js";
import { decodeSpec } from "./spec.js";
import { wireFunction, wireOutcome, wireScope, wireStatus } from "./status.js";
import { durationOf, timestampOf } from "./time.js";

/** A run with all it has (RUN-10). @param nowMs for durations and pauses that go on. */
export function wireRun(detail: RunDetail, nowMs: number): Run {
  const { run } = detail;
  const isFailedFinal = isFinal(run.status) && run.status !== "COMPLETED";
  return create(RunSchema, {
    ...common(run, nowMs),
    idempotencyKeyScope: wireScope(keyOf(run, nowMs)?.scope),
    metadataJson: detail.metadataJson ?? "",
    payload: decodeSpec(detail.spec).payload,
    output: detail.output === undefined ? undefined : fromBinary(PayloadSchema, detail.output),
    error: isFailedFinal && detail.failure !== undefined ? wireFailure(detail.failure) : undefined,
    maxDurationSeconds: maxDurationOf(run),
    nextAttemptTime: nextAttemptOf(run, nowMs),
    waitingFor: waitingForOf(run),
    workerId: run.sessionId ?? "",
    attempts: attemptsOf(detail, nowMs),
    logs: detail.logs.map(wireLogLine),
    relatedRuns: create(RelatedRunsSchema, {
      root: detail.root === undefined ? undefined : wireRelated(detail.root),
      parent: detail.parent === undefined ? undefined : wireRelated(detail.parent),
      children: detail.children.map(wireRelated),
    }),
    batchIndex: run.batchIndex,
  });
}

/** A run as lists show it. */
export function wireRunListItem(run: RunState, nowMs: number): RunListItem {
  return create(RunListItemSchema, {
    ...common(run, nowMs),
    parentRunId: run.parentRunId ?? "",
    rootRunId: run.rootRunId ?? "",
  });
}

/** What both views have, under the same names. */
function common(run: RunState, nowMs: number) {
  return {
    id: run.id,
    status: wireStatus(run.status),
    taskId: run.taskId,
    idempotencyKey: keyOf(run, nowMs)?.text ?? "",
    isTest: run.isTest,
    createTime: timestampOf(run.createdAtMs),
    updateTime: timestampOf(run.updatedAtMs),
    startTime: timestampOf(run.startedAtMs),
    finishTime: timestampOf(run.finishedAtMs),
    delayedUntilTime: timestampOf(run.delayedUntilMs),
    expiredTime: timestampOf(run.expiredAtMs),
    ttl: run.ttlText ?? "",
    tags: [...run.tags],
    queueId: queueId(run.environment, run.queue),
    queueName: run.queue,
    concurrencyKey: run.concurrencyKey ?? "",
    prioritySeconds: run.prioritySeconds,
    maxAttempts: run.maxAttempts ?? run.policyMaxAttempts,
    attemptCount: attemptCount(run, nowMs),
    activeDuration: durationOf(durationMs(run, nowMs)),
    depth: run.depth,
    batchId: run.batchId ?? "",
    triggerFunction: wireFunction(run.triggerFunction),
    replayOfRunId: run.replayOf ?? "",
  };
}

/** A key whose window is over names nobody, whether or not housekeeping has been by. */
function keyOf(run: RunState, nowMs: number): RunState["key"] {
  return run.key !== undefined && run.key.expiresAtMs > nowMs ? run.key : undefined;
}

function maxDurationOf(run: RunState): number | undefined {
  const seconds = run.attemptMaxDurationSeconds ?? run.maxDurationSeconds;
  return seconds === MAX_DURATION_NONE ? undefined : seconds;
}

function nextAttemptOf(run: RunState, nowMs: number) {
  const isAhead = run.retryAtMs !== undefined && run.retryAtMs > nowMs && !isFinal(run.status);
  return isAhead ? timestampOf(run.retryAtMs) : undefined;
}

function waitingForOf({ status, waitingFor }: RunState): WaitingFor | undefined {
  if (status !== "WAITING" || waitingFor === undefined) return undefined;
  return create(WaitingForSchema, { waitpoint: wireWaitpoint(parseWaitTarget(waitingFor)) });
}

function wireWaitpoint(target: WaitTarget) {
  switch (target.kind) {
    case "run":
      return { case: "runId", value: target.runId } as const;
    case "batch":
      return { case: "batchId", value: target.batchId } as const;
    case "token":
      return { case: "waitpointId", value: target.waitpointId } as const;
    case "time": {
      const value = timestampOf(target.untilMs);
      return value === undefined ? { case: undefined } : ({ case: "untilTime", value } as const);
    }
  }
}

/** The ended ones, and the one that executes or waits. */
function attemptsOf({ run, attempts }: RunDetail, nowMs: number): WireAttempt[] {
  const ended = attempts.map((attempt) =>
    create(AttemptSummarySchema, {
      number: attempt.number,
      outcome: wireOutcome(attempt.outcome),
      startTime: timestampOf(attempt.startedAtMs),
      finishTime: timestampOf(attempt.finishedAtMs),
      workerId: attempt.worker ?? "",
      error: attempt.error === undefined ? undefined : wireFailure(attempt.error),
    }),
  );
  const isUnderWay = (run.status === "EXECUTING" && !isPausing(run, nowMs)) || run.status === "WAITING";
  if (!isUnderWay) return ended;
  const present = create(AttemptSummarySchema, {
    number: run.attempt,
    outcome: WireOutcome.EXECUTING,
    startTime: timestampOf(run.attemptStartedAtMs),
    workerId: run.sessionId ?? "",
  });
  return [...ended, present].slice(-defaultLimits.attemptsKept);
}

function wireRelated(run: RelatedRun): WireRelated {
  return create(RelatedRunSchema, {
    id: run.runId,
    status: wireStatus(run.status),
    taskId: run.taskId,
    depth: run.depth,
    triggerFunction: wireFunction(run.triggerFunction),
    batchId: run.batchId ?? "",
  });
}
