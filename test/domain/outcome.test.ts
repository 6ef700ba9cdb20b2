/** How a run ends: statuses, failures, retries. */
import test from "ava";
import * as fc from "fast-check";
import {
  CAUSES_MAX,
  engineFailure,
  FAILURE_CODES,
  type Failure,
  FRAME_LENGTH_MAX,
  failureOutcome,
  failureView,
  isFailureCode,
  MESSAGE_LENGTH_MAX,
  NAME_LENGTH_MAX,
  trimFailure,
  VALUE_LENGTH_MAX,
} from "../../server/domain/failure.js";
import {
  clampAttempts,
  defaultRetryPolicy,
  resolveRetryPolicy,
  retryDelayMs,
  retryPolicyViolations,
} from "../../server/domain/retry.js";
import {
  FINAL_STATUSES,
  isFinal,
  isRunStatus,
  LIVE_STATUSES,
  RUN_STATUSES,
  statusHelpers,
} from "../../server/domain/run-status.js";
import { codePoints } from "../../server/domain/text.js";

test("RUN-2: exactly one of isQueued, isExecuting, isWaiting, isCompleted is true", (t) => {
  for (const status of RUN_STATUSES) {
    const { isQueued, isExecuting, isWaiting, isCompleted } = statusHelpers(status);
    t.is([isQueued, isExecuting, isWaiting, isCompleted].filter(Boolean).length, 1, status);
  }
});

test("RUN-1, RUN-3: helpers are those of the table; CANCELED is no failure; both spellings agree", (t) => {
  const trueHelpers = (status: (typeof RUN_STATUSES)[number]): string =>
    Object.entries(statusHelpers(status))
      .filter(([, isTrue]) => isTrue)
      .map(([name]) => name)
      .join(" ");
  t.is(trueHelpers("DELAYED"), "isQueued");
  t.is(trueHelpers("QUEUED"), "isQueued");
  t.is(trueHelpers("EXECUTING"), "isExecuting");
  t.is(trueHelpers("WAITING"), "isWaiting");
  t.is(trueHelpers("COMPLETED"), "isCompleted isSuccess");
  t.is(trueHelpers("CANCELED"), "isCompleted isCancelled isCanceled");
  for (const status of ["FAILED", "CRASHED", "SYSTEM_FAILURE", "EXPIRED", "TIMED_OUT"] as const) {
    t.is(trueHelpers(status), "isCompleted isFailed");
  }
});

test("RUN-4: eleven statuses and no other, seven of them final", (t) => {
  t.is(new Set(RUN_STATUSES).size, 11);
  t.deepEqual(LIVE_STATUSES, ["DELAYED", "QUEUED", "EXECUTING", "WAITING"]);
  t.deepEqual([...LIVE_STATUSES, ...FINAL_STATUSES], [...RUN_STATUSES]);
  t.true(FINAL_STATUSES.every(isFinal));
  t.true(RUN_STATUSES.every(isRunStatus));
  t.false(isRunStatus("PENDING"));
  t.false(isRunStatus("toString"));
  t.false(isRunStatus("queued"));
});

test("RTY-1, RTY-6: members that nobody gives come from the defaults", (t) => {
  t.deepEqual(resolveRetryPolicy(), {
    maxAttempts: 3,
    factor: 2,
    minTimeoutMs: 1_000,
    maxTimeoutMs: 60_000,
    randomize: true,
  });
  const worker = { maxAttempts: 7, factor: 3, randomize: false };
  t.deepEqual(resolveRetryPolicy(undefined, { factor: 1.5 }, worker), {
    ...defaultRetryPolicy,
    maxAttempts: 7,
    factor: 1.5,
    randomize: false,
  });
});

