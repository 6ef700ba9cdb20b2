/** The processes of a bench: one server on a fresh store, one worker; both real, both on this machine. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const CLI = fileURLToPath(new URL("../../clients/cli/main.js", import.meta.url));
const WORKER = fileURLToPath(new URL("./worker-process.js", import.meta.url));
const KEY = "tr_dev_0123456789abcdefghijklmnopqrstuvwxyz";

export interface ServerProcess {
  readonly url: string;
  readonly key: string;
  /** Milliseconds from spawn to the ready line. */
  readonly readyMs: number;
  readonly directory: string;
  rssMegabytes(): number;
  stop(): Promise<void>;
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  server.close();
  await once(server, "close");
  if (address === null || typeof address === "string") throw new Error("no port");
  return address.port;
}

export async function startServer(): Promise<ServerProcess> {
  const directory = mkdtempSync(join(tmpdir(), "hairtrigger-bench-"));
  const listen = `127.0.0.1:${await freePort()}`;
  const startedAt = performance.now();
  const child = spawn(process.execPath, [CLI, "serve"], {
    env: {
      ...process.env,
      HAIRTRIGGER_LISTEN: listen,
      HAIRTRIGGER_STORE: directory,
      HAIRTRIGGER_KEYS: KEY,
      HAIRTRIGGER_LOG_LEVEL: "error",
    },
    stdio: ["ignore", "pipe", "inherit"],
  });
  const lines = createInterface({ input: child.stdout });
  for await (const line of lines) if (line.startsWith("hairtrigger listening on")) break;
  const readyMs = performance.now() - startedAt;
  child.stdout.resume();
  return {
    url: `http://${listen}`,
    key: KEY,
    readyMs,
    directory,
    rssMegabytes: () => rssOf(child),
    async stop() {
      await ended(child);
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

export interface WorkerProcess {
  /** Resolves when the worker has executed `count` runs in all. */
  executed(count: number): Promise<void>;
  /** Unix milliseconds with fraction at which the runs began, by payload number, since the last call. */
  takeStarts(): ReadonlyMap<number, number>;
  stop(): Promise<void>;
}

/** @param task `noop` only counts; `latency` tells when each run began. */
export async function startWorkerProcess(
  server: ServerProcess,
  task: "noop" | "latency",
  concurrency: number,
): Promise<WorkerProcess> {
  const child = spawn(process.execPath, [WORKER, task, String(concurrency)], {
    env: { ...process.env, TRIGGER_SECRET_KEY: server.key, TRIGGER_API_URL: server.url },
    stdio: ["ignore", "pipe", "inherit"],
  });
  let count = 0;
  let wake: (() => void) | undefined;
  let starts = new Map<number, number>();
  const ready = new Promise<void>((resolve) => {
    createInterface({ input: child.stdout }).on("line", (line) => {
      const [word, first, second] = line.split(" ");
      if (word === "ready") resolve();
      if (word === "count") count = Number(first);
      if (word === "start") {
        count++;
        starts.set(Number(first), Number(second));
      }
      wake?.();
    });
  });
  await ready;
  return {
    async executed(wanted) {
      while (count < wanted) await new Promise<void>((resolve) => (wake = resolve));
    },
    takeStarts() {
      const taken = starts;
      starts = new Map();
      return taken;
    },
    stop: () => ended(child),
  };
}

async function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null) return;
  child.kill("SIGTERM");
  await once(child, "exit");
}

function rssOf(child: ChildProcess): number {
  const kilobytes = /VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${child.pid ?? 0}/status`, "utf8"))?.[1];
  return Math.round(Number(kilobytes) / 1_024);
}
