/**
 * What one worker sends on its way into the record: while one commit is under way, what comes in becomes the next one, so that a worker
 * that sends faster than the disk syncs costs fewer commits, not a longer queue.
 */
import type { OpenedSession } from "../../engine/engine.js";

export interface CommitLaneParams<Entry, Answer> {
  /** Entries of one commit. */
  readonly commitMax: number;
  /** Waiting entries at which the reader stops reading. */
  readonly waitingMax: number;
  /** Resolves when nothing is under way that has to be in the record first. Must not reject. */
  readonly before?: () => Promise<void>;
  /** One answer per entry, in order, once they are durable. */
  readonly commit: (session: OpenedSession, batch: readonly Entry[]) => Promise<readonly Answer[]>;
  readonly onAnswers: (answers: readonly Answer[]) => void;
  /** A commit failed; nothing of it was acknowledged, so the worker sends it again. */
  readonly onError: (error: unknown) => void;
}

export class CommitLane<Entry, Answer> {
  readonly #params: CommitLaneParams<Entry, Answer>;
  #waiting: Entry[] = [];
  #committing: Promise<void> | undefined;
  #hasFailed = false;

  constructor(params: CommitLaneParams<Entry, Answer>) {
    this.#params = params;
  }

  add(session: OpenedSession, entries: readonly Entry[]): void {
    if (entries.length === 0 || this.#hasFailed) return;
    this.#waiting.push(...entries);
    this.#committing ??= this.#commit(session).finally(() => {
      this.#committing = undefined;
    });
  }

  /** Resolves when few enough entries wait that more may be read. */
  async room(): Promise<void> {
    while (this.#waiting.length > this.#params.waitingMax && this.#committing !== undefined) await this.#committing;
  }

  /** Resolves when everything that was added is answered, or has failed. */
  async settled(): Promise<void> {
    while (this.#committing !== undefined) await this.#committing;
  }

  async #commit(session: OpenedSession): Promise<void> {
    const { before, commit, commitMax, onAnswers, onError } = this.#params;
    while (this.#waiting.length > 0 && !this.#hasFailed) {
      if (before !== undefined) await before();
      const batch = this.#waiting.splice(0, commitMax);
      try {
        onAnswers(await commit(session, batch));
      } catch (error) {
        this.#hasFailed = true;
        this.#waiting = [];
        onError(error);
      }
    }
  }
}
