/**
 * Hooks for every task of this process (HOK-2): `tasks.onStart(…)` and its siblings, in order of registration, before those of the worker
 * configuration and of the tasks. One registered while a worker runs counts from the next attempt on.
 */
import { currentRun } from "./run-context.js";
import type { HookSet } from "./task-hooks.js";

type MutableHooks = { -readonly [K in keyof HookSet]: HookSet[K] };

const registered: HookSet[] = [];

/** All that was registered, in order; its length tells whether something was added. */
export function globalHooks(): readonly HookSet[] {
  return registered;
}

function register<K extends keyof HookSet>(name: K, hook: HookSet[K]): void {
  if (typeof hook !== "function") throw new TypeError(`tasks.${name} takes a function, got ${typeof hook}`);
  const set: MutableHooks = {};
  set[name] = hook;
  registered.push(set);
}

function registrar<K extends keyof HookSet>(name: K): (hook: NonNullable<HookSet[K]>) => void {
  return (hook) => register(name, hook);
}

/** Inside a run it is for this attempt only (HOK-9a). */
function onCancel(hook: NonNullable<HookSet["onCancel"]>): void {
  const run = currentRun();
  if (run === undefined) register("onCancel", hook);
  else run.onCancel(hook);
}

export const hookRegistrars = {
  /** Before the first attempt of every run. A throw fails the attempt. */
  onStart: registrar("onStart"),
  /** Before every attempt. A throw fails the attempt. */
  onStartAttempt: registrar("onStartAttempt"),
  /** After a run function returned. */
  onSuccess: registrar("onSuccess"),
  /** Once, after the last attempt failed. */
  onFailure: registrar("onFailure"),
  /** Once, after `onSuccess` or `onFailure`. */
  onComplete: registrar("onComplete"),
  /** When a run is cancelled while its code is active; called inside a run, for this attempt only. */
  onCancel,
  /** Asked after each failed attempt, if the task's own had no answer, whether and when there is another. */
  catchError: registrar("catchError"),
  /** Alias of `catchError`. */
  handleError: registrar("catchError"),
  /** Around every attempt; the first registered is outermost. It has to call `next()`. */
  middleware: registrar("middleware"),
  /** Before a run waits. */
  onWait: registrar("onWait"),
  /** After a wait, before the code goes on. */
  onResume: registrar("onResume"),
  /** After every attempt, failed ones too. */
  cleanup: registrar("cleanup"),
} as const;
