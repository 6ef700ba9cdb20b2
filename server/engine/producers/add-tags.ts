/** Tags added to a live run, from inside it or from outside (TAG-2, TAG-3): all or none. */
import { appError, rejectIfAny, runFinal, staleLease } from "../../domain/error.js";
import { isFinal } from "../../domain/run-status.js";
import { checkTags } from "../../domain/tags.js";
import type { AddTagsParams, EngineDeps } from "../engine.js";
import { emitChanged } from "../moved.js";
import { changeRun } from "./change.js";

export function createAddTags(deps: EngineDeps) {
  return async (params: AddTagsParams): Promise<readonly string[]> => {
    const { environment, runId, tags, attempt } = params;
    const { limits, clock } = deps;
    const checked = checkTags("tags", tags, limits);
    rejectIfAny(checked.violations);
    const result = await changeRun(deps, {
      event: "addTags",
      environment,
      runId,
      tags: checked.tags,
      attempt,
      tagsMax: limits.tagsMax,
      nowMs: clock.nowMs(),
    });
    if (result.kind === "applied") emitChanged(deps, result.run);
    else if (result.refusal === "overLimit") {
      const total = new Set([...result.run.tags, ...checked.tags]).size;
      throw appError("TOO_MANY_TAGS", `Runs can only have ${limits.tagsMax} tags, you're trying to set ${total}.`, {
        metadata: { got: String(total), allowed: String(limits.tagsMax) },
      });
    } else if (result.refusal === "stale") throw staleLease();
    else if (isFinal(result.run.status)) throw runFinal(runId, "tags", result.run.status);
    return result.run.tags;
  };
}
