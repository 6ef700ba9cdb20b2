/**
 * Random histories against a small model: what no single promise thinks of. After every step the figures of the store equal a recount,
 * and no claim exceeded a limit; at the end everything drains, so nothing was hidden.
 */
import fc from "fast-check";
import type { RunState } from "../../server/domain/run.js";
import { isFinal } from "../../server/domain/run-status.js";
import type { ClaimedRun, QueueChangeResult } from "../../server/store/store.js";
import type { Promises } from "./store-contract.js";
import { DAY_MS, World } from "./world.js";

const HISTORIES = 40;
const STEPS_MAX = 60;
/** The same histories on every machine; a failure prints the path to its smallest form. */
const SEED = 20_260_101;

const QUEUES = ["a", "b"] as const;
const KEYS = [undefined, "k"] as const;
const TASKS = ["t0", "t1"] as const;
const SESSIONS = ["session_00000000000000000000000001", "session_00000000000000000000000002"] as const;
const SESSION_MS = 30_000;
const GRACE_MS = 5_000;
const FAILURE = { kind: "error", name: "Error", message: "no" } as const;
const POLICY = { maxAttempts: 3, minTimeoutMs: 1_000, maxTimeoutMs: 5_000, factor: 2, randomize: false };

const small = fc.nat({ max: 1 });
const pick = fc.nat({ max: 1_000 });
/** Mostly 0, so that there are backlogs under the limits. */
const seldom = fc.oneof({ arbitrary: fc.constant(0), weight: 5 }, { arbitrary: fc.constant(1), weight: 1 });
const times = <T>(weight: number, arbitrary: fc.Arbitrary<T>): fc.WeightedArbitrary<T> => ({ weight, arbitrary });
const trigger = fc.record({
  kind: fc.constant("trigger"),
  queue: seldom,
  key: seldom,
  task: small,
  priority: small,
  delayed: seldom,
});
const anyStep = fc.oneof(
  times(12, trigger),
  times(5, fc.record({ kind: fc.constant("claim"), session: small, places: fc.integer({ min: 1, max: 4 }) })),
  times(1, fc.record({ kind: fc.constant("race") })),
  times(
    8,
    fc.record({
      kind: fc.constant("report"),
      pick,
      what: fc.constantFrom(
        "complete",
        "fail",
        "retrySoon",
        "retryLater",
        "wait",
        "interrupt",
        "linger",
        "timeOut",
        "release",
      ),
    }),
  ),
  times(1, fc.record({ kind: fc.constant("cancel"), pick })),
  times(3, fc.record({ kind: fc.constant("wake"), pick })),
  times(3, fc.record({ kind: fc.constant("time"), ms: fc.integer({ min: 1, max: 4_000 }) })),
  times(3, fc.record({ kind: fc.constant("limit"), queue: seldom, limit: fc.integer({ min: 0, max: 3 }) })),
  times(1, fc.record({ kind: fc.constant("unlimit"), queue: small })),
  times(2, fc.record({ kind: fc.constant("pause"), queue: small, isPaused: fc.boolean() })),
  times(2, fc.record({ kind: fc.constant("ended") })),
  times(1, fc.record({ kind: fc.constant("lapse"), session: small })),
  times(1, fc.record({ kind: fc.constant("purge") })),
);
type Step = typeof anyStep extends fc.Arbitrary<infer S> ? S : never;

/** What the history did, as far as the figures depend on it. */
class Model {
  readonly world: World;
  readonly ids: string[] = [];
  /** Limit in force by queue; undefined: none. */
  readonly limits: (number | undefined)[] = [undefined, undefined];
  readonly paused = [false, false];
  /** Code that may still run: `run fence` → where, whose, since when. */
  readonly lingering = new Map<string, { readonly run: RunState; readonly sinceMs: number }>();
  readonly leases = new Set<string>();

  constructor(world: World) {
    this.world = world;
  }

