/**
 * RUN-7: a server declares nothing lapsed until it has run, written and ticked without a gap above 5 s for 30 s. After a restart, a pause
 * of the machine or an outage of the store the workers could not send their heartbeats, or nobody could store them: their silence says
 * nothing about them, and they get their time anew to be heard again: a session's before it lapses, a pick-up's before it is taken back.
 */

/** RUN-7. */
export const STEADY_GAP_MS = 5_000;

export interface Steadiness {
  /** The event loop turns. */
  ticked(nowMs: number): void;
  /** A write to the store succeeded. */
  wrote(nowMs: number): void;
  /** Whether both have gone on without a gap for `spanMs`, up to now. */
  isSteady(nowMs: number, spanMs: number): boolean;
}

interface Streak {
  readonly sinceMs: number;
  readonly lastMs: number;
}

export function createSteadiness(gapMs = STEADY_GAP_MS): Steadiness {
  let ticks: Streak | undefined;
  let writes: Streak | undefined;
  const extended = (streak: Streak | undefined, nowMs: number): Streak => ({
    sinceMs: streak === undefined || nowMs - streak.lastMs > gapMs ? nowMs : streak.sinceMs,
    lastMs: nowMs,
  });
  const isLongEnough = (streak: Streak | undefined, nowMs: number, spanMs: number): boolean =>
    streak !== undefined && nowMs - streak.lastMs <= gapMs && nowMs - streak.sinceMs >= spanMs;
  return {
    ticked(nowMs) {
      ticks = extended(ticks, nowMs);
    },
    wrote(nowMs) {
      writes = extended(writes, nowMs);
    },
    isSteady: (nowMs, spanMs) => isLongEnough(ticks, nowMs, spanMs) && isLongEnough(writes, nowMs, spanMs),
  };
}
