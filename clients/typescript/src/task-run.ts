/** How an awaited run ended (section 5): a value, whatever happened to the run (TAW-3). */
import { SubtaskUnwrapError } from "./errors.js";

/** @typeParam TOutput of the task. */
export type TaskRunResult<TIdentifier extends string = string, TOutput = unknown> =
  | {
      readonly ok: true;
      readonly id: string;
      readonly taskIdentifier: TIdentifier;
      /** What the task returned. */
      readonly output: TOutput;
    }
  | {
      readonly ok: false;
      readonly id: string;
      readonly taskIdentifier: TIdentifier;
      /**
       * What the task threw, rebuilt: an Error with the name, message and stack of the original, a string, or another JSON value; of a run
       * that was cancelled, expired, timed out or lost, an Error whose `name` is the code.
       */
      readonly error: unknown;
    };

/** A promise of a result that can also give the output alone (RES-3). */
export class TaskRunPromise<TIdentifier extends string = string, TOutput = unknown> extends Promise<
  TaskRunResult<TIdentifier, TOutput>
> {
  /** What `then` makes is an ordinary promise. */
  static override get [Symbol.species](): PromiseConstructor {
    return Promise;
  }

  constructor(result: Promise<TaskRunResult<TIdentifier, TOutput>>) {
    super((resolve, reject) => {
      result.then(resolve, reject);
    });
  }

  /**
   * The output of the run.
   * @throws SubtaskUnwrapError if it did not complete; what triggering it threw, as the promise itself does.
   */
  async unwrap(): Promise<TOutput> {
    const result = await this;
    if (result.ok) return result.output;
    throw new SubtaskUnwrapError(result.taskIdentifier, result.id, result.error);
  }
}
