/**
 * Why a run or an attempt failed: data that is stored and read back (RES-5, RES-7), never an exception of ours. The
 * refusal of a call is an AppError, see `error.ts`.
 */
import type { FinalStatus } from "./run-status.js";
import { cut } from "./text.js";

interface FailureRow {
  /** The run's status when no attempt is left. */
  readonly status: Exclude<FinalStatus, "COMPLETED">;
  /** Whether the retry policy is asked. */
  readonly isRetried: boolean;
}

/** Engine errors of section 12.3. What user code throws has no code and is in {@link USER_FAILURE}. */
export const FAILURE_CODES = {
  TASK_MIDDLEWARE_ERROR: { status: "FAILED", isRetried: true },
  TASK_INPUT_ERROR: { status: "FAILED", isRetried: false },
  TASK_OUTPUT_ERROR: { status: "FAILED", isRetried: false },
  MAX_DURATION_EXCEEDED: { status: "TIMED_OUT", isRetried: false },
  TASK_RUN_STALLED_EXECUTING: { status: "CRASHED", isRetried: true },
  HANDLE_ERROR_ERROR: { status: "CRASHED", isRetried: false },
  TASK_DID_CONCURRENT_WAIT: { status: "SYSTEM_FAILURE", isRetried: false },
  TASK_RUN_INTERRUPTED: { status: "CRASHED", isRetried: false },
  TASK_PROCESS_EXITED: { status: "CRASHED", isRetried: true },
  TASK_RUN_PICKUP_FAILED: { status: "SYSTEM_FAILURE", isRetried: false },
  PAYLOAD_STORE_UNAVAILABLE: { status: "SYSTEM_FAILURE", isRetried: true },
  TASK_RUN_EXPIRED: { status: "EXPIRED", isRetried: false },
  TASK_RUN_CANCELLED: { status: "CANCELED", isRetried: false },
} as const satisfies Readonly<Record<string, FailureRow>>;

export type FailureCode = keyof typeof FAILURE_CODES;

/** Thrown by user code; a worker that knows better (`AbortTaskRunError`, RES-11) says so with its report. */
const USER_FAILURE: FailureRow = { status: "FAILED", isRetried: true };

export interface Failure {
  /**
   * `error`: a thrown Error · `string`: a thrown string, in `message` · `value`: another thrown value, as `valueJson` ·
   * `engine`: one of ours, with a `code`.
   */
  readonly kind: "error" | "string" | "value" | "engine";
  /** `name` of the Error; of an engine error its code. */
  readonly name?: string;
  /** At most 1,000 characters (RES-6); of a `value` empty or its JSON text. */
  readonly message: string;
  /** At most 50 frames of 1,024 characters, after the lines that repeat the message (RES-6). */
  readonly stack?: string;
  readonly code?: FailureCode;
  /** JSON text of a thrown value. */
  readonly valueJson?: string;
  /** What caused it; at most {@link CAUSES_MAX} deep. */
  readonly cause?: Failure;
}

/** RES-6: code points of a message. */
export const MESSAGE_LENGTH_MAX = 1_000;
/** RES-6: frames kept from the top of a stack, where it was thrown. */
export const STACK_TOP_FRAMES = 5;
/** RES-6: frames kept from the bottom, where it began. */
export const STACK_BOTTOM_FRAMES = 45;
/** RES-6: code points of one frame. */
export const FRAME_LENGTH_MAX = 1_024;
/** Links of a cause chain: deep enough for wrapped errors, small enough that a stored failure is bounded. */
export const CAUSES_MAX = 5;
/** Code points of the JSON of a thrown value. Cut JSON is no JSON: a longer one is kept as a string. */
export const VALUE_LENGTH_MAX = 16_384;
/** Code points of an Error's name. */
export const NAME_LENGTH_MAX = 200;

/** Whether a text, such as one that a worker sent, is a code of section 12.3. */
export function isFailureCode(text: string): text is FailureCode {
  return Object.hasOwn(FAILURE_CODES, text);
}

