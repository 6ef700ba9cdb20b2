/**
 * Group commit: calls made while nothing is under way go out together in a microtask; those made meanwhile are the next group. One group
 * is under way at a time, so an idle store answers at once and a busy one amortises its fsync over everyone who waits.
 */
import type { Outcome } from "./group.js";
import type { Call } from "./verbs.js";

interface Waiting {
  readonly call: Call;
  readonly resolve: (outcome: Outcome) => void;
}

/** Calls of one group; bounds the time that the first of a group waits for the last. */
const GROUP_MAX = 2_000;

export class Lane {
  readonly #execute: (calls: readonly Call[]) => Promise<readonly Outcome[]>;
  #waiting: Waiting[] = [];
  #isBusy = false;
  #idle: (() => void)[] = [];

  /** @param execute one outcome per call, in order; never rejects. */
  constructor(execute: (calls: readonly Call[]) => Promise<readonly Outcome[]>) {
    this.#execute = execute;
  }

  call(call: Call): Promise<Outcome> {
    return new Promise((resolve) => {
      this.#waiting.push({ call, resolve });
      if (this.#isBusy) return;
      this.#isBusy = true;
      queueMicrotask(() => void this.#run());
    });
  }

  /** Resolves once nothing waits and nothing is under way. */
  async drained(): Promise<void> {
    if (!this.#isBusy) return;
    await new Promise<void>((resolve) => this.#idle.push(resolve));
  }

  async #run(): Promise<void> {
    while (this.#waiting.length > 0) {
      const group = this.#waiting.slice(0, GROUP_MAX);
      this.#waiting = this.#waiting.slice(GROUP_MAX);
      const outcomes = await this.#execute(group.map(({ call }) => call));
      for (const [index, { resolve }] of group.entries()) {
        resolve(outcomes[index] ?? { kind: "failed", error: new Error("the store gave no answer") });
      }
    }
    this.#isBusy = false;
    for (const resolve of this.#idle.splice(0)) resolve();
  }
}
