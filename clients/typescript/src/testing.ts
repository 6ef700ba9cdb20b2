/** `@hairtrigger/sdk/testing`: what `@hairtrigger/testing` is made of. No interface for anybody else; it changes with every version. */
export type { WorkerClock } from "./worker/clock.js";
export { startWorkerIn, type WorkerWorld } from "./worker/start-worker.js";
export type { WorkerLog } from "./worker/worker-log.js";
