import test from "ava";
import * as fc from "fast-check";
import { engineFailure } from "../../server/domain/failure.js";
import { defaultRetryPolicy } from "../../server/domain/retry.js";
import {
  attemptCount,
  durationMs,
  type NewRunParams,
  newRun,
  purgeAtMs,
  type RunState,
} from "../../server/domain/run.js";
import { applyChange } from "../../server/domain/run-apply.js";
import type { RunChange } from "../../server/domain/run-change.js";
import { type Applied, isRefused } from "../../server/domain/run-change.js";
import { isLegal, placeOf, RUN_EVENTS, RUN_MACHINE, type RunPlace } from "../../server/domain/run-machine.js";
import { isFinal } from "../../server/domain/run-status.js";

const T0 = 1_700_000_000_000;
const SESSION = "session_00000000000000000000000001";
const FAILURE = { kind: "error", name: "Error", message: "boom" } as const;

function run(overrides: Partial<NewRunParams> = {}): RunState {
  return newRun({
    environment: "dev",
    id: "run_00000000000000000000000001",
    taskId: "t",
    queue: "task/t",
    concurrencyKey: undefined,
    prioritySeconds: 0,
    delayedUntilMs: undefined,
    ttl: undefined,
    maxAttempts: undefined,
    maxDurationSeconds: undefined,
    key: undefined,
    parent: undefined,
    replayOf: undefined,
    triggerFunction: "trigger",
    isTest: false,
    tags: [],
    nowMs: T0,
    ...overrides,
  });
}

/** The change of each event, as an engine verb would build it against this state. */
function change(
  event: RunChange["event"],
  state: RunState,
  nowMs: number,
  extra: Partial<Record<string, unknown>> = {},
): RunChange {
  const base = { environment: state.environment, runId: state.id, nowMs };
  const report = { ...base, fence: state.fence, sessionId: state.sessionId ?? SESSION };
  const built: Record<RunChange["event"], RunChange> = {
    due: { ...base, event: "due" },
    reschedule: { ...base, event: "reschedule", dueMs: nowMs + 1_000 },
    claim: {
      ...base,
      event: "claim",
      sessionId: SESSION,
      pickUpDeadlineMs: nowMs + 10_000,
      maxDurationSeconds: undefined,
      policyMaxAttempts: 3,
    },
    confirm: { ...report, event: "confirm" },
    release: { ...base, event: "release", fence: state.fence, counts: true, pickUpFailuresMax: 5, force: false },
    complete: { ...report, event: "complete", output: undefined },
    fail: { ...report, event: "fail", failure: FAILURE, status: "FAILED" },
    retrySoon: { ...report, event: "retrySoon", failure: FAILURE, delayMs: 1_000 },
    retryLater: { ...report, event: "retryLater", failure: FAILURE, delayMs: 60_000 },
    wait: { ...report, event: "wait", waitingFor: "run_child" },
    wake: { ...base, event: "wake", waitingFor: "run_child" },
    timeOut: { ...report, event: "timeOut", codeEnded: false },
    interrupt: { ...report, event: "interrupt", codeEnded: true, interruptionsMax: 20 },
    lose: { ...base, event: "lose", sessionId: SESSION, policy: defaultRetryPolicy, random: 0 },
    cancel: { ...base, event: "cancel", reason: "Canceled by user" },
    expire: { ...base, event: "expire" },
    await: { ...base, event: "await" },
    addTags: { ...base, event: "addTags", tags: ["a"], attempt: undefined, tagsMax: 10 },
    settle: { ...base, event: "settle", bits: 3, version: state.version },
  };
  return { ...built[event], ...extra };
}

function apply(
  state: RunState,
  event: RunChange["event"],
  nowMs: number,
  extra?: Partial<Record<string, unknown>>,
): Applied {
  const result = applyChange(state, change(event, state, nowMs, extra));
  if (isRefused(result)) throw new Error(`${event} refused as ${result.refused} in ${placeOf(state)}`);
  return result;
}

