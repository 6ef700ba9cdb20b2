/** `hairtrigger worker <files…>`: a worker in this process. It stops as RUN-7 says when it gets SIGTERM or SIGINT. */
import { type ConnectionOptions, readConnection } from "./environment.js";
import { EXIT } from "./exit-codes.js";
import { print } from "./output.js";
import { loadTaskFiles } from "./task-files.js";

export interface WorkerOptions extends ConnectionOptions {
  readonly concurrency: number;
  /** Seconds. */
  readonly grace: number;
}

/** @returns the exit code, when the worker has stopped. */
export async function worker(files: readonly string[], options: WorkerOptions): Promise<number> {
  const connection = await readConnection(options);
  const { startWorker, modules } = await loadTaskFiles(files);
  const started = await startWorker({
    tasks: modules,
    concurrency: options.concurrency,
    gracePeriodMs: options.grace * 1_000,
    ...connection,
  });
  await started.ready;
  print(`worker ${started.id} ready at ${connection.baseURL}`);
  await started.closed;
  return EXIT.ok;
}
