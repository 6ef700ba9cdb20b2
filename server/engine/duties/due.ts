/** The `due` duty: DELAYED runs and parked retries whose time has come may queue (DLY-7, RTY-5). */
import type { EngineDeps } from "../engine.js";
import { announce } from "../moved.js";

export function createDue(deps: EngineDeps) {
  return async (limit: number): Promise<number> => {
    const nowMs = deps.clock.nowMs();
    const runs = await deps.store.findRuns({ kind: "due", nowMs, limit });
    if (runs.length === 0) return 0;
    const results = await deps.store.changeRuns(
      runs.map(({ environment, id: runId }) => ({ event: "due", environment, runId, nowMs })),
    );
    for (const result of results) {
      if (result.kind !== "applied") continue;
      announce(deps, "due", result);
      if (result.run.expireAtMs !== undefined && result.run.startedAtMs === undefined) {
        deps.nudge("expire", result.run.expireAtMs);
      }
    }
    return runs.length;
  };
}
