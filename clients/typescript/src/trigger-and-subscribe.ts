/** Triggers a run inside a task and follows it while the caller goes on executing, with its slot (TAW-12). */
import { AbortError } from "./errors.js";
import type { UntypedValue } from "./run.js";
import { runs } from "./runs.js";
import { TaskRunPromise, type TaskRunResult } from "./task-run.js";
import { type TriggerParams, triggerTask } from "./trigger.js";
import { requireRun, retrieveResult } from "./trigger-and-wait.js";
import type { TriggerAndSubscribeOptions } from "./trigger-options.js";

interface Params<TIdentifier extends string> extends TriggerParams<TIdentifier> {
  readonly options: TriggerAndSubscribeOptions | undefined;
}

/** @param name of the function that was called, for the error outside of a run (TAW-1). */
export function triggerAndSubscribe<TIdentifier extends string, TOutput>(
  name: string,
  params: Params<TIdentifier>,
): TaskRunPromise<TIdentifier, TOutput> {
  return new TaskRunPromise<TIdentifier, TOutput>(followNew(name, params));
}

async function followNew<TIdentifier extends string>(
  name: string,
  params: Params<TIdentifier>,
): Promise<TaskRunResult<TIdentifier, UntypedValue>> {
  requireRun(name);
  const { taskId, requestOptions } = params;
  const { signal, cancelOnAbort = true, ...options } = params.options ?? {};
  if (signal?.aborted === true) throw new AbortError("The waiting was aborted", { cause: signal.reason });
  const { id } = await triggerTask({ ...params, options });
  try {
    const states = runs.subscribeToRun(id, signal === undefined ? {} : { signal }, requestOptions);
    for await (const { isCompleted } of states) if (isCompleted) break;
  } catch (error) {
    if (cancelOnAbort && error instanceof AbortError) await runs.cancel(id, {}, requestOptions);
    throw error;
  }
  return retrieveResult(taskId, id, requestOptions);
}
