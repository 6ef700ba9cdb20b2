/**
 * Timers for near due times: whoever stores one says so here, and the duty is run when it comes. All of a duty's due times share one timer,
 * set for the earliest. They are hints: what does not fit (too far, too many, lost by a restart) is found by the duty's period.
 */
import type { Clock, Timer } from "../server/engine/clock.js";

/** Due times further away are left to the period: a restart in between would forget them anyway. */
const HORIZON_MS = 10 * 60_000;

/** Distinct due times that are remembered; beyond that the furthest are dropped. 10,000 numbers are 80 KB. */
const DUE_TIMES_MAX = 10_000;

/** Pause between two nudged passes, so that a thousand due times a second do not make a thousand passes. */
const PAUSE_MS = 5;

export interface Nudges {
  nudge(dueMs: number): void;
  stop(): void;
}

/**
 * @param run starts a pass of the duty; must not throw.
 * @param horizonMs due times further away are not remembered; default {@link HORIZON_MS}.
 */
export function createNudges(clock: Clock, run: () => void, horizonMs = HORIZON_MS): Nudges {
  /** Ascending, without repetition. */
  let dueTimes: number[] = [];
  let timer: Timer | undefined;
  let timerMs = Number.POSITIVE_INFINITY;
  let earliestMs = Number.NEGATIVE_INFINITY;
  let isStopped = false;

  const arm = (): void => {
    const first = dueTimes[0];
    if (first === undefined) return;
    const wantedMs = Math.max(first, earliestMs);
    if (timerMs <= wantedMs) return;
    timer?.cancel();
    timerMs = wantedMs;
    timer = clock.setTimer(wantedMs - clock.nowMs(), fire);
  };

  const fire = (): void => {
    const nowMs = clock.nowMs();
    timer = undefined;
    timerMs = Number.POSITIVE_INFINITY;
    earliestMs = nowMs + PAUSE_MS;
    dueTimes.splice(0, firstAfter(dueTimes, nowMs));
    arm();
    run();
  };

  return {
    nudge(dueMs) {
      if (isStopped || !(dueMs <= clock.nowMs() + horizonMs)) return;
      const at = firstAfter(dueTimes, dueMs);
      if (dueTimes[at - 1] === dueMs) return;
      dueTimes.splice(at, 0, dueMs);
      if (dueTimes.length > DUE_TIMES_MAX) dueTimes.pop();
      arm();
    },
    stop() {
      isStopped = true;
      timer?.cancel();
      dueTimes = [];
    },
  };
}

/** Index of the first value above `limit`. */
function firstAfter(ascending: readonly number[], limit: number): number {
  let low = 0;
  let high = ascending.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((ascending[middle] ?? limit) <= limit) low = middle + 1;
    else high = middle;
  }
  return low;
}
