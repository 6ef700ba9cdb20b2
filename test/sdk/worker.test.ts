/** The parts of the worker that decide: when to retry, to beat, to give up; what is held and what is said. No server, no time. */
import { create } from "@bufbuild/protobuf";
import {
  AbortTaskRunError,
  InternalServerError,
  NotFoundError,
  RateLimitError,
  UnprocessableEntityError,
} from "@hairtrigger/sdk";
import test from "ava";
import fc from "fast-check";
import { AssignmentSchema } from "#proto/hairtrigger/worker/v1/worker_pb.js";
import { failureOf } from "#sdk/convert/failure.js";
import { resolveRetryPolicy, retryDelayMs } from "#sdk/retry-policy.js";
import { AttemptError } from "#sdk/worker/attempt/attempt-failure.js";
import { hookPlan, runInside } from "#sdk/worker/attempt/hooks.js";
import { decideRetry, type ErrorHandler } from "#sdk/worker/attempt/retry-decision.js";
import { effectiveMaxDuration, NO_LIMIT_SECONDS } from "#sdk/worker/attempt/task-plan.js";
import { createDeadlines } from "#sdk/worker/deadlines.js";
import type { AttemptInput } from "#sdk/worker/session/execution.js";
import { Executions } from "#sdk/worker/session/executions.js";
import { DEFAULT_FENCE_PERIODS, type FenceState, fenceAction, nextCheckMs } from "#sdk/worker/session/fence.js";
import { fnv1a64, HeldLeases } from "#sdk/worker/session/held-leases.js";
import { LogBuffer } from "#sdk/worker/session/log-buffer.js";
import type { ReportEntry } from "#sdk/worker/session/report.js";
import { newSessionId } from "#sdk/worker/session/session-id.js";
import { workerClock } from "../../clients/testing/worker-clock.js";
import { FakeClock } from "../support/clock.js";
import { runContext } from "./run-fixture.js";

// ── retries ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

const NOW_MS = 1_000_000;

function decide(
  error: unknown,
  options: { attempt?: number; handlers?: readonly ErrorHandler[]; maxAttempts?: number; random?: number } = {},
) {
  const { attempt = 1, handlers = [], maxAttempts, random = 0 } = options;
  return decideRetry({
    error,
    attempt,
    policy: resolveRetryPolicy({ maxAttempts }),
    handlers,
    nowMs: () => NOW_MS,
    random: () => random,
  });
}

test("RTY-1: each member of the policy comes from the task, else the worker, else the defaults", (t) => {
  t.deepEqual(resolveRetryPolicy({ maxAttempts: 7, factor: undefined }, { factor: 3, maxAttempts: 2 }), {
    maxAttempts: 7,
    factor: 3,
    minTimeoutInMs: 1_000,
    maxTimeoutInMs: 60_000,
    randomize: true,
  });
  t.is(resolveRetryPolicy({ maxAttempts: 0 }).maxAttempts, 1);
  t.is(resolveRetryPolicy({ maxAttempts: 1_000 }).maxAttempts, 250);
});

test("RTY-3: default pauses double from one second to sixty", (t) => {
  const policy = resolveRetryPolicy({ maxAttempts: 9, randomize: false });
  const pauses = [1, 2, 3, 4, 5, 6, 7, 8, 9].map((attempt) => retryDelayMs(policy, attempt, 0.5));
  t.deepEqual(pauses, [1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000, undefined]);
});

test("RTY-2: jitter stays within [1, 2) of the pause and never passes the cap", (t) => {
  const policy = resolveRetryPolicy({ maxAttempts: 250 });
  t.notThrows(() =>
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 249 }),
        fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
        (attempt, random) => {
          const pause = retryDelayMs(policy, attempt, random) ?? -1;
          const base = 1_000 * 2 ** (attempt - 1);
          return pause >= Math.min(base, 60_000) && pause <= Math.min(60_000, Math.ceil(2 * base));
        },
      ),
    ),
  );
});

test("RTY-10: AbortTaskRunError ends the run whatever is left, and no handler is asked", async (t) => {
  const error = new AbortTaskRunError("stop here");
  const decision = await decide(error, { handlers: [() => t.fail("must not be asked")] });
  t.deepEqual(decision, { error, delayMs: undefined });
  const foreign = Object.assign(new Error("other copy"), { name: "AbortTaskRunError" });
  t.is((await decide(foreign)).delayMs, undefined, "recognised by name");
  t.is((await decide(new Error("no abort"))).delayMs, 1_000);
});

