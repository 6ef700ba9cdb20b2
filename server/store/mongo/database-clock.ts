/**
 * The database's clock (design 12): with several servers no other clock decides anything. Its offset to this machine's monotonic clock is
 * asked for every 10 s; the time goes on by the machine's clock and never backwards.
 */
import type { Client } from "./client.js";
import type { MachineClock } from "./context.js";

const REFRESH_MS = 10_000;

export class DatabaseClock {
  readonly #client: Client;
  readonly #machine: MachineClock;
  #offsetMs = 0;
  #lastMs = 0;
  #timer: { cancel(): void } | undefined;
  #isStopped = false;

  constructor(client: Client, machine: MachineClock) {
    this.#client = client;
    this.#machine = machine;
  }

  /** The database's time minus the machine's. */
  get offsetMs(): number {
    return this.#offsetMs;
  }

  nowMs(): number {
    this.#lastMs = Math.max(this.#lastMs, this.#machine.nowMs() + this.#offsetMs);
    return this.#lastMs;
  }

  /** May be repeated, also after it failed. */
  async start(): Promise<void> {
    await this.#refresh();
    if (this.#timer === undefined) this.#arm();
  }

  stop(): void {
    this.#isStopped = true;
    this.#timer?.cancel();
  }

  #arm(): void {
    if (this.#isStopped) return;
    this.#timer = this.#machine.setTimer(REFRESH_MS, () => {
      this.#refresh()
        // An outage is told by the calls that need the store; the old offset holds meanwhile.
        .catch(() => undefined)
        .finally(() => this.#arm());
    });
  }

  /** The answer was made between question and arrival: the middle is off by half the way at most. */
  async #refresh(): Promise<void> {
    const askedMs = this.#machine.nowMs();
    const databaseMs = await this.#client.hello();
    const heardMs = this.#machine.nowMs();
    if (databaseMs !== undefined) this.#offsetMs = databaseMs - (askedMs + heardMs) / 2;
  }
}
