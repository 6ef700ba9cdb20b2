/** The `settle` duty: finishes the follow-ups that a crash left half done, found by their `todo` bits (design 5). */
import { TODO } from "../../domain/run.js";
import type { EngineDeps } from "../engine.js";
import { cancelChildren } from "../producers/cancel.js";
import { lookOnceMore, wakeWaiters, wakeWaitersForWaitpoints } from "../wakes.js";

/** A follow-up under way is left alone for this long. */
const PATIENCE_MS = 5_000;

export function createSettle(deps: EngineDeps) {
  return async (limit: number): Promise<number> => {
    const repaired = await deps.store.repair({ nowMs: deps.clock.nowMs(), limit });
    const untilMs = deps.clock.nowMs() - PATIENCE_MS;
    const runs = await deps.store.findRuns({ kind: "todo", untilMs, limit });
    const ended = runs.filter((run) => (run.todo & TODO.wakeWaiting) !== 0);
    if (ended.length > 0) await wakeWaiters(deps, ended);
    const waiting = runs.filter((run) => (run.todo & TODO.watch) !== 0);
    if (waiting.length > 0) await lookOnceMore(deps, waiting);
    const over = await deps.store.findWaitpoints({ kind: "owing", untilMs, limit });
    if (over.length > 0) await wakeWaitersForWaitpoints(deps, over);
    const cancelled = runs.filter((run) => (run.todo & TODO.cancelChildren) !== 0);
    const refs = cancelled.map(({ environment, id: runId }) => ({ environment, runId }));
    const details = refs.length === 0 ? [] : await deps.store.readRunDetails(refs);
    for (const detail of details) {
      if (detail !== undefined) await cancelChildren(deps, detail.run, detail.failure?.message ?? "");
    }
    return Math.max(repaired, runs.length, over.length);
  };
}
