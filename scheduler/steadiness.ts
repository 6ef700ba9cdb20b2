/**
 * RUN-7: a server declares nothing lapsed until it has run, written and ticked without a gap above 5 s for 30 s. After a restart, a pause
 * of the machine or an outage of the store the workers could not send their heartbeats, or nobody could store them: their silence says
 * nothing about them, and they get as long as a session lasts to be heard again.
 */

/** RUN-7. */
export const STEADY_GAP_MS = 5_000;
/** RUN-7; as long as a session lasts without a heartbeat (RUN-6). */
export const STEADY_SPAN_MS = 30_000;

export interface Steadiness {
  /** The event loop turns. */
  ticked(nowMs: number): void;
  /** A write to the store succeeded. */
  wrote(nowMs: number): void;
  isSteady(nowMs: number): boolean;
}

interface Streak {
  readonly sinceMs: number;
  readonly lastMs: number;
}

/** @param spanMs how long both streaks must have lasted; the session time where an operator changed it. */
export function createSteadiness(spanMs = STEADY_SPAN_MS, gapMs = STEADY_GAP_MS): Steadiness {
  let ticks: Streak | undefined;
  let writes: Streak | undefined;
  const extended = (streak: Streak | undefined, nowMs: number): Streak => ({
    sinceMs: streak === undefined || nowMs - streak.lastMs > gapMs ? nowMs : streak.sinceMs,
    lastMs: nowMs,
  });
  const isLongEnough = (streak: Streak | undefined, nowMs: number): boolean =>
    streak !== undefined && nowMs - streak.lastMs <= gapMs && nowMs - streak.sinceMs >= spanMs;
  return {
    ticked(nowMs) {
      ticks = extended(ticks, nowMs);
    },
    wrote(nowMs) {
      writes = extended(writes, nowMs);
    },
    isSteady: (nowMs) => isLongEnough(ticks, nowMs) && isLongEnough(writes, nowMs),
  };
}
