/**
 * Watching one run: the present state, then the newest after every hint that it changed. A watcher re-reads by itself now and then, so a
 * lost hint costs time and no state (promise 5); states that came and went in between are skipped, never reordered (RUN-26).
 */
import { isFinal } from "../../domain/run-status.js";
import type { RunDetail } from "../../store/store.js";
import type { EngineDeps } from "../engine.js";
import type { WatchHub } from "../watch-hub.js";

/** How long a watcher trusts silence. A read of one run by its id costs about 0.1 ms. */
const REREAD_MS = 5_000;
/** The same where other servers share the store, whose hints may be lost (design 12). */
const REREAD_SHARED_MS = 500;

export interface WatchParams {
  readonly environment: string;
  readonly runId: string;
  readonly stopOnCompletion: boolean;
  readonly signal: AbortSignal;
}

export async function* watchRun(
  deps: EngineDeps,
  hub: WatchHub,
  params: WatchParams,
): AsyncGenerator<RunDetail, void, undefined> {
  const { environment, runId, stopOnCompletion, signal } = params;
  const bell = createBell(deps, signal);
  const unwatch = hub.watch(environment, { kind: "run", runId }, ({ version }) => bell.ring(version));
  let seenVersion = 0;
  try {
    while (!signal.aborted) {
      const detail = await hub.read(environment, runId);
      if (detail.run.version > seenVersion) {
        seenVersion = detail.run.version;
        yield detail;
        if (stopOnCompletion && isFinal(detail.run.status)) return;
      }
      await bell.next(seenVersion);
    }
  } finally {
    unwatch();
    bell.stop();
  }
}

interface Bell {
  ring(version: number): void;
  /** Resolves after a ring for a version above `seen`, after the re-read time, or on abort. */
  next(seen: number): Promise<void>;
  stop(): void;
}

function createBell({ clock, store }: EngineDeps, signal: AbortSignal): Bell {
  const rereadMs = store.shared === undefined ? REREAD_MS : REREAD_SHARED_MS;
  let newest = 0;
  let wake: (() => void) | undefined;
  const onAbort = (): void => wake?.();
  signal.addEventListener("abort", onAbort, { once: true });
  return {
    ring(version) {
      newest = Math.max(newest, version);
      wake?.();
    },
    next(seen) {
      if (newest > seen || signal.aborted) return Promise.resolve();
      return new Promise((resolve) => {
        const timer = clock.setTimer(rereadMs, () => wake?.());
        wake = () => {
          wake = undefined;
          timer.cancel();
          resolve();
        };
      });
    },
    stop() {
      signal.removeEventListener("abort", onAbort);
      wake?.();
    },
  };
}