function walk(
  state: RunState,
  ...steps: readonly (readonly [RunChange["event"], number, Partial<Record<string, unknown>>?])[]
): RunState {
  return steps.reduce((at, [event, nowMs, extra]) => apply(at, event, nowMs, extra).next, state);
}

const executing = (overrides: Partial<NewRunParams> = {}): RunState => walk(run(overrides), ["claim", T0 + 10]);
const confirmed = (overrides: Partial<NewRunParams> = {}): RunState => walk(executing(overrides), ["confirm", T0 + 20]);
const waiting = (): RunState => walk(confirmed(), ["wait", T0 + 30]);
const bound = (): RunState => walk(waiting(), ["wake", T0 + 40]);
const parked = (): RunState => walk(confirmed(), ["retryLater", T0 + 30]);
const delayed = (): RunState => run({ delayedUntilMs: T0 + 60_000 });

const PLACES = {
  DELAYED: delayed,
  QUEUED_WAITING: run,
  QUEUED_PARKED: parked,
  QUEUED_BOUND: bound,
  EXECUTING: executing,
  WAITING: waiting,
  COMPLETED: () => walk(confirmed(), ["complete", T0 + 50]),
  FAILED: () => walk(confirmed(), ["fail", T0 + 50]),
  CRASHED: () => walk(confirmed(), ["fail", T0 + 50, { status: "CRASHED" }]),
  SYSTEM_FAILURE: () => walk(confirmed(), ["fail", T0 + 50, { status: "SYSTEM_FAILURE" }]),
  TIMED_OUT: () => walk(confirmed(), ["timeOut", T0 + 50]),
  CANCELED: () => walk(run(), ["cancel", T0 + 50]),
  EXPIRED: () => walk(run({ ttl: { ms: 10, text: "1s" } }), ["expire", T0 + 50]),
} as const;

test("RUN-4, §12.2: a change applies exactly where the table allows its event", (t) => {
  for (const [place, make] of Object.entries(PLACES)) {
    const state = make();
    t.true(place === placeOf(state), place);
    for (const event of RUN_EVENTS) {
      if (event === "trigger" || event === "resume" || event === "push") continue;
      const result = applyChange(state, change(event, state, T0 + 120_000));
      const refused = isRefused(result) ? result.refused : undefined;
      if (!isRefused(result)) {
        const to: readonly RunPlace[] =
          event === "claim" ? [...RUN_MACHINE.claim.to, ...RUN_MACHINE.resume.to] : RUN_MACHINE[event].to;
        t.true(
          isLegal(event, placeOf(state)) || (event === "claim" && place === "QUEUED_BOUND"),
          `${event} in ${place}`,
        );
        t.true(to.includes(placeOf(result.next)), `${event}: ${place} → ${placeOf(result.next)}`);
      } else if (isLegal(event, placeOf(state))) {
        // The guard beside the place: no ttl to expire, nothing unconfirmed to release or confirm, another wait.
        t.true(["expire", "release", "confirm"].includes(event), `${event} refused (${refused}) in ${place}`);
      }
    }
  }
});

test("§12.2: final statuses are final: no event changes them", (t) => {
  for (const make of Object.values(PLACES)) {
    const state = make();
    if (!isFinal(state.status)) continue;
    for (const event of RUN_EVENTS) {
      if (event === "trigger" || event === "resume" || event === "push") continue;
      t.true(isRefused(applyChange(state, change(event, state, T0 + 999_999))), `${event} in ${state.status}`);
    }
  }
});

test("RUN-8: the fence changes with pick-up, retry, wait and resume, and an older one is refused", (t) => {
  const claimed = executing();
  const retried = walk(claimed, ["retrySoon", T0 + 20]);
  const waitingRun = walk(retried, ["wait", T0 + 2_000]);
  const resumed = walk(waitingRun, ["wake", T0 + 3_000], ["claim", T0 + 4_000]);
  t.deepEqual(
    [claimed, retried, waitingRun, resumed].map(({ fence }) => fence),
    [1, 2, 3, 4],
  );
  const late = applyChange(resumed, change("complete", { ...resumed, fence: 1 }, T0 + 5_000));
  t.deepEqual(late, { refused: "stale" });
});

