/**
 * SIGTERM and SIGINT (WRK-2): the first stops every worker of the process in an orderly way, then the process ends; a second one ends it at
 * once. The handlers exist while some worker wants them.
 */
import { constants } from "node:os";
import type { WorkerLog } from "./worker-log.js";

type Signal = "SIGTERM" | "SIGINT";

interface Stoppable {
  stop(): Promise<void>;
}

const workers = new Map<Stoppable, WorkerLog>();
let isStopping = false;

function onSignal(signal: Signal): void {
  if (isStopping) process.exit(128 + constants.signals[signal]);
  isStopping = true;
  for (const log of workers.values())
    log.info(`${signal}: finishing what runs; a second signal ends the process at once`);
  const stopped = [...workers.keys()].map((worker) => worker.stop());
  void Promise.allSettled(stopped).then(() => process.exit(0));
}

/** Returns what undoes it. While a signal is being handled the handlers stay, so that a second signal is still heard. */
export function stopOnSignals(worker: Stoppable, log: WorkerLog): () => void {
  if (workers.size === 0) {
    process.on("SIGTERM", onSignal);
    process.on("SIGINT", onSignal);
  }
  workers.set(worker, log);
  return () => {
    if (!workers.delete(worker) || workers.size > 0 || isStopping) return;
    process.off("SIGTERM", onSignal);
    process.off("SIGINT", onSignal);
  };
}
