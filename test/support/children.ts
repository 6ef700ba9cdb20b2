/**
 * Child processes and directories of tests, none of which outlives the process of the test: not when a test fails, and not when the test
 * runner gives up and ends the process with a signal.
 */
import { type ChildProcess, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const living = new Set<ChildProcess>();
/** Directories to remove; true: something is mounted there. */
const directories = new Map<string, boolean>();
let isGuarded = false;

function clear(): void {
  for (const child of living) child.kill("SIGKILL");
  for (const directory of directories.keys()) removeDirectory(directory);
}

function guard(): void {
  if (isGuarded) return;
  isGuarded = true;
  process.once("exit", clear);
  for (const signal of ["SIGTERM", "SIGINT", "SIGHUP"] as const) {
    process.once(signal, () => {
      clear();
      process.kill(process.pid, signal);
    });
  }
}

/** From now on the child ends with this process at the latest. */
export function adopt<T extends ChildProcess>(child: T): T {
  guard();
  living.add(child);
  child.once("exit", () => living.delete(child));
  return child;
}

/** Sends the signal and waits for the end. @returns the exit code; undefined where the signal ended the process. */
export async function endChild(child: ChildProcess, signal: NodeJS.Signals): Promise<number | undefined> {
  if (child.exitCode === null && child.signalCode === null) {
    const ended = once(child, "exit");
    child.kill(signal);
    await ended;
  }
  return child.exitCode ?? undefined;
}

/** A new directory in the folder for temporary files; removed at the end of this process if nobody did before. */
export function temporaryDirectory(purpose: string): string {
  guard();
  const directory = mkdtempSync(join(tmpdir(), `hairtrigger-${purpose}-`));
  directories.set(directory, false);
  return directory;
}

/**
 * A directory on a file system of its own, in memory, of this size.
 * @param options of the mount, such as `ro`.
 * @returns undefined where the machine does not allow it.
 */
export function smallDisk(megabytes: number, options: readonly string[] = []): string | undefined {
  const directory = temporaryDirectory("disk");
  const { status } = spawnSync("mount", [
    "-t",
    "tmpfs",
    "-o",
    [`size=${megabytes}m`, ...options].join(),
    "tmpfs",
    directory,
  ]);
  if (status !== 0) {
    removeDirectory(directory);
    return undefined;
  }
  directories.set(directory, true);
  return directory;
}

/** Removes the directory and what is mounted there. Idempotent. */
export function removeDirectory(directory: string): void {
  // Lazily: a process that was just killed may hold it for a moment longer.
  if (directories.get(directory) === true) spawnSync("umount", ["-l", directory]);
  rmSync(directory, { recursive: true, force: true, maxRetries: 5 });
  directories.delete(directory);
}