test("RES-11: refusals that repetition cannot heal fail the run, others follow the policy", async (t) => {
  const never = [
    new NotFoundError({ code: "not_found", message: "" }),
    new UnprocessableEntityError({ code: "failed_precondition", message: "" }),
    new UnprocessableEntityError({ code: "resource_exhausted", reason: "PAYLOAD_TOO_LARGE", message: "" }),
  ];
  for (const error of never) t.is((await decide(error)).delayMs, undefined, error.reason ?? error.code);
  const queueFull = new UnprocessableEntityError({
    code: "resource_exhausted",
    reason: "QUEUE_FULL",
    message: "",
    retryAfterMs: 77,
  });
  t.is((await decide(queueFull)).delayMs, 1_000);
  t.is((await decide(new InternalServerError({ code: "internal", message: "" }))).delayMs, 1_000);
  const throttled = new RateLimitError({ code: "resource_exhausted", message: "", retryAfterMs: 4_321 });
  t.is((await decide(throttled)).delayMs, 4_321);
  t.is((await decide(throttled, { attempt: 3 })).delayMs, undefined, "no attempt is left");
  const batch = Object.assign(new Error("batch"), { name: "BatchTriggerError", apiError: never[0] });
  t.is((await decide(batch)).delayMs, undefined);
});

test("RTY-8: handlers are asked in order until one answers, on the last attempt too", async (t) => {
  const asked: unknown[] = [];
  const handlers: ErrorHandler[] = [
    ({ retryAt, retryDelayInMs }) => void asked.push([retryAt?.getTime(), retryDelayInMs]),
    async () => ({ retryDelayInMs: 5 }),
    () => t.fail("must not be asked after an answer"),
  ];
  t.is((await decide("thrown", { handlers })).delayMs, 5);
  t.is((await decide("thrown", { handlers, attempt: 3 })).delayMs, undefined);
  t.deepEqual(asked, [
    [NOW_MS + 1_000, 1_000],
    [undefined, undefined],
  ]);
});

test("RTY-8: handlers are not asked about outputs, inputs, and refusals that are not retried", async (t) => {
  const handlers = [() => t.fail("must not be asked")];
  for (const code of ["TASK_OUTPUT_ERROR", "TASK_INPUT_ERROR"] as const) {
    t.is((await decide(new AttemptError(code, ""), { handlers })).delayMs, undefined);
  }
  await decide(new NotFoundError({ code: "not_found", message: "" }), { handlers });
  let isAsked = false;
  await decide(new AttemptError("TASK_MIDDLEWARE_ERROR", ""), { handlers: [() => void (isAsked = true)] });
  t.true(isAsked);
});

test("RTY-9: a handler may skip, move or recompute the retry and replace the error, never go beyond maxAttempts", async (t) => {
  const answer = (value: unknown, attempt = 1) => decide("old", { handlers: [() => value], attempt });
  t.is((await answer({ skipRetrying: true })).delayMs, undefined);
  t.is((await answer({ retryAt: new Date(NOW_MS + 90_000) })).delayMs, 90_000);
  t.is((await answer({ retryAt: new Date(NOW_MS - 1) })).delayMs, 0);
  t.is((await answer({ retry: { minTimeoutInMs: 300, randomize: false } })).delayMs, 300);
  t.is((await answer({ retry: { maxAttempts: 1 } })).delayMs, undefined);
  t.deepEqual(await answer({ error: "new" }), { error: "new", delayMs: 1_000 });
  for (const value of [{ retryDelayInMs: 1 }, { retry: { maxAttempts: 99 } }, { retryAt: new Date(NOW_MS) }]) {
    t.is((await answer(value, 3)).delayMs, undefined);
  }
});

test("§12.3: a handler that throws, or answers what nobody understands, crashes the run", async (t) => {
  for (const handler of [
    () => {
      throw new RangeError("handler broke");
    },
    () => 42,
    () => ({ retryAt: new Date(Number.NaN) }),
    () => ({ retryDelayInMs: "soon" }),
  ]) {
    const { error, delayMs } = await decide("x", { handlers: [handler] });
    t.is(delayMs, undefined);
    t.true(error instanceof AttemptError && error.code === "HANDLE_ERROR_ERROR");
  }
});

