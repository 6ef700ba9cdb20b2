/** Between what the worker thinks in (reports, instructions) and the messages of the stream. Nothing is decided here. */
import { create } from "@bufbuild/protobuf";
import type { Duration } from "@bufbuild/protobuf/wkt";
import { DurationSchema } from "@bufbuild/protobuf/wkt";
import type { Acknowledgement, HeldInstruction, Resume } from "../../gen/hairtrigger/worker/v1/worker_pb.js";
import {
  CompletedSchema,
  EndedSchema,
  FailedSchema,
  InterruptedSchema,
  StartedSchema,
  TimedOutSchema,
  WaitingSchema,
} from "../../gen/hairtrigger/worker/v1/worker_pb.js";
import type { OpenSessionRequest } from "../../gen/hairtrigger/worker/v1/worker_service_pb.js";
import type { Instruction, ReportEntry, ResumeOrder } from "./report.js";

/** Puts a report into the list of its kind. */
export function addReport(message: OpenSessionRequest, { lease, report }: ReportEntry): void {
  switch (report.kind) {
    case "started":
      message.started.push(create(StartedSchema, { lease }));
      return;
    case "completed":
      message.completed.push(create(CompletedSchema, { lease, output: report.output }));
      return;
    case "failed": {
      const { failure, maxAttempts, retryDelayMs } = report;
      const retryDelay = retryDelayMs === undefined ? undefined : durationOf(retryDelayMs);
      message.failed.push(create(FailedSchema, { lease, failure, maxAttempts, retryDelay }));
      return;
    }
    case "waiting":
      message.waiting.push(create(WaitingSchema, { lease, waitingFor: report.waitingFor }));
      return;
    case "timedOut":
      message.timedOut.push(create(TimedOutSchema, { lease }));
      return;
    case "interrupted":
      message.interrupted.push(create(InterruptedSchema, { lease, codeRunsOn: report.codeRunsOn }));
      return;
    case "ended":
      message.ended.push(create(EndedSchema, { lease }));
  }
}

/** About how many bytes a report takes on the wire; exact where it can be large. */
export function reportBytes({ report }: ReportEntry): number {
  if (report.kind === "failed") return 64 + 2 * (report.failure.message.length + report.failure.stackTrace.length);
  if (report.kind !== "completed" || report.output === undefined) return 32;
  const { data, jsonTypes } = report.output;
  const length = data.case === "json" || data.case === "binary" ? data.value.length : 0;
  // Of text at most three bytes for each unit; most of it is one.
  return 64 + length + jsonTypes.length;
}

/** Undefined for an instruction that this version does not know. */
export function instructionOf({ instruction }: Acknowledgement | HeldInstruction): Instruction | undefined {
  switch (instruction.case) {
    case "retry": {
      const { lease, attempt, delay } = instruction.value;
      return { kind: "retry", lease, attempt, delayMs: msOf(delay) ?? 0 };
    }
    case "resume":
      return { kind: "resume", ...resumeOrder(instruction.value) };
    case "cancel":
      return { kind: "cancel", reason: instruction.value.reason };
    case "goOn":
    case "keepWaiting":
    case "finished":
    case "released":
    case "lost":
      return { kind: instruction.case };
    case undefined:
      return undefined;
  }
}

export function resumeOrder({ lease, runId, confirmFirst, outcome }: Resume): ResumeOrder {
  return { lease, runId, confirmFirst, outcome };
}

export function msOf(duration: Duration | undefined): number | undefined {
  return duration === undefined ? undefined : Number(duration.seconds) * 1_000 + duration.nanos / 1e6;
}

export function durationOf(ms: number): Duration {
  const seconds = Math.floor(ms / 1_000);
  return create(DurationSchema, { seconds: BigInt(seconds), nanos: Math.round((ms - seconds * 1_000) * 1e6) });
}
