/**
 * Who watches what, on this server: one ear for the signals, and a look-up by run, tag and batch, so that a watcher costs nothing while
 * what it watches rests, however busy the others are. Reads of one run by many watchers at once are one read.
 */
import type { Signal } from "../signals/signals.js";
import type { RunDetail } from "../store/store.js";
import type { EngineDeps } from "./engine.js";
import { retrieveRun } from "./producers/retrieve.js";

/** What is watched: one run, the runs that have all of these tags, or those that a batch made. */
export type Watched =
  | { readonly kind: "run"; readonly runId: string }
  | { readonly kind: "tags"; readonly tags: readonly string[] }
  | { readonly kind: "batch"; readonly batchId: string };

export type Changed = Extract<Signal, { readonly kind: "changed" }>;

export interface WatchHub {
  /** Calls `onChange` for every change that is heard of, until the returned function is called. */
  watch(environment: string, watched: Watched, onChange: (changed: Changed) => void): () => void;
  /**
   * The run, at least as new as every change that was heard of before the call. @throws AppError RUN_NOT_FOUND.
   */
  read(environment: string, runId: string): Promise<RunDetail>;
  stop(): void;
}

interface Ear {
  readonly watched: Watched;
  readonly onChange: (changed: Changed) => void;
}

export function createWatchHub(deps: EngineDeps): WatchHub {
  const ears = new Map<string, Set<Ear>>();
  const reads = new Map<string, Promise<RunDetail>>();

  const tell = (name: string, changed: Changed): void => {
    for (const ear of ears.get(name) ?? []) {
      if (ear.watched.kind !== "tags" || hasAll(changed.tags ?? [], ear.watched.tags)) ear.onChange(changed);
    }
  };
  const unsubscribe = deps.signals.subscribe((signal) => {
    if (signal.kind !== "changed" || ears.size === 0) return;
    const { environment, runId, tags = [], batchId } = signal;
    // Whoever reads from now on must not get what was read before the change.
    reads.delete(nameOf(environment, "run", runId));
    tell(nameOf(environment, "run", runId), signal);
    for (const tag of tags) tell(nameOf(environment, "tag", tag), signal);
    if (batchId !== undefined) tell(nameOf(environment, "batch", batchId), signal);
  });

  return {
    watch(environment, watched, onChange) {
      const name = earName(environment, watched);
      const ear: Ear = { watched, onChange };
      const set = ears.get(name) ?? new Set();
      ears.set(name, set.add(ear));
      return () => {
        set.delete(ear);
        if (set.size === 0 && ears.get(name) === set) ears.delete(name);
      };
    },
    read(environment, runId) {
      const name = nameOf(environment, "run", runId);
      const under = reads.get(name);
      if (under !== undefined) return under;
      const reading = retrieveRun(deps, environment, runId).finally(() => {
        if (reads.get(name) === reading) reads.delete(name);
      });
      reads.set(name, reading);
      return reading;
    },
    stop: unsubscribe,
  };
}

/** Whoever watches several tags listens to the first: a run that has all has that one. */
function earName(environment: string, watched: Watched): string {
  switch (watched.kind) {
    case "run":
      return nameOf(environment, "run", watched.runId);
    case "tags":
      return nameOf(environment, "tag", watched.tags[0] ?? "");
    case "batch":
      return nameOf(environment, "batch", watched.batchId);
  }
}

function nameOf(environment: string, kind: string, id: string): string {
  return `${environment}/${kind}/${id}`;
}

export function hasAll(tags: readonly string[], wanted: readonly string[]): boolean {
  return wanted.every((tag) => tags.includes(tag));
}