test("HOK-3: middleware that does not call next() fails the attempt; what it does afterwards changes nothing", async (t) => {
  const params = { payload: 1, ctx: runContext().ctx, signal: new AbortController().signal, task: "x" };
  const inside = (
    middleware: (p: { next: () => Promise<unknown> }) => unknown,
    inner = async (): Promise<unknown> => "out",
  ) => runInside(hookPlan({ middleware }, []).middleware, params, inner, () => undefined);
  t.is(await inside(async ({ next }) => void (await next())), "out");
  t.is(
    await inside(async ({ next }) => {
      await next();
      throw new Error("too late");
    }),
    "out",
  );
  await t.throwsAsync(
    inside(() => undefined),
    { name: "TASK_MIDDLEWARE_ERROR", message: /never called next/ },
  );
  await t.throwsAsync(
    inside(() => {
      throw new Error("early");
    }),
    { name: "TASK_MIDDLEWARE_ERROR", message: /early/ },
  );
  const failing = async () => {
    throw new RangeError("of the run");
  };
  await t.throwsAsync(
    inside(async ({ next }) => void (await next().catch(() => undefined)), failing),
    { name: "RangeError" },
  );
});

test("HOK-2: global middleware is outermost and global hooks come first, but the task's own catchError is asked first", async (t) => {
  const order: string[] = [];
  const set = (name: string) => ({
    middleware: async ({ next }: { next: () => Promise<unknown> }) => {
      order.push(`${name} in`);
      await next();
      order.push(`${name} out`);
    },
    onStart: (): void => void order.push(`${name} start`),
    handleError: () => name,
  });
  const plan = hookPlan(set("own"), [set("global")]);
  const params = { payload: 1, ctx: runContext().ctx, signal: new AbortController().signal, task: "x" };
  await runInside(
    plan.middleware,
    params,
    async () => order.push("run"),
    () => undefined,
  );
  t.deepEqual(order, ["global in", "own in", "run", "own out", "global out"]);
  for (const hook of plan.onStart) await hook(params);
  t.deepEqual(order.slice(5), ["global start", "own start"]);
  t.deepEqual(
    plan.catchError.map((hook) =>
      hook({ ...params, error: 0, retry: resolveRetryPolicy(), retryAt: undefined, retryDelayInMs: undefined }),
    ),
    ["own", "global"],
  );
});

test("DUR-1, DUR-2: the first maxDuration that is given counts, at least 5 s; timeout.None ends the search", (t) => {
  t.is(effectiveMaxDuration(undefined, 0, null, 60), 60);
  t.is(effectiveMaxDuration(2, 60), 5);
  t.is(effectiveMaxDuration(NO_LIMIT_SECONDS, 60), undefined);
  t.is(effectiveMaxDuration(undefined, undefined), undefined);
});

// ── the fence ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

const state = (changes: Partial<FenceState>): FenceState => ({
  ackedSentMs: 0,
  connection: { helloSentMs: 0, beatSentMs: 0, isWelcome: true },
  unansweredHellos: 0,
  isFenced: false,
  ...changes,
});
const at = (nowMs: number, changes: Partial<FenceState> = {}) =>
  fenceAction(DEFAULT_FENCE_PERIODS, state(changes), nowMs);

test("RUN-6: a heartbeat is due every 10 s, a new connection after 20 s without an answer, the fence after 28 s", (t) => {
  t.is(at(9_999), "none");
  t.is(at(10_000), "beat");
  const beaten = { connection: { helloSentMs: 0, beatSentMs: 15_000, isWelcome: true } };
  t.is(at(19_999, beaten), "none");
  t.is(at(20_000, beaten), "reconnect");
  t.is(at(27_999, { connection: undefined }), "none");
  t.is(at(28_000, { connection: undefined }), "fence");
  t.is(at(90_000, { connection: undefined, isFenced: true }), "none", "it fences once");
});

test("RUN-6: the fence counts from the sending of the last acknowledged heartbeat, whatever was sent since", (t) => {
  const sentLater = { ackedSentMs: 5_000, connection: { helloSentMs: 0, beatSentMs: 30_000, isWelcome: true } };
  t.is(at(32_999, { ...sentLater, connection: undefined }), "none");
  t.is(at(33_000, sentLater), "fence");
});

