/** Random histories against a small model: what no single promise thinks of. */
import type { Promises } from "./store-contract.js";

export function historyPromises(_promise: Promises): void {}
