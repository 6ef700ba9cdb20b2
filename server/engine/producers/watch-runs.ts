/**
 * Watching the runs that have all of some tags, or belong to a batch (RUN-24): first those that exist, oldest first, then new ones and every
 * change, without end.
 *
 * A watcher remembers which runs changed, not how: what it shows is read when the reader is ready for it, so states that came and went are
 * skipped and a slow reader costs no memory (RUN-26). If more runs change than it remembers, it reads again what changed since then. Where
 * servers share the store and a hint may be lost, it also looks by itself, ever more rarely while nothing happens.
 */
import { batchNotFound, isAppError } from "../../domain/error.js";
import type { RunState } from "../../domain/run.js";
import type { RunCursor, RunDetail, RunFilter } from "../../store/store.js";
import type { Timer } from "../clock.js";
import type { EngineDeps, WatchRunsParams } from "../engine.js";
import { hasAll, type Watched, type WatchHub } from "../watch-hub.js";

/** Runs that changed and were not shown yet: 100 bytes each. */
const WAITING_MAX = 200;
/** Runs whose shown version is remembered, so that none of them is shown twice for one change; others may be, which harms nobody. */
const SHOWN_MAX = 200;
/** Runs of one read of what exists. */
const PAGE = 50;
/** How soon a lost hint is found where servers share the store, and how rarely a quiet watcher looks at last. */
const LOOK_MS = 500;
const LOOK_MAX_MS = 5_000;
/** Clocks of servers, and commits under way, may differ by less than this. */
const OVERLAP_MS = 5_000;

export async function* watchRuns(
  deps: EngineDeps,
  hub: WatchHub,
  params: WatchRunsParams,
): AsyncGenerator<RunDetail, void, undefined> {
  const { environment, watched, signal } = params;
  if (watched.kind === "batch") await requireBatch(deps, environment, watched.batchId);
  const fromMs = watched.kind === "batch" ? 0 : params.createdFromMs;
  const inbox = createInbox(deps, signal);
  const unwatch = hub.watch(environment, watched, ({ runId, version }) => inbox.put(runId, version));
  const shown = createShown();
  const filter = filterOf(watched);
  const show = async (runId: string): Promise<RunDetail | undefined> => {
    const detail = await hub.read(environment, runId).catch((error: unknown) => {
      if (isAppError(error) && error.reason === "RUN_NOT_FOUND") return undefined;
      throw error;
    });
    if (detail === undefined || !matches(detail.run, watched, fromMs) || !shown.isNews(detail.run)) return undefined;
    return detail;
  };
  try {
    for await (const run of existing(deps, { environment, filter, fromMs, signal })) {
      if (signal.aborted) return;
      const detail = await show(run.id);
      if (detail !== undefined) yield detail;
    }
    while (!signal.aborted) {
      const next = await inbox.next();
      if (next.kind === "runs") {
        for (const runId of next.runIds) {
          const detail = await show(runId);
          if (detail !== undefined) yield detail;
        }
      } else if (next.kind === "look") {
        const since = { ...filter, updatedFromMs: next.sinceMs };
        for await (const run of existing(deps, { environment, filter: since, fromMs, signal })) {
          const detail = shown.isKnown(run) ? undefined : await show(run.id);
          if (detail === undefined) continue;
          inbox.isBusy();
          yield detail;
        }
      }
    }
  } finally {
    unwatch();
    inbox.stop();
  }
}

/** @throws AppError BATCH_NOT_FOUND */
async function requireBatch({ store }: EngineDeps, environment: string, batchId: string): Promise<void> {
  const [batch] = await store.readBatches([{ environment, batchId }]);
  if (batch === undefined) throw batchNotFound(batchId);
}

function filterOf(watched: Watched): RunFilter {
  switch (watched.kind) {
    case "tags":
      return { allTags: watched.tags };
    case "batch":
      return { batchId: watched.batchId };
    case "run":
      return {};
  }
}