  async states(): Promise<readonly RunState[]> {
    const { environment } = this.world;
    const runs = await this.world.store.readRuns(this.ids.map((runId) => ({ environment, runId })));
    return runs.filter((run) => run !== undefined);
  }

  async open(): Promise<void> {
    for (const id of SESSIONS) {
      await this.world.store.openSession(this.world.session({ id, untilMs: this.world.nowMs + SESSION_MS }));
    }
  }

  async take(step: Step): Promise<void> {
    const { world } = this;
    switch (step.kind) {
      case "trigger": {
        const id = await world.trigger({
          queue: QUEUES[step.queue] ?? "a",
          concurrencyKey: KEYS[step.key],
          taskId: TASKS[step.task] ?? "t0",
          prioritySeconds: step.priority,
          delayedUntilMs: step.delayed === 1 ? world.nowMs + 1_500 : undefined,
        });
        this.ids.push(id);
        return;
      }
      case "claim":
        return this.#claimAlone(step.session, step.places);
      case "race": {
        const claims = await Promise.all([0, 1, 0, 1].map((session) => this.#claim(session, 2)));
        return this.#claimed(claims.flat());
      }
      case "report":
        return this.#report(step.pick, step.what);
      case "cancel": {
        const run = await this.#pick(step.pick, ({ status }) => !isFinal(status));
        if (run === undefined) return;
        await world.apply(run.id, { event: "cancel", reason: "" });
        if (run.status === "EXECUTING") this.#linger(run);
        return;
      }
      case "wake": {
        const run = await this.#pick(step.pick, ({ status }) => status === "WAITING");
        if (run !== undefined) await world.apply(run.id, { event: "wake", waitingFor: "w" });
        return;
      }
      case "time":
        world.nowMs += step.ms;
        return this.due();
      case "limit":
        // A queue that no run made yet has no limit to change.
        if (await isChanged(world.override(QUEUES[step.queue] ?? "a", step.limit)))
          this.limits[step.queue] = step.limit;
        return;
      case "unlimit": {
        this.limits[step.queue] = undefined;
        const { environment, nowMs } = world;
        await world.store.changeQueue({ environment, name: QUEUES[step.queue] ?? "a", nowMs, kind: "reset" });
        return;
      }
      case "pause":
        if (await isChanged(world.setPaused(QUEUES[step.queue] ?? "a", step.isPaused))) {
          this.paused[step.queue] = step.isPaused;
        }
        return;
      case "ended":
        return this.ended();
      case "lapse":
        return this.#lapse(SESSIONS[step.session] ?? "");
      case "purge":
        await world.store.purge({ nowMs: world.nowMs, finishedRunsKeptMs: DAY_MS, limit: 10 });
        return;
    }
  }

  async due(): Promise<void> {
    const { nowMs, environment } = this.world;
    for (const run of await this.world.store.findRuns({ kind: "due", nowMs, limit: 1_000 })) {
      if (run.environment === environment) await this.world.apply(run.id, { event: "due" });
    }
  }

  /** The grace of lingering code is over for some. */
  async ended(): Promise<void> {
    const { nowMs } = this.world;
    await this.world.store.endLingering({ kind: "expired", nowMs, graceMs: GRACE_MS, limit: 1_000 });
    for (const [lease, { sinceMs }] of this.lingering) {
      if (sinceMs + GRACE_MS <= nowMs) this.lingering.delete(lease);
    }
  }

  /** Figures of the store against a recount. */
  async check(): Promise<void> {
    const runs = await this.states();
    for (const queue of QUEUES) {
      const own = runs.filter((run) => run.queue === queue);
      const lingering = [...this.lingering.values()].filter(({ run }) => run.queue === queue).length;
      const running = own.filter(({ status }) => status === "EXECUTING").length + lingering;
      const queued = own.filter(({ status }) => status === "QUEUED").length;
      const view = await this.world.store.readQueue({ environment: this.world.environment, name: queue });
      const got = view === undefined ? "0 0" : `${view.running} ${view.queued}`;
      expect(got === `${running} ${queued}`, `running and queued of ${queue} are ${got} and not ${running} ${queued}`);
    }
  }

  async #claim(session: number, places: number): Promise<readonly ClaimedRun[]> {
    return this.world.claim(places, { sessionId: SESSIONS[session] ?? "", tasks: TASKS });
  }

  /** A claim that nobody races gives the best runs that can start, in their order. */
  async #claimAlone(session: number, places: number): Promise<void> {
    const claimed = await this.#claim(session, places);
    await this.#claimed(claimed);
    const given = claimed.map(({ run }) => run);
    expect(
      given.every((run, index) => index === 0 || isBefore(given[index - 1], run)),
      "a claim is out of order",
    );
    const runs = await this.states();
    const left = runs.filter(
      (run) =>
        (run.readiness === "waiting" || (run.readiness === "bound" && run.sessionId === SESSIONS[session])) &&
        this.#hasRoom(run, runs),
    );
    const last = given[places - 1];
    expect(
      left.every((run) => last !== undefined && isBefore(last, run)),
      "a claim passed over a run",
    );
  }

