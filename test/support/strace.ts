/** Watches the system calls of a running process, or makes some of them fail, where the machine has strace and lets it. */
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { findProgram } from "./available.js";
import { adopt, endChild, removeDirectory, temporaryDirectory } from "./children.js";

const PROGRAM = findProgram("strace");

/** Whether strace is here and may trace. */
export function canTrace(): boolean {
  return PROGRAM !== undefined && spawnSync(PROGRAM, ["-f", "-e", "trace=none", "true"]).status === 0;
}

export interface Trace {
  /** Lets the process go on alone. @returns the calls, in the order of their lines in strace's output. */
  detach(): Promise<readonly string[]>;
}

/** Attaches to every thread of the process; resolves when it is traced. */
export async function trace(pid: number, args: readonly string[]): Promise<Trace> {
  if (PROGRAM === undefined) throw new Error("strace is not here: ask canTrace() first");
  const directory = temporaryDirectory("strace");
  const output = join(directory, "calls");
  const child = adopt(
    spawn(PROGRAM, ["-f", "-o", output, ...args, "-p", String(pid)], { stdio: ["ignore", "ignore", "pipe"] }),
  );
  const said: string[] = [];
  const attached = new Promise<boolean>((resolve) => {
    createInterface({ input: child.stderr }).on("line", (line) => {
      said.push(line);
      if (line.includes(`Process ${pid} attached`)) resolve(true);
    });
  });
  const ended = once(child, "exit").then(() => false);
  if (!(await Promise.race([attached, ended]))) throw new Error(`strace did not attach:\n${said.join("\n")}`);
  return {
    async detach() {
      await endChild(child, "SIGINT");
      const calls = readFileSync(output, "utf8").split("\n");
      removeDirectory(directory);
      return calls;
    },
  };
}
