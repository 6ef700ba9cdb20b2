/**
 * How task processes come to be: the program that called `startWorker` is started again with the same arguments and loaders, and a mark in its
 * environment that says whose it is. So it finds tasks, hooks and settings without being told, in TypeScript too, and by whatever command line
 * the worker was started. Rejected: a program of our own that imports the task files; it would have to know where each task, hook and schema
 * of a program comes from.
 */
import { type ChildProcess, fork } from "node:child_process";
import { taskProcessEnvironment, taskProcessMark } from "../../configuration.js";

/** Where isolated tasks run. */
export interface TaskProcesses {
  /**
   * What this call of `startWorker` is: the worker's own, the one that a task process was started for, or another one of the same program, which
   * has nothing to do there.
   */
  readonly role: "worker" | "executor" | "bystander";
  /** Process id of the worker. */
  readonly workerPid: number;
  /** @throws TypeError for a program without a file. */
  check(): void;
  fork(): ChildProcess;
}

let calls = 0;

/** For one call of `startWorker`; calls are told apart by their order in the program. */
export function taskProcesses(): TaskProcesses {
  calls += 1;
  const call = calls;
  const mark = taskProcessMark();
  return {
    role: mark === undefined ? "worker" : mark.call === call ? "executor" : "bystander",
    workerPid: mark?.pid ?? process.pid,
    check: () => void programFile(),
    fork() {
      return fork(programFile(), process.argv.slice(2), {
        env: taskProcessEnvironment({ pid: process.pid, call }),
        // Two debuggers cannot have one port.
        execArgv: process.execArgv.filter((argument) => !argument.startsWith("--inspect")),
        serialization: "advanced",
        stdio: ["ignore", "inherit", "inherit", "ipc"],
      });
    },
  };
}

function programFile(): string {
  const [, file] = process.argv;
  if (file !== undefined) return file;
  throw new TypeError('isolation: "process" needs a worker that is started from a file: its processes load that again');
}
