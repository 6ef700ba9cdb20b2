/** Replay: a new run with the payload, tags, metadata and queue of an old one (RUN-15), through the same door as any trigger. */
import { derivedId } from "../../domain/ids.js";
import type { EngineDeps } from "../engine.js";
import { retrieveRun } from "./retrieve.js";
import { TRIGGER_FAMILY, type Trigger } from "./trigger.js";

/** Apart from plain triggers: the request id of a replay never meets that of a trigger. */
const REQUEST_PREFIX = "replay ";

/** Id of the run that a replay under this request id makes. */
export function replayId(environment: string, requestId: string): string {
  return derivedId("run", environment, TRIGGER_FAMILY, `${REQUEST_PREFIX}${requestId}`);
}

export function createReplay(deps: EngineDeps, trigger: Trigger) {
  return async (
    environment: string,
    runId: string,
    requestId: string | undefined,
  ): Promise<{ readonly runId: string }> => {
    const { run, spec, metadataJson } = await retrieveRun(deps, environment, runId);
    const replay = deps.specs.replayOf(spec);
    // The last of several debounced calls replaced the spec, but not what it did not give (DEB-3).
    const kept = replay.isReplaced
      ? {
          tags: replay.options.tags?.length ? replay.options.tags : run.tags,
          metadataJson: replay.options.metadataJson ?? metadataJson,
        }
      : {};
    const [outcome] = await trigger(environment, [
      {
        taskId: run.taskId,
        spec: replay.spec,
        payload: { json: undefined },
        options: { ...replay.options, ...kept, queue: { name: run.queue }, concurrencyKey: run.concurrencyKey },
        requestId: requestId === undefined ? undefined : `${REQUEST_PREFIX}${requestId}`,
        parentRunId: undefined,
        isTest: run.isTest,
        triggerFunction: "trigger",
        replayOf: run.id,
        copyOf: deps.specs.referenceOf(replay.spec),
      },
    ]);
    if (outcome === undefined || !outcome.ok) throw outcome?.error ?? new Error("a trigger gave no outcome");
    return { runId: outcome.runId };
  };
}
