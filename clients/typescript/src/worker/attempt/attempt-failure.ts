/**
 * What failed an attempt, told apart by what may follow (§12.3, RES-11). Errors are recognised by `name` and shape, never by `instanceof`:
 * several copies of the package work together (RTY-10).
 */

/** Failures that the worker itself finds; thrown inside the attempt, never seen by user code. */
export type EngineFailureCode =
  | "TASK_MIDDLEWARE_ERROR"
  | "TASK_INPUT_ERROR"
  | "TASK_OUTPUT_ERROR"
  | "HANDLE_ERROR_ERROR"
  | "TASK_DID_CONCURRENT_WAIT"
  | "PAYLOAD_STORE_UNAVAILABLE";

/** Ends an attempt with a code of §12.3. */
export class AttemptError extends Error {
  readonly code: EngineFailureCode;

  constructor(code: EngineFailureCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = code;
    this.code = code;
  }
}

export interface FailureVerdict {
  /** `never`: no further attempt · `policy`: the retry policy decides · a number: milliseconds, if an attempt is left. */
  readonly retry: "never" | "policy" | number;
  /** Whether `catchError` is asked: only where user code or middleware threw, and the error does not forbid retries (RTY-8). */
  readonly isCaught: boolean;
}

const FINAL: FailureVerdict = { retry: "never", isCaught: false };
const BY_POLICY: FailureVerdict = { retry: "policy", isCaught: true };

/** Codes of refused calls whose repetition cannot help (RES-11), as Connect spells them. */
const FINAL_API_CODES: ReadonlySet<string> = new Set([
  "invalid_argument",
  "out_of_range",
  "unauthenticated",
  "permission_denied",
  "not_found",
  "already_exists",
  "failed_precondition",
  "unimplemented",
]);

/** What follows from an error that ended an attempt. */
export function judge(error: unknown): FailureVerdict {
  if (error instanceof AttemptError) return judgeEngine(error.code);
  if (!(error instanceof Error)) return BY_POLICY;
  if (error.name === "AbortTaskRunError") return FINAL;
  if (error.name === "BatchTriggerError" && "apiError" in error) return judgeApi(error.apiError);
  return judgeApi(error);
}

function judgeEngine(code: EngineFailureCode): FailureVerdict {
  switch (code) {
    case "TASK_MIDDLEWARE_ERROR":
      return BY_POLICY;
    case "PAYLOAD_STORE_UNAVAILABLE":
      return { retry: "policy", isCaught: false };
    case "TASK_INPUT_ERROR":
    case "TASK_OUTPUT_ERROR":
    case "HANDLE_ERROR_ERROR":
    case "TASK_DID_CONCURRENT_WAIT":
      return FINAL;
  }
}

/** RES-11. */
function judgeApi(error: unknown): FailureVerdict {
  if (!(error instanceof Error) || error.name !== "TriggerApiError" || !("code" in error)) return BY_POLICY;
  if (typeof error.code !== "string") return BY_POLICY;
  if (FINAL_API_CODES.has(error.code)) return FINAL;
  if (error.code !== "resource_exhausted") return BY_POLICY;
  // A full queue says when to ask again, too, but is no throttling.
  if ("reason" in error && error.reason === "QUEUE_FULL") return BY_POLICY;
  const isThrottled = "retryAfterMs" in error && typeof error.retryAfterMs === "number";
  return isThrottled ? { retry: Number(error.retryAfterMs), isCaught: true } : FINAL;
}
