/** Cancel: CANCELED at once for readers, the worker is told, all live children follow with the same reason (CAN-1…4, CAN-8). */

import { type RunState, TODO } from "../../domain/run.js";
import type { placeOf } from "../../domain/run-machine.js";
import type { EngineDeps } from "../engine.js";
import { type AppliedChange, announce, heldFence } from "../moved.js";
import { cancelReason } from "../workers/leases.js";
import { changeRun } from "./change.js";

/** CAN-1. */
const DEFAULT_REASON = "Canceled by user";
/** Children of one pass of the cascade; the rest follows in the next pass or by the `settle` duty. */
const CASCADE_PAGE = 200;

export function createCancel(deps: EngineDeps) {
  return async (environment: string, runId: string, reason: string | undefined): Promise<RunState> => {
    const text = reason === undefined || reason === "" ? DEFAULT_REASON : reason;
    const result = await changeRun(deps, {
      event: "cancel",
      environment,
      runId,
      nowMs: deps.clock.nowMs(),
      reason: text,
    });
    if (result.kind === "refused") return result.run;
    announceCancel(deps, result, text);
    await cancelChildren(deps, result.run, text);
    return result.run;
  };
}

/** Once more, for children that came while their parent was being cancelled. */
export async function cancelChildrenOf(deps: EngineDeps, parent: RunState): Promise<void> {
  await cancelChildren(deps, parent, await cancelReason(deps, parent.environment, parent.id));
}

/** Cancels a run that came too late to be found among the children of its cancelled parent. */
export async function cancelAsChild(
  deps: EngineDeps,
  child: { readonly environment: string; readonly runId: string; readonly reason: string },
): Promise<void> {
  const result = await changeRun(deps, { event: "cancel", ...child, nowMs: deps.clock.nowMs() });
  if (result.kind === "refused") return;
  announceCancel(deps, result, child.reason);
  await cancelChildren(deps, result.run, child.reason);
}

/**
 * Cancels the live children of a cancelled run, page by page, each marked to go on with its own, then clears the mark. A crash in between
 * leaves marks that the `settle` duty finds.
 */
export async function cancelChildren(deps: EngineDeps, root: RunState, reason: string): Promise<void> {
  const { store, clock } = deps;
  const open: RunState[] = [root];
  for (let parent = open.pop(); parent !== undefined; parent = open.pop()) {
    const { environment, id: parentRunId } = parent;
    for (;;) {
      const children = await store.findRuns({ kind: "children", environment, parentRunId, limit: CASCADE_PAGE });
      const nowMs = clock.nowMs();
      const results = await store.changeRuns(
        children.map((child) => ({ event: "cancel", environment, runId: child.id, nowMs, reason })),
      );
      for (const result of results) {
        if (result.kind !== "applied") continue;
        announceCancel(deps, result, reason);
        open.push(result.run);
      }
      if (children.length < CASCADE_PAGE) break;
    }
    const { version } = parent;
    await store.changeRuns([
      { event: "settle", environment, runId: parentRunId, nowMs: clock.nowMs(), bits: TODO.cancelChildren, version },
    ]);
  }
}

function announceCancel(deps: EngineDeps, applied: AppliedChange, reason: string): void {
  announce(deps, "cancel", applied);
  const { environment, sessionId, id: runId } = applied.run;
  if (sessionId === undefined || !HELD.has(applied.before)) return;
  const fence = heldFence(applied);
  deps.signals.publish([{ kind: "cancel", environment, sessionId, runId, fence, reason }]);
}

/** Places in which a worker holds the run's code. */
const HELD: ReadonlySet<ReturnType<typeof placeOf>> = new Set(["EXECUTING", "WAITING", "QUEUED_BOUND"]);
