/** Failures of runs ⇄ errors (RES-5, RES-7). A failure is data: what was thrown, so that it can be rebuilt elsewhere. */
import { create } from "@bufbuild/protobuf";
import { type Failure, FailureKind, FailureSchema } from "../gen/hairtrigger/v1/run_pb.js";
import type { RunError } from "../run.js";

/** Links of a cause chain that are kept. */
const CAUSES_MAX = 5;
/** The server trims to 1,000 characters and 50 frames (RES-6); these only keep a monstrous error off the wire. */
const MESSAGE_SENT_MAX = 10_000;
const STACK_SENT_MAX = 1_000_000;

/** What was thrown, as data. Never throws. */
export function failureOf(thrown: unknown): Failure {
  try {
    return describe(thrown, CAUSES_MAX);
  } catch (error) {
    // A getter of the error threw.
    return textFailure(`[an error that cannot be read: ${textOf(error)}]`);
  }
}

/** A failure that the engine's side in the worker found, such as `TASK_OUTPUT_ERROR` (§12.3). */
export function engineFailure(code: string, message: string, cause?: unknown): Failure {
  return create(FailureSchema, {
    kind: FailureKind.ENGINE,
    name: code,
    code,
    message: message.slice(0, MESSAGE_SENT_MAX),
    cause: cause === undefined ? undefined : describe(cause, CAUSES_MAX - 1),
  });
}

function describe(thrown: unknown, causesLeft: number): Failure {
  if (typeof thrown === "string") return textFailure(thrown);
  if (!(thrown instanceof Error)) return valueFailure(thrown);
  // Unknown, because code may have assigned anything to an error's members.
  const { name, message, stack, cause }: Readonly<Record<"name" | "message" | "stack" | "cause", unknown>> = {
    name: thrown.name,
    message: thrown.message,
    stack: thrown.stack,
    cause: thrown.cause,
  };
  return create(FailureSchema, {
    kind: FailureKind.ERROR,
    name: textOf(name),
    message: textOf(message).slice(0, MESSAGE_SENT_MAX),
    stackTrace: typeof stack === "string" ? stack.slice(0, STACK_SENT_MAX) : "",
    cause: cause === undefined || causesLeft === 0 ? undefined : describe(cause, causesLeft - 1),
  });
}

function textFailure(text: string): Failure {
  return create(FailureSchema, { kind: FailureKind.STRING, message: text.slice(0, MESSAGE_SENT_MAX) });
}

/** A thrown value: its JSON if it has one, else its text. */
function valueFailure(value: unknown): Failure {
  const valueJson = jsonOf(value);
  if (valueJson === undefined) return textFailure(textOf(value));
  return create(FailureSchema, { kind: FailureKind.VALUE, message: valueJson.slice(0, MESSAGE_SENT_MAX), valueJson });
}

function textOf(value: unknown): string {
  try {
    return String(value);
  } catch {
    return `[a value of type ${typeof value} without text]`;
  }
}

function jsonOf(value: unknown): string | undefined {
  try {
    const json: unknown = JSON.stringify(value);
    return typeof json === "string" ? json : undefined;
  } catch {
    return undefined;
  }
}

/** What was thrown, rebuilt (RES-5): an Error with the name of its class, a string, or a JSON value; an engine error as Error named by its code. */
export function thrownOf(failure: Failure): unknown {
  switch (failure.kind) {
    case FailureKind.STRING:
      return failure.message;
    case FailureKind.VALUE:
      return parsed(failure);
    case FailureKind.ENGINE:
    case FailureKind.ERROR:
    case FailureKind.UNSPECIFIED:
      return errorOf(failure);
  }
}

function parsed({ valueJson, message }: Failure): unknown {
  try {
    return JSON.parse(valueJson);
  } catch {
    return message;
  }
}

function errorOf(failure: Failure): Error {
  const { message, stackTrace, cause } = failure;
  const error = new Error(message, cause === undefined ? undefined : { cause: thrownOf(cause) });
  const name = failure.kind === FailureKind.ENGINE && failure.code !== "" ? failure.code : failure.name;
  // As on a class: not among the members that a copy or a log would list.
  if (name !== "") Object.defineProperty(error, "name", { value: name, configurable: true, writable: true });
  error.stack = stackTrace === "" ? `${error.name}: ${message}` : stackTrace;
  return error;
}

/** RES-7. */
export function runError(failure: Failure): RunError {
  const { kind, name, message, stackTrace, code } = failure;
  switch (kind) {
    case FailureKind.STRING:
      return { message };
    case FailureKind.VALUE:
      return { message: message === "" ? failure.valueJson : message };
    case FailureKind.ENGINE:
    case FailureKind.ERROR:
    case FailureKind.UNSPECIFIED: {
      const shownName = code === "" ? name : code;
      return {
        message,
        ...(shownName === "" ? {} : { name: shownName }),
        ...(stackTrace === "" ? {} : { stackTrace }),
        ...(code === "" ? {} : { code }),
      };
    }
  }
}
