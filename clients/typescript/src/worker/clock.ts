/** Time and chance as the worker sees them: real in production, moved by hand in tests. Nothing else of the worker reads a clock or sets a timer. */
export interface WorkerClock {
  /** Milliseconds of a clock that nobody sets; the fence and every deadline are counted by it (RUN-6). */
  monotonicMs(): number;
  /** Unix milliseconds, for people and for `ctx`. */
  nowMs(): number;
  /** Uniform in [0, 1). */
  random(): number;
  /** Bytes that nobody can guess. */
  randomBytes(length: number): Uint8Array;
  /**
   * Calls `callback` once, not before `delayMs` have passed; any length is legal. A pending timer keeps the process alive, as a worker
   * between two connections has nothing else that does. The callback must not throw.
   */
  setTimer(delayMs: number, callback: () => void): WorkerTimer;
}

export interface WorkerTimer {
  /** Idempotent. */
  cancel(): void;
}

/** Longest delay of a Node timer: 2^31 − 1 ms. */
const TIMER_MAX_MS = 2_147_483_647;

export function systemClock(): WorkerClock {
  const monotonicMs = (): number => performance.now();
  return {
    monotonicMs,
    nowMs: () => Date.now(),
    random: () => Math.random(),
    randomBytes: (length) => crypto.getRandomValues(new Uint8Array(length)),
    setTimer(delayMs, callback) {
      const dueMs = monotonicMs() + delayMs;
      const arm = (leftMs: number): NodeJS.Timeout =>
        setTimeout(fire, Math.min(Math.max(0, Math.ceil(leftMs)), TIMER_MAX_MS));
      const fire = (): void => {
        const leftMs = dueMs - monotonicMs();
        if (leftMs <= 0) callback();
        else handle = arm(leftMs);
      };
      let handle = arm(delayMs);
      return { cancel: () => clearTimeout(handle) };
    },
  };
}