test("ATT-1, ATT-2: a trigger's maxAttempts overrides the task's and leaves it as it was", (t) => {
  const task = Object.freeze({ maxAttempts: 5, minTimeoutMs: 10 });
  t.is(resolveRetryPolicy({ maxAttempts: 1 }, task).maxAttempts, 1);
  t.is(resolveRetryPolicy({ maxAttempts: 1 }, task).minTimeoutMs, 10);
  t.is(resolveRetryPolicy(undefined, task).maxAttempts, 5);
  t.is(retryDelayMs(resolveRetryPolicy({ maxAttempts: 3 }), 2, 0), 2_000);
  t.is(retryDelayMs(resolveRetryPolicy({ maxAttempts: 1 }), 1, 0), undefined);
});

test("ATT-3: attempts are at least 1 and at most 250", (t) => {
  t.deepEqual(
    [-1, 0, 1, 250, 251, 1e9].map((value) => clampAttempts(value)),
    [1, 1, 1, 250, 250, 250],
  );
  t.is(resolveRetryPolicy({ maxAttempts: 1_000 }).maxAttempts, 250);
  t.is(resolveRetryPolicy({ maxAttempts: 0 }).maxAttempts, 1);
});

test("RTY-3: without jitter the pauses are 1, 2, 4, 8, 16, 32, 60, 60 s", (t) => {
  const policy = resolveRetryPolicy({ randomize: false, maxAttempts: 9 });
  const pauses = [1, 2, 3, 4, 5, 6, 7, 8].map((attempt) => retryDelayMs(policy, attempt, 0.9));
  t.deepEqual(
    pauses,
    [1, 2, 4, 8, 16, 32, 60, 60].map((seconds) => seconds * 1_000),
  );
  t.is(retryDelayMs(policy, 9, 0.9), undefined);
  t.is(retryDelayMs(policy, 10, 0.9), undefined);
});

test("RTY-2: the cap follows the jitter", (t) => {
  const policy = resolveRetryPolicy({ maxAttempts: 9 });
  t.is(retryDelayMs(policy, 1, 0), 1_000);
  t.is(retryDelayMs(policy, 1, 0.5), 1_500);
  t.is(retryDelayMs(policy, 6, 0.99), 60_000);
  t.is(retryDelayMs(policy, 6, 0.5), 48_000);
});

test("RTY-2, RTY-3: a pause is whole milliseconds between the bounds of its attempt, and never above the cap", (t) => {
  const policies = fc.record({
    maxAttempts: fc.integer({ min: 1, max: 250 }),
    factor: fc.double({ min: 0.1, max: 100, noNaN: true }),
    minTimeoutMs: fc.integer({ min: 0, max: 3_600_000 }),
    maxTimeoutMs: fc.integer({ min: 0, max: 86_400_000 }),
    randomize: fc.boolean(),
  });
  const random = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true });
  fc.assert(
    fc.property(policies, fc.integer({ min: 1, max: 260 }), random, (policy, attempt, r) => {
      const delayMs = retryDelayMs(policy, attempt, r);
      if (attempt >= policy.maxAttempts) {
        t.is(delayMs, undefined);
        return;
      }
      const base = policy.minTimeoutMs === 0 ? 0 : policy.minTimeoutMs * policy.factor ** (attempt - 1);
      t.true(Number.isInteger(delayMs));
      t.true((delayMs ?? -1) >= Math.floor(Math.min(base, policy.maxTimeoutMs)));
      t.true((delayMs ?? Infinity) <= Math.min(Math.ceil(base * (policy.randomize ? 2 : 1)), policy.maxTimeoutMs));
    }),
  );
});

test("RTY-1: a registered policy with members that are no numbers is refused by member", (t) => {
  t.deepEqual(retryPolicyViolations("retry", defaultRetryPolicy), []);
  t.deepEqual(retryPolicyViolations("retry", {}), []);
  const bad = { maxAttempts: 1.5, factor: 0, minTimeoutMs: -1, maxTimeoutMs: Number.POSITIVE_INFINITY };
  t.deepEqual(
    retryPolicyViolations("tasks[0].retry", bad).map(({ field, reason }) => `${field} ${reason}`),
    ["maxAttempts", "factor", "minTimeout", "maxTimeout"].map((member) => `tasks[0].retry.${member} INVALID_REQUEST`),
  );
});