test("RUN-8: a repeat of the last applied report is told apart from a stale one", (t) => {
  const retried = walk(executing(), ["retrySoon", T0 + 20]);
  t.deepEqual(applyChange(retried, change("retrySoon", { ...retried, fence: 1 }, T0 + 21)), { refused: "repeat" });
  const done = walk(executing(), ["complete", T0 + 20]);
  t.deepEqual(applyChange(done, change("complete", done, T0 + 21)), { refused: "repeat" });
});

test("RUN-8: a lease of another session is stale", (t) => {
  const state = executing();
  const other = change("complete", state, T0 + 20, { sessionId: "session_00000000000000000000000002" });
  t.deepEqual(applyChange(state, other), { refused: "stale" });
});

test("DLY-7, TTL-3: a delayed run becomes due with queue time = due time, and its ttl counts from there", (t) => {
  const state = run({ delayedUntilMs: T0 + 600_000, ttl: { ms: 3_600_000, text: "1h" }, prioritySeconds: 2 });
  t.is(state.expireAtMs, undefined);
  t.deepEqual(applyChange(state, change("due", state, T0 + 599_999)), { refused: "notYet" });
  const { next } = apply(state, "due", T0 + 700_000);
  t.is(next.orderMs, T0 + 600_000 - 2_000);
  t.is(next.expireAtMs, T0 + 600_000 + 3_600_000);
});

test("TTL-4: a run that has started never expires, also when it is queued again", (t) => {
  const state = walk(executing({ ttl: { ms: 1_000, text: "1s" } }), ["confirm", T0 + 20], ["interrupt", T0 + 30]);
  t.is(placeOf(state), "QUEUED_WAITING");
  t.deepEqual(applyChange(state, change("expire", state, T0 + 99_999)), { refused: "illegal" });
});

test("TTL-4, RUN-5, RUN-6: an unconfirmed pick-up is no start: no attempt, no start time, the ttl applies again", (t) => {
  const state = walk(executing({ ttl: { ms: 1_000, text: "1s" } }), ["release", T0 + 20_000]);
  t.is(state.attempt, 0);
  t.is(state.startedAtMs, undefined);
  t.is(state.orderMs, T0);
  t.is(placeOf(walk(state, ["expire", T0 + 20_001])), "EXPIRED");
});

test("RUN-6: the fifth unconfirmed pick-up in a row ends the run; ones that do not count do not", (t) => {
  let state = run();
  for (let turn = 1; turn <= 4; turn++)
    state = walk(state, ["claim", T0 + turn * 20_000], ["release", T0 + turn * 20_000 + 10_000]);
  t.is(placeOf(state), "QUEUED_WAITING");
  state = walk(state, ["claim", T0 + 200_000], ["release", T0 + 210_000, { counts: false }]);
  t.is(placeOf(state), "QUEUED_WAITING");
  const ended = apply(walk(state, ["claim", T0 + 300_000]), "release", T0 + 310_000);
  t.is(ended.next.status, "SYSTEM_FAILURE");
  t.is(ended.failure?.code, "TASK_RUN_PICKUP_FAILED");
  t.is(ended.next.attempt, 0);
});

test("RUN-6, TAW-10: an unconfirmed resume goes back bound and unchanged; with a lapsed session its attempt is lost", (t) => {
  const resumed = walk(bound(), ["claim", T0 + 1_000]);
  const back = walk(resumed, ["release", T0 + 11_000]);
  t.is(placeOf(back), "QUEUED_BOUND");
  t.is(back.attempt, 1);
  t.is(back.sessionId, SESSION);
  t.is(back.startedAtMs, T0 + 10);
  t.is(durationMs(back, T0 + 99_000), durationMs(bound(), T0 + 99_000));
  const lost = apply(resumed, "lose", T0 + 40_000);
  t.is(lost.next.attempt, 1);
  t.is(lost.attempt?.error?.code, "TASK_RUN_STALLED_EXECUTING");
  t.is(walk(resumed, ["confirm", T0 + 1_500]).waitingFor, undefined);
});

