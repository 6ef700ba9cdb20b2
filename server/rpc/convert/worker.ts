/** The worker's stream: messages ⇄ what the engine takes and says. */
import { create, fromBinary, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { PayloadSchema } from "#proto/hairtrigger/v1/payload_pb.js";
import {
  type Acknowledgement,
  AcknowledgementSchema,
  type Assignment,
  AssignmentSchema,
  type CancelRun,
  CancelRunSchema,
  type Completed,
  type Failed,
  FinishedSchema,
  GoOnSchema,
  type HeldInstruction,
  HeldInstructionSchema,
  type Hello,
  KeepWaitingSchema,
  type LostLease,
  LostLeaseSchema,
  ReleasedSchema,
  type Resume,
  ResumeSchema,
  RetrySchema,
  type Waiting,
  type WaitOutcomeSchema,
  type Welcome,
  WelcomeSchema,
} from "#proto/hairtrigger/worker/v1/worker_pb.js";
import type { OpenSessionRequest } from "#proto/hairtrigger/worker/v1/worker_service_pb.js";
import { invalidRequest, rejectIfAny, type Violation } from "../../domain/error.js";
import { engineFailure } from "../../domain/failure.js";
import { isId, queueId } from "../../domain/ids.js";
import { decodeLease, encodeLease, type Lease } from "../../domain/lease.js";
import type { Limits } from "../../domain/limits.js";
import { largeData, outputFailure } from "../../domain/payload.js";
import type { WaitTarget } from "../../domain/wait.js";
import type {
  AssignedRun,
  ClaimedRun,
  HeldLease,
  Instruction,
  OpenSession,
  Report,
  WaitOutcome,
} from "../../engine/engine.js";
import { PROTOCOL_VERSION } from "../protocol-version.js";
import { failureOfWire, wireFailure } from "./failure.js";
import { decodePayload } from "./payload.js";
import { referenceOfWire } from "./reference.js";
import { completeSpec, isReference } from "./spec.js";
import { wireStatus } from "./status.js";
import { declarationOf, queueDeclarationOf } from "./task.js";
import { durationOf, msOfDuration, timestampOf } from "./time.js";
import { outputOf } from "./waitpoint.js";

/** @throws AppError with every violation of the declarations; INVALID_REQUEST for a lease that no server of ours made. */
export function openSessionOf(hello: Hello, environment: string, limits: Limits): OpenSession {
  const violations: Violation[] = [];
  const tasks = hello.tasks.map((task, index) => declarationOf(task, `hello.tasks[${index}]`, limits, violations));
  const queues = hello.queues.flatMap((queue, index) => {
    return queueDeclarationOf(queue, `hello.queues[${index}]`, limits, violations) ?? [];
  });
  rejectIfAny(violations);
  const { identity } = hello;
  return {
    environment,
    sessionId: hello.sessionId,
    connectionEpoch: hello.connectionEpoch,
    workerName: identity?.name || defaultName(identity?.host, identity?.pid),
    sdk: identity?.sdk ?? "",
    concurrency: hello.concurrency,
    tasks,
    queues,
    held: hello.held.map(({ lease, interrupted, codeRunsOn }, index): HeldLease => {
      const own = decodeLease(lease);
      if (own === undefined) throw invalidRequest(`hello.held[${index}].lease`, "The lease was not made here");
      return { lease: own, isInterrupted: interrupted, codeEnded: !codeRunsOn };
    }),
  };
}

function defaultName(host: string | undefined, pid: number | undefined): string {
  return [host, pid === 0 ? undefined : pid].filter((part) => part !== undefined && part !== "").join(" ");
}

export function welcomeOf(params: {
  readonly open: OpenSession;
  readonly limits: Limits;
  readonly serverId: string;
}): Welcome {
  const { open, limits, serverId } = params;
  return create(WelcomeSchema, {
    sessionId: open.sessionId,
    serverId,
    protocolVersion: PROTOCOL_VERSION,
    environment: open.environment,
    heartbeatInterval: durationOf(limits.heartbeatMs),
    sessionTimeout: durationOf(limits.sessionMs),
    pickUpTimeout: durationOf(limits.pickUpMs),
    silenceTimeout: durationOf(limits.silentMs),
    reconnectAfter: durationOf((limits.sessionMs * 2) / 3),
    fenceAfter: durationOf(limits.selfFenceMs),
    cancelGrace: durationOf(limits.cancelGraceMs),
    shortRetryLimit: durationOf(limits.shortRetryMs),
    inlineBytesMax: BigInt(limits.inlineBytesMax),
    outputBytesMax: BigInt(limits.outputBytesMax),
    metadataBytesMax: BigInt(limits.metadataBytesMax),
  });
}

/** A report and the lease as the worker wrote it; `report` undefined: no lease of ours. */
export interface DecodedReport {
  readonly lease: Uint8Array;
  readonly report: Report | undefined;
}

/** All reports of one message, in the order that the contract gives its parts. */
export function reportsOf(message: OpenSessionRequest, limits: Limits): readonly DecodedReport[] {
  return [
    ...message.started.map(({ lease }) => decoded(lease, (own) => ({ kind: "started", lease: own }))),
    ...message.completed.map((item) => decoded(item.lease, (own) => completedOf(item, own, limits))),
    ...message.failed.map((item) => decoded(item.lease, (own) => failedOf(item, own))),
    ...message.waiting.map((item, index) =>
      decoded(item.lease, (own) => ({ kind: "waiting", lease: own, target: targetOf(item, index) })),
    ),
    ...message.ended.map(({ lease }) => decoded(lease, (own) => ({ kind: "ended", lease: own }))),
    ...message.interrupted.map(({ lease, codeRunsOn }) =>
      decoded(lease, (own) => ({ kind: "interrupted", lease: own, codeEnded: !codeRunsOn })),
    ),
    ...message.timedOut.map(({ lease }) => decoded(lease, (own) => ({ kind: "timedOut", lease: own }))),
  ];
}

function decoded(lease: Uint8Array, reportOf: (lease: Lease) => Report): DecodedReport {
  const own = decodeLease(lease);
  return { lease, report: own === undefined ? undefined : reportOf(own) };
}

/** An output that is too large, or none at all, fails the run instead (PAY-7). */
function completedOf({ output }: Completed, lease: Lease, limits: Limits): Report {
  if (output?.data.case === "reference") {
    const large = { kind: "uploaded", reference: referenceOfWire(output.data.value) } as const;
    return { kind: "completed", lease, output: toBinary(PayloadSchema, output), large };
  }
  const { stored, input, violations } = decodePayload(output, "output");
  const [violation] = violations;
  const failure =
    violation === undefined ? outputFailure(input, limits) : engineFailure("TASK_OUTPUT_ERROR", violation.message);
  if (failure !== undefined) return { kind: "failed", lease, failure, retryDelayMs: undefined };
  const data = largeData(input, limits);
  const encoded = stored === undefined ? undefined : toBinary(PayloadSchema, stored);
  if (data === undefined) return { kind: "completed", lease, output: encoded };
  // Of a worker that does not upload.
  const large = { kind: "data", data, contentType: stored?.contentType ?? "" } as const;
  return { kind: "completed", lease, output: encoded, large };
}

/** @throws AppError INVALID_REQUEST for a target of a kind, or an id of a form, that nobody can wait for. */
function targetOf({ waitingFor }: Waiting, index: number): WaitTarget {
  const waitpoint = waitingFor?.waitpoint;
  if (waitpoint?.case === "runId" && isId("run", waitpoint.value)) return { kind: "run", runId: waitpoint.value };
  if (waitpoint?.case === "waitpointId" && isId("waitpoint", waitpoint.value)) {
    return { kind: "token", waitpointId: waitpoint.value };
  }
  if (waitpoint?.case === "batchId" && isId("batch", waitpoint.value)) {
    return { kind: "batch", batchId: waitpoint.value };
  }
  throw invalidRequest(`waiting[${index}].waitingFor`, "A run waits for a run, a batch, or a waitpoint by its id");
}

function failedOf({ failure, retryDelay }: Failed, lease: Lease): Report {
  return {
    kind: "failed",
    lease,
    failure: failure === undefined ? { kind: "error", message: "" } : failureOfWire(failure),
    retryDelayMs: retryDelay === undefined ? undefined : Math.max(0, Math.round(msOfDuration(retryDelay))),
  };
}

/** The answer to a report. @param lease as the worker wrote it. */
export function acknowledgementOf(lease: Uint8Array, instruction: Instruction): Acknowledgement {
  // That it goes on is told by a `Resume`, on its way already or with the answer to the next hello.
  const told = instruction.kind === "resume" ? ({ kind: "keepWaiting" } as const) : instruction;
  return create(AcknowledgementSchema, { lease, instruction: instructionOf(lease, told) });
}

/** The answer for a lease of a hello. @param lease as the worker wrote it. */
export function heldInstructionOf(lease: Uint8Array, instruction: Instruction): HeldInstruction {
  if (instruction.kind !== "resume") {
    return create(HeldInstructionSchema, { lease, instruction: instructionOf(lease, instruction) });
  }
  const { lease: own } = instruction;
  // Whether its queue has a limit is not asked for the few runs that are resumed in between connections.
  const value = { lease: encodeLease(own), runId: own.runId, confirmFirst: true, waitingLease: lease };
  return create(HeldInstructionSchema, { lease, instruction: { case: "resume", value } });
}

function instructionOf(lease: Uint8Array, instruction: Exclude<Instruction, { readonly kind: "resume" }>) {
  switch (instruction.kind) {
    case "goOn":
      return { case: "goOn", value: create(GoOnSchema) } as const;
    case "finished":
      return { case: "finished", value: create(FinishedSchema) } as const;
    case "released":
      return { case: "released", value: create(ReleasedSchema) } as const;
    case "keepWaiting":
      return { case: "keepWaiting", value: create(KeepWaitingSchema) } as const;
    case "retry": {
      const { attempt, delayMs } = instruction;
      const value = create(RetrySchema, { lease: encodeLease(instruction.lease), attempt, delay: durationOf(delayMs) });
      return { case: "retry", value } as const;
    }
    case "cancel": {
      const runId = decodeLease(lease)?.runId ?? "";
      return { case: "cancel", value: create(CancelRunSchema, { lease, runId, reason: instruction.reason }) } as const;
    }
    case "lost":
      return { case: "lost", value: create(LostLeaseSchema, { lease, reason: LOST_REASON }) } as const;
  }
}

const LOST_REASON = "The run was given to another attempt, or has ended";

export function lostOf(lease: Lease): LostLease {
  return create(LostLeaseSchema, { lease: encodeLease(lease), reason: LOST_REASON });
}

export function cancelOf(params: { readonly lease: Lease; readonly reason: string }): CancelRun {
  const { lease, reason } = params;
  return create(CancelRunSchema, { lease: encodeLease(lease), runId: lease.runId, reason });
}

export function assignmentOf({ run, spec, metadataJson, isLimited }: ClaimedRun): Assignment {
  return create(AssignmentSchema, {
    lease: encodeLease({ runId: run.id, fence: run.fence }),
    runId: run.id,
    spec: completeSpec(run, spec),
    attempt: run.attempt,
    maxAttempts: run.maxAttempts ?? 0,
    maxDurationSeconds: run.maxDurationSeconds,
    confirmFirst: isLimited,
    queueId: queueId(run.environment, run.queue),
    queueName: run.queue,
    createTime: timestampOf(run.createdAtMs),
    startTime: timestampOf(run.startedAtMs),
    tags: [...run.tags],
    metadataJson: metadataJson ?? "",
    activeBefore: durationOf(run.earlierActiveMs),
    rejoinAttempt: run.rejoinAttempt ?? 0,
  });
}

export function resumeOf({ run, isLimited, outcome }: AssignedRun): Resume {
  const { id: runId, fence, reportFence } = run;
  return create(ResumeSchema, {
    lease: encodeLease({ runId, fence }),
    runId,
    confirmFirst: isLimited,
    waitingLease: encodeLease({ runId, fence: reportFence ?? fence }),
    // A large output is asked for, with a URL of its own.
    outcome: outcome === undefined || isLarge(outcome) ? undefined : wireOutcomeOf(outcome),
  });
}

function isLarge(outcome: WaitOutcome): boolean {
  if (outcome.kind !== "run") return false;
  const { output } = outcome.result;
  return output !== undefined && isReference(output);
}

/** Undefined for an output that is kept outside of the run: the worker asks, and is given a URL for it. */
function wireOutcomeOf(outcome: WaitOutcome): MessageInitShape<typeof WaitOutcomeSchema> | undefined {
  if (outcome.kind === "token") {
    const { waitpoint } = outcome;
    const ended = {
      tokenId: waitpoint.id,
      isTimedOut: waitpoint.status === "TIMED_OUT",
      timeoutTime: timestampOf(waitpoint.timeoutAtMs),
      output: outputOf(waitpoint),
    };
    return { outcome: { case: "token", value: ended } };
  }
  const { run, output: bytes, failure } = outcome.result;
  const output = bytes === undefined ? undefined : fromBinary(PayloadSchema, bytes);
  if (output?.data.case === "reference") return undefined;
  const value = {
    runId: run.id,
    taskId: run.taskId,
    status: wireStatus(run.status),
    output,
    error: failure === undefined || run.status === "COMPLETED" ? undefined : wireFailure(failure),
  };
  return { outcome: { case: "run", value } };
}