test("RUN-6: a new connection gets time for its answer, more with every failure, before it is replaced", (t) => {
  const opening = (unansweredHellos: number) => ({
    ackedSentMs: undefined,
    unansweredHellos,
    connection: { helloSentMs: 0, beatSentMs: 0, isWelcome: false },
  });
  t.is(at(4_999, opening(0)), "none");
  t.is(at(5_000, opening(0)), "reconnect");
  t.is(at(5_000, opening(1)), "none");
  t.is(at(20_000, opening(9)), "reconnect");
});

test("RUN-6: the next look is never later than the next thing that is due", (t) => {
  const millis = fc.integer({ min: 0, max: 60_000 });
  const states = fc.record({
    ackedSentMs: fc.option(millis, { nil: undefined }),
    isFenced: fc.boolean(),
    unansweredHellos: fc.integer({ min: 0, max: 5 }),
    connection: fc.option(fc.record({ helloSentMs: millis, beatSentMs: millis, isWelcome: fc.boolean() }), {
      nil: undefined,
    }),
  });
  t.notThrows(() =>
    fc.assert(
      fc.property(states, millis, (fence, nowMs) => {
        if (fenceAction(DEFAULT_FENCE_PERIODS, fence, nowMs) !== "none") return true;
        const waitMs = nextCheckMs(DEFAULT_FENCE_PERIODS, fence, nowMs);
        if (waitMs === undefined) return fenceAction(DEFAULT_FENCE_PERIODS, fence, nowMs + 1e9) === "none";
        return (
          waitMs > 0 &&
          fenceAction(DEFAULT_FENCE_PERIODS, fence, nowMs + waitMs - 1) === "none" &&
          fenceAction(DEFAULT_FENCE_PERIODS, fence, nowMs + waitMs) !== "none"
        );
      }),
    ),
  );
});

// ── held leases ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────

test("RUN-6: the checksum of held leases is the xor of their 64-bit FNV-1a hashes", (t) => {
  const reference = (bytes: Uint8Array): bigint =>
    bytes.reduce((hash, byte) => ((hash ^ BigInt(byte)) * 0x100000001b3n) & 0xffffffffffffffffn, 0xcbf29ce484222325n);
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ minLength: 1, maxLength: 64 })), fc.array(fc.nat(20)), (leases, removed) => {
      const held = new HeldLeases();
      const expected = new Map<string, bigint>();
      for (const lease of leases) {
        held.add(lease);
        expected.set(lease.join(), reference(lease));
      }
      for (const index of removed) {
        const lease = leases[index];
        if (lease === undefined) continue;
        held.remove(lease);
        expected.delete(lease.join());
      }
      return (
        held.size === expected.size && held.checksum === [...expected.values()].reduce((sum, hash) => sum ^ hash, 0n)
      );
    }),
  );
  t.deepEqual(fnv1a64(new TextEncoder().encode("foobar")), [0x85944171, 0xf73967e8], "the vector of the authors");
});

test("RUN-6: session ids are 26 characters of base32, ordered by time", (t) => {
  const id = newSessionId(Date.UTC(2026, 0, 1), new Uint8Array(10).fill(255));
  t.regex(id, /^session_[0-9a-hjkmnp-tv-z]{26}$/);
  t.true(newSessionId(1, new Uint8Array(10).fill(255)) < newSessionId(2, new Uint8Array(10)));
});

// ── executions ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────

interface Started {
  readonly input: AttemptInput;
  aborted: string | undefined;
  cancelled: string | undefined;
}

/** Executions with code that does what the test says. */
function world(maxDurationMs?: number) {
  const clock = new FakeClock();
  const started: Started[] = [];
  const executions = new Executions({
    deadlines: createDeadlines(workerClock(clock)),
    monotonicMs: () => clock.nowMs(),
    start: (input) => {
      const attempt: Started = { input, aborted: undefined, cancelled: undefined };
      started.push(attempt);
      return {
        maxDurationMs,
        attempt: {
          taskId: "x",
          abort: (reason) => void (attempt.aborted = reason.message),
          cancel: (reason) => void (attempt.cancelled = reason),
        },
      };
    },
    reporting: () => undefined,
    gone: () => undefined,
    changed: () => undefined,
  });
  const lease = (fence: number) => new Uint8Array([7, fence]);
  return {
    clock,
    executions,
    lease,
    code: (index = started.length - 1): Started => {
      const attempt = started[index];
      if (attempt === undefined) throw new Error("no code was started");
      return attempt;
    },
    started,
    assign: (fence = 1, confirmFirst = false) =>
      executions.assign(create(AssignmentSchema, { lease: lease(fence), runId: "run_a", attempt: 1, confirmFirst })),
    /** What is said, as `kind` of the lease's fence. */
    said: (): readonly string[] =>
      executions.takeReports(() => true).map(({ lease: [, fence], report }: ReportEntry) => `${report.kind} ${fence}`),
  };
}

