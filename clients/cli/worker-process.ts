/**
 * A worker in a process of its own, as `hairtrigger dev` starts one for every version of the task files. It speaks with its parent by
 * messages: `ready` with the ids of its tasks, `failed` with what went wrong; `stop` from the parent, or its disappearance, ends it.
 */
import { loadTaskFiles } from "./task-files.js";

/** Parent → worker. */
export interface StopMessage {
  readonly kind: "stop";
}

/** Worker → parent. */
export type WorkerMessage =
  | { readonly kind: "ready"; readonly taskIds: readonly string[] }
  | { readonly kind: "failed"; readonly message: string };

/** After a reload the old worker's runs have this long to end by themselves; then they are interrupted and go on with the new code. */
const RELOAD_GRACE_MS = 5_000;

async function main(files: readonly string[]): Promise<void> {
  let stopWorker = async (): Promise<void> => undefined;
  const stop = (): void => {
    stopWorker().then(
      () => process.exit(0),
      () => process.exit(1),
    );
  };
  process.on("message", (message: unknown) => {
    if (isStop(message)) stop();
  });
  process.on("disconnect", stop);

  const { startWorker, modules } = await loadTaskFiles(files);
  const worker = await startWorker({ tasks: modules, gracePeriodMs: RELOAD_GRACE_MS, handleSignals: false });
  stopWorker = () => worker.stop();
  await worker.ready;
  tell({ kind: "ready", taskIds: taskIdsOf(modules) });
}

function taskIdsOf(modules: readonly Readonly<Record<string, unknown>>[]): readonly string[] {
  const ids = modules.flatMap((module) =>
    Object.values(module).flatMap((value) =>
      typeof value === "object" && value !== null && "trigger" in value && "id" in value && typeof value.id === "string"
        ? [value.id]
        : [],
    ),
  );
  return [...new Set(ids)];
}

/** What went wrong, with the lines of the trace that are the user's own. */
function failureText(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const lines = (error.stack ?? error.message).split("\n");
  return lines.filter((line) => !/^\s+at .*(?:node:|[\\/]node_modules[\\/])/.test(line)).join("\n");
}

function tell(message: WorkerMessage): void {
  process.send?.(message);
}

function isStop(message: unknown): message is StopMessage {
  return typeof message === "object" && message !== null && "kind" in message && message.kind === "stop";
}

// A signal of the terminal reaches the whole group; the parent decides what happens.
for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => undefined);

main(process.argv.slice(2)).catch((error: unknown) => {
  tell({ kind: "failed", message: failureText(error) });
  // Not before the message is out.
  if (process.send === undefined) process.exit(1);
  process.removeAllListeners("disconnect");
  process.exitCode = 1;
  process.disconnect();
});
