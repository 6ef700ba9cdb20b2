/** The worker of a bench, and what a server takes of the machine. */
import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { adopt, endChild } from "../support/children.js";
import type { ServerPlace } from "../support/processes.js";

const WORKER = fileURLToPath(new URL("./worker-process.js", import.meta.url));

export interface WorkerProcess {
  /** Resolves when the worker has executed `count` runs in all. */
  executed(count: number): Promise<void>;
  /** Unix milliseconds with fraction at which the runs began, by payload number, since the last call. */
  takeStarts(): ReadonlyMap<number, number>;
  stop(): Promise<void>;
}

/** @param task `noop` only counts; `latency` tells when each run began. */
export async function startWorkerProcess(
  server: ServerPlace,
  task: "noop" | "latency",
  concurrency: number,
): Promise<WorkerProcess> {
  const child = adopt(
    spawn(process.execPath, [WORKER, task, String(concurrency)], {
      env: { ...process.env, TRIGGER_SECRET_KEY: server.key, TRIGGER_API_URL: server.url },
      stdio: ["ignore", "pipe", "inherit"],
    }),
  );
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
      for (;;) {
        if (count >= wanted) return;
        await new Promise<void>((resolve) => (wake = resolve));
      }
    },
    takeStarts() {
      const taken = starts;
      starts = new Map();
      return taken;
    },
    async stop() {
      await endChild(child, "SIGTERM");
    },
  };
}

/** Resident memory of a process, in megabytes. */
export function rssMegabytes(pid: number): number {
  const kilobytes = /VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1];
  return Math.round(Number(kilobytes) / 1_024);
}
