/** A server as its users run it: `hairtrigger serve` in a process of its own, with a store in a directory, to be killed and started again. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:net";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { adopt, endChild, removeDirectory, temporaryDirectory } from "./children.js";

const CLI = fileURLToPath(new URL("../../clients/cli/main.js", import.meta.url));
const KEY = "tr_dev_0123456789abcdefghijklmnopqrstuvwxyz";
const READY = "hairtrigger listening on";

/** Below the ports that systems give to outgoing connections, one of which could otherwise take the port while the server is away. */
const PORTS = { from: 12_000, to: 30_000 };

export interface ServerOptions {
  /** Default: a new one, removed by `remove`. */
  readonly directory?: string;
  /** `HAIRTRIGGER_…` beyond address, store and key. */
  readonly settings?: Readonly<Record<string, string>>;
}

/** A place where one server process after the other lives, always with the same address and store. */
export interface ServerPlace {
  readonly url: string;
  /** Secret key of environment `dev`. */
  readonly key: string;
  /** What the SDK's `auth.withAuth` and `configure` take. */
  readonly sdk: { readonly accessToken: string; readonly baseURL: string };
  readonly directory: string;
  /** What the servers wrote to stderr, line by line. */
  readonly log: readonly string[];
  /** Of the present process. */
  readonly pid: number;
  /** Milliseconds from the start of the present process to its ready line. */
  readonly readyMs: number;
  /** Starts a server; resolves at its ready line. @throws Error with the log where it ends before. */
  start(): Promise<void>;
  /** SIGKILL; resolves when the process is gone. */
  kill(): Promise<void>;
  /** SIGTERM. @returns the exit code. */
  stop(): Promise<number | undefined>;
  /** Ends what runs and removes the store. Idempotent. */
  remove(): Promise<void>;
}

async function isFree(port: number): Promise<boolean> {
  const server = createServer();
  try {
    server.listen(port, "127.0.0.1");
    await once(server, "listening");
    server.close();
    await once(server, "close");
    return true;
  } catch {
    return false;
  }
}

/** A port of 127.0.0.1 that nothing listens on, for the moment. */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = PORTS.from + Math.floor(Math.random() * (PORTS.to - PORTS.from));
    if (await isFree(port)) return port;
  }
}

/** A started server on a free port. End it with `t.teardown(() => server.remove())`. */
export async function startServer(options: ServerOptions = {}): Promise<ServerPlace> {
  const directory = options.directory ?? temporaryDirectory("store");
  const listen = `127.0.0.1:${await freePort()}`;
  const url = `http://${listen}`;
  const log: string[] = [];
  let child: ChildProcess | undefined;
  let readyMs = Number.NaN;

  async function end(signal: NodeJS.Signals): Promise<number | undefined> {
    return child === undefined ? undefined : endChild(child, signal);
  }

  async function start(): Promise<void> {
    const startedAt = performance.now();
    const env = {
      ...process.env,
      HAIRTRIGGER_LISTEN: listen,
      HAIRTRIGGER_STORE: directory,
      HAIRTRIGGER_KEYS: KEY,
      ...options.settings,
    };
    const started = adopt(spawn(process.execPath, [CLI, "serve"], { env, stdio: ["ignore", "pipe", "pipe"] }));
    child = started;
    const closed = once(started, "close").then(() => false);
    createInterface({ input: started.stderr }).on("line", (line) => log.push(line));
    const isReady = new Promise<boolean>((resolve) => {
      createInterface({ input: started.stdout }).on("line", (line) => {
        if (line.startsWith(READY)) resolve(true);
      });
    });
    if (!(await Promise.race([isReady, closed]))) throw new Error(`the server did not start:\n${log.join("\n")}`);
    readyMs = performance.now() - startedAt;
  }

  const place: ServerPlace = {
    url,
    key: KEY,
    sdk: { accessToken: KEY, baseURL: url },
    directory,
    log,
    get pid() {
      return child?.pid ?? 0;
    },
    get readyMs() {
      return readyMs;
    },
    start,
    async kill() {
      await end("SIGKILL");
    },
    stop: () => end("SIGTERM"),
    async remove() {
      await end("SIGKILL");
      removeDirectory(directory);
    },
  };
  await start();
  return place;
}