/** An error of the engine; its name equals its code (RES-7). */
export function engineFailure(code: FailureCode, message: string): Failure {
  return { kind: "engine", name: code, code, message: trimMessage(message) };
}

/** The status that a failure ends a run with, and whether the retry policy is asked first (section 12.3). */
export function failureOutcome(failure: Pick<Failure, "code">): FailureRow {
  return failure.code === undefined ? USER_FAILURE : FAILURE_CODES[failure.code];
}

/** What readers of a run see of its failure (RES-7). */
export interface FailureView {
  readonly name?: string;
  readonly message: string;
  readonly stackTrace?: string;
  readonly code?: FailureCode;
}

/** RES-7: engine errors have a code and it is their name; thrown non-Errors have only a message. */
export function failureView(failure: Failure): FailureView {
  switch (failure.kind) {
    case "engine":
      return {
        name: failure.code ?? failure.name,
        message: failure.message,
        stackTrace: failure.stack,
        code: failure.code,
      };
    case "error":
      return { name: failure.name, message: failure.message, stackTrace: failure.stack };
    case "string":
      return { message: failure.message };
    case "value":
      return { message: trimMessage(failure.valueJson ?? failure.message) };
  }
}

/** A failure as it is stored: bounded in every part (RES-6). Trimming twice changes nothing more. */
export function trimFailure(failure: Failure): Failure {
  return trimTo(failure, CAUSES_MAX);
}

function trimTo(failure: Failure, causesLeft: number): Failure {
  const { name, stack, code, cause } = failure;
  return {
    ...trimValue(failure),
    ...(name === undefined ? {} : { name: cut(withoutNul(name), NAME_LENGTH_MAX) }),
    ...(stack === undefined ? {} : { stack: trimStack(stack) }),
    ...(code === undefined ? {} : { code }),
    ...(cause === undefined || causesLeft === 0 ? {} : { cause: trimTo(cause, causesLeft - 1) }),
  };
}

function trimValue(failure: Failure): Pick<Failure, "kind" | "message" | "valueJson"> {
  const { kind } = failure;
  const message = trimMessage(failure.message);
  if (failure.valueJson === undefined) {
    return { kind, message };
  }
  const valueJson = withoutNul(failure.valueJson);
  return cut(valueJson, VALUE_LENGTH_MAX) === valueJson
    ? { kind, message, valueJson }
    : { kind: "string", message: trimMessage(valueJson) };
}

function trimMessage(message: string): string {
  return cut(withoutNul(message), MESSAGE_LENGTH_MAX);
}

/** NUL ends texts in some stores and terminals. */
function withoutNul(text: string): string {
  return text.replaceAll("\0", "");
}

/** How V8 writes a frame. Other languages' stacks have none of these: then every line counts as a frame. */
const V8_FRAME = /^\s*at /;
const GAP = /^ {4}\.\.\. \d+ frames left out$/;

/** The lines that repeat the message, and the frames: all if at most 50, else the 5 top and the 45 bottom ones. */
function trimStack(stack: string): string {
  const lines = withoutNul(stack).split("\n");
  const firstFrame = Math.max(
    lines.findIndex((line) => V8_FRAME.test(line)),
    0,
  );
  const head = cut(lines.slice(0, firstFrame).join("\n"), MESSAGE_LENGTH_MAX);
  const frames = trimFrames(lines.slice(firstFrame)).map((frame) => cut(frame, FRAME_LENGTH_MAX));
  return firstFrame === 0 ? frames.join("\n") : `${head}\n${frames.join("\n")}`;
}

function trimFrames(lines: readonly string[]): readonly string[] {
  const frames = lines.filter((line) => !GAP.test(line));
  const left = frames.length - STACK_TOP_FRAMES - STACK_BOTTOM_FRAMES;
  if (left <= 0) {
    // The mark of an earlier trimming, if there is one, stays where it is; a forged second one does not.
    return lines.length - frames.length <= 1 ? lines : frames;
  }
  return [
    ...frames.slice(0, STACK_TOP_FRAMES),
    `    ... ${left} frames left out`,
    ...frames.slice(frames.length - STACK_BOTTOM_FRAMES),
  ];
}
