/** Time and chance as callers of the service see them: real in production, moved by hand in tests. */

export interface Clock {
  /** Unix milliseconds. */
  nowMs(): number;
  /** Uniform in [0, 1). */
  random(): number;
  /** Bytes that nobody can guess. */
  randomBytes(length: number): Uint8Array;
  /**
   * Resolves after `delayMs` milliseconds, never earlier.
   * @throws the signal's reason, at once, when it aborts.
   */
  sleep(delayMs: number, signal?: AbortSignal): Promise<void>;
  /** Resolves after a turn of the event loop. */
  yieldTurn(): Promise<void>;
}

/** Longest delay that timers know: 2^31 − 1 ms. Longer ones are slept in parts. */
const TIMER_MAX_MS = 2_147_483_647;

/** Random bytes are fetched by the page: one call of the platform for each id would cost more than the rest of a request. */
const POOL_BYTES = 4_096;

export const systemClock: Clock = {
  nowMs: () => Date.now(),
  random: () => Math.random(),
  randomBytes,
  async sleep(delayMs, signal) {
    const endMs = Date.now() + delayMs;
    for (let leftMs = delayMs; leftMs > 0; leftMs = endMs - Date.now()) {
      await sleepOnce(Math.min(Math.ceil(leftMs), TIMER_MAX_MS), signal);
    }
    signal?.throwIfAborted();
  },
  // Browsers have timers only, and wait a little longer.
  yieldTurn: () =>
    new Promise((resolve) => {
      if (typeof setImmediate === "function") setImmediate(resolve);
      else setTimeout(resolve, 0);
    }),
};

/** Calls `onDue` once after `delayMs`, which is at most {@link TIMER_MAX_MS}. @returns what cancels it. */
export function startTimer(delayMs: number, onDue: () => void): () => void {
  const timer = setTimeout(onDue, Math.min(delayMs, TIMER_MAX_MS));
  return () => clearTimeout(timer);
}

function sleepOnce(delayMs: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    signal?.throwIfAborted();
    const onAbort = (): void => {
      clearTimeout(timer);
      reject(signal?.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", onAbort);
      resolve();
    }, delayMs);
    signal?.addEventListener("abort", onAbort, { once: true });
  });
}

let pool = new Uint8Array(0);
let poolAt = 0;

function randomBytes(length: number): Uint8Array {
  if (length > POOL_BYTES) return crypto.getRandomValues(new Uint8Array(length));
  if (poolAt + length > pool.length) {
    pool = crypto.getRandomValues(new Uint8Array(POOL_BYTES));
    poolAt = 0;
  }
  const bytes = pool.slice(poolAt, poolAt + length);
  poolAt += length;
  return bytes;
}
