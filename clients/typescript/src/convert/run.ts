/** Messages of runs → runs as the SDK shows them. Nothing that is not set becomes a member. */
import { type Duration, durationMs, type Timestamp, timestampDate } from "@bufbuild/protobuf/wkt";
import { InternalServerError } from "../errors.js";
import {
  type AttemptSummary,
  type LogLine,
  type Run,
  type RunListItem,
  TriggerFunction as WireFunction,
  LogLevel as WireLevel,
  AttemptOutcome as WireOutcome,
  type RelatedRun as WireRelated,
  RunStatus as WireStatus,
  type WaitingFor as WireWaiting,
} from "../gen/hairtrigger/v1/run_pb.js";
import type {
  AttemptOutcome,
  ListedRun,
  RelatedRun,
  RetrievedRun,
  RunAttempt,
  RunData,
  RunLogLine,
  RunSummary,
  TriggerFunctionName,
  UntypedValue,
  WaitingFor,
} from "../run.js";
import { type RunStatus, statusHelpers } from "../run-status.js";
import type { LogLevel } from "../task-context.js";
import { runError } from "./failure.js";
import { payloadValue } from "./payload.js";

const STATUSES = {
  [WireStatus.UNSPECIFIED]: undefined,
  [WireStatus.DELAYED]: "DELAYED",
  [WireStatus.QUEUED]: "QUEUED",
  [WireStatus.EXECUTING]: "EXECUTING",
  [WireStatus.WAITING]: "WAITING",
  [WireStatus.COMPLETED]: "COMPLETED",
  [WireStatus.CANCELED]: "CANCELED",
  [WireStatus.FAILED]: "FAILED",
  [WireStatus.CRASHED]: "CRASHED",
  [WireStatus.SYSTEM_FAILURE]: "SYSTEM_FAILURE",
  [WireStatus.EXPIRED]: "EXPIRED",
  [WireStatus.TIMED_OUT]: "TIMED_OUT",
} as const satisfies Readonly<Record<WireStatus, RunStatus | undefined>>;

const WIRE_STATUSES = {
  DELAYED: WireStatus.DELAYED,
  QUEUED: WireStatus.QUEUED,
  EXECUTING: WireStatus.EXECUTING,
  WAITING: WireStatus.WAITING,
  COMPLETED: WireStatus.COMPLETED,
  CANCELED: WireStatus.CANCELED,
  FAILED: WireStatus.FAILED,
  CRASHED: WireStatus.CRASHED,
  SYSTEM_FAILURE: WireStatus.SYSTEM_FAILURE,
  EXPIRED: WireStatus.EXPIRED,
  TIMED_OUT: WireStatus.TIMED_OUT,
} as const satisfies Readonly<Record<RunStatus, WireStatus>>;

const FUNCTIONS = {
  [WireFunction.UNSPECIFIED]: "trigger",
  [WireFunction.TRIGGER]: "trigger",
  [WireFunction.TRIGGER_AND_WAIT]: "triggerAndWait",
  [WireFunction.BATCH_TRIGGER]: "batchTrigger",
  [WireFunction.BATCH_TRIGGER_AND_WAIT]: "batchTriggerAndWait",
} as const satisfies Readonly<Record<WireFunction, TriggerFunctionName>>;

const OUTCOMES = {
  [WireOutcome.UNSPECIFIED]: "EXECUTING",
  [WireOutcome.EXECUTING]: "EXECUTING",
  [WireOutcome.COMPLETED]: "COMPLETED",
  [WireOutcome.FAILED]: "FAILED",
  [WireOutcome.CRASHED]: "CRASHED",
  [WireOutcome.TIMED_OUT]: "TIMED_OUT",
  [WireOutcome.CANCELED]: "CANCELED",
  [WireOutcome.INTERRUPTED]: "INTERRUPTED",
} as const satisfies Readonly<Record<WireOutcome, AttemptOutcome>>;

const LEVELS = {
  [WireLevel.UNSPECIFIED]: "log",
  [WireLevel.TRACE]: "trace",
  [WireLevel.DEBUG]: "debug",
  [WireLevel.LOG]: "log",
  [WireLevel.INFO]: "info",
  [WireLevel.WARN]: "warn",
  [WireLevel.ERROR]: "error",
} as const satisfies Readonly<Record<WireLevel, LogLevel>>;

export function wireStatus(status: RunStatus): WireStatus {
  return WIRE_STATUSES[status];
}

/** @throws InternalServerError for a status that this version does not know. */
export function runStatus(status: WireStatus): RunStatus {
  const known = STATUSES[status];
  if (known !== undefined) return known;
  throw new InternalServerError({
    code: "internal",
    message: `The server answered with an unknown run status ${status}`,
  });
}

/** What the messages of runs have in common. */
type Common = Run | RunListItem;

