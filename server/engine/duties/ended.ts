/** The `ended` duty: code of finished or interrupted runs that never reported its end holds its slot for the grace time only (QUE-4). */

import type { EngineDeps } from "../engine.js";
import type { Dispatcher } from "../workers/claim.js";

export function createEnded({ store, clock, limits }: EngineDeps, dispatcher: Dispatcher) {
  return async (limit: number): Promise<number> => {
    const freed = await store.endLingering({
      kind: "expired",
      nowMs: clock.nowMs(),
      graceMs: limits.cancelGraceMs,
      limit,
    });
    if (freed > 0) dispatcher.wakeAll();
    return freed;
  };
}
