/** A database in memory, in the caller's thread: the same verbs and groups, in a determined order. */
import type { Backend } from "./embedded-store.js";
import type { Outcome } from "./group.js";
import type { Call } from "./verbs.js";
import { type Opened, Writer } from "./writer.js";

export class MemoryBackend implements Backend {
  readonly #writer = new Writer(":memory:");

  async start(): Promise<Opened> {
    return this.#writer.open();
  }

  async stop(): Promise<void> {
    this.#writer.close();
  }

  async write(calls: readonly Call[]): Promise<readonly Outcome[]> {
    return this.#writer.execute(calls);
  }

  async read(calls: readonly Call[]): Promise<readonly Outcome[]> {
    return this.#writer.read(calls);
  }

  async checkSpace(): Promise<undefined> {
    return undefined;
  }

  async query(sql: string): Promise<readonly unknown[]> {
    return this.#writer.query(sql);
  }
}
