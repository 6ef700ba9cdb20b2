import type { Entropy } from "../engine/entropy.js";

/** 96 bits: unique among all that one log will ever hold. */
const NAME_BYTES = 12;

/** A name for a call or a process, for logs. */
export function randomName(entropy: Entropy): string {
  return Buffer.from(entropy.bytes(NAME_BYTES)).toString("hex");
}
