/**
 * Exceptions and rejections that nobody caught (§12.3). Node says in which asynchronous context they came up, so one that belongs to a run
 * fails that run; any other is logged, and fails none. Without this one forgotten `await` would end the process with every run in it.
 */
import { currentRun } from "../run-context.js";
import { Attempt } from "./attempt/attempt.js";
import type { WorkerLog } from "./worker-log.js";

/** Finds what the present asynchronous context belongs to; true if that took the error. */
export type ErrorTaker = (error: unknown) => boolean;

interface Installed {
  readonly take: ErrorTaker;
  readonly log: WorkerLog;
}

const installed = new Set<Installed>();

function onUncaught(kind: string, error: unknown): void {
  for (const { take } of installed) if (take(error)) return;
  for (const { log } of installed) {
    log.error(`${kind} that belongs to no run; the worker goes on:`, error);
    return;
  }
}

const onException = (error: unknown): void => onUncaught("Uncaught exception", error);
const onRejection = (error: unknown): void => onUncaught("Unhandled rejection", error);

/** From now on uncaught errors are shown to `take`; the handlers of the process are shared by all workers in it. Returns what undoes it. */
export function takeUncaught(take: ErrorTaker, log: WorkerLog): () => void {
  const entry: Installed = { take, log };
  if (installed.size === 0) {
    process.on("uncaughtException", onException);
    process.on("unhandledRejection", onRejection);
  }
  installed.add(entry);
  return () => {
    if (!installed.delete(entry) || installed.size > 0) return;
    process.off("uncaughtException", onException);
    process.off("unhandledRejection", onRejection);
  };
}

/** From now on an uncaught error fails the attempt that it belongs to. Returns what undoes it. */
export function takeRunErrors(log: WorkerLog): () => void {
  return takeUncaught((error) => {
    const run = currentRun();
    if (!(run instanceof Attempt)) return false;
    if (!run.failUncaught(error)) log.error(`Uncaught error of run ${run.ctx.run.id} after its outcome:`, error);
    return true;
  }, log);
}
