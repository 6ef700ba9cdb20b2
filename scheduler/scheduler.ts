/**
 * What happens by itself: the duties' passes, their nudges, and the watch over the server's own steadiness (RUN-7). With all of it asleep
 * the system is late and still right (design 13).
 */
import type { Clock, Timer } from "../server/engine/clock.js";
import type { DutyName, NudgedDuty } from "../server/engine/engine.js";
import type { EventSink } from "../server/engine/events.js";
import type { Driver, DutyPass, Touch } from "./driver.js";
import { DUTIES, type Duty } from "./duties.js";
import { createInterval } from "./interval.js";
import { createNudges, type Nudges } from "./nudges.js";
import { type SingleFlight, singleFlight } from "./single-flight.js";
import { createSteadiness, type Steadiness } from "./steadiness.js";
import { type Swept, sweep } from "./sweep.js";

/** Pause between ticks, each with a small write; two of them must fit into the gap of RUN-7. */
const TICK_MS = 2_000;

/**
 * The server judges a run overrun where its worker does not; after an outage the worker comes first again, with a report that it may have
 * kept for long. Not longer than the shortest maxDuration (DUR-1), so that runs of a fresh server are judged in time.
 */
const OVERRUN_STEADY_MS = 5_000;

export interface SchedulerDeps {
  readonly clock: Clock;
  /** Uniform in [0, 1). */
  readonly uniform: () => number;
  readonly events: EventSink;
  /** The engine's verbs; each handles at most `limit` records and returns how many. */
  readonly verbs: Readonly<Record<DutyName, (limit: number) => Promise<number>>>;
  /** Whether the store takes a write now; must not reject. */
  readonly checkWritable: () => Promise<{ readonly ok: boolean; readonly error?: unknown }>;
  /** How long a session lasts without a heartbeat; RUN-7 waits as long before anything is declared lapsed. */
  readonly sessionMs: number;
  /** How long a pick-up may stay unconfirmed; as long a server waits before it takes one back (RUN-6, RUN-7). */
  readonly pickUpMs: number;
  /** What makes the periods pass; default: an interval per duty. */
  readonly createDriver?: (rows: readonly DutyPass[]) => Driver;
  /** False: nothing happens by its period. Default true; for tests of what depends on it. */
  readonly areDutiesEnabled?: boolean;
  /** False: nothing happens at its moment. Default true; for tests of what depends on it. */
  readonly areNudgesEnabled?: boolean;
  /**
   * True: the clock is moved by hand and may leap. Nothing happens by its period, which a leap of months would repeat a million times, and
   * everything at its moment, however far away. Nobody is declared lost. Default false.
   */
  readonly isTimeMoved?: boolean;
}

const NOTHING: Swept = { count: 0, isMore: false };

export class Scheduler implements AsyncDisposable {
  readonly #deps: SchedulerDeps;
  readonly #steadiness: Steadiness;
  readonly #passes: ReadonlyMap<DutyName, SingleFlight<Swept>>;
  readonly #drivers: readonly Driver[];
  /** How passes that a driver asked for renew its claim on the duty. */
  readonly #touches = new Map<DutyName, Touch>();
  readonly #nudges: Readonly<Record<NudgedDuty, Nudges>>;
  readonly #probe: SingleFlight<void>;
  #tick: Timer | undefined;
  #state: "new" | "running" | "stopped" = "new";

  constructor(deps: SchedulerDeps) {
    this.#deps = deps;
    this.#steadiness = createSteadiness();
    this.#passes = new Map(DUTIES.map((duty) => [duty.name, singleFlight(() => this.#pass(duty))]));
    const rows = DUTIES.map((duty): DutyPass => ({ duty, pass: (touch) => this.#runFor(duty.name, touch) }));
    const { clock, uniform, createDriver } = deps;
    this.#drivers =
      createDriver === undefined ? rows.map((row) => createInterval({ clock, uniform, ...row })) : [createDriver(rows)];
    const horizonMs = deps.isTimeMoved === true ? Number.POSITIVE_INFINITY : undefined;
    const nudges = (name: NudgedDuty): Nudges => createNudges(deps.clock, () => void this.run(name), horizonMs);
    this.#nudges = {
      due: nudges("due"),
      expire: nudges("expire"),
      overrun: nudges("overrun"),
      timeout: nudges("timeout"),
    };
    this.#probe = singleFlight(async () => {
      const { ok, error } = await deps.checkWritable();
      if (ok) this.#steadiness.wrote(deps.clock.nowMs());
      else deps.events.emit("store.unavailable", { error });
    });
  }

  start(): void {
    if (this.#state !== "new") return;
    this.#state = "running";
    if (this.#deps.isTimeMoved === true) return;
    this.#onTick();
    if (this.#deps.areDutiesEnabled !== false) for (const driver of this.#drivers) driver.start();
  }

  /** Starts no further pass and waits for those under way. Idempotent. */
  async stop(): Promise<void> {
    this.#state = "stopped";
    this.#tick?.cancel();
    const stopped = this.#drivers.map(async (driver) => driver.stop());
    for (const nudges of Object.values(this.#nudges)) nudges.stop();
    await this.idle();
    await Promise.all(stopped);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }

  /** Runs the duty at `dueMs` (Unix milliseconds), if that is near. */
  nudge(duty: NudgedDuty, dueMs: number): void {
    if (this.#state !== "stopped" && this.#deps.areNudgesEnabled !== false) this.#nudges[duty].nudge(dueMs);
  }

  /** One pass of a duty now, or after the one under way. Never rejects: a failure is an event. */
  async run(name: DutyName): Promise<Swept> {
    return (await this.#passes.get(name)?.run()) ?? NOTHING;
  }

  async #runFor(name: DutyName, touch: Touch | undefined): Promise<Swept> {
    if (touch === undefined) return this.run(name);
    this.#touches.set(name, touch);
    try {
      return await this.run(name);
    } finally {
      this.#touches.delete(name);
    }
  }

  /** Resolves when no pass is under way. */
  async idle(): Promise<void> {
    await Promise.all([...this.#passes.values(), this.#probe].map((flight) => flight.idle()));
  }

  async #pass(duty: Duty): Promise<Swept> {
    const { clock, events, verbs } = this.#deps;
    if (this.#state !== "running") return NOTHING;
    const spanMs = this.#steadySpanMs(duty.name);
    if (spanMs > 0 && !this.#steadiness.isSteady(clock.nowMs(), spanMs)) return NOTHING;
    try {
      const swept = await sweep({
        duty,
        verb: verbs[duty.name],
        nowMs: () => clock.nowMs(),
        isStopping: () => this.#state === "stopped",
        touch: async () => this.#touches.get(duty.name)?.(),
      });
      if (swept.count > 0) events.emit("duty.done", { duty: duty.name, count: swept.count });
      return swept;
    } catch (error) {
      events.emit("duty.failed", { duty: duty.name, error });
      return NOTHING;
    }
  }

  /** How long the server has to have been steady before a duty may judge workers by their silence; 0: it does not. */
  #steadySpanMs(name: DutyName): number {
    switch (name) {
      case "lose":
        return this.#deps.sessionMs;
      case "release":
        return this.#deps.pickUpMs;
      case "overrun":
        return OVERRUN_STEADY_MS;
      default:
        return 0;
    }
  }

  #onTick(): void {
    if (this.#state !== "running") return;
    this.#steadiness.ticked(this.#deps.clock.nowMs());
    void this.#probe.run();
    this.#tick = this.#deps.clock.setTimer(TICK_MS, () => this.#onTick());
  }
}
