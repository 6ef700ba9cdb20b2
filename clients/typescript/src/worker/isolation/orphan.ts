/** A task process never outlives its worker. */
import { Worker } from "node:worker_threads";

/** Often enough that nobody notices a busy loop without a worker, seldom enough that an idle process costs nothing. */
const LOOK_MS = 1_000;

/** Of a thread, because the event loop of the process may be blocked for ever. It looks whether the parent is still the same. */
const watch = (workerPid: number): string => `
const parent = ${workerPid};
const sleep = new Int32Array(new SharedArrayBuffer(4));
const isGone = () => {
  if (process.ppid !== parent) return true;
  try { process.kill(parent, 0); return false; } catch (error) { return error.code === "ESRCH"; }
};
for (;;) {
  Atomics.wait(sleep, 0, 0, ${LOOK_MS});
  if (isGone()) process.kill(process.pid, "SIGKILL");
}
`;

/** From now on this process ends when its channel does, or at the latest a second after its parent. */
export function endWithWorker(workerPid: number): void {
  process.on("disconnect", () => process.exit(0));
  // Without the loaders and options that the process was started with.
  const thread = new Worker(watch(workerPid), {
    eval: true,
    execArgv: [],
    env: {},
    stdin: false,
    resourceLimits: { maxOldGenerationSizeMb: 8 },
  });
  thread.unref();
  // The worker may have gone while the code was loaded.
  if (!process.connected || process.ppid !== workerPid) process.exit(0);
}
