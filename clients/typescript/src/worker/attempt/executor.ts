/** Turns an assignment into code that runs: opens the spec, finds the task, makes the context, starts the attempt. */
import { create, fromBinary } from "@bufbuild/protobuf";
import { type RunSpec, RunSpecSchema } from "../../gen/hairtrigger/v1/run_pb.js";
import type { Assignment } from "../../gen/hairtrigger/worker/v1/worker_pb.js";
import { resolveRetryPolicy } from "../../retry-policy.js";
import type { WorkerClock } from "../clock.js";
import type { StartAttempt } from "../session/execution.js";
import type { SessionFacts } from "../session/facts.js";
import type { Session } from "../session/session.js";
import type { WorkerLog } from "../worker-log.js";
import { Attempt, type AttemptParams } from "./attempt.js";
import { AttemptError } from "./attempt-failure.js";
import { runContext } from "./context.js";
import { hookPlan } from "./hooks.js";
import type { LargeValues } from "./large-values.js";
import { metadataOf, RunMetadata } from "./run-metadata.js";
import { effectiveMaxDuration, policyOf, type TaskPlan } from "./task-plan.js";

export interface ExecutorParams {
  readonly plans: ReadonlyMap<string, TaskPlan>;
  readonly clock: WorkerClock;
  readonly log: WorkerLog;
  readonly facts: () => SessionFacts;
  readonly metadataWriter: Session["metadataWriter"];
  readonly large: LargeValues;
  /** What the attempts of an assignment made of the run's metadata: the next one goes on from there (MET-10). */
  readonly metadataHere: WeakMap<Assignment, RunMetadata>;
  readonly logLine: AttemptParams["logLine"];
  readonly withCredentials: AttemptParams["withCredentials"];
}

export function attemptStarter(params: ExecutorParams): StartAttempt {
  const { plans, clock, log, metadataHere } = params;
  return (input) => {
    const { assignment } = input;
    const spec = readSpec(assignment.spec);
    const plan = plans.get(spec.taskId) ?? unknownTask(spec);
    const policy = policyOf(plan, assignment.maxAttempts);
    const maxDuration = maxDurationOf(plan, assignment);
    const facts = params.facts();
    const attempt = new Attempt({
      input,
      spec,
      plan,
      policy,
      ctx: runContext({
        assignment,
        spec,
        attempt: input.attempt,
        tags: assignment.tags,
        activeBeforeMs: input.activeBeforeMs,
        maxAttempts: policy.maxAttempts,
        maxDuration,
        environment: facts.environment,
        now: new Date(clock.nowMs()),
      }),
      outputBytesMax: facts.outputBytesMax,
      inlineBytesMax: facts.inlineBytesMax,
      large: params.large,
      nowMs: () => clock.nowMs(),
      random: () => clock.random(),
      logError: (message, error) => log.error(message, error),
      sessionId: () => params.facts().sessionId,
      logLine: params.logLine,
      withCredentials: params.withCredentials,
      metadataFor(run) {
        const metadata = new RunMetadata({
          run,
          start: metadataHere.get(assignment)?.current() ?? metadataOf(assignment.metadataJson),
          bytesMax: () => params.facts().metadataBytesMax,
          openWriter: (onSettled) => params.metadataWriter(assignment.runId, input.attempt, onSettled),
        });
        metadataHere.set(assignment, metadata);
        return metadata;
      },
    });
    attempt.start();
    return { attempt, maxDurationMs: msOfSeconds(maxDuration) };
  };
}

/** Seconds of the run's attempts; undefined: no limit. */
export function maxDurationOf(plan: TaskPlan, { maxDurationSeconds }: Assignment): number | undefined {
  return maxDurationSeconds === undefined ? plan.maxDuration : effectiveMaxDuration(maxDurationSeconds);
}

export function msOfSeconds(seconds: number | undefined): number | undefined {
  return seconds === undefined ? undefined : seconds * 1_000;
}

/** Bytes that are no spec are the server's mistake; they must cost one run, not the stream and every run on it. */
export function readSpec(bytes: Uint8Array): RunSpec {
  try {
    return fromBinary(RunSpecSchema, bytes);
  } catch {
    return create(RunSpecSchema);
  }
}

/** The server gives only runs of declared tasks; one of another is its mistake, and fails without harm to the rest. */
function unknownTask({ taskId }: RunSpec): TaskPlan {
  return {
    definition: {
      id: taskId,
      parse: undefined,
      run() {
        throw new AttemptError("TASK_INPUT_ERROR", `This worker has no task "${taskId}"`);
      },
    },
    hooks: hookPlan({}, []),
    policy: resolveRetryPolicy(),
    maxDuration: undefined,
  };
}
