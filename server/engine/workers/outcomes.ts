/** What came of that which claimed runs waited for, so that a worker need not ask for it (design 9). */
import { parseWaitTarget } from "../../domain/wait.js";
import type { ClaimedRun, RunRef, WaitpointRef } from "../../store/store.js";
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
  const runs: RunRef[] = [];
  const tokens: WaitpointRef[] = [];
  for (const { run } of resumed) {
    const { environment, waitingFor = "" } = run;
    const target = parseWaitTarget(waitingFor);
    if (target.kind === "run") runs.push({ environment, runId: target.runId });
    if (target.kind === "token") tokens.push({ environment, waitpointId: target.waitpointId });
  }
  const outcomes = new Map<string, WaitOutcome>();
  try {
    for (const result of runs.length === 0 ? [] : await deps.store.readRunResults(runs)) {
      if (isSmall(result)) outcomes.set(result.run.id, { kind: "run", result });
    }
    for (const waitpoint of tokens.length === 0 ? [] : await deps.store.readWaitpoints(tokens)) {
      if (isSmall(waitpoint)) outcomes.set(waitpoint.id, { kind: "token", waitpoint });
    }
  } catch (error) {
    deps.events.emit("store.unavailable", { error });
  }
  return outcomes;
}

function isSmall<T extends { readonly output: Uint8Array | undefined }>(ended: T | undefined): ended is T {
  return ended !== undefined && (ended.output?.length ?? 0) <= OUTPUT_BYTES_MAX;
}