function summary(run: Common): RunSummary {
  const status = runStatus(run.status);
  return {
    id: run.id,
    status,
    taskIdentifier: run.taskId,
    ...statusHelpers(status),
    ...textMember("idempotencyKey", run.idempotencyKey),
    isTest: run.isTest,
    createdAt: requiredDate(run.createTime),
    updatedAt: requiredDate(run.updateTime),
    ...dateMember("startedAt", run.startTime),
    ...dateMember("finishedAt", run.finishTime),
    ...dateMember("delayedUntil", run.delayedUntilTime),
    ...dateMember("expiredAt", run.expiredTime),
    ...textMember("ttl", run.ttl),
    tags: run.tags,
    queue: { id: run.queueId, name: run.queueName },
    ...textMember("concurrencyKey", run.concurrencyKey),
    priority: run.prioritySeconds,
    ...(run.maxAttempts === undefined ? {} : { maxAttempts: run.maxAttempts }),
    attemptCount: run.attemptCount,
    durationMs: spanMs(run.activeDuration),
    depth: run.depth,
    ...textMember("batchId", run.batchId),
    triggerFunction: FUNCTIONS[run.triggerFunction],
  };
}

export function listedRun(item: RunListItem): ListedRun {
  return {
    ...summary(item),
    ...textMember("parentRunId", item.parentRunId),
    ...textMember("rootRunId", item.rootRunId),
  };
}

/** A run with its data. Payload and output get their types from what the caller names; no one checks what a run really holds (TYP-3). */
export function runData(run: Run): RunData<UntypedValue, UntypedValue> {
  return {
    ...summary(run),
    ...(run.metadataJson === "" ? {} : { metadata: jsonObject(run.metadataJson) }),
    ...(run.payload === undefined ? {} : { payload: payloadValue(run.payload) }),
    ...textMember("payloadPresignedUrl", run.payloadPresignedUrl),
    ...(run.output === undefined ? {} : { output: payloadValue(run.output) }),
    ...textMember("outputPresignedUrl", run.outputPresignedUrl),
    ...(run.error === undefined ? {} : { error: runError(run.error) }),
    ...(run.maxDurationSeconds === undefined ? {} : { maxDuration: run.maxDurationSeconds }),
    ...dateMember("nextAttemptAt", run.nextAttemptTime),
    ...waitingMember(run.waitingFor),
    ...textMember("workerId", run.workerId),
    attempts: run.attempts.map(attempt),
  };
}

export function retrievedRun(run: Run): RetrievedRun<UntypedValue, UntypedValue> {
  const { root, parent, children = [] } = run.relatedRuns ?? {};
  return {
    ...runData(run),
    logs: run.logs.map(logLine),
    relatedRuns: {
      ...(root === undefined ? {} : { root: relatedRun(root) }),
      ...(parent === undefined ? {} : { parent: relatedRun(parent) }),
      children: children.map(relatedRun),
    },
  };
}

function attempt(summarised: AttemptSummary): RunAttempt {
  return {
    number: summarised.number,
    outcome: OUTCOMES[summarised.outcome],
    startedAt: requiredDate(summarised.startTime),
    ...dateMember("finishedAt", summarised.finishTime),
    ...textMember("worker", summarised.workerId),
    ...(summarised.error === undefined ? {} : { error: runError(summarised.error) }),
  };
}

function logLine(line: LogLine): RunLogLine {
  return {
    time: requiredDate(line.time),
    level: LEVELS[line.level],
    message: line.message,
    attempt: line.attempt,
    ...(line.propertiesJson === "" ? {} : { properties: jsonObject(line.propertiesJson) }),
  };
}

function relatedRun(related: WireRelated): RelatedRun {
  return {
    id: related.id,
    status: runStatus(related.status),
    taskIdentifier: related.taskId,
    depth: related.depth,
    triggerFunction: FUNCTIONS[related.triggerFunction],
    ...textMember("batchId", related.batchId),
  };
}

function waitingMember(waiting: WireWaiting | undefined): { readonly waitingFor?: WaitingFor } {
  const waitpoint = waiting?.waitpoint;
  switch (waitpoint?.case) {
    case "runId":
      return { waitingFor: { type: "task", runId: waitpoint.value } };
    case "batchId":
      return { waitingFor: { type: "batch", batchId: waitpoint.value } };
    case "untilTime":
      return { waitingFor: { type: "duration", date: timestampDate(waitpoint.value) } };
    case "waitpointId":
      return { waitingFor: { type: "token", id: waitpoint.value } };
    case undefined:
      return {};
  }
}

/** A member that is set only if there is a text. */
function textMember<K extends string>(name: K, text: string): { readonly [P in K]?: string };
function textMember(name: string, text: string): { readonly [name: string]: string } {
  return text === "" ? {} : { [name]: text };
}

function dateMember<K extends string>(name: K, time: Timestamp | undefined): { readonly [P in K]?: Date };
function dateMember(name: string, time: Timestamp | undefined): { readonly [name: string]: Date } {
  return time === undefined ? {} : { [name]: timestampDate(time) };
}

/** A time that every run has; an invalid one where the caller skipped it. */
function requiredDate(time: Timestamp | undefined): Date {
  return time === undefined ? new Date(Number.NaN) : timestampDate(time);
}

/** Milliseconds of a span, 0 for none. */
function spanMs(span: Duration | undefined): number {
  return span === undefined ? 0 : durationMs(span);
}

function jsonObject(json: string): Readonly<Record<string, unknown>> {
  const value: unknown = JSON.parse(json);
  return typeof value === "object" && value !== null ? { ...value } : {};
}
