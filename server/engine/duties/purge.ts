/** The `purge` duty: removes what has been kept long enough (RUN-9), in small steps, and what it had in the payload store (PAY-11). */
import type { EngineDeps } from "../engine.js";

export function createPurge({ store, payloads, clock, limits, events }: EngineDeps) {
  return async (limit: number): Promise<number> => {
    const { removed, objectKeys } = await store.purge({
      nowMs: clock.nowMs(),
      finishedRunsKeptMs: limits.finishedRunsKeptMs,
      limit,
    });
    try {
      if (objectKeys.length > 0) await payloads.remove(objectKeys);
    } catch (error) {
      // The runs are gone; the `orphans` duty finds what nobody names any more.
      events.emit("payloads.unavailable", { driver: payloads.driver, error });
    }
    return removed;
  };
}
