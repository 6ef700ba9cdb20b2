/** Reschedule: another due time for a DELAYED run, counted from now (RUN-14). */
import { delayViolation, parseReschedule } from "../../domain/delay.js";
import { rejectIfAny, runNotDelayed } from "../../domain/error.js";
import type { TriggerOptionsInput } from "../../domain/trigger-options.js";
import type { RunDetail } from "../../store/store.js";
import type { EngineDeps } from "../engine.js";
import { announce } from "../moved.js";
import { changeRun } from "./change.js";
import { retrieveRun } from "./retrieve.js";

export function createReschedule(deps: EngineDeps) {
  return async (
    environment: string,
    runId: string,
    delay: NonNullable<TriggerOptionsInput["delay"]>,
  ): Promise<RunDetail> => {
    const nowMs = deps.clock.nowMs();
    const parsed = parseReschedule(delay, nowMs, deps.limits.durationMaxMs);
    if (!parsed.ok) {
      rejectIfAny([delayViolation("delay", delay)]);
      throw new TypeError("unreachable: a refused delay has a violation");
    }
    const { dueMs } = parsed;
    const result = await changeRun(deps, { event: "reschedule", environment, runId, nowMs, dueMs });
    if (result.kind === "refused") throw runNotDelayed(runId, result.run.status);
    announce(deps, "reschedule", result);
    deps.nudge("due", dueMs);
    return retrieveRun(deps, environment, runId);
  };
}
