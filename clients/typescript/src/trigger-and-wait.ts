/** Triggers a run and waits for it, inside a task (section 4.4): the waiting run gives up its slot and its place until the other is over. */
import { create } from "@bufbuild/protobuf";
import { call } from "./call.js";
import { callSettings } from "./configuration.js";
import { thrownOf } from "./convert/failure.js";
import { payloadMessage, payloadValue } from "./convert/payload.js";
import { InternalServerError } from "./errors.js";
import type { Payload } from "./gen/hairtrigger/v1/payload_pb.js";
import { type Failure, RunStatus, TriggerFunction, WaitingForSchema } from "./gen/hairtrigger/v1/run_pb.js";
import type { RetrieveRunResponse } from "./gen/hairtrigger/v1/run_service_pb.js";
import type { WaitOutcome } from "./gen/hairtrigger/worker/v1/worker_pb.js";
import { withData } from "./large-data.js";
import type { RequestOptions } from "./request-options.js";
import type { UntypedValue } from "./run.js";
import { currentRun, type RunContext } from "./run-context.js";
import { TaskRunPromise, type TaskRunResult } from "./task-run.js";
import { sendTriggerRequest, type TriggerParams, triggerRequest } from "./trigger.js";

/** @param name of the function that was called, for the error outside of a run (TAW-1). */
export function triggerAndWait<TIdentifier extends string, TOutput>(
  name: string,
  params: TriggerParams<TIdentifier>,
): TaskRunPromise<TIdentifier, TOutput> {
  return new TaskRunPromise<TIdentifier, TOutput>(waitForNew(name, params));
}

/** The run that calls. @throws Error outside of one (TAW-1, WAI-4). */
export function requireRun(name: string): RunContext {
  const run = currentRun();
  if (run === undefined) throw new Error(`${name} can only be used from inside a task.run()`);
  return run;
}

async function waitForNew<TIdentifier extends string>(
  name: string,
  params: TriggerParams<TIdentifier>,
): Promise<TaskRunResult<TIdentifier, UntypedValue>> {
  const run = requireRun(name);
  const { taskId, options, requestOptions } = params;
  const payload = payloadMessage(params.payload, "payload");
  let runId = "";
  // In the turn of the call, so that two calls at once are seen as such.
  return run.wait<TaskRunResult<TIdentifier, UntypedValue>>({
    identity: ["task", taskId, ...identityOf(payload)],
    async begin({ requestId, lease }) {
      if (params.check !== undefined) await params.check(params.payload);
      const request = await triggerRequest({ taskId, payload, options, function: TriggerFunction.TRIGGER_AND_WAIT });
      const sent = { ...request, requestId, awaitingLease: lease };
      const { data } = await sendTriggerRequest(callSettings(requestOptions), sent);
      runId = data.runId;
      if (data.isFinal) return { result: retrieveResult(taskId, runId, requestOptions) };
      return {
        waitingFor: create(WaitingForSchema, { waitpoint: { case: "runId", value: runId } }),
        description: { type: "task", runId },
      };
    },
    finish: (outcome) => outcomeResult(taskId, outcome) ?? retrieveResult(taskId, runId, requestOptions),
  });
}

/** What makes a payload the same again. */
export function identityOf(payload: Payload | undefined): readonly string[] {
  const { data, jsonTypes = "" } = payload ?? {};
  return data?.case === "json" ? [data.value, jsonTypes] : [];
}

/** What runs show of their end, wherever they are shown. */
export interface EndedRun {
  readonly status: RunStatus;
  readonly output?: Payload | undefined;
  readonly error?: Failure | undefined;
}

/** RES-1, RES-5. */
export function taskRunResult<TIdentifier extends string>(
  taskIdentifier: TIdentifier,
  id: string,
  { status, output, error }: EndedRun,
): TaskRunResult<TIdentifier, UntypedValue> {
  if (status === RunStatus.COMPLETED) return { ok: true, id, taskIdentifier, output: payloadValue(output) };
  const thrown = error === undefined ? new Error(`Run ${id} did not complete`) : thrownOf(error);
  return { ok: false, id, taskIdentifier, error: thrown };
}

/** Undefined: it has to be asked for. */
function outcomeResult<TIdentifier extends string>(
  taskIdentifier: TIdentifier,
  outcome: WaitOutcome | undefined,
): TaskRunResult<TIdentifier, UntypedValue> | undefined {
  if (outcome?.outcome.case !== "run") return undefined;
  const { value } = outcome.outcome;
  return taskRunResult(taskIdentifier, value.runId, value);
}

/** What came of a final run. */
export async function retrieveResult<TIdentifier extends string>(
  taskIdentifier: TIdentifier,
  runId: string,
  requestOptions: RequestOptions | undefined,
): Promise<TaskRunResult<TIdentifier, UntypedValue>> {
  return taskRunResult(taskIdentifier, runId, await retrieveEnded(runId, requestOptions));
}

/** A final run with its output, wherever that is kept. */
export async function retrieveEnded(runId: string, requestOptions: RequestOptions | undefined): Promise<EndedRun> {
  const { run }: RetrieveRunResponse = await call(
    requestOptions,
    () => ({ runId }),
    async ({ runs }, request, options) => {
      const answer = await runs.retrieveRun(request, options);
      if (answer.run?.output !== undefined) await withData(answer.run);
      return answer;
    },
  );
  if (run !== undefined) return run;
  throw new InternalServerError({ code: "internal", message: "The answer has no run" });
}
