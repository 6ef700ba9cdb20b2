/** Programs that pages have readers start. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { adopt } from "../support/children.js";
import { SAMPLE_END } from "./sampler.js";

const SAMPLER = fileURLToPath(new URL("./sampler.js", import.meta.url));

export interface Where {
  readonly cwd: string;
  readonly env?: NodeJS.ProcessEnv;
}

/** Runs a program to its end. */
export async function run(
  program: string,
  args: readonly string[],
  where: Where,
): Promise<{ readonly exitCode: number; readonly printed: string }> {
  const child = adopt(spawn(program, args, { ...where, stdio: ["ignore", "pipe", "pipe"] }));
  let printed = "";
  for (const stream of [child.stdout, child.stderr])
    stream.on("data", (chunk: Buffer) => void (printed += chunk.toString()));
  await once(child, "close");
  return { exitCode: child.exitCode ?? -1, printed };
}

/** The process of sampler.ts. */
export interface Sampler {
  readonly child: ChildProcess;
  run(path: string): Promise<{ readonly exitCode: number; readonly printed: string }>;
}

export function startSampler(where: Where): Sampler {
  const child = adopt(spawn(process.execPath, [SAMPLER], { ...where, stdio: ["pipe", "pipe", "pipe"] }));
  const lines: string[] = [];
  let ended: ((exitCode: number) => void) | undefined;
  createInterface({ input: child.stderr }).on("line", (line) => lines.push(line));
  createInterface({ input: child.stdout }).on("line", (line) => {
    if (line.startsWith(SAMPLE_END)) ended?.(Number(line.slice(SAMPLE_END.length)));
    else lines.push(line);
  });
  child.once("close", () => ended?.(child.exitCode ?? -1));
  return {
    child,
    async run(path) {
      const exitCode = new Promise<number>((resolve) => {
        ended = resolve;
        child.stdin.write(`${path}\n`);
      });
      return { exitCode: await exitCode, printed: lines.splice(0).join("\n") };
    },
  };
}

/** A program that goes on. */
export interface Started {
  readonly child: ChildProcess;
  /** The first line, of those printed so far and from now on, that looks like this. @throws Error where the program ends before. */
  line(like: RegExp): Promise<string>;
}

export function start(program: string, args: readonly string[], where: Where): Started {
  const child = adopt(spawn(program, args, { ...where, stdio: ["ignore", "pipe", "pipe"] }));
  const lines: string[] = [];
  let hasEnded = false;
  const listeners = new Set<() => void>();
  const changed = (): void => {
    for (const listener of listeners) listener();
  };
  for (const stream of [child.stdout, child.stderr]) {
    createInterface({ input: stream }).on("line", (line) => {
      lines.push(line);
      changed();
    });
  }
  child.once("close", () => {
    hasEnded = true;
    changed();
  });
  return {
    child,
    line: (like) =>
      new Promise((resolve, reject) => {
        const look = (): void => {
          const found = lines.find((line) => like.test(line));
          if (found === undefined && !hasEnded) return;
          listeners.delete(look);
          if (found === undefined) reject(new Error(`${args.join(" ")} ended:\n${lines.join("\n")}`));
          else resolve(found);
        };
        listeners.add(look);
        look();
      }),
  };
}
