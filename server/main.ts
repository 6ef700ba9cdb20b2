/**
 * The process around an app: settings in, signals in, exit code out. Standard output is for the ready lines, which scripts wait for; the log
 * goes to stderr.
 */
import { readFile } from "node:fs/promises";
import { BlockList, isIP } from "node:net";
import { type App, createApp, StoppedError } from "./app.js";
import { addressText, type Config, ConfigError, describeConfig, readConfig, storeText } from "./config.js";
import { isAppError } from "./domain/error.js";
import { createLogger, type Logger } from "./telemetry/log.js";

export const EXIT = {
  ok: 0,
  /** The server could not start, or not stop cleanly. */
  failed: 1,
  /** The settings are wrong. */
  usage: 2,
  /** A second signal: what was under way is cut off; the store is safe all the same. */
  cutOff: 130,
} as const;

/** Runs a server until a signal ends it. Never rejects. @returns the exit code of the process. */
export async function serve(): Promise<number> {
  let config: Config;
  try {
    config = readConfig();
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    complain(["hairtrigger: the settings have mistakes", ...error.mistakes]);
    return EXIT.usage;
  }
  const logger = createLogger(config.logLevel);
  const signalled = nextSignal();
  let isStopped = false;
  try {
    const app = await startServer(config, logger, (starting) => {
      void signalled.then(() => {
        isStopped = true;
        return starting.stop();
      });
    });
    const signal = await signalled;
    logger.info({ signal }, "stopping");
    await app.stop();
    logger.info("stopped");
    return EXIT.ok;
  } catch (error) {
    // Told to stop while it still waited for its database.
    if (isStopped && error instanceof StoppedError) return EXIT.ok;
    logger.debug({ error }, "not started, or not stopped cleanly");
    complain([`hairtrigger: ${startFailure(error, config)}`]);
    return EXIT.failed;
  }
}

/** Why a server did not start, for whoever started it. */
export function startFailure(error: unknown, { listen, storeDirectory, mongoUrl }: Config): string {
  if (!(error instanceof Error)) return String(error);
  if ("code" in error && error.code === "EADDRINUSE") {
    return `${addressText(listen)} is taken, perhaps by another server; HAIRTRIGGER_LISTEN sets another address`;
  }
  if (mongoUrl === undefined && isAppError(error) && error.reason === "STORE_UNAVAILABLE") {
    return `${storeDirectory} cannot be opened as a store${error.cause instanceof Error ? `: ${error.cause.message}` : ""}`;
  }
  return error.message;
}

/**
 * Starts a server by its settings and says on stdout where it listens, where its store is, and where its key is.
 * @param onStarting is given the app before it starts, which may take as long as its database is away.
 */
export async function startServer(
  config: Config,
  logger: Logger = createLogger(config.logLevel),
  onStarting: (app: App) => void = () => {},
): Promise<App> {
  warn(config, logger);
  const tls =
    config.tls === undefined
      ? undefined
      : { cert: await readFile(config.tls.certPath, "utf8"), key: await readFile(config.tls.keyPath, "utf8") };
  const app = createApp({
    storeDirectory: config.storeDirectory,
    mongoUrl: config.mongoUrl,
    payloads: config.payloads,
    publicUrl: config.publicUrl,
    peerAddress: config.peerAddress,
    areHintsEnabled: config.areHintsEnabled,
    listen: config.listen,
    secretKeys: config.secretKeys,
    administratorKey: config.administratorKey,
    allowedOrigins: config.allowedOrigins,
    tls,
    limits: config.limits,
    isDiscoveryOpen: config.isDiscoveryOpen,
    logger,
  });
  onStarting(app);
  await app.start();
  process.stdout.write(`hairtrigger listening on ${app.url}\n`);
  process.stdout.write(`store: ${storeText(config)}\n`);
  process.stdout.write(`${keysText(app, config)}\n`);
  logger.info(describeConfig(config), "started");
  return app;
}

function keysText({ secretKeyPath, storedKeyCount }: App, { secretKeys }: Config): string {
  if (secretKeyPath !== undefined) return `key: in ${secretKeyPath} (environment dev)`;
  if (secretKeys.length === 0) return `keys: ${storedKeyCount} in the store`;
  const stored = storedKeyCount === 0 ? "" : `, ${storedKeyCount} in the store`;
  return `keys: ${secretKeys.length} from HAIRTRIGGER_KEYS${stored}`;
}

function warn(config: Config, logger: Logger): void {
  for (const { name, meant } of config.unknown) logger.warn({ name }, `unknown setting, did you mean ${meant}?`);
  if (config.tls === undefined && !isLoopback(config.listen.host)) {
    logger.warn(
      { host: config.listen.host },
      "keys and payloads can be read on the network: set HAIRTRIGGER_TLS_CERT and HAIRTRIGGER_TLS_KEY, or put a proxy with TLS in front",
    );
  }
}

const LOOPBACK = new BlockList();
LOOPBACK.addSubnet("127.0.0.0", 8);
LOOPBACK.addAddress("::1", "ipv6");

/** Whether only this machine reaches the address. */
export function isLoopback(host: string): boolean {
  const version = isIP(host);
  return version === 0 ? host === "localhost" : LOOPBACK.check(host, version === 6 ? "ipv6" : "ipv4");
}

const SIGNALS = ["SIGTERM", "SIGINT"] as const;

/** The first signal; a second one ends the process at once. */
function nextSignal(): Promise<string> {
  return new Promise((resolve) => {
    let isFirst = true;
    for (const signal of SIGNALS) {
      process.on(signal, () => {
        if (!isFirst) process.exit(EXIT.cutOff);
        isFirst = false;
        resolve(signal);
      });
    }
  });
}

function complain(lines: readonly string[]): void {
  process.stderr.write(`${lines.join("\n")}\n`);
}
