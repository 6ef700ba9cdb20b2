/** What the command line knows of its surroundings: the variables that the SDK reads (CFG-1), and the key of a server on this machine. */
import { readFile } from "node:fs/promises";
import { join, resolve } from "node:path";

const KEY_NAMES = ["HAIRTRIGGER_SECRET_KEY", "TRIGGER_SECRET_KEY"] as const;
const URL_NAMES = ["HAIRTRIGGER_API_URL", "TRIGGER_API_URL"] as const;

const DEFAULT_URL = "http://127.0.0.1:7470";
const LOOPBACK = /^https?:\/\/(?:127(?:\.\d+){3}|localhost|\[::1\])(?::|\/|$)/i;

/** Options that every command which calls the service has. */
export interface ConnectionOptions {
  readonly url?: string;
  readonly key?: string;
  readonly store?: string;
}

export interface Connection {
  readonly baseURL: string;
  /** Undefined: there is none, and the SDK says so in its own words. */
  readonly accessToken: string | undefined;
}

/**
 * Where and as whom to call: options, then variables, then the key that a server on this machine made at its first start (AUT-9). That
 * key is for its own server: it is never sent to another machine.
 */
export async function readConnection(options: ConnectionOptions): Promise<Connection> {
  const baseURL = options.url ?? firstSet(URL_NAMES) ?? DEFAULT_URL;
  const given = options.key ?? firstSet(KEY_NAMES);
  if (given !== undefined || !LOOPBACK.test(baseURL)) return { baseURL, accessToken: given };
  return { baseURL, accessToken: await readStoreKey(options.store) };
}

/** AUT-9: whoever has it asks the server for keys. */
export function administratorKeyOf(given: string | undefined): string | undefined {
  return given ?? firstSet(["HAIRTRIGGER_ADMIN_KEY"]);
}

async function readStoreKey(store: string | undefined): Promise<string | undefined> {
  const folder = resolve(store ?? firstSet(["HAIRTRIGGER_STORE"]) ?? ".hairtrigger");
  try {
    return (await readFile(join(folder, "secret-key"), "utf8")).trim();
  } catch {
    return undefined;
  }
}

function firstSet(names: readonly string[]): string | undefined {
  return names.map((name) => process.env[name]).find((value) => value !== undefined && value !== "");
}

/** This process's environment for a worker that belongs to it, whatever else its variables say. */
export function workerEnvironment(connection: Connection): NodeJS.ProcessEnv {
  return {
    ...process.env,
    HAIRTRIGGER_API_URL: connection.baseURL,
    ...(connection.accessToken === undefined ? {} : { HAIRTRIGGER_SECRET_KEY: connection.accessToken }),
  };
}

/** The server's settings while developing: the terminal is for runs, so that the log is quiet unless it is asked for. */
export function devEnvironment(): NodeJS.ProcessEnv {
  return { HAIRTRIGGER_LOG_LEVEL: "warn", ...process.env };
}

/** The server's settings as this shell has them. @param store in place of HAIRTRIGGER_STORE. */
export function hostEnvironment(store: string | undefined): NodeJS.ProcessEnv {
  return store === undefined ? process.env : { ...process.env, HAIRTRIGGER_STORE: store };
}

/** https://no-color.org; pipes and files get no colours either. */
export function hasColors(stream: { readonly isTTY?: boolean }): boolean {
  return stream.isTTY === true && firstSet(["NO_COLOR"]) === undefined;
}