const COMPLETED = { kind: "completed", output: undefined } as const;
const failed = (pauseMs: number | undefined) =>
  ({ kind: "failed", failure: failureOf("thrown"), retryDelayMs: pauseMs, maxAttempts: 3 }) as const;

test("RUN-6: code of a limited queue starts only when its confirmation was acknowledged", (t) => {
  const { executions, assign, said, started, lease } = world();
  assign(1, true);
  t.deepEqual(said(), ["started 1"]);
  t.is(started.length, 0);
  t.is(executions.places, 1, "its place is taken meanwhile");
  executions.answer(lease(1), { kind: "goOn" });
  t.is(started.length, 1);
});

test("RUN-8: a completed run gives its place back at once and is forgotten when the report is acknowledged", (t) => {
  const { executions, assign, said, code, lease } = world();
  assign();
  t.is(executions.places, 1);
  code().input.onOutcome(COMPLETED);
  code().input.onEnded();
  t.is(executions.places, 0);
  t.is(executions.held.size, 1, "the lease is held until the server says so");
  t.deepEqual(said(), ["completed 1"]);
  t.deepEqual(said(), [], "said once per connection");
  executions.answer(lease(1), { kind: "finished" });
  t.deepEqual([executions.held.size, executions.open, executions.unanswered], [0, 0, 0]);
});

test("RTY-5: a short pause keeps the place and starts the next attempt under the new lease", async (t) => {
  const { executions, assign, said, code, lease, clock, started } = world();
  assign();
  code().input.onOutcome(failed(2_000));
  code().input.onEnded();
  t.is(executions.places, 1);
  t.deepEqual(said(), ["failed 1"]);
  executions.answer(lease(1), { kind: "retry", lease: lease(2), attempt: 2, delayMs: 2_000 });
  t.true(executions.held.has(String.fromCharCode(7, 2)));
  await clock.advance(1_999);
  t.is(started.length, 1);
  await clock.advance(1);
  t.is(started.length, 2);
  t.is(code().input.attempt, 2);
  t.deepEqual(code().input.lease(), lease(2));
});

test("RTY-5: a long pause gives the place back", (t) => {
  const { executions, assign, said, code, lease } = world();
  assign();
  code().input.onOutcome(failed(30_000));
  t.is(executions.places, 0);
  said();
  executions.answer(lease(1), { kind: "released" });
  t.is(executions.open, 0);
});

test("CAN-3: cancelled code keeps its place until it has ended, and then its end is reported", (t) => {
  const { executions, assign, said, code, lease } = world();
  assign();
  executions.cancel(lease(1), "run_a", "changed my mind");
  t.is(code().cancelled, "changed my mind");
  t.is(code().input.lease(), undefined, "no further call for it");
  t.is(executions.places, 1);
  code().input.onOutcome(COMPLETED);
  t.deepEqual(said(), [], "a late result is dropped");
  code().input.onEnded();
  t.is(executions.places, 0);
  t.deepEqual(said(), ["ended 1"]);
  executions.answer(lease(1), { kind: "finished" });
  t.is(executions.held.size, 0);
});

test("CAN-3: code that ignores its signal takes its place for 30 s at most", async (t) => {
  const { executions, assign, said, lease, clock, code } = world();
  assign();
  executions.cancel(lease(1), "run_a", "stop");
  await clock.advance(29_999);
  t.is(executions.places, 1);
  await clock.advance(1);
  t.is(executions.places, 0);
  t.deepEqual(said(), ["ended 1"]);
  executions.answer(lease(1), { kind: "finished" });
  t.is(executions.open, 0);
  code().input.onEnded();
  t.deepEqual(said(), []);
});

