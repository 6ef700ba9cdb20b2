/**
 * The metadata of a run as one attempt sees it (MET-3): what the record said, with everything that was changed here on top. What is acknowledged
 * becomes part of the lower layer, by the rules of the server where it refused some of it, so that both sides go on alike.
 */
import type { ApiError } from "../../errors.js";
import { logger } from "../../logger.js";
import {
  applyEach,
  applyOperation,
  MetadataError,
  type MetadataObject,
  type MetadataOperation,
  objectOf,
  valueAt,
} from "../../metadata-values.js";
import { enterRun, type MetadataTarget, type RunContext, type RunMetadataAccess } from "../../run-context.js";
import type { MetadataWriter, OnSettled, TargetedOperation } from "../session/metadata-ledger.js";

export interface RunMetadataParams {
  readonly run: RunContext;
  /** As the attempt before it in this worker left it, or as the server sent it. */
  readonly start: MetadataObject;
  readonly bytesMax: () => number;
  readonly openWriter: (onSettled: OnSettled) => MetadataWriter;
}

/** Changes and chunks without an answer at which a stream waits before it reads on. */
const STREAM_AHEAD = 500;

export class RunMetadata implements RunMetadataAccess {
  readonly #params: RunMetadataParams;
  readonly #writer: MetadataWriter;
  /** Without what is pending. */
  #base: MetadataObject;
  /** With it. */
  #present: MetadataObject;
  #refreshing: Promise<void> | undefined;

  constructor(params: RunMetadataParams) {
    this.#params = params;
    this.#base = params.start;
    this.#present = params.start;
    this.#writer = params.openWriter((settled, refusal) => this.#settled(settled, refusal));
  }

  current(): MetadataObject {
    return this.#present;
  }

  get(key: string): unknown {
    return valueAt(this.#present, key);
  }

  change(target: MetadataTarget, operation: MetadataOperation): void {
    const change: TargetedOperation = { target: this.#targetOf(target), operation };
    let after = this.#present;
    if (change.target === "self") {
      try {
        after = applyOperation(after, operation);
      } catch (error) {
        if (!(error instanceof MetadataError)) throw error;
        this.#log(error.message);
        return;
      }
    }
    if (this.#writer.add(change)) this.#present = after;
    else this.#log("More changes wait for the server than can be kept");
  }

  async publish(target: MetadataTarget, key: string, valueJson: string): Promise<void> {
    const change: TargetedOperation = {
      target: this.#targetOf(target),
      operation: { kind: "publish", key, valueJson },
    };
    if (!this.#writer.add(change)) this.#log("More changes wait for the server than can be kept");
    else if (this.#writer.pending.length >= STREAM_AHEAD) await this.#writer.flush();
    else this.#writer.send();
  }

  flush(): Promise<void> {
    return this.#writer.flush();
  }

  refresh(read: () => Promise<string>): Promise<void> {
    this.#refreshing ??= this.#refresh(read).finally(() => {
      this.#refreshing = undefined;
    });
    return this.#refreshing;
  }

  /** While it is read, nothing is sent: whether it would be in what comes back could not be told. */
  async #refresh(read: () => Promise<string>): Promise<void> {
    await this.#writer.flush();
    this.#writer.hold(true);
    try {
      const json = await read();
      this.#base = metadataOf(json);
      this.#present = applyEach(this.#base, ownOf(this.#writer.pending), Number.POSITIVE_INFINITY);
    } finally {
      this.#writer.hold(false);
    }
  }

  #settled(settled: readonly TargetedOperation[], refusal: ApiError | undefined): void {
    const pending = ownOf(this.#writer.pending);
    if (refusal === undefined && pending.length === 0) {
      this.#base = this.#present;
      return;
    }
    const bytesMax = refusal === undefined ? Number.POSITIVE_INFINITY : this.#params.bytesMax();
    this.#base = applyEach(this.#base, ownOf(settled), bytesMax);
    if (refusal === undefined) return;
    this.#present = applyEach(this.#base, pending, Number.POSITIVE_INFINITY);
    // Of an attempt that is over, nothing was refused that anybody still counts on.
    if (refusal.reason !== "STALE_LEASE") this.#log(refusal.message);
  }

  /** A run without parent is its own parent and root (MET-7). */
  #targetOf(target: MetadataTarget): MetadataTarget {
    const { parentTaskRunId, rootTaskRunId, id } = this.#params.run.ctx.run;
    switch (target) {
      case "self":
        return "self";
      case "parent":
        return parentTaskRunId === undefined ? "self" : "parent";
      case "root":
        return rootTaskRunId === undefined || rootTaskRunId === id ? "self" : "root";
    }
  }

  /** To the run's log; the run goes on (MET-2, MET-11). */
  #log(message: string): void {
    enterRun(this.#params.run, () => logger.error(`Metadata was not changed: ${message}`));
  }
}

function ownOf(changes: readonly TargetedOperation[]): readonly MetadataOperation[] {
  return changes.flatMap(({ target, operation }) =>
    target !== "self" || operation.kind === "publish" ? [] : [operation],
  );
}

/** Of what the server sent; empty: none was ever set. */
export function metadataOf(json: string): MetadataObject {
  return json === "" ? {} : objectOf(json);
}