test("RUN-6: a confirmation ends the row of unconfirmed pick-ups", (t) => {
  const state = walk(run(), ["claim", T0], ["release", T0 + 10_000], ["claim", T0 + 11_000], ["confirm", T0 + 12_000]);
  t.is(state.pickUpFailures, 0);
  t.is(state.pickUpDeadlineMs, undefined);
});

test("RUN-7: an interruption costs no attempt and keeps the order value; the 20th in a row crashes", (t) => {
  let state = run();
  for (let turn = 1; turn <= 19; turn++) {
    state = walk(state, ["claim", T0 + turn * 100], ["interrupt", T0 + turn * 100 + 50]);
    t.is(state.attempt, 0);
    t.is(state.orderMs, T0);
    t.is(placeOf(state), "QUEUED_WAITING");
  }
  const ended = apply(walk(state, ["claim", T0 + 9_000]), "interrupt", T0 + 9_050);
  t.is(ended.next.status, "CRASHED");
  t.is(ended.failure?.code, "TASK_RUN_INTERRUPTED");
});

test("RUN-6, RTY-2: a lost attempt counts and the next waits for the back-off; without an attempt left the run has crashed", (t) => {
  const lost = apply(confirmed(), "lose", T0 + 40_000);
  t.is(placeOf(lost.next), "QUEUED_PARKED");
  t.is(lost.next.dueMs, T0 + 41_000);
  t.is(lost.next.attempt, 1);
  t.is(lost.attempt?.error?.code, "TASK_RUN_STALLED_EXECUTING");
  const last = apply(confirmed({ maxAttempts: 1 }), "lose", T0 + 40_000);
  t.is(last.next.status, "CRASHED");
  t.is(last.failure?.code, "TASK_RUN_STALLED_EXECUTING");
});

test("RTY-5, QUE-4: a short pause keeps worker and slot, a long one frees the slot and keeps the order", (t) => {
  const soon = apply(confirmed(), "retrySoon", T0 + 100);
  t.is(soon.slot, "keep");
  t.is(soon.next.status, "EXECUTING");
  t.is(soon.next.attempt, 2);
  t.is(attemptCount(soon.next, T0 + 500), 1);
  t.is(attemptCount(soon.next, T0 + 1_100), 2);
  const later = apply(confirmed(), "retryLater", T0 + 100);
  t.is(later.slot, "free");
  t.is(later.next.orderMs, T0);
  t.is(later.next.dueMs, T0 + 60_100);
});

test("RTY-4: no retry beyond maxAttempts", (t) => {
  const state = confirmed({ maxAttempts: 1 });
  t.deepEqual(applyChange(state, change("retrySoon", state, T0 + 100)), { refused: "overLimit" });
  t.deepEqual(applyChange(state, change("retryLater", state, T0 + 100)), { refused: "overLimit" });
});

test("CAN-7, §12.4: a cancel in a retry pause ends the run without counting the announced attempt", (t) => {
  const state = walk(confirmed(), ["retrySoon", T0 + 100], ["cancel", T0 + 200]);
  t.is(state.status, "CANCELED");
  t.is(attemptCount(state, T0 + 5_000), 1);
});

test("QUE-4: code of a cancelled or timed-out executing run may linger; that of a queued one has nothing to free", (t) => {
  t.is(apply(confirmed(), "cancel", T0 + 100).slot, "linger");
  t.is(apply(confirmed(), "timeOut", T0 + 100).slot, "linger");
  t.is(apply(run(), "cancel", T0 + 100).slot, "free");
  t.is(apply(waiting(), "cancel", T0 + 100).slot, "free");
});