test("CAN-3, CAN-7: a cancel in a retry pause is ended at once and no attempt follows", async (t) => {
  const { executions, assign, said, code, lease, clock, started } = world();
  assign();
  code().input.onOutcome(failed(2_000));
  code().input.onEnded();
  said();
  executions.answer(lease(1), { kind: "retry", lease: lease(2), attempt: 2, delayMs: 2_000 });
  executions.cancel(lease(2), "run_a", "stop");
  t.deepEqual(said(), ["ended 2"]);
  t.is(executions.places, 0);
  await clock.advance(60_000);
  t.is(started.length, 1);
});

test("CAN-8: a completion that meets a cancel is answered and forgotten", (t) => {
  const { executions, assign, said, code, lease } = world();
  assign();
  code().input.onOutcome(COMPLETED);
  code().input.onEnded();
  said();
  executions.cancel(lease(1), "run_a", "stop");
  executions.answer(lease(1), { kind: "cancel", reason: "stop" });
  t.deepEqual(said(), ["ended 1"]);
  executions.answer(lease(1), { kind: "finished" });
  t.is(executions.held.size, 0);
});

test("CAN-3: a cancel before the start of a limited run starts no code, and the answer to its confirmation changes nothing", (t) => {
  const { executions, assign, said, lease, started } = world();
  assign(1, true);
  t.deepEqual(said(), ["started 1"]);
  executions.cancel(lease(1), "run_a", "stop");
  t.deepEqual(said(), ["ended 1"]);
  executions.answer(lease(1), { kind: "goOn" });
  t.deepEqual(said(), []);
  executions.answer(lease(1), { kind: "finished" });
  t.deepEqual([started.length, executions.open, executions.places], [0, 0, 0]);
});

test("DUR-4: at its limit a run is reported as timed out; its code keeps the place until it ends", async (t) => {
  const { executions, assign, said, code, lease, clock } = world(5_000);
  assign();
  await clock.advance(4_999);
  t.deepEqual(said(), []);
  await clock.advance(1);
  t.deepEqual(said(), ["timedOut 1"]);
  t.regex(code().aborted ?? "", /maximum duration of 5 seconds/);
  code().input.onOutcome(COMPLETED);
  t.is(executions.places, 1);
  executions.answer(lease(1), { kind: "goOn" });
  t.deepEqual(said(), []);
  code().input.onEnded();
  t.deepEqual(said(), ["ended 1"]);
  t.is(executions.places, 0);
});

test("DUR-4: the limit of an attempt that ended in time never fires", async (t) => {
  const { assign, said, code, clock } = world(5_000);
  assign();
  code().input.onOutcome(COMPLETED);
  said();
  await clock.advance(60_000);
  t.deepEqual(said(), []);
  t.is(clock.pendingTimers, 0);
});

test("RUN-7: an interrupted run is given back; the end of its code is reported afterwards", (t) => {
  const { executions, assign, said, code, lease } = world();
  assign();
  executions.interruptAll(new Error("deploy"));
  t.is(code().aborted, "deploy");
  t.deepEqual(said(), ["interrupted 1"]);
  executions.answer(lease(1), { kind: "released" });
  t.is(executions.held.size, 0);
  code().input.onEnded();
  t.deepEqual(said(), ["ended 1"]);
  assign(2);
  t.deepEqual(said(), ["interrupted 2"], "what still comes goes straight back");
});

test("RUN-6: the fence aborts what runs, and the next hello gives it back", (t) => {
  const { executions, assign, said, code, lease } = world();
  assign(1);
  executions.fence();
  t.regex(code().aborted ?? "", /out of touch/);
  t.is(code().input.lease(), undefined);
  t.deepEqual(said(), [], "nothing is said in its name");
  t.deepEqual(executions.list(), [{ lease: lease(1), isFenced: true, codeRuns: true }]);
  executions.answerHeld(lease(1), { kind: "released" });
  t.is(executions.held.size, 0);
  code().input.onEnded();
  t.deepEqual(said(), ["ended 1"]);
});

test("RUN-6: an outcome that was known before the fence is still reported", (t) => {
  const { executions, assign, said, code, lease } = world();
  assign(1);
  code().input.onOutcome(COMPLETED);
  code().input.onEnded();
  said();
  executions.fence();
  t.deepEqual(executions.list(), [{ lease: lease(1), isFenced: false, codeRuns: false }]);
  executions.answerHeld(lease(1), { kind: "goOn" });
  t.deepEqual(said(), ["completed 1"]);
});

