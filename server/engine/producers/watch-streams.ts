/**
 * Watching one run and what it publishes (RUN-27). Like watch.ts, but every hint is a reason to look, since chunks do not change the run: the
 * run is read first and the chunks after it, so that with the final state all chunks are known, and they are shown before it.
 */
import { isFinal } from "../../domain/run-status.js";
import type { StreamChunk } from "../../domain/run-streams.js";
import type { RunDetail } from "../../store/store.js";
import type { EngineDeps, WatchStreamsParams } from "../engine.js";
import type { WatchHub } from "../watch-hub.js";

/** As in watch.ts. */
const REREAD_MS = 5_000;
const REREAD_SHARED_MS = 500;
/** Chunks, and bytes of them, in one message. */
const PAGE = 200;
const PAGE_BYTES = 1_024 * 1_024;

export async function* watchRunWithStreams(
  deps: EngineDeps,
  hub: WatchHub,
  params: WatchStreamsParams,
): AsyncGenerator<RunDetail | readonly StreamChunk[], void, undefined> {
  const { environment, runId, stopOnCompletion, signal } = params;
  const hint = createHint(deps, signal);
  const unwatch = hub.watch(environment, { kind: "run", runId }, () => hint.give());
  let seenVersion = 0;
  let after = params.afterChunk;
  try {
    while (!signal.aborted) {
      hint.isGiven = false;
      const detail = await hub.read(environment, runId);
      const isNews = detail.run.version > seenVersion;
      const isEnd = isNews && isFinal(detail.run.status);
      if (isNews && !isEnd) yield detail;
      for (;;) {
        const query = { environment, runId, after, limit: PAGE, bytesMax: PAGE_BYTES };
        const chunks = await deps.store.readStream(query);
        const last = chunks.at(-1);
        if (last === undefined || signal.aborted) break;
        after = last.position;
        yield chunks;
      }
      if (isEnd) yield detail;
      seenVersion = Math.max(seenVersion, detail.run.version);
      if (isFinal(detail.run.status) && stopOnCompletion) return;
      await hint.next();
    }
  } finally {
    unwatch();
    hint.stop();
  }
}

function createHint({ clock, store }: EngineDeps, signal: AbortSignal) {
  const rereadMs = store.shared === undefined ? REREAD_MS : REREAD_SHARED_MS;
  let wake: (() => void) | undefined;
  const ring = (): void => wake?.();
  signal.addEventListener("abort", ring, { once: true });
  const hint = {
    /** One came since this was set to false. */
    isGiven: false,
    give(): void {
      hint.isGiven = true;
      ring();
    },
    /** Resolves when one has come, after the re-read time, or on abort. */
    next(): Promise<void> {
      if (hint.isGiven || signal.aborted) return Promise.resolve();
      return new Promise((resolve) => {
        const timer = clock.setTimer(rereadMs, ring);
        wake = () => {
          wake = undefined;
          timer.cancel();
          resolve();
        };
      });
    },
    stop(): void {
      signal.removeEventListener("abort", ring);
      ring();
    },
  };
  return hint;
}