test("DUR-3: waiting and retry pauses do not count as active time", (t) => {
  const state = walk(
    confirmed({ maxDurationSeconds: 10 }),
    ["wait", T0 + 1_010],
    ["wake", T0 + 50_000],
    ["claim", T0 + 60_000],
    ["confirm", T0 + 60_001],
  );
  t.is(state.deadlineMs, T0 + 60_000 + 9_000);
  t.is(durationMs(state, T0 + 61_000), 2_000);
  const failed = walk(state, ["retrySoon", T0 + 61_000], ["complete", T0 + 64_000]);
  t.is(durationMs(failed, T0 + 99_000), 2_000 + 2_000);
});

test("DUR-4: the server's own verdict needs the deadline to have passed", (t) => {
  const state = confirmed({ maxDurationSeconds: 10 });
  const asServer = { fence: undefined, sessionId: undefined };
  t.deepEqual(applyChange(state, change("timeOut", state, T0 + 10_009, asServer)), { refused: "notYet" });
  const ended = apply(state, "timeOut", T0 + 10_010, asServer);
  t.is(ended.failure?.code, "MAX_DURATION_EXCEEDED");
});

test("TAG-2, TAG-4: tags are added all or none, unique, in the order first set", (t) => {
  const state = run({ tags: ["b"] });
  t.deepEqual(apply(state, "addTags", T0 + 1, { tags: ["a", "b"] }).next.tags, ["b", "a"]);
  const many = Array.from({ length: 10 }, (_, index) => `t${index}`);
  t.deepEqual(applyChange(state, change("addTags", state, T0 + 1, { tags: many })), { refused: "overLimit" });
});

test("RUN-9: a finished run outlives the retention, a day from creation and its key", (t) => {
  const done = walk(confirmed(), ["complete", T0 + 50]);
  t.is(purgeAtMs(done, 1_000), T0 + 86_400_000);
  t.is(purgeAtMs(done, 30 * 86_400_000), T0 + 50 + 30 * 86_400_000);
  const key = { recordHash: "00", text: "k", scope: undefined, expiresAtMs: T0 + 90 * 86_400_000 };
  t.is(purgeAtMs({ ...done, key }, 1_000), T0 + 90 * 86_400_000 + 3_600_000);
  t.is(purgeAtMs(run(), 1_000), undefined);
});

test("RUN-5: in any history versions and updatedAt rise, finishedAt is set exactly in final statuses, attempts stay within bounds", (t) => {
  const events = RUN_EVENTS.filter((event) => event !== "trigger" && event !== "resume" && event !== "push");
  const step = fc.tuple(fc.constantFrom(...events), fc.integer({ min: 0, max: 40_000 }));
  t.notThrows(() =>
    fc.assert(
      fc.property(fc.array(step, { maxLength: 40 }), fc.boolean(), (steps, isDelayed) => {
        let state = isDelayed ? delayed() : run({ ttl: { ms: 30_000, text: "30s" } });
        let nowMs = T0;
        for (const [event, gapMs] of steps) {
          nowMs += gapMs;
          const result = applyChange(state, change(event, state, nowMs));
          if (isRefused(result)) continue;
          const { next } = result;
          if (next.version !== state.version + 1 || next.updatedAtMs <= state.updatedAtMs) return false;
          if (isFinal(next.status) !== (next.finishedAtMs !== undefined)) return false;
          if ((next.status === "QUEUED") !== (next.readiness !== undefined)) return false;
          if (next.fence < state.fence || next.attempt < 0 || next.attempt > 3) return false;
          if (durationMs(next, nowMs) < 0 || (next.dueMs !== undefined && !["DELAYED", "QUEUED"].includes(next.status)))
            return false;
          state = next;
        }
        return true;
      }),
    ),
  );
});

test("§12.3: an engine failure carries its code as its name", (t) => {
  t.is(engineFailure("TASK_RUN_EXPIRED", "x").name, "TASK_RUN_EXPIRED");
});
