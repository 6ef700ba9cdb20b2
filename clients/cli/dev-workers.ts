/**
 * The workers of `hairtrigger dev`: one process per version of the task files. A reload tells the old one to stop, which takes nothing new
 * from then on and gives up its runs after 5 s, and starts the new one at once. Code that does not load leaves no worker until the next
 * change: runs wait, and none is started by code that its author has replaced.
 */
import { type ChildProcess, fork } from "node:child_process";
import { fileURLToPath } from "node:url";
import { paint, print } from "./output.js";
import type { StopMessage, WorkerMessage } from "./worker-process.js";

const WORKER_FILE = fileURLToPath(new URL("./worker-process.js", import.meta.url));

/** Above the grace of a reload; whoever is still there then is stuck. */
const KILL_MS = 8_000;
/** A worker that ended by itself comes back after this. */
const RESTART_MS = 1_000;

export interface DevWorkersOptions {
  readonly files: readonly string[];
  readonly environment: NodeJS.ProcessEnv;
}

export class DevWorkers {
  readonly #options: DevWorkersOptions;
  readonly #alive = new Map<ChildProcess, Promise<void>>();
  #current: ChildProcess | undefined;
  #restart: NodeJS.Timeout | undefined;
  #isStopped = false;

  constructor(options: DevWorkersOptions) {
    this.#options = options;
  }

  /** Starts a worker with the files as they are now; an earlier one stops. */
  reload(): void {
    if (this.#isStopped) return;
    clearTimeout(this.#restart);
    if (this.#current !== undefined) retire(this.#current);
    const startedMs = Date.now();
    const child = fork(WORKER_FILE, this.#options.files, {
      env: this.#options.environment,
      execArgv: ["--enable-source-maps"],
    });
    this.#current = child;
    let isReady = false;
    child.on("message", (message: WorkerMessage) => {
      if (message.kind === "ready") {
        isReady = true;
        const tasks = message.taskIds.map((id) => paint("bold", id)).join(", ");
        print(`${paint("green", "●")} worker ready in ${Date.now() - startedMs} ms: ${tasks}`);
      } else {
        print(`${paint("red", "✖")} the task files do not load; waiting for a change\n${message.message}`);
      }
    });
    const ended = new Promise<void>((resolve) => {
      const end = (): void => {
        resolve();
        this.#alive.delete(child);
        if (this.#current !== child) return;
        this.#current = undefined;
        if (isReady) this.#comeBack(child);
      };
      child.once("error", end);
      child.once("exit", end);
    });
    this.#alive.set(child, ended);
  }

  /** Resolves when no worker is left. Idempotent. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    clearTimeout(this.#restart);
    this.#current = undefined;
    const all = [...this.#alive];
    for (const [child] of all) retire(child);
    await Promise.all(all.map(([, ended]) => ended));
  }

  #comeBack(child: ChildProcess): void {
    if (this.#isStopped) return;
    print(
      `${paint("red", "✖")} the worker ended (${child.signalCode ?? `exit code ${child.exitCode}`}); it is started again`,
    );
    this.#restart = setTimeout(() => this.reload(), RESTART_MS);
  }
}

function retire(child: ChildProcess): void {
  const stop: StopMessage = { kind: "stop" };
  if (child.connected) child.send(stop, () => undefined);
  const timer = setTimeout(() => child.kill("SIGKILL"), KILL_MS);
  child.once("exit", () => clearTimeout(timer));
}
