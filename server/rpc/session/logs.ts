/** Log lines of runs on their way to the record (LOG-1): merged while a write is under way, bounded, and lost rather than waited for. */
import type { LogLine, OpenedSession } from "../../engine/engine.js";

export interface RunLines {
  readonly runId: string;
  readonly lines: readonly LogLine[];
}

/** Lines that wait; beyond it the newest are dropped. A run keeps its last 200, so 50 busy runs fit. */
const WAITING_MAX = 10_000;

export class Logs {
  #waiting: RunLines[] = [];
  #count = 0;
  #isWriting = false;

  add(session: OpenedSession, entries: readonly RunLines[]): void {
    for (const entry of entries) {
      if (this.#count + entry.lines.length > WAITING_MAX) return;
      this.#waiting.push(entry);
      this.#count += entry.lines.length;
    }
    if (!this.#isWriting && this.#waiting.length > 0) void this.#write(session);
  }

  async #write(session: OpenedSession): Promise<void> {
    this.#isWriting = true;
    while (this.#waiting.length > 0) {
      const entries = this.#waiting;
      this.#waiting = [];
      this.#count = 0;
      try {
        await session.appendLogs(entries);
      } catch {
        // The contract lets a line get lost; what is wrong with the store is told by everything else.
      }
    }
    this.#isWriting = false;
  }
}
