/** `@hairtrigger/sdk/worker`: runs tasks in this process. */
export type { HookSet } from "../task-hooks.js";
export { startWorker, type Worker, type WorkerOptions } from "./start-worker.js";
