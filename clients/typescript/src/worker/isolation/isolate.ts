/** Decides for each attempt where it runs: here, or in a task process. */

import type { Assignment } from "../../gen/hairtrigger/worker/v1/worker_pb.js";
import { type ExecutorParams, maxDurationOf, msOfSeconds, readSpec } from "../attempt/executor.js";
import { policyOf, type TaskPlan } from "../attempt/task-plan.js";
import type { WorkerClock } from "../clock.js";
import { createDeadlines } from "../deadlines.js";
import type { StartAttempt } from "../session/execution.js";
import { IsolatedAttempt } from "./isolated-attempt.js";
import { ProcessPool } from "./pool.js";
import type { TaskProcesses } from "./processes.js";

export interface IsolateParams extends Pick<ExecutorParams, "facts" | "metadataWriter" | "logLine"> {
  /** Starts attempts in this process. */
  readonly inline: StartAttempt;
  readonly plans: ReadonlyMap<string, TaskPlan>;
  readonly clock: WorkerClock;
  /** Undefined: isolated tasks run here as well. */
  readonly processes: TaskProcesses | undefined;
}

export interface Isolation {
  readonly start: StartAttempt;
  /** Ends all task processes. Idempotent. */
  close(): Promise<void>;
}

/** @throws TypeError if there are isolated tasks, and no program that could be started for them. */
export function isolate(params: IsolateParams): Isolation {
  const { inline, plans, clock, processes, facts, metadataWriter, logLine } = params;
  const isIsolated = (plan: TaskPlan): boolean => plan.definition.isolation === "process";
  if (processes === undefined || ![...plans.values()].some(isIsolated)) {
    return { start: inline, close: () => Promise.resolve() };
  }
  processes.check();
  const deadlines = createDeadlines(clock);
  /** Whose first attempt here has begun. */
  const begun = new WeakSet<Assignment>();
  const pool = new ProcessPool({
    fork: () => processes.fork(),
    deadlines,
    onStray(message) {
      if (message.kind === "log") logLine(message.runId, message.attempt, message.line);
    },
  });
  return {
    start(input) {
      const { assignment } = input;
      const { taskId } = readSpec(assignment.spec);
      const plan = plans.get(taskId);
      if (plan === undefined || !isIsolated(plan)) return inline(input);
      const policy = policyOf(plan, assignment.maxAttempts);
      const random = (): number => clock.random();
      const isRepeated = begun.has(assignment);
      begun.add(assignment);
      const attempt = new IsolatedAttempt({
        input,
        taskId,
        policy,
        isRepeated,
        pool,
        deadlines,
        facts,
        random,
        metadataWriter,
        logLine,
      });
      attempt.start();
      return { attempt, maxDurationMs: msOfSeconds(maxDurationOf(plan, assignment)) };
    },
    async close() {
      await pool.close();
      deadlines.clear();
    },
  };
}
