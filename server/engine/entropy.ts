import { randomBytes } from "node:crypto";

/** Randomness as the engine sees it: ids and jitter; seeded in simulations. */
export interface Entropy {
  bytes(length: number): Uint8Array;
  /** Uniform in [0, 1). */
  uniform(): number;
}

export function systemEntropy(): Entropy {
  return { bytes: (length) => randomBytes(length), uniform: Math.random };
}
