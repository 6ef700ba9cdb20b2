/** The `timeout` duty: tokens that nobody completed in time, and instants that have come (WAI-8, WAI-1). */
import type { EngineDeps } from "../engine.js";

export function createTimeout(deps: EngineDeps) {
  return async (limit: number): Promise<number> => {
    const nowMs = deps.clock.nowMs();
    const due = await deps.store.findWaitpoints({ kind: "due", nowMs, limit });
    if (due.length === 0) return 0;
    const results = await deps.store.endWaitpoints(
      due.map(({ environment, id: waitpointId }) => ({ environment, waitpointId, end: { kind: "timeout", nowMs } })),
    );
    for (const { isApplied, waitpoint } of results) {
      if (isApplied && waitpoint !== undefined) deps.wakes.over(waitpoint);
    }
    return due.length;
  };
}
