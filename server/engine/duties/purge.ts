/** The `purge` duty: removes what has been kept long enough (RUN-9), in small steps. */
import type { EngineDeps } from "../engine.js";

export function createPurge({ store, clock, limits }: EngineDeps) {
  return (limit: number): Promise<number> =>
    store.purge({ nowMs: clock.nowMs(), finishedRunsKeptMs: limits.finishedRunsKeptMs, limit });
}
