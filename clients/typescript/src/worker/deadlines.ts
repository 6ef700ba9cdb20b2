/**
 * Things to be done at a time, under one timer for all of them: a worker that runs thousands of short runs with a `maxDuration` sets a
 * timer a few times per longest limit, not one per run. The timer stands at the earliest deadline known when it was set; deadlines that
 * are dropped leave it there, and when it fires it looks at what is left.
 */
import type { WorkerClock, WorkerTimer } from "./clock.js";

export interface Deadline {
  /** Idempotent. */
  drop(): void;
}

interface Entry {
  readonly dueMs: number;
  readonly callback: () => void;
}

export interface Deadlines {
  /** Calls `callback` once, not before `delayMs` have passed. It must not throw. */
  set(delayMs: number, callback: () => void): Deadline;
  /** Drops everything; nothing is called afterwards. */
  clear(): void;
}

export function createDeadlines(clock: WorkerClock): Deadlines {
  // Insertion order breaks ties, so deadlines of one instant fire in the order in which they were set.
  const entries = new Set<Entry>();
  let timer: WorkerTimer | undefined;
  let timerDueMs = Number.POSITIVE_INFINITY;

  function arm(dueMs: number): void {
    timer?.cancel();
    timerDueMs = dueMs;
    timer = clock.setTimer(Math.max(0, dueMs - clock.monotonicMs()), fire);
  }

  function fire(): void {
    timer = undefined;
    timerDueMs = Number.POSITIVE_INFINITY;
    const nowMs = clock.monotonicMs();
    const due = [...entries].filter((entry) => entry.dueMs <= nowMs).toSorted((a, b) => a.dueMs - b.dueMs);
    for (const entry of due) {
      // A callback may drop a later deadline of the same instant.
      if (entries.delete(entry)) entry.callback();
    }
    let earliestMs = Number.POSITIVE_INFINITY;
    for (const entry of entries) earliestMs = Math.min(earliestMs, entry.dueMs);
    if (earliestMs < timerDueMs) arm(earliestMs);
  }

  return {
    set(delayMs, callback) {
      const entry: Entry = { dueMs: clock.monotonicMs() + delayMs, callback };
      entries.add(entry);
      if (entry.dueMs < timerDueMs) arm(entry.dueMs);
      return {
        drop() {
          entries.delete(entry);
          // An idle worker must not wake up, nor a stopped one stay alive, for deadlines that nobody waits for.
          if (entries.size === 0 && timer !== undefined && timerDueMs - clock.monotonicMs() > IDLE_TIMER_MS) {
            timer.cancel();
            timer = undefined;
            timerDueMs = Number.POSITIVE_INFINITY;
          }
        },
      };
    },
    clear() {
      entries.clear();
      timer?.cancel();
      timer = undefined;
      timerDueMs = Number.POSITIVE_INFINITY;
    },
  };
}

/** A timer this near is left to fire for nothing: cheaper than cancelling and setting one per run under load. */
const IDLE_TIMER_MS = 60_000;
