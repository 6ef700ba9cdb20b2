/** The attempt that the calling code belongs to. Workers enter it around user code; everything else only looks. */
import { platform } from "#platform";
import type { WaitingFor } from "./gen/hairtrigger/v1/run_pb.js";
import type { WaitOutcome } from "./gen/hairtrigger/worker/v1/worker_pb.js";
import type { MetadataObject, MetadataOperation } from "./metadata-values.js";
import type { Scope } from "./platform.js";
import type { LogLevel, TaskRunContext, WaitDescription } from "./task-context.js";
import type { HookSet } from "./task-hooks.js";

/** A line on its way to the run's log (LOG-1). */
export interface LogRecord {
  readonly time: Date;
  readonly level: LogLevel;
  readonly message: string;
  /** JSON text of an object; undefined: nothing was logged beside the message. */
  readonly propertiesJson: string | undefined;
}

/** One wait, from the call to its result. */
export interface WaitCall<T> {
  /** Kind and content: the same wait in the same place of code that is executed again re-joins (TAW-10a). */
  readonly identity: readonly string[];
  /**
   * Makes what is waited for, under this request id. What it throws, the wait rejects with, and nothing is waited for (TAW-8).
   * @param lease of the run that waits.
   */
  begin(params: { readonly requestId: string; readonly lease: Uint8Array }): Promise<WaitBegun<T>>;
  /** Turns what came of it into the result. @param outcome undefined: to be asked for. */
  finish(outcome: WaitOutcome | undefined): T | Promise<T>;
}

export type WaitBegun<T> =
  /** There is nothing to wait for. */
  { readonly result: T | Promise<T> } | { readonly waitingFor: WaitingFor; readonly description: WaitDescription };

/** Whose metadata: that of the run itself, its parent, its root; without parent the run is both (MET-7). */
export type MetadataTarget = "self" | "parent" | "root";

/** Metadata as an attempt sees it: the local copy, and what is to be sent. */
export interface RunMetadataAccess {
  /** The local copy. Not to be changed. */
  current(): MetadataObject;
  /** @throws MetadataError for a key that can name nothing. */
  get(key: string): unknown;
  /** Acts on the local copy at once and is sent soon. What makes no sense with what is there is logged and not sent. */
  change(target: MetadataTarget, operation: MetadataOperation): void;
  /** Takes a chunk of a stream, to be sent at once. Resolves when there is room for more. */
  publish(target: MetadataTarget, key: string, valueJson: string): Promise<void>;
  /** Resolves when everything so far is recorded or refused. */
  flush(): Promise<void>;
  /** Takes what is read, with what is changed meanwhile on top. @param read gives JSON text; empty: there is none. */
  refresh(read: () => Promise<string>): Promise<void>;
}

/** An attempt in this process, as seen by the functions that are called inside it. */
export interface RunContext {
  readonly ctx: TaskRunContext;
  /** Aborted when the run is cancelled, times out, is interrupted or is fenced (RUN-6). */
  readonly signal: AbortSignal;
  /** Session of the worker that holds the attempt: with the attempt's number, what calls from inside the run are bound to (RUN-8). */
  readonly sessionId: string;
  /** False once the attempt is over or its worker has given it up: then nothing may be changed in its name (RUN-6). */
  isActive(): boolean;
  /** Calls this too if the run is cancelled while its code is active (HOK-9a). */
  onCancel(hook: NonNullable<HookSet["onCancel"]>): void;
  /** Waits for something (sections 4.4 and 15). A second wait at the same time fails the run (TAW-7); its promise never settles. */
  wait<T>(call: WaitCall<T>): Promise<T>;
  /** Unix milliseconds, by the worker's clock. */
  nowMs(): number;
  /** Takes a line for the run's log. Never throws, never waits. */
  log(line: LogRecord): void;
  /** Tags were added; these are all of them. The next attempt here sees them (TAG-3). */
  tagsChanged(tags: readonly string[]): void;
  readonly metadata: RunMetadataAccess;
}

const scope: Scope<RunContext> = platform.createScope<RunContext>();

/** The attempt that the calling code belongs to, across awaits and timers; undefined outside of one. */
export function currentRun(): RunContext | undefined {
  return scope.get();
}

/** Runs user code of an attempt. */
export function enterRun<R>(context: RunContext, fn: () => R): R {
  return scope.run(context, fn);
}