  #hasRoom(run: RunState, runs: readonly RunState[]): boolean {
    const index = QUEUES.findIndex((queue) => queue === run.queue);
    return this.paused[index] === false && this.#holders(run, runs) < (this.limits[index] ?? Number.POSITIVE_INFINITY);
  }

  /** Holders in the partition of a run. */
  #holders(run: RunState, runs: readonly RunState[]): number {
    const isThere = (other: RunState): boolean =>
      other.queue === run.queue && other.concurrencyKey === run.concurrencyKey;
    const lingering = [...this.lingering.values()].filter((held) => isThere(held.run)).length;
    return runs.filter((other) => other.status === "EXECUTING" && isThere(other)).length + lingering;
  }

  /** No run is given twice under one fence, none of a paused queue, and none above a limit. */
  async #claimed(claimed: readonly ClaimedRun[]): Promise<void> {
    const runs = await this.states();
    for (const { run } of claimed) {
      const lease = leaseOf(run);
      expect(!this.leases.has(lease), `${lease} was given twice`);
      this.leases.add(lease);
      const index = QUEUES.findIndex((queue) => queue === run.queue);
      expect(this.paused[index] === false, "a paused queue gave a run");
      const holders = this.#holders(run, runs);
      expect(holders <= (this.limits[index] ?? Number.POSITIVE_INFINITY), "a limit was exceeded");
    }
  }

  async #report(which: number, what: string): Promise<void> {
    const run = await this.#pick(which, ({ status }) => status === "EXECUTING");
    if (run === undefined) return;
    const { world } = this;
    const lease = { fence: run.fence, sessionId: run.sessionId ?? "" };
    switch (what) {
      case "complete":
        await world.apply(run.id, { event: "complete", ...lease, output: undefined });
        return;
      case "fail":
        await world.apply(run.id, { event: "fail", ...lease, failure: FAILURE, status: "FAILED" });
        return;
      case "retrySoon":
        await world.change(run.id, { event: "retrySoon", ...lease, failure: FAILURE, delayMs: 100 });
        return;
      case "retryLater":
        await world.change(run.id, { event: "retryLater", ...lease, failure: FAILURE, delayMs: 1_000 });
        return;
      case "wait":
        await world.apply(run.id, { event: "wait", ...lease, waitingFor: "w" });
        return;
      case "interrupt":
        await world.apply(run.id, { event: "interrupt", ...lease, codeEnded: true, interruptionsMax: 20 });
        return;
      case "linger":
        await world.apply(run.id, { event: "interrupt", ...lease, codeEnded: false, interruptionsMax: 20 });
        return this.#linger(run);
      case "timeOut":
        await world.apply(run.id, { event: "timeOut", ...lease, codeEnded: false });
        return this.#linger(run);
      default:
        await world.change(run.id, {
          event: "release",
          fence: run.fence,
          counts: true,
          pickUpFailuresMax: 5,
          force: true,
        });
    }
  }

  #linger(run: RunState): void {
    this.lingering.set(leaseOf(run), { run, sinceMs: this.world.nowMs });
  }

  async #pick(which: number, isMeant: (run: RunState) => boolean): Promise<RunState | undefined> {
    const runs = (await this.states()).filter(isMeant);
    return runs[which % Math.max(runs.length, 1)];
  }

  async #lapse(sessionId: string): Promise<void> {
    const { world } = this;
    const other = SESSIONS.find((id) => id !== sessionId) ?? "";
    world.nowMs += SESSION_MS + 1;
    const { environment, nowMs } = world;
    // Only one of them was silent.
    const keep = { environment, sessionId: other, connectionEpoch: 1, untilMs: nowMs + SESSION_MS };
    await world.store.keepSessions([keep]);
    await world.store.lapseSessions({ nowMs, limit: 1_000 });
    for (const [lease, { run }] of this.lingering) if (run.sessionId === sessionId) this.lingering.delete(lease);
    const given = await world.claim(4, { sessionId, tasks: TASKS });
    expect(given.length === 0, "a lapsed session was given a run");
    for (const run of await world.store.findRuns({ kind: "session", environment, sessionId, limit: 1_000 })) {
      await world.apply(run.id, { event: "lose", sessionId, policy: POLICY, random: 0 });
    }
    await world.store.lapseSessions({ nowMs, limit: 1_000 });
    await this.open();
  }
}

