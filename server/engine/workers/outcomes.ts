/** What came of that which claimed runs waited for, so that a worker need not ask for it (design 9). */
import { parseWaitTarget } from "../../domain/wait.js";
import type { ClaimedRun } from "../../store/store.js";
import type { EngineDeps, WaitOutcome } from "../engine.js";

/** Outputs above it are asked for by the worker: a message has room for many runs, and large ones come in pages. */
const OUTPUT_BYTES_MAX = 65_536;

/**
 * Outcomes by what was waited for. What cannot be read now is left out: the runs are claimed, and their workers ask for what is missing.
 */
export async function outcomesFor(
  deps: EngineDeps,
  claimed: readonly ClaimedRun[],
): Promise<ReadonlyMap<string, WaitOutcome>> {
  const resumed = claimed.filter(({ isResume }) => isResume);
  const refs = resumed.flatMap(({ run: { environment, waitingFor = "" } }) => {
    const target = parseWaitTarget(waitingFor);
    return target.kind === "run" ? [{ environment, runId: target.runId }] : [];
  });
  const outcomes = new Map<string, WaitOutcome>();
  if (refs.length === 0) return outcomes;
  try {
    for (const result of await deps.store.readRunResults(refs)) {
      const isSmall = result !== undefined && (result.output?.length ?? 0) <= OUTPUT_BYTES_MAX;
      if (isSmall) outcomes.set(result.run.id, { kind: "run", result });
    }
  } catch (error) {
    deps.events.emit("store.unavailable", { error });
  }
  return outcomes;
}
