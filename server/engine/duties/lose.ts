/**
 * The `lose` duty: sessions without a heartbeat for 30 s have lapsed; each of their runs has lost its attempt and starts again after the
 * back-off of the task's registered policy, or crashes (RUN-6). The session is marked first, by a guarded write, so that a heartbeat and a
 * lapse never both win; its record stays until no run names it.
 */

import type { Lose } from "../../domain/run-change.js";
import type { SessionRecord } from "../../domain/session.js";
import type { EngineDeps } from "../engine.js";
import { announce, heldFence } from "../moved.js";
import { registeredPolicy, type TaskRegistry } from "../task-registry.js";

/** Runs of one step; bounds the transaction. */
const RUNS_PAGE = 200;

export function createLose(deps: EngineDeps, registry: TaskRegistry) {
  return async (limit: number): Promise<number> => {
    const sessions = await deps.store.lapseSessions({ nowMs: deps.clock.nowMs(), limit });
    for (const session of sessions) await loseSession(deps, registry, session);
    return sessions.length;
  };
}

/** Loses every run of a lapsed session. */
export async function loseSession(
  deps: EngineDeps,
  registry: TaskRegistry,
  { environment, id: sessionId }: Pick<SessionRecord, "environment" | "id">,
): Promise<void> {
  let runsLost = 0;
  for (;;) {
    const runs = await deps.store.findRuns({ kind: "session", environment, sessionId, limit: RUNS_PAGE });
    runsLost += await loseRuns(deps, registry, { environment, sessionId }, runs);
    if (runs.length < RUNS_PAGE) break;
  }
  deps.events.emit("session.lapsed", { environment, sessionId, runsLost });
  // Slots that lingering code of the session held are free now.
  deps.signals.publish([{ kind: "claimable", environment, taskId: undefined }]);
}

export async function loseRuns(
  deps: EngineDeps,
  registry: TaskRegistry,
  session: { readonly environment: string; readonly sessionId: string },
  runs: readonly { readonly id: string; readonly taskId: string }[],
): Promise<number> {
  const { store, clock, entropy, signals } = deps;
  if (runs.length === 0) return 0;
  const tasks = await registry.read(session.environment);
  const nowMs = clock.nowMs();
  const changes = runs.map(
    (run): Lose => ({
      event: "lose",
      ...session,
      runId: run.id,
      nowMs,
      policy: registeredPolicy(tasks.get(run.taskId)),
      random: entropy.uniform(),
    }),
  );
  let count = 0;
  for (const result of await store.changeRuns(changes)) {
    if (result.kind !== "applied") continue;
    count++;
    announce(deps, "lose", result);
    if (result.run.dueMs !== undefined) deps.nudge("due", result.run.dueMs);
    signals.publish([{ kind: "lost", ...session, runId: result.run.id, fence: heldFence(result) }]);
  }
  return count;
}