test("RUN-8: after a reconnect nothing is reported of a lease before the hello was answered, then unacknowledged reports again", (t) => {
  const { executions, assign, said, code, lease } = world();
  assign(1);
  assign(2);
  code(0).input.onOutcome(COMPLETED);
  code(0).input.onEnded();
  t.deepEqual(said(), ["completed 1"]);
  executions.list();
  code(1).input.onOutcome(COMPLETED);
  code(1).input.onEnded();
  t.deepEqual(said(), []);
  executions.answerHeld(lease(1), { kind: "finished" });
  executions.answerHeld(lease(2), { kind: "goOn" });
  t.deepEqual(said(), ["completed 2"]);
  t.is(executions.unanswered, 1);
});

test("RUN-8: a lost lease aborts its run; nothing is reported of it", (t) => {
  const { executions, assign, said, code, lease } = world();
  assign(1);
  executions.lost(lease(1));
  t.regex(code().aborted ?? "", /another worker/);
  t.is(executions.places, 1, "its code still takes a place");
  code().input.onEnded();
  t.deepEqual([executions.places, executions.open, executions.held.size], [0, 0, 0]);
  t.deepEqual(said(), []);
});

test("RUN-6: a pick-up that no report has confirmed is confirmed by a heartbeat, once per connection", async (t) => {
  const { executions, assign, code, clock, lease } = world();
  assign(1);
  assign(2);
  code(0).input.onOutcome(COMPLETED);
  executions.takeReports(() => true);
  t.false(executions.hasUnconfirmed(clock.nowMs() - 3_000));
  await clock.advance(3_000);
  t.true(executions.hasUnconfirmed(clock.nowMs() - 3_000));
  t.deepEqual(executions.takeUnconfirmed(clock.nowMs()), [lease(2)]);
  t.deepEqual(executions.takeUnconfirmed(clock.nowMs()), []);
  executions.forgetSent();
  t.deepEqual(executions.takeUnconfirmed(clock.nowMs()), [lease(2)]);
});

test("design 8: reports beyond the size of a message wait for the next, in order", (t) => {
  const { executions, assign, code } = world();
  for (const fence of [1, 2, 3]) {
    assign(fence);
    code().input.onOutcome(COMPLETED);
  }
  const take = (max: number) => {
    let count = 0;
    return executions.takeReports(() => (count += 1) <= max).map(({ lease: [, fence] }) => fence);
  };
  t.deepEqual(take(2), [1, 2]);
  t.true(executions.hasReports);
  t.deepEqual(take(0), [3], "one goes in any case");
  t.false(executions.hasReports);
});

// ── deadlines and log lines ──────────────────────────────────────────────────────────────────────────────────────────────────────

test("deadlines share one timer, fire in order and never early", async (t) => {
  const clock = new FakeClock();
  const deadlines = createDeadlines(workerClock(clock));
  const fired: number[] = [];
  for (const delayMs of [500, 100, 300, 100]) deadlines.set(delayMs, () => fired.push(delayMs));
  deadlines.set(300, () => t.fail("dropped")).drop();
  t.is(clock.pendingTimers, 1);
  await clock.advance(99);
  t.deepEqual(fired, []);
  await clock.advance(401);
  t.deepEqual(fired, [100, 100, 300, 500]);
  t.is(clock.pendingTimers, 0);
});

test("deadlines that are dropped leave no timer that keeps the process alive for long", (t) => {
  const clock = new FakeClock();
  const deadlines = createDeadlines(workerClock(clock));
  deadlines.set(3_600_000, () => t.fail("dropped")).drop();
  t.is(clock.pendingTimers, 0);
});

test("LOG-1: of a chatty run the last 200 lines are sent, and all runs together are bounded", (t) => {
  const buffer = new LogBuffer();
  const line = (message: string) => ({ time: new Date(0), level: "info", message, propertiesJson: undefined }) as const;
  for (let index = 0; index < 250; index += 1) buffer.add("run_a", 1, line(String(index)));
  const [taken] = buffer.take();
  t.is(taken?.lines.length, 200);
  t.is(taken?.lines[0]?.message, "50");
  t.true(buffer.isEmpty);
  for (let run = 0; run < 100; run += 1)
    for (let index = 0; index < 200; index += 1) buffer.add(`run_${run}`, 1, line("x"));
  let count = 0;
  while (!buffer.isEmpty) count += buffer.take().reduce((sum, { lines }) => sum + lines.length, 0);
  t.true(count <= 10_000 && count >= 9_800);
});
