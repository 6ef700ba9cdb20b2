/**
 * The `release` duty: runs that no worker confirmed within the pick-up window go back to the queue, uncounted; the fifth such return in a
 * row, of workers that sent something meanwhile, ends the run (RUN-6).
 */
import type { RunState } from "../../domain/run.js";
import type { EngineDeps } from "../engine.js";
import { announce } from "../moved.js";

interface KnownSessions {
  readonly heardSince: (sessionId: string, sinceMs: number) => boolean;
  readonly suspend: (sessionId: string) => void;
}

export function createRelease(deps: EngineDeps, { heardSince, suspend }: KnownSessions) {
  return async (limit: number): Promise<number> => {
    const runs = await deps.store.findRuns({ kind: "unconfirmed", nowMs: deps.clock.nowMs(), limit });
    for (const { sessionId } of runs) if (sessionId !== undefined) suspend(sessionId);
    const lastBeats = await readLastBeats(deps, runs);
    const isHeard = (sessionId: string, sinceMs: number): boolean =>
      heardSince(sessionId, sinceMs) || (lastBeats.get(sessionId) ?? 0) > sinceMs;
    await releaseRuns(deps, runs, { heardSince: isHeard, force: false });
    return runs.length;
  };
}

/** Sessions may be connected to another server, which alone hears their every word; their heartbeats are in the record. */
async function readLastBeats(
  { store, limits }: EngineDeps,
  runs: readonly RunState[],
): Promise<ReadonlyMap<string, number>> {
  if (store.shared === undefined || runs.length === 0) return new Map();
  const environments = new Set(runs.map(({ environment }) => environment));
  const sessions = await Promise.all([...environments].map((environment) => store.listSessions({ environment })));
  return new Map(sessions.flat().map(({ id, untilMs }) => [id, untilMs - limits.sessionMs]));
}

export async function releaseRuns(
  deps: EngineDeps,
  runs: readonly RunState[],
  how: { readonly heardSince: (sessionId: string, sinceMs: number) => boolean; readonly force: boolean },
): Promise<void> {
  if (runs.length === 0) return;
  const nowMs = deps.clock.nowMs();
  const results = await deps.store.changeRuns(
    runs.map((run) => ({
      event: "release",
      environment: run.environment,
      runId: run.id,
      nowMs,
      fence: run.fence,
      counts: run.sessionId !== undefined && how.heardSince(run.sessionId, run.attemptStartedAtMs ?? nowMs),
      pickUpFailuresMax: deps.limits.pickUpFailuresMax,
      force: how.force,
    })),
  );
  results.forEach((result, index) => {
    const before = runs[index];
    if (result.kind !== "applied" || before?.sessionId === undefined) return;
    announce(deps, "release", result);
    const { environment, id: runId, sessionId, fence } = before;
    deps.signals.publish([{ kind: "lost", environment, sessionId, runId, fence }]);
  });
}