async function isChanged(change: Promise<QueueChangeResult>): Promise<boolean> {
  return (await change).kind === "changed";
}

/** Throws, so that a failing history is shrunk and printed. */
function expect(holds: boolean, message: string): void {
  if (!holds) throw new Error(message);
}

function isBefore(a: RunState | undefined, b: RunState): boolean {
  return a !== undefined && (a.orderMs < b.orderMs || (a.orderMs === b.orderMs && a.id < b.id));
}

function leaseOf(run: RunState): string {
  return `${run.id} ${run.fence}`;
}

/** With no limit and no pause left, everything that is not finished starts and completes: no head hid a run. */
async function drain(model: Model): Promise<void> {
  const { world } = model;
  for (const [queue] of QUEUES.entries()) {
    await model.take({ kind: "pause", queue, isPaused: false });
    await model.take({ kind: "unlimit", queue });
  }
  for (let round = 0; round < 50; round += 1) {
    world.nowMs += 60_000;
    await model.ended();
    await model.open();
    await model.due();
    for (let which = 0; which < model.ids.length; which += 1) await model.take({ kind: "wake", pick: which });
    for (const run of await model.states()) if (run.status === "EXECUTING") await world.complete({ run });
    for (const sessionId of SESSIONS) {
      const claimed = await world.claim(100, { sessionId, tasks: TASKS });
      for (const run of claimed) await world.complete(run);
    }
    if ((await model.states()).every(({ status }) => isFinal(status))) break;
  }
  const left = (await model.states()).filter(({ status }) => !isFinal(status));
  expect(left.length === 0, `${left.length} runs never became claimable: ${JSON.stringify(left[0])}`);
  await model.check();
}

export function historyPromises(promise: Promises): void {
  promise(
    "QUE-5, QUE-9, QUE-16: no history exceeds a limit, miscounts, gives a run twice or hides one",
    async (t, world) => {
      // Thousands of calls, each a few round trips on a store behind a network.
      t.timeout(600_000);
      let number = 0;
      await fc.assert(
        fc.asyncProperty(fc.array(anyStep, { minLength: 10, maxLength: STEPS_MAX, size: "max" }), async (steps) => {
          number += 1;
          const model = new Model(new World(world.store, `history-${number}`));
          await model.open();
          for (const one of steps) {
            await model.take(one);
            await model.check();
          }
          await drain(model);
        }),
        { seed: SEED, numRuns: HISTORIES, includeErrorInReport: true },
      );
      t.is(number, HISTORIES);
    },
  );
}
