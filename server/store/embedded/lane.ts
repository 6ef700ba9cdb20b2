/**
 * Calls made in one turn of the event loop go out together, in a microtask. What is sent while the store is at work waits there and
 * becomes its next transaction (thread.ts), so an idle store answers at once, a busy one amortises its fsync over everyone who waits,
 * and the next group is made while the last one is committed.
 */
import type { Outcome } from "./group.js";
import type { Call } from "./verbs.js";

interface Waiting {
  readonly call: Call;
  readonly resolve: (outcome: Outcome) => void;
}

/** Calls of one message: small enough that many callers make several messages, large enough that a commit is shared by them. */
const MESSAGE_MAX = 32;

export class Lane {
  readonly #execute: (calls: readonly Call[]) => Promise<readonly Outcome[]>;
  #waiting: Waiting[] = [];
  readonly #underWay = new Set<Promise<void>>();

  /** @param execute one outcome per call, in order; never rejects. */
  constructor(execute: (calls: readonly Call[]) => Promise<readonly Outcome[]>) {
    this.#execute = execute;
  }

  call(call: Call): Promise<Outcome> {
    return new Promise((resolve) => {
      if (this.#waiting.length === 0) queueMicrotask(() => this.#send());
      this.#waiting.push({ call, resolve });
    });
  }

  /** Resolves once nothing waits and nothing is under way. */
  async drained(): Promise<void> {
    if (this.#waiting.length > 0) await Promise.resolve();
    while (this.#underWay.size > 0) await Promise.all(this.#underWay);
  }

  #send(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (let at = 0; at < waiting.length; at += MESSAGE_MAX) this.#sendGroup(waiting.slice(at, at + MESSAGE_MAX));
  }

  #sendGroup(group: readonly Waiting[]): void {
    const sending = this.#carryOut(group).finally(() => this.#underWay.delete(sending));
    this.#underWay.add(sending);
  }

  async #carryOut(group: readonly Waiting[]): Promise<void> {
    const outcomes = await this.#execute(group.map(({ call }) => call));
    for (const [index, { resolve }] of group.entries()) {
      resolve(outcomes[index] ?? { kind: "failed", error: new Error("the store gave no answer") });
    }
  }
}
