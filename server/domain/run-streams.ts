/** What runs publish beside their metadata (MET-4, RUN-27): chunks of named streams, all chunks of a run in one order. */
import type { RunState } from "./run.js";
import type { AttemptRef } from "./run-change.js";
import { utf8Bytes } from "./text.js";

/** RUN-27: how long chunks are kept after their run finished. */
export const STREAMS_KEPT_MS = 24 * 3_600_000;

export interface PublishedChunk {
  /** Of its source, rising. */
  readonly sequence: number;
  readonly key: string;
  /** JSON text. */
  readonly json: string;
}

/** As it is kept and shown. */
export interface StreamChunk {
  /** Among all chunks of the run, from 1, without gaps. */
  readonly position: number;
  readonly key: string;
  readonly json: string;
}

/** Of one run. */
export interface StreamTotals {
  readonly chunks: number;
  readonly bytes: number;
}

export interface StreamBounds {
  readonly chunkBytesMax: number;
  readonly chunksMax: number;
  readonly bytesMax: number;
}

export type StreamRefusal =
  | { readonly reason: "unknown" | "final" | "stale" }
  /** `message`: what was got and what is allowed. */
  | { readonly reason: "tooLarge"; readonly message: string };

export interface PublishParams {
  readonly chunks: readonly PublishedChunk[];
  /** Chunks of the source up to this number are there. */
  readonly appliedUpTo: number;
  /** Of the run itself; undefined: another run publishes for it. */
  readonly attempt: AttemptRef | undefined;
  readonly bounds: StreamBounds;
}

export interface Publication {
  /** What is to be added. */
  readonly added: readonly PublishedChunk[];
  readonly totals: StreamTotals;
  /** The last refusal. */
  readonly refusal: StreamRefusal | undefined;
}

/** What of the chunks a run takes: of a live one those that are new and fit. */
export function publish(run: RunState, totals: StreamTotals, params: PublishParams): Publication {
  const { chunks, appliedUpTo, attempt, bounds } = params;
  const fresh = chunks.filter(({ sequence }) => sequence > appliedUpTo);
  const none = (refusal?: StreamRefusal): Publication => ({ added: [], totals, refusal });
  if (fresh.length === 0) return none();
  if (attempt !== undefined && (attempt.sessionId !== run.sessionId || attempt.number !== run.attempt)) {
    return none({ reason: "stale" });
  }
  if (run.finishedAtMs !== undefined) return none({ reason: "final" });
  const added: PublishedChunk[] = [];
  let { bytes } = totals;
  let refusal: StreamRefusal | undefined;
  for (const chunk of fresh) {
    const size = utf8Bytes(chunk.json);
    const message = tooLarge({ size, bytes, chunks: totals.chunks + added.length, bounds });
    if (message !== undefined) {
      refusal = { reason: "tooLarge", message };
      continue;
    }
    bytes += size;
    added.push(chunk);
  }
  return { added, totals: { chunks: totals.chunks + added.length, bytes }, refusal };
}

function tooLarge(params: {
  readonly size: number;
  readonly bytes: number;
  readonly chunks: number;
  readonly bounds: StreamBounds;
}): string | undefined {
  const { size, bytes, chunks, bounds } = params;
  if (size > bounds.chunkBytesMax) {
    return `A stream chunk of ${size} bytes exceeds the maximum of ${bounds.chunkBytesMax} bytes`;
  }
  if (chunks >= bounds.chunksMax) return `The streams of a run have at most ${bounds.chunksMax} chunks`;
  if (bytes + size > bounds.bytesMax) return `The streams of a run have at most ${bounds.bytesMax} bytes`;
  return undefined;
}

/** When to look again whether the chunks of a run can go: its end plus {@link STREAMS_KEPT_MS}; while it lives, as late. */
export function streamsUntilMs(run: RunState | undefined, nowMs: number): number {
  if (run === undefined) return nowMs;
  return (run.finishedAtMs ?? nowMs) + STREAMS_KEPT_MS;
}
