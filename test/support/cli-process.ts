/** The command line as a person uses it: in a project of its own, watched by what it prints. */
import { type ChildProcess, spawn } from "node:child_process";
import { mkdir, mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import type { ExecutionContext } from "ava";

const ROOT = join(import.meta.dirname, "../../..");

/** The compiled command. */
export const CLI_FILE = join(ROOT, "dist/clients/cli/main.js");
const SDK_FOLDER = join(ROOT, "clients/typescript");

/** A folder with these files, removed after the test. With `hasSdk` it can import `@hairtrigger/sdk` of this repository. */
export async function makeProject(
  t: ExecutionContext,
  files: Readonly<Record<string, string>>,
  { hasSdk = true }: { readonly hasSdk?: boolean } = {},
): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "hairtrigger-project-"));
  t.teardown(() => rm(folder, { recursive: true, force: true, maxRetries: 5 }));
  for (const [name, text] of Object.entries(files)) {
    await mkdir(dirname(join(folder, name)), { recursive: true });
    await writeFile(join(folder, name), text);
  }
  if (hasSdk) {
    await mkdir(join(folder, "node_modules/@hairtrigger"), { recursive: true });
    await symlink(SDK_FOLDER, join(folder, "node_modules/@hairtrigger/sdk"));
  }
  return folder;
}

export interface Ran {
  readonly exitCode: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface RunningProcess {
  readonly child: ChildProcess;
  /** Signals the program and all that it started, as a terminal does. */
  signalGroup(signal: NodeJS.Signals): void;
  /** Everything printed so far, both streams. */
  output(): string;
  /** Resolves with the first match in what was printed after the previous call's match; rejects when the process ends without it. */
  until(pattern: RegExp): Promise<RegExpExecArray>;
  readonly ended: Promise<Ran>;
}

interface StartOptions {
  readonly cwd: string;
  readonly env?: Readonly<Record<string, string>>;
}

/** Variables that a test must not inherit from whoever runs it. */
function cleanEnvironment(): NodeJS.ProcessEnv {
  return Object.fromEntries(
    Object.entries(process.env).filter(
      ([name]) => !/^(?:HAIRTRIGGER|TRIGGER|npm)_/.test(name) && name !== "NODE_OPTIONS",
    ),
  );
}

/** Groups that are alive; also those of tests that were cut off, whose teardown nobody ran. */
const groups = new Set<(signal: NodeJS.Signals) => void>();
process.once("exit", () => {
  for (const signalGroup of groups) signalGroup("SIGKILL");
});

/** Starts a program; it is killed after the test. */
export function start(
  t: ExecutionContext,
  command: readonly [string, ...string[]],
  options: StartOptions,
): RunningProcess {
  const [file, ...args] = command;
  const child = spawn(file, args, {
    cwd: options.cwd,
    env: { ...cleanEnvironment(), ...options.env },
    stdio: ["ignore", "pipe", "pipe"],
    // A group of its own, so that nothing that it starts (npx starts a shell, which starts the command) outlives the test.
    detached: true,
  });
  const signalGroup = (signal: NodeJS.Signals): void => {
    try {
      if (child.pid !== undefined) process.kill(-child.pid, signal);
    } catch {
      // Nobody of it is left.
    }
  };
  groups.add(signalGroup);
  t.teardown(() => {
    signalGroup("SIGKILL");
    groups.delete(signalGroup);
  });
  let output = "";
  let stdout = "";
  let stderr = "";
  let seen = 0;
  let exitCode: number | null | undefined;
  const wake = new Set<() => void>();
  const heard = (): void => {
    for (const listener of wake) listener();
  };
  child.stdout.on("data", (chunk: Buffer) => {
    stdout += chunk.toString();
    output += chunk.toString();
    heard();
  });
  child.stderr.on("data", (chunk: Buffer) => {
    stderr += chunk.toString();
    output += chunk.toString();
    heard();
  });
  const ended = new Promise<Ran>((resolve, reject) => {
    child.once("error", reject);
    child.once("close", (code) => {
      exitCode = code;
      heard();
      resolve({ exitCode: code, stdout, stderr });
    });
  });
  return {
    child,
    signalGroup,
    output: () => output,
    until(pattern) {
      return new Promise((resolve, reject) => {
        const look = (): void => {
          const match = pattern.exec(output.slice(seen));
          if (match === null && exitCode === undefined) return;
          wake.delete(look);
          if (match === null) {
            reject(new Error(`ended with ${exitCode} before ${pattern}; it printed:\n${output}`));
            return;
          }
          seen += match.index + match[0].length;
          resolve(match);
        };
        wake.add(look);
        look();
      });
    },
    ended,
  };
}

/** Runs a command of hairtrigger to its end. */
export function cli(t: ExecutionContext, args: readonly string[], options: StartOptions): Promise<Ran> {
  return startCli(t, args, options).ended;
}

export function startCli(t: ExecutionContext, args: readonly string[], options: StartOptions): RunningProcess {
  return start(t, [process.execPath, CLI_FILE, ...args], options);
}

/** `hairtrigger dev` on any free port; resolves when its worker is ready. */
export async function startDev(
  t: ExecutionContext,
  folder: string,
  files: readonly string[],
): Promise<RunningProcess & { readonly url: string; readonly env: Readonly<Record<string, string>> }> {
  const dev = startCli(t, ["dev", ...files], { cwd: folder, env: { HAIRTRIGGER_LISTEN: "127.0.0.1:0" } });
  const [, url = ""] = await dev.until(/^hairtrigger listening on (http:\/\/127\.0\.0\.1:\d+)$/m);
  await dev.until(/worker ready/);
  return { ...dev, url, env: { TRIGGER_API_URL: url } };
}
