/** What an awaited batch resolves to. */
import type { AnyTask, TaskIdentifier, TaskOutput } from "./task.js";
import type { TaskRunResult } from "./task-run.js";

/** How the runs of a batch ended, in the order of its items; iterable over them (BT-3, BT-4). */
export interface BatchResult<TRuns extends readonly TaskRunResult[] = readonly TaskRunResult[]>
  extends Iterable<TRuns[number]> {
  /** `batch_` and 26 lower-case base32 characters. */
  readonly id: string;
  readonly runs: TRuns;
}

/** How a run of `typeof myTask` ended; of a union of tasks, the union of their results. */
export type TaskRunResultOf<T extends AnyTask> = T extends AnyTask
  ? TaskRunResult<TaskIdentifier<T>, TaskOutput<T>>
  : never;

/** The results of a list of tasks, position by position. */
export type TaskRunResultsOf<T extends readonly AnyTask[]> = { readonly [K in keyof T]: TaskRunResultOf<T[K]> };
