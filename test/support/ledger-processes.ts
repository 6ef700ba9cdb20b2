/** Starts the processes that write ledgers. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { adopt, endChild } from "./children.js";
import type { Ledger } from "./ledger.js";
import type { LedgerProducerOptions, LedgerWorkerOptions, ReleaseMessage } from "./ledger-work.js";
import type { ServerPlace } from "./processes.js";

/** What a process has to know of a server, or of what stands in front of several. */
export type Door = Pick<ServerPlace, "url" | "key">;

const WORKER = fileURLToPath(new URL("./ledger-worker.js", import.meta.url));
const PRODUCER = fileURLToPath(new URL("./ledger-producer.js", import.meta.url));

export interface LedgerWorker {
  readonly name: string;
  readonly pid: number;
  /** Lets the held run with this number end. */
  release(number: number): void;
  /** SIGKILL; resolves when the process is gone, which the ledger then says. */
  kill(): Promise<void>;
  /** SIGTERM; resolves when the process is gone, which the ledger then says. @returns the exit code. */
  stop(): Promise<number | undefined>;
}

function spawned(script: string, options: object, server: Door): ChildProcess {
  const env = { ...process.env, TRIGGER_SECRET_KEY: server.key, TRIGGER_API_URL: server.url };
  return adopt(
    spawn(process.execPath, [script, JSON.stringify(options)], { env, stdio: ["ignore", "ignore", "inherit", "ipc"] }),
  );
}

/** A worker, registered. */
export async function startLedgerWorker(
  server: Door,
  ledger: Ledger,
  options: Omit<LedgerWorkerOptions, "ledger">,
): Promise<LedgerWorker> {
  const { name } = options;
  const child = spawned(WORKER, { ...options, ledger: ledger.path }, server);
  await ledger.first("ready", { who: name });
  const end = async (signal: NodeJS.Signals): Promise<number | undefined> => {
    const exitCode = await endChild(child, signal);
    ledger.append({ who: name, what: "gone" });
    return exitCode;
  };
  return {
    name,
    pid: child.pid ?? 0,
    release: (number) => void child.send({ release: number } satisfies ReleaseMessage),
    async kill() {
      await end("SIGKILL");
    },
    stop: () => end("SIGTERM"),
  };
}

export interface LedgerProducer {
  /** Resolves when all its calls are made. @throws Error where the process ended before. */
  readonly done: Promise<void>;
  kill(): Promise<void>;
}

export function startLedgerProducer(
  server: Door,
  ledger: Ledger,
  options: Omit<LedgerProducerOptions, "ledger">,
): LedgerProducer {
  const child = spawned(PRODUCER, { ...options, ledger: ledger.path }, server);
  return {
    done: ended(child, options.name),
    async kill() {
      await endChild(child, "SIGKILL");
    },
  };
}

async function ended(child: ChildProcess, name: string): Promise<void> {
  const [exitCode] = await once(child, "exit");
  if (exitCode !== 0) throw new Error(`producer ${name} ended with ${String(exitCode)}`);
}
