/**
 * Reports of one worker on their way into the record: while one commit is under way, what comes in becomes the next one, so that a worker
 * that reports faster than the disk syncs costs fewer commits, not a longer queue.
 */
import type { Acknowledgement } from "#proto/hairtrigger/worker/v1/worker_pb.js";
import type { OpenedSession } from "../../engine/engine.js";
import { acknowledgementOf, type DecodedReport } from "../convert/worker.js";

export interface ReportsParams {
  /** Resolves when nothing is under way that has to be in the record before these reports. */
  readonly before: () => Promise<void>;
  readonly onAnswers: (answers: readonly Acknowledgement[]) => void;
  /** A commit failed; nothing of it was acknowledged, so the worker sends it again. */
  readonly onError: (error: unknown) => void;
}

/** Reports of one commit. */
const COMMIT_MAX = 2_000;
/** Waiting reports at which the reader stops reading. */
const WAITING_MAX = 10_000;

export class Reports {
  readonly #params: ReportsParams;
  #waiting: DecodedReport[] = [];
  #committing: Promise<void> | undefined;
  #hasFailed = false;

  constructor(params: ReportsParams) {
    this.#params = params;
  }

  add(session: OpenedSession, reports: readonly DecodedReport[]): void {
    if (reports.length === 0 || this.#hasFailed) return;
    this.#waiting.push(...reports);
    this.#committing ??= this.#commit(session).finally(() => {
      this.#committing = undefined;
    });
  }

  /** Resolves when few enough reports wait that more may be read. */
  async room(): Promise<void> {
    while (this.#waiting.length > WAITING_MAX && this.#committing !== undefined) await this.#committing;
  }

  /** Resolves when everything that was added is answered, or has failed. */
  async settled(): Promise<void> {
    while (this.#committing !== undefined) await this.#committing;
  }

  async #commit(session: OpenedSession): Promise<void> {
    while (this.#waiting.length > 0 && !this.#hasFailed) {
      await this.#params.before();
      const batch = this.#waiting.splice(0, COMMIT_MAX);
      try {
        this.#params.onAnswers(await answersFor(session, batch));
      } catch (error) {
        this.#hasFailed = true;
        this.#waiting = [];
        this.#params.onError(error);
      }
    }
  }
}

async function answersFor(
  session: OpenedSession,
  batch: readonly DecodedReport[],
): Promise<readonly Acknowledgement[]> {
  const known = batch.flatMap(({ report }) => report ?? []);
  const instructions = known.length === 0 ? [] : await session.report(known);
  let next = 0;
  return batch.map(({ lease, report }) => {
    const instruction = report === undefined ? undefined : instructions[next++];
    return acknowledgementOf(lease, instruction ?? { kind: "lost" });
  });
}
