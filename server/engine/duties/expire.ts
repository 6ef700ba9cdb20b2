/** The `expire` duty: runs that never started before their ttl passed (TTL-4, TTL-10). */
import type { EngineDeps } from "../engine.js";
import { announce } from "../moved.js";

export function createExpire(deps: EngineDeps) {
  return async (limit: number): Promise<number> => {
    const nowMs = deps.clock.nowMs();
    const runs = await deps.store.findRuns({ kind: "expired", nowMs, limit });
    if (runs.length === 0) return 0;
    const results = await deps.store.changeRuns(
      runs.map(({ environment, id: runId }) => ({ event: "expire", environment, runId, nowMs })),
    );
    for (const result of results) if (result.kind === "applied") announce(deps, "expire", result);
    return runs.length;
  };
}
