/** Time that stands still until it is moved. */
import type { Clock, Timer } from "../../server/engine/clock.js";
import { turns } from "./event-loop.js";

interface MovedTimer {
  readonly dueMs: number;
  /** Timers of one instant fire in the order in which they were set. */
  readonly serial: number;
  readonly callback: () => void;
}

/** Turns of the event loop that let promise chains of one instant finish. */
const SETTLE_TURNS = 3;

export class MovedClock implements Clock {
  #nowMs: number;
  #serial = 0;
  readonly #timers = new Set<MovedTimer>();
  readonly #settle: () => Promise<void>;

  /** @param settle awaited after every instant at which timers fired; default: a few turns of the event loop. */
  constructor(startMs: number, settle: () => Promise<void> = () => turns(SETTLE_TURNS)) {
    this.#nowMs = startMs;
    this.#settle = settle;
  }

  nowMs(): number {
    return this.#nowMs;
  }

  setTimer(delayMs: number, callback: () => void): Timer {
    this.#serial += 1;
    // Clocks give whole milliseconds; a period with jitter is none.
    const timer: MovedTimer = { dueMs: this.#nowMs + Math.ceil(Math.max(0, delayMs)), serial: this.#serial, callback };
    this.#timers.add(timer);
    return { cancel: () => this.#timers.delete(timer) };
  }

  /** Timers that were set and neither fired nor were cancelled; a stopped app leaves none. */
  get pendingTimers(): number {
    return this.#timers.size;
  }

  /**
   * Plays time: every timer due within the next `ms` fires at its own moment, those that are set on the way included. For a span of many
   * hours use {@link jump}, or every beat of every duty is played.
   */
  async advance(ms: number): Promise<void> {
    const endMs = this.#nowMs + ms;
    await this.#settle();
    for (let next = this.#next(endMs); next !== undefined; next = this.#next(endMs)) {
      this.#nowMs = Math.max(this.#nowMs, next.dueMs);
      await this.#fireDue();
    }
    this.#nowMs = endMs;
    await this.#settle();
  }

  /** Time passes at once, as for a machine that was suspended; then what is due fires, once. */
  async jump(ms: number): Promise<void> {
    this.#nowMs += ms;
    await this.#fireDue();
  }

  #next(untilMs: number): MovedTimer | undefined {
    let first: MovedTimer | undefined;
    for (const timer of this.#timers) {
      if (timer.dueMs > untilMs) continue;
      if (
        first === undefined ||
        timer.dueMs < first.dueMs ||
        (timer.dueMs === first.dueMs && timer.serial < first.serial)
      ) {
        first = timer;
      }
    }
    return first;
  }

  async #fireDue(): Promise<void> {
    const due = [...this.#timers].filter((timer) => timer.dueMs <= this.#nowMs);
    due.sort((a, b) => a.dueMs - b.dueMs || a.serial - b.serial);
    for (const timer of due) {
      // A callback may cancel a later timer of the same instant.
      if (this.#timers.delete(timer)) timer.callback();
    }
    await this.#settle();
  }
}
