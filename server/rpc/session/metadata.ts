/**
 * Changes of metadata of one worker on their way into the record: while one commit is under way, what comes in becomes the next one. A
 * report waits for what was sent before it, so that a run is not over before its last changes.
 */
import type { MetadataAcknowledgement } from "#proto/hairtrigger/worker/v1/worker_pb.js";
import type { MetadataReport, OpenedSession } from "../../engine/engine.js";
import { metadataAcknowledgementOf } from "../convert/metadata.js";

export interface MetadataLaneParams {
  readonly onAnswers: (answers: readonly MetadataAcknowledgement[]) => void;
  /** A commit failed; nothing of it was acknowledged, so the worker sends it again. */
  readonly onError: (error: unknown) => void;
}

/** Reports of one commit. */
const COMMIT_MAX = 500;
/** Waiting reports at which the reader stops reading. */
const WAITING_MAX = 2_000;

export class MetadataLane {
  readonly #params: MetadataLaneParams;
  #waiting: MetadataReport[] = [];
  #committing: Promise<void> | undefined;
  #hasFailed = false;

  constructor(params: MetadataLaneParams) {
    this.#params = params;
  }

  add(session: OpenedSession, reports: readonly MetadataReport[]): void {
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
      const batch = this.#waiting.splice(0, COMMIT_MAX);
      try {
        const errors = await session.changeMetadata(batch);
        this.#params.onAnswers(batch.map((report, index) => metadataAcknowledgementOf(report, errors[index])));
      } catch (error) {
        this.#hasFailed = true;
        this.#waiting = [];
        this.#params.onError(error);
      }
    }
  }
}