/** Section 12.3: code → final status, retried. */
const CAUSES: readonly (readonly [keyof typeof FAILURE_CODES, string, boolean])[] = [
  ["TASK_MIDDLEWARE_ERROR", "FAILED", true],
  ["TASK_INPUT_ERROR", "FAILED", false],
  ["TASK_OUTPUT_ERROR", "FAILED", false],
  ["MAX_DURATION_EXCEEDED", "TIMED_OUT", false],
  ["TASK_RUN_STALLED_EXECUTING", "CRASHED", true],
  ["HANDLE_ERROR_ERROR", "CRASHED", false],
  ["TASK_DID_CONCURRENT_WAIT", "SYSTEM_FAILURE", false],
  ["TASK_RUN_INTERRUPTED", "CRASHED", false],
  ["TASK_PROCESS_EXITED", "CRASHED", true],
  ["TASK_RUN_PICKUP_FAILED", "SYSTEM_FAILURE", false],
  ["PAYLOAD_STORE_UNAVAILABLE", "SYSTEM_FAILURE", true],
  ["TASK_RUN_EXPIRED", "EXPIRED", false],
  ["TASK_RUN_CANCELLED", "CANCELED", false],
];

test("RUN-3, §12.3: each cause of failure has its final status and says whether it is retried", (t) => {
  t.deepEqual(
    CAUSES.map(([code, status, isRetried]) => [code, { status, isRetried }]),
    Object.entries(FAILURE_CODES),
  );
  for (const [code, status, isRetried] of CAUSES) {
    t.like(failureOutcome(engineFailure(code, "")), { status, isRetried });
  }
  t.like(failureOutcome({}), { status: "FAILED", isRetried: true });
  t.true(isFailureCode("TASK_RUN_EXPIRED"));
  t.false(isFailureCode("constructor"));
});

test("RES-7: an engine error's name is its code; a thrown non-Error has only a message", (t) => {
  t.like(failureView(engineFailure("TASK_RUN_EXPIRED", "late")), {
    name: "TASK_RUN_EXPIRED",
    code: "TASK_RUN_EXPIRED",
    message: "late",
  });
  t.deepEqual(failureView({ kind: "string", message: "no" }), { message: "no" });
  t.deepEqual(failureView({ kind: "value", message: "", valueJson: '{"a":1}' }), { message: '{"a":1}' });
  t.deepEqual(failureView({ kind: "error", name: "TypeError", message: "no", stack: "at x" }), {
    name: "TypeError",
    message: "no",
    stackTrace: "at x",
  });
});

const frames = (count: number): readonly string[] =>
  Array.from({ length: count }, (_, index) => `    at f${index} (x.js:1:1)`);
const thrown = (stack: string): Failure => ({ kind: "error", name: "Error", message: "no", stack });

test("RES-6: a message is cut to 1,000 characters and loses its NULs", (t) => {
  t.is(trimFailure({ kind: "string", message: "a\0b" }).message, "ab");
  t.is(trimFailure({ kind: "string", message: "🙂".repeat(1_000) }).message, "🙂".repeat(1_000));
  t.is(trimFailure({ kind: "string", message: "🙂".repeat(1_001) }).message, "🙂".repeat(1_000));
  t.is(engineFailure("TASK_INPUT_ERROR", "x".repeat(2_000)).message.length, 1_000);
});

test("RES-6: 50 frames stay as they are; of 60 the 5 top and the 45 bottom ones stay", (t) => {
  const fifty = ["Error: no", ...frames(50)].join("\n");
  t.is(trimFailure(thrown(fifty)).stack, fifty);
  const sixty = ["Error: no", ...frames(60)].join("\n");
  t.is(
    trimFailure(thrown(sixty)).stack,
    ["Error: no", ...frames(5), "    ... 10 frames left out", ...frames(60).slice(15)].join("\n"),
  );
});

