/** Time as the engine sees it: real in production, moved by hand in tests. Nothing else reads a clock or sets a timer. */
export interface Clock {
  /** Unix milliseconds; never backwards. */
  nowMs(): number;
  /**
   * Calls `callback` once, not before `delayMs` have passed; any length is legal (DLY-12: no overflow at 24.8 days). A pending timer does
   * not keep the process alive. The callback must not throw.
   */
  setTimer(delayMs: number, callback: () => void): Timer;
}

export interface Timer {
  /** Idempotent. */
  cancel(): void;
}

/** Longest delay of a Node timer: 2^31 − 1 ms. */
const TIMER_MAX_MS = 2_147_483_647;

/**
 * The wall clock at start, advanced by the monotonic clock, so that a change of the machine's time moves nothing (design 12).
 * @param floorMs the latest time in the records; the clock starts above it.
 */
export function systemClock(floorMs = 0): Clock {
  const originMs = Math.max(Date.now(), floorMs) - performance.now();
  const nowMs = (): number => Math.floor(originMs + performance.now());
  return {
    nowMs,
    setTimer(delayMs, callback) {
      const dueMs = performance.now() + delayMs;
      let handle: NodeJS.Timeout;
      const arm = (): void => {
        const leftMs = dueMs - performance.now();
        if (leftMs <= 0) callback();
        else handle = setTimeout(arm, Math.min(Math.ceil(leftMs), TIMER_MAX_MS)).unref();
      };
      handle = setTimeout(arm, Math.min(Math.max(0, Math.ceil(delayMs)), TIMER_MAX_MS)).unref();
      return { cancel: () => clearTimeout(handle) };
    },
  };
}