function matches(run: RunState, watched: Watched, fromMs: number): boolean {
  if (run.createdAtMs < fromMs) return false;
  switch (watched.kind) {
    case "tags":
      return hasAll(run.tags, watched.tags);
    case "batch":
      return run.batchId === watched.batchId;
    case "run":
      return run.id === watched.runId;
  }
}

/** Oldest first, so that runs that are made meanwhile come last. */
async function* existing(
  { store }: EngineDeps,
  query: {
    readonly environment: string;
    readonly filter: RunFilter;
    readonly fromMs: number;
    readonly signal: AbortSignal;
  },
): AsyncGenerator<RunState, void, undefined> {
  const { environment, fromMs, signal } = query;
  const filter = { ...query.filter, ...(fromMs > 0 ? { fromMs } : {}) };
  let before: RunCursor = { createdAtMs: 0, runId: "" };
  for (let hasNewer = true; hasNewer && !signal.aborted; ) {
    const page = await store.listRuns({ environment, filter, limit: PAGE, before });
    yield* page.runs.toReversed();
    const [newest] = page.runs;
    hasNewer = page.hasNewer && newest !== undefined;
    if (newest !== undefined) before = { createdAtMs: newest.createdAtMs, runId: newest.id };
  }
}

/** Versions that were shown, of the runs that were shown last. */
function createShown() {
  const versions = new Map<string, number>();
  const isKnown = ({ id, version }: RunState): boolean => (versions.get(id) ?? 0) >= version;
  return {
    isKnown,
    /** Whether the state is newer than what was shown of the run; it is then shown. */
    isNews(run: RunState): boolean {
      if (isKnown(run)) return false;
      versions.delete(run.id);
      versions.set(run.id, run.version);
      const [oldest] = versions.size > SHOWN_MAX ? versions.keys() : [];
      if (oldest !== undefined) versions.delete(oldest);
      return true;
    },
  };
}

type Next =
  | { readonly kind: "runs"; readonly runIds: readonly string[] }
  /** Look at what changed since then. */
  | { readonly kind: "look"; readonly sinceMs: number }
  | { readonly kind: "ended" };

interface Inbox {
  put(runId: string, version: number): void;
  next(): Promise<Next>;
  /** A look has found something: hints are being lost. */
  isBusy(): void;
  stop(): void;
}

function createInbox({ clock, store }: EngineDeps, signal: AbortSignal): Inbox {
  const waiting = new Set<string>();
  let overflowedMs: number | undefined;
  let lookedMs = clock.nowMs();
  let pauseMs = LOOK_MS;
  let wake: (() => void) | undefined;
  let timer: Timer | undefined;
  const ring = (): void => wake?.();
  signal.addEventListener("abort", ring, { once: true });

  function take(): Next | undefined {
    if (signal.aborted) return { kind: "ended" };
    if (waiting.size > 0) {
      const runIds = [...waiting];
      waiting.clear();
      return { kind: "runs", runIds };
    }
    const nowMs = clock.nowMs();
    const isDue = store.shared !== undefined && nowMs >= lookedMs + pauseMs;
    if (overflowedMs === undefined && !isDue) return undefined;
    const sinceMs = Math.min(overflowedMs ?? lookedMs, lookedMs) - OVERLAP_MS;
    overflowedMs = undefined;
    lookedMs = nowMs;
    pauseMs = Math.min(pauseMs * 2, LOOK_MAX_MS);
    return { kind: "look", sinceMs };
  }

  return {
    put(runId) {
      if (waiting.size < WAITING_MAX || waiting.has(runId)) waiting.add(runId);
      else overflowedMs ??= clock.nowMs();
      ring();
    },
    async next() {
      for (;;) {
        const next = take();
        if (next !== undefined) return next;
        await new Promise<void>((resolve) => {
          wake = resolve;
          if (store.shared !== undefined) timer = clock.setTimer(lookedMs + pauseMs - clock.nowMs(), resolve);
        });
        timer?.cancel();
        wake = undefined;
      }
    },
    isBusy() {
      pauseMs = LOOK_MS;
    },
    stop() {
      signal.removeEventListener("abort", ring);
      timer?.cancel();
      ring();
    },
  };
}