test("RES-6: the stack of another language is frames throughout", (t) => {
  const lines = Array.from({ length: 70 }, (_, index) => `File "x.py", line ${index}`);
  const trimmed = trimFailure(thrown(lines.join("\n"))).stack?.split("\n") ?? [];
  t.is(trimmed.length, 51);
  t.is(trimmed[4], lines[4]);
  t.is(trimmed[50], lines[69]);
});

test("RES-6: a value whose JSON is too long to keep becomes a string", (t) => {
  const long = JSON.stringify("x".repeat(VALUE_LENGTH_MAX));
  t.deepEqual(trimFailure({ kind: "value", message: "", valueJson: long }), {
    kind: "string",
    message: long.slice(0, MESSAGE_LENGTH_MAX),
  });
  t.deepEqual(trimFailure({ kind: "value", message: "", valueJson: "7" }), {
    kind: "value",
    message: "",
    valueJson: "7",
  });
});

const { failure: failures } = fc.letrec<{ failure: Failure }>((tie) => {
  const text = fc.oneof(
    fc.string({ unit: "binary", maxLength: 30 }),
    fc
      .tuple(fc.string({ unit: "grapheme", minLength: 1, maxLength: 3 }), fc.nat(6_000))
      .map(([unit, n]) => unit.repeat(n)),
  );
  const line = fc.oneof(
    { weight: 6, arbitrary: fc.constant("    at f (x.js:1:1)") },
    fc.constant("    ... 3 frames left out"),
    fc.constant("at \0"),
    text.map((value) => `    at ${value}`),
    text,
  );
  return {
    failure: fc.record(
      {
        kind: fc.constantFrom("error" as const, "string" as const, "value" as const, "engine" as const),
        message: text,
        name: text,
        stack: fc.array(line, { maxLength: 90 }).map((lines) => lines.join("\n")),
        code: fc.constantFrom("TASK_RUN_EXPIRED" as const, "TASK_INPUT_ERROR" as const),
        valueJson: text.map((value) => JSON.stringify(value)),
        cause: tie("failure"),
      },
      { requiredKeys: ["kind", "message"] },
    ),
  };
});

function boundsHold(failure: Failure, depth: number): boolean {
  const lines = failure.stack?.split("\n") ?? [];
  const isBounded =
    codePoints(failure.message) <= MESSAGE_LENGTH_MAX &&
    codePoints(failure.name ?? "") <= NAME_LENGTH_MAX &&
    codePoints(failure.valueJson ?? "") <= VALUE_LENGTH_MAX &&
    lines.filter((line) => /^\s*at /.test(line)).length <= 50 &&
    lines.every((line) => codePoints(line) <= FRAME_LENGTH_MAX) &&
    codePoints(failure.stack ?? "") <= MESSAGE_LENGTH_MAX + 52 * (FRAME_LENGTH_MAX + 1) &&
    !JSON.stringify(failure).includes("\\u0000") &&
    depth <= CAUSES_MAX;
  return isBounded && (failure.cause === undefined || boundsHold(failure.cause, depth + 1));
}

test("RES-6: whatever is thrown, what is stored is within every bound, and trimming it again changes nothing", (t) => {
  const withoutEscapedNul = failures.filter((failure) => !JSON.stringify(failure).includes("\\\\u0000"));
  fc.assert(
    fc.property(withoutEscapedNul, (failure) => {
      const trimmed = trimFailure(failure);
      t.true(boundsHold(trimmed, 0));
      t.deepEqual(trimFailure(trimmed), trimmed);
    }),
  );
});

test("RES-6: a chain of causes is kept five deep", (t) => {
  let failure: Failure = { kind: "error", message: "0" };
  for (let depth = 1; depth <= 50; depth += 1) {
    failure = { kind: "error", message: String(depth), cause: failure };
  }
  const messages: string[] = [];
  for (let link: Failure | undefined = trimFailure(failure); link !== undefined; link = link.cause) {
    messages.push(link.message);
  }
  t.deepEqual(messages, ["50", "49", "48", "47", "46", "45"]);
});
