/**
 * The service and a worker, each in a process of its own, as anybody would run them: by the `hairtrigger` command. The store is a
 * new folder, or with HAIRTRIGGER_STORE=mongodb://… a database, where the demo keeps to an environment of its own.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const COMMAND = fileURLToPath(new URL("../../../cli/main.js", import.meta.url));
const TASKS = fileURLToPath(new URL("./tasks.js", import.meta.url));
/** The checkout: where the tasks find their files. */
export const CHECKOUT = fileURLToPath(new URL("../../../../../", import.meta.url));

/** Four times the limit of the demo's queue, so that the limit holds and not the worker. */
const PLACES = 20;
const STANDARD_PORT = 7470;
/** A person waits: something is wrong with a process that says nothing for this long. */
const READY_MS = 30_000;

export interface Service {
  readonly url: string;
  readonly accessToken: string;
  /** Temporary; holds the store unless that is a database, and what the tasks write. */
  readonly folder: string;
  /** Where the store is, without credentials. */
  readonly store: string;
  /** The store is a database, which stays. */
  readonly isShared: boolean;
  readonly serverMs: number;
  readonly workerMs: number;
  /** Ends worker and server and removes the folder. Idempotent. */
  stop(): Promise<void>;
}

/** @param isStandardPort listen at the port that clients expect, if it is free. */
export async function startService({ isStandardPort }: { readonly isStandardPort: boolean }): Promise<Service> {
  const folder = await mkdtemp(join(tmpdir(), "hairtrigger-demo-"));
  const children: ChildProcess[] = [];
  const killAll = (): void => {
    for (const child of children) child.kill("SIGKILL");
  };
  process.once("exit", killAll);
  let stopping: Promise<void> | undefined;
  const stop = (): Promise<void> => {
    stopping ??= (async () => {
      for (const child of children.toReversed()) await end(child);
      process.removeListener("exit", killAll);
      await rm(folder, { recursive: true, force: true });
    })();
    return stopping;
  };
  try {
    const database = mongoUrl();
    const store = database ?? join(folder, "store");
    // With a database a server makes no key of its own.
    const key =
      database === undefined
        ? undefined
        : `tr_demo${randomBytes(3).toString("hex")}_${randomBytes(16).toString("hex")}`;
    const port = isStandardPort && (await isFree(STANDARD_PORT)) ? STANDARD_PORT : 0;
    const server = await begin(children, ["serve"], "hairtrigger listening on ", {
      HAIRTRIGGER_LISTEN: `127.0.0.1:${port}`,
      HAIRTRIGGER_STORE: store,
      ...(key === undefined ? {} : { HAIRTRIGGER_KEYS: key }),
      HAIRTRIGGER_LOG_LEVEL: "warn",
    });
    const url = server.line;
    const accessToken = key ?? (await readFile(join(store, "secret-key"), "utf8")).trim();
    const worker = await begin(children, ["worker", TASKS, "--concurrency", String(PLACES)], "worker ", {
      TRIGGER_API_URL: url,
      TRIGGER_SECRET_KEY: accessToken,
    });
    return {
      url,
      accessToken,
      folder,
      // A URL of a database may hold a password.
      store: store.replace(/^([a-z+]+:\/\/)[^/@]*@/, "$1"),
      isShared: database !== undefined,
      serverMs: server.tookMs,
      workerMs: worker.tookMs,
      stop,
    };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** Starts the command and waits for the line that begins with `ready`. @returns the rest of that line. */
async function begin(
  children: ChildProcess[],
  args: readonly string[],
  ready: string,
  settings: Readonly<Record<string, string>>,
): Promise<{ readonly line: string; readonly tookMs: number }> {
  const startedMs = performance.now();
  const child = spawn(process.execPath, [COMMAND, ...args], {
    cwd: CHECKOUT,
    env: { ...withoutOwnSettings(), ...settings },
    stdio: ["ignore", "pipe", "inherit"],
  });
  children.push(child);
  const line = await new Promise<string>((resolve, reject) => {
    const timer = setTimeout(
      () => reject(new Error(`hairtrigger ${args[0]} is not ready after ${READY_MS} ms`)),
      READY_MS,
    );
    createInterface({ input: child.stdout }).on("line", (text) => {
      if (!text.startsWith(ready)) return;
      clearTimeout(timer);
      resolve(text.slice(ready.length));
    });
    child.once("exit", (code) => {
      clearTimeout(timer);
      reject(new Error(`hairtrigger ${args[0]} ended with exit code ${code}`));
    });
  });
  return { line, tookMs: performance.now() - startedMs };
}

function mongoUrl(): string | undefined {
  const store = process.env.HAIRTRIGGER_STORE;
  return store !== undefined && /^mongodb(?:\+srv)?:/.test(store) ? store : undefined;
}

/** The demo has a server of its own, whatever else is set up in this shell. */
function withoutOwnSettings(): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^(?:HAIR)?TRIGGER_/.test(name)));
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = once(child, "exit");
  child.kill("SIGTERM");
  await ended;
}

async function isFree(port: number): Promise<boolean> {
  const probe = createServer();
  try {
    probe.listen(port, "127.0.0.1");
    await once(probe, "listening");
    return true;
  } catch {
    return false;
  } finally {
    probe.close();
  }
}
