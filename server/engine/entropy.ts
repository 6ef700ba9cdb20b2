import { randomFillSync } from "node:crypto";

/** Randomness as the engine sees it: ids and jitter; seeded in simulations. */
export interface Entropy {
  bytes(length: number): Uint8Array;
  /** Uniform in [0, 1). */
  uniform(): number;
}

/** Bytes drawn from the system at once: a call per id was 4 % of the engine's time under load. */
const POOL_BYTES = 4_096;

export function systemEntropy(): Entropy {
  const pool = new Uint8Array(POOL_BYTES);
  let used = POOL_BYTES;
  return {
    bytes(length) {
      if (length > POOL_BYTES) return randomFillSync(new Uint8Array(length));
      if (used + length > POOL_BYTES) {
        randomFillSync(pool);
        used = 0;
      }
      const bytes = pool.slice(used, used + length);
      used += length;
      return bytes;
    },
    uniform: Math.random,
  };
}
