/**
 * The `overrun` duty: runs whose worker did not end them at their maxDuration, because its event loop is blocked (DUR-6). The worker goes
 * first: it knows best, and its report says when the code ended.
 */
import type { EngineDeps } from "../engine.js";
import { announce } from "../moved.js";

/** Head start of the worker; with the duty's period it keeps within the 2 s of DUR-6. */
export const OVERRUN_GRACE_MS = 1_000;

export function createOverrun(deps: EngineDeps) {
  return async (limit: number): Promise<number> => {
    const nowMs = deps.clock.nowMs();
    const runs = await deps.store.findRuns({ kind: "overrun", nowMs: nowMs - OVERRUN_GRACE_MS, limit });
    if (runs.length === 0) return 0;
    const results = await deps.store.changeRuns(
      runs.map(({ environment, id: runId }) => ({
        event: "timeOut",
        environment,
        runId,
        nowMs,
        fence: undefined,
        sessionId: undefined,
        codeEnded: false,
      })),
    );
    for (const result of results) {
      if (result.kind !== "applied") continue;
      announce(deps, "timeOut", result);
      const { environment, id: runId, sessionId, fence } = result.run;
      if (sessionId !== undefined) deps.signals.publish([{ kind: "lost", environment, sessionId, runId, fence }]);
    }
    return runs.length;
  };
}
