/** A task as this worker runs it: its definition with the worker configuration behind it. Made once, when the worker starts. */

import { globalHooks } from "../../global-hooks.js";
import { type RetryPolicy, resolveRetryPolicy } from "../../retry-policy.js";
import type { TaskDefinition } from "../../task.js";
import type { HookSet } from "../../task-hooks.js";
import { type HookPlan, hookPlan } from "./hooks.js";

export interface TaskPlan {
  readonly definition: Pick<TaskDefinition, "id" | "run" | "parse" | "rejoin" | "isolation">;
  /** As registered by now. */
  readonly hooks: HookPlan;
  /** Task → worker configuration → default; the trigger's `maxAttempts` comes on top. */
  readonly policy: RetryPolicy;
  /** Seconds; undefined: no limit. Task → worker configuration; the trigger's comes on top. */
  readonly maxDuration: number | undefined;
}

/** What the worker configuration gives to all its tasks. */
export interface TaskDefaults {
  readonly retry: Partial<RetryPolicy> | undefined;
  readonly maxDuration: number | undefined;
  readonly hooks: readonly HookSet[];
}

/** `timeout.None` (DUR-1): no limit, overriding defaults. */
export const NO_LIMIT_SECONDS = 2_147_483_647;
const MAX_DURATION_MIN_SECONDS = 5;

export function taskPlan(definition: TaskDefinition, defaults: TaskDefaults): TaskPlan {
  const seconds = effectiveMaxDuration(definition.maxDuration, defaults.maxDuration);
  const own = { ...definition.hooks, catchError: definition.catchError, onCancel: definition.onCancel };
  let planned = 0;
  let hooks = hookPlan(own, defaults.hooks);
  return {
    definition,
    get hooks() {
      const registered = globalHooks();
      if (registered.length !== planned) {
        planned = registered.length;
        hooks = hookPlan(own, [...registered, ...defaults.hooks]);
      }
      return hooks;
    },
    policy: resolveRetryPolicy(definition.retry, defaults.retry),
    maxDuration: seconds,
  };
}

/** The first that is given, at least 5 s (DUR-1, DUR-2); undefined: no limit. */
export function effectiveMaxDuration(...layers: readonly (number | null | undefined)[]): number | undefined {
  const given = layers.find((seconds) => seconds !== undefined && seconds !== null && seconds !== 0);
  if (given === undefined || given === null || given >= NO_LIMIT_SECONDS) return undefined;
  return Math.max(MAX_DURATION_MIN_SECONDS, given);
}

/** The policy of one run: attempts that the trigger fixed count before the task's (ATT-1). */
export function policyOf(plan: TaskPlan, maxAttempts: number): RetryPolicy {
  return maxAttempts === 0 ? plan.policy : { ...plan.policy, maxAttempts };
}
