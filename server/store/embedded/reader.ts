/** A read-only connection: retrieve and list do not wait for the writer, and see every write that was acknowledged before them. */
import { openForReading } from "./connection.js";
import type { Context } from "./context.js";
import { type Outcome, runReads } from "./group.js";
import type { Call } from "./verbs.js";

export class Reader {
  readonly #location: string;
  #context: Context | undefined;

  constructor(location: string) {
    this.#location = location;
  }

  execute(calls: readonly Call[]): readonly Outcome[] {
    try {
      this.#context ??= openForReading(this.#location);
    } catch (error) {
      return calls.map(() => ({ kind: "unavailable", error }));
    }
    const outcomes = runReads(this.#context, calls);
    if (outcomes.some(({ kind }) => kind === "unavailable")) this.close();
    return outcomes;
  }

  close(): void {
    const context = this.#context;
    this.#context = undefined;
    context?.db.close();
  }
}
