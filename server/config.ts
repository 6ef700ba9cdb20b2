/**
 * Settings: one schema, and the only reader of the environment. Every mistake is reported at once, with the name, what was expected and what
 * was got; secrets are never repeated. `docs/operating/configuration.md` lists the same settings, and a test holds the two together.
 */
import { join, resolve } from "node:path";
import { keyEnvironment } from "./auth/secret-keys.js";
import { formatSeconds, parseDuration } from "./domain/duration.js";
import { shown } from "./domain/error.js";
import { defaultLimits, type Limits } from "./domain/limits.js";
import { ITEM_RATE, type Rate, REQUEST_RATE } from "./domain/rate-limit.js";
import { editDistance } from "./domain/task.js";
import { type PayloadsAddress, parseS3Address } from "./payloads/address.js";

export const LOG_LEVELS = ["trace", "debug", "info", "warn", "error", "fatal", "silent"] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

export interface ListenAddress {
  readonly host: string;
  /** 0: any free port. */
  readonly port: number;
}

export interface Config {
  readonly listen: ListenAddress;
  /** Absolute path; not used with a database. */
  readonly storeDirectory: string;
  /** Database shared with other servers; undefined: the store in the directory. May hold a password. */
  readonly mongoUrl: string | undefined;
  /** Where large payloads and outputs are. */
  readonly payloads: PayloadsAddress;
  /** What clients and browsers reach, for URLs in answers; undefined: where it listens. */
  readonly publicUrl: string | undefined;
  /** Where other servers of the database reach this one; undefined: derived from where it listens. */
  readonly peerAddress: string | undefined;
  /** Hints to and from other servers of the database. */
  readonly areHintsEnabled: boolean;
  /** Empty: keys of the store, or that of the first start (AUT-9). */
  readonly secretKeys: readonly string[];
  /** Paths of PEM files; undefined: clear text. */
  /** Makes and revokes keys by calls; undefined: nobody does. */
  readonly administratorKey: string | undefined;
  /** From where browsers may call. */
  readonly allowedOrigins: "*" | readonly string[];
  readonly tls: { readonly certPath: string; readonly keyPath: string } | undefined;
  readonly logLevel: LogLevel;
  /** Health and reflection answer without a key. */
  readonly isDiscoveryOpen: boolean;
  readonly limits: Limits;
  /** Names that begin like settings and are none, with the setting that was probably meant. For a warning: a mistake it may not be. */
  readonly unknown: readonly { readonly name: string; readonly meant: string }[];
}

/** The process's settings are wrong; the message lists every mistake, one a line. */
export class ConfigError extends Error {
  override readonly name = "ConfigError";
  readonly mistakes: readonly string[];

  constructor(mistakes: readonly string[]) {
    super(mistakes.join("\n"));
    this.mistakes = mistakes;
  }
}

interface Kind<T> {
  /** What is expected, as a mistake says it. */
  readonly expected: string;
  /** The value, or undefined where the text is none. */
  parse(text: string): T | undefined;
  /** A mistake does not repeat the text, nor is it printed. */
  readonly isSecret?: boolean;
  /** Says more than "got …" about a wrong text. */
  readonly complain?: (text: string) => string | undefined;
}

/** A setting that may be unset. */
function setting<T>(kind: Kind<T>): Kind<T> {
  return kind;
}

function mistakeOf({ expected, isSecret, complain }: Kind<unknown>, text: string): string {
  const got = isSecret === true ? "something else" : `"${shown(text)}"`;
  return complain?.(text) ?? `expected ${expected}, got ${got}`;
}

const address: Kind<ListenAddress> = {
  expected: "host:port such as 127.0.0.1:7470 or [::1]:7470",
  parse(text) {
    const match = /^(?:\[([0-9a-fA-F:.]+)\]|([^:[\]\s/]+)):(\d{1,5})$/.exec(text);
    const host = match?.[1] ?? match?.[2];
    const port = Number(match?.[3]);
    return host === undefined || port > 65_535 ? undefined : { host, port };
  },
};

/** A URL of a database holds a password. */
const MONGO = /^mongodb(?:\+srv)?:\/\/[^/\s]/i;

const storeAddress: Kind<string> = {
  expected: "a directory such as ./.hairtrigger, or a database such as mongodb://host:27017/hairtrigger",
  parse: (text) => (/^[a-z][a-z0-9+]*:/i.test(text) && !MONGO.test(text) ? undefined : text),
  isSecret: true,
};

const peerAddress: Kind<string> = {
  expected: "http://host:port or https://host:port",
  parse(text) {
    if (!URL.canParse(text)) return undefined;
    const { protocol, host, pathname } = new URL(text);
    return /^https?:$/.test(protocol) && pathname === "/" ? `${protocol}//${host}` : undefined;
  },
};

const payloadsAddress: Kind<string> = {
  expected: "a directory, gridfs, or s3://bucket, perhaps with /prefix and ?endpoint=…&region=…",
  parse: (text) => (/^[a-z][a-z0-9+]*:/i.test(text) && parseS3Address(text) === undefined ? undefined : text),
};

const publicUrl: Kind<string> = {
  expected: "a URL such as https://jobs.example.com",
  parse(text) {
    if (!URL.canParse(text)) return undefined;
    const { protocol, origin, pathname, search, hash } = new URL(text);
    if (!/^https?:$/.test(protocol) || search !== "" || hash !== "") return undefined;
    return `${origin}${pathname.replace(/\/+$/, "")}`;
  },
};

const onOff: Kind<boolean> = {
  expected: "on or off",
  parse: (text) => (text === "on" ? true : text === "off" ? false : undefined),
};

const KEY_LIST = "secret keys tr_<environment>_<at least 16 letters and digits>, separated by commas";

const keyList: Kind<readonly string[]> = {
  expected: KEY_LIST,
  parse(text) {
    const keys = splitKeys(text);
    return keys.every((key) => keyEnvironment(key) !== undefined) ? keys : undefined;
  },
  complain(text) {
    const keys = splitKeys(text);
    const wrong = keys.findIndex((key) => keyEnvironment(key) === undefined);
    return `expected ${KEY_LIST}, got ${keys[wrong]?.length ?? 0} other characters as key ${wrong + 1} of ${keys.length}`;
  },
  isSecret: true,
};

/** AUT-9. Long enough that nobody guesses it, and no secret key, which opens an environment. */
const administratorKey: Kind<string> = {
  expected: "at least 24 printable characters without spaces, which are not a secret key tr_…",
  parse: (text) => (/^[\x21-\x7e]{24,512}$/.test(text) && !text.startsWith("tr_") ? text : undefined),
  isSecret: true,
};

const origins: Kind<"*" | readonly string[]> = {
  expected: "* or origins such as https://app.example.com, separated by commas",
  parse(text) {
    if (text === "*") return text;
    const list = text.split(",").map((origin) => origin.trim());
    return list.every((origin) => URL.canParse(origin) && new URL(origin).origin === origin) ? list : undefined;
  },
};

function splitKeys(text: string): readonly string[] {
  return text.split(",").map((key) => key.trim());
}

const path: Kind<string> = { expected: "the path of a file", parse: (text) => text };

const logLevel: Kind<LogLevel> = {
  expected: `one of ${LOG_LEVELS.join(", ")}`,
  parse: (text) => LOG_LEVELS.find((level) => level === text),
};

const yesNo: Kind<boolean> = {
  expected: "true or false",
  parse: (text) => (text === "true" ? true : text === "false" ? false : undefined),
};

/** A whole number, both ends inclusive. */
function count(min: number, max: number): Kind<number> {
  return {
    expected: `a whole number from ${min} to ${max}`,
    parse(text) {
      const value = /^\d{1,15}$/.test(text) ? Number(text) : Number.NaN;
      return value >= min && value <= max ? value : undefined;
    },
  };
}

/** A duration of section 7 of the behaviour, in milliseconds; both ends inclusive. */
function duration(minMs: number, maxMs: number): Kind<number> {
  const range = `${formatSeconds(minMs / 1_000)} to ${formatSeconds(maxMs / 1_000)}`;
  return {
    expected: `a duration such as 30s or 1h30m, from ${range}`,
    parse(text) {
      const ms = parseDuration(text, maxMs);
      return ms !== undefined && ms >= minMs ? ms : undefined;
    },
  };
}

/**
 * BAT-5, BAT-6: `1500/1m`, or with another refill than the whole, `5000,500/5s`.
 * @param min of the limit: what one call may cost.
 */
function rate(whenOn: Rate, min: number): Kind<Rate | "off"> {
  return {
    expected: `on, off, or a rate such as 1500/1m or 5000,500/5s, of at least ${min}`,
    parse(text) {
      if (text === "off") return text;
      if (text === "on") return whenOn;
      const [, limitText = "", refillText = limitText, every = ""] =
        /^(\d{1,9})(?:,(\d{1,9}))?\/(\S+)$/.exec(text) ?? [];
      const [limit, refill] = [Number(limitText), Number(refillText)];
      const intervalMs = parseDuration(every, HOUR_MS);
      const isRight = limit >= min && refill >= 1 && refill <= limit;
      return isRight && intervalMs !== undefined && intervalMs >= SECOND_MS ? { limit, refill, intervalMs } : undefined;
    },
  };
}

const KIB = 1_024;
const MIB = 1_024 * KIB;
const SECOND_MS = 1_000;
const HOUR_MS = 3_600 * SECOND_MS;
const DAY_MS = 24 * HOUR_MS;
const YEAR_MS = 365 * DAY_MS;

/** Beyond it a value stops making sense as one protobuf message or as one row. */
const BYTES_MAX = 20 * MIB;

/** THE SETTINGS. Unset and empty are the same: the default. */
const schema = {
  HAIRTRIGGER_LISTEN: setting(address),
  HAIRTRIGGER_STORE: setting(storeAddress),
  HAIRTRIGGER_PAYLOADS: setting(payloadsAddress),
  HAIRTRIGGER_KEYS: setting(keyList),
  HAIRTRIGGER_ADMIN_KEY: setting(administratorKey),
  HAIRTRIGGER_ALLOWED_ORIGINS: setting(origins),
  HAIRTRIGGER_TLS_CERT: setting(path),
  HAIRTRIGGER_TLS_KEY: setting(path),
  HAIRTRIGGER_LOG_LEVEL: setting(logLevel),
  HAIRTRIGGER_OPEN_DISCOVERY: setting(yesNo),
  HAIRTRIGGER_PUBLIC_URL: setting(publicUrl),
  HAIRTRIGGER_PEER_ADDRESS: setting(peerAddress),
  HAIRTRIGGER_HINTS: setting(onOff),

  HAIRTRIGGER_RETENTION: setting(duration(DAY_MS, 100 * YEAR_MS)),
  HAIRTRIGGER_MAX_QUEUE_SIZE: setting(count(1, 1_000_000_000)),
  HAIRTRIGGER_MAX_TTL: setting(duration(SECOND_MS, 100 * YEAR_MS)),
  HAIRTRIGGER_MAX_CONCURRENCY_LIMIT: setting(count(1, 1_000_000)),
  HAIRTRIGGER_MAX_ATTEMPTS: setting(count(1, 100_000)),
  HAIRTRIGGER_MAX_PAYLOAD_BYTES: setting(count(1, BYTES_MAX)),
  HAIRTRIGGER_MAX_METADATA_BYTES: setting(count(2, BYTES_MAX)),
  HAIRTRIGGER_MAX_TAGS: setting(count(0, 100)),
  HAIRTRIGGER_BATCH_ITEM_RATE: setting(rate(ITEM_RATE, defaultLimits.batchItemsMax)),
  HAIRTRIGGER_REQUEST_RATE: setting(rate(REQUEST_RATE, 1)),
  HAIRTRIGGER_IDEMPOTENCY_KEY_TTL: setting(duration(SECOND_MS, 100 * YEAR_MS)),

  HAIRTRIGGER_SESSION_TIMEOUT: setting(duration(3 * SECOND_MS, HOUR_MS)),
  HAIRTRIGGER_PICK_UP_TIMEOUT: setting(duration(SECOND_MS, HOUR_MS)),
  HAIRTRIGGER_CANCEL_GRACE: setting(duration(0, HOUR_MS)),
};

export type SettingName = keyof typeof schema;
type Settings = {
  readonly [Name in SettingName]: (typeof schema)[Name] extends Kind<infer T> ? T | undefined : never;
};

/** Names of all settings, in the order of the page that explains them. */
// oxlint-disable-next-line typescript/no-unsafe-type-assertion -- the keys of a constant
export const SETTING_NAMES = Object.keys(schema) as readonly SettingName[];

const DEFAULT_LISTEN: ListenAddress = { host: "127.0.0.1", port: 7_470 };
const DEFAULT_STORE = "./.hairtrigger";

/** Settings of clients, which a server may share its environment with (CFG-1). */
const CLIENT_NAMES: readonly string[] = ["HAIRTRIGGER_SECRET_KEY", "HAIRTRIGGER_API_URL"];

export type Environment = Readonly<Record<string, string | undefined>>;

/**
 * The settings of this process, frozen.
 * @param environment default: the process's own.
 * @param workingDirectory what a relative store is relative to.
 * @throws ConfigError with every mistake.
 */
export function readConfig(environment: Environment = process.env, workingDirectory: string = process.cwd()): Config {
  const given: Readonly<Partial<Record<SettingName, string>>> = Object.fromEntries(
    SETTING_NAMES.map((name) => [name, environment[name]?.trim() || undefined]),
  );
  const mistakes: string[] = [];
  const data = parseSettings(given, mistakes);
  const [cert, key] = [given.HAIRTRIGGER_TLS_CERT, given.HAIRTRIGGER_TLS_KEY];
  if (cert === undefined && key !== undefined) mistakes.push(missing("HAIRTRIGGER_TLS_CERT", "HAIRTRIGGER_TLS_KEY"));
  if (cert !== undefined && key === undefined) mistakes.push(missing("HAIRTRIGGER_TLS_KEY", "HAIRTRIGGER_TLS_CERT"));
  const isShared = MONGO.test(given.HAIRTRIGGER_STORE ?? "");
  if (given.HAIRTRIGGER_PAYLOADS === "gridfs" && !isShared) {
    mistakes.push(
      'HAIRTRIGGER_PAYLOADS: expected a directory or s3://bucket, since the store is no MongoDB, got "gridfs"',
    );
  }
  if (mistakes.length > 0) throw new ConfigError(mistakes);

  const storeDirectory = resolve(workingDirectory, (isShared ? undefined : data.HAIRTRIGGER_STORE) ?? DEFAULT_STORE);
  const payloads = data.HAIRTRIGGER_PAYLOADS ?? (isShared ? "gridfs" : join(storeDirectory, "payloads"));
  return Object.freeze({
    listen: data.HAIRTRIGGER_LISTEN ?? DEFAULT_LISTEN,
    storeDirectory,
    payloads: payloadsOf(payloads, workingDirectory),
    mongoUrl: isShared ? data.HAIRTRIGGER_STORE : undefined,
    publicUrl: data.HAIRTRIGGER_PUBLIC_URL,
    peerAddress: data.HAIRTRIGGER_PEER_ADDRESS,
    areHintsEnabled: data.HAIRTRIGGER_HINTS ?? true,
    secretKeys: data.HAIRTRIGGER_KEYS ?? [],
    administratorKey: data.HAIRTRIGGER_ADMIN_KEY,
    allowedOrigins: data.HAIRTRIGGER_ALLOWED_ORIGINS ?? "*",
    tls:
      cert === undefined || key === undefined
        ? undefined
        : { certPath: resolve(workingDirectory, cert), keyPath: resolve(workingDirectory, key) },
    logLevel: data.HAIRTRIGGER_LOG_LEVEL ?? "info",
    isDiscoveryOpen: data.HAIRTRIGGER_OPEN_DISCOVERY ?? true,
    limits: Object.freeze(limitsOf(data)),
    unknown: unknownNames(environment),
  });
}

/** The values of all settings; what is wrong is added to the mistakes. */
function parseSettings(given: Readonly<Partial<Record<SettingName, string>>>, mistakes: string[]): Settings {
  const values = SETTING_NAMES.map((name) => {
    const text = given[name];
    const kind: Kind<unknown> = schema[name];
    const value = text === undefined ? undefined : kind.parse(text);
    if (text !== undefined && value === undefined) mistakes.push(`${name}: ${mistakeOf(kind, text)}`);
    return [name, value] as const;
  });
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- every name with what its own kind parsed
  return Object.fromEntries(values) as Settings;
}

function payloadsOf(text: string, workingDirectory: string): PayloadsAddress {
  if (text === "gridfs") return { kind: "gridfs" };
  const options = parseS3Address(text);
  return options === undefined ? { kind: "file", directory: resolve(workingDirectory, text) } : { kind: "s3", options };
}

function missing(name: string, other: string): string {
  return `${name}: expected the path of a file, since ${other} is set, got nothing`;
}

/** RUN-6: the times of a session belong together; whoever changes one, changes the others in proportion. */
function limitsOf(data: Settings): Limits {
  const sessionMs = data.HAIRTRIGGER_SESSION_TIMEOUT ?? defaultLimits.sessionMs;
  const inProportion = (ms: number): number => Math.round((ms * sessionMs) / defaultLimits.sessionMs);
  return {
    ...defaultLimits,
    finishedRunsKeptMs: data.HAIRTRIGGER_RETENTION ?? defaultLimits.finishedRunsKeptMs,
    queueSizeMax: data.HAIRTRIGGER_MAX_QUEUE_SIZE ?? defaultLimits.queueSizeMax,
    ttlMaxMs: data.HAIRTRIGGER_MAX_TTL ?? defaultLimits.ttlMaxMs,
    concurrencyLimitMax: data.HAIRTRIGGER_MAX_CONCURRENCY_LIMIT ?? defaultLimits.concurrencyLimitMax,
    attemptsMax: data.HAIRTRIGGER_MAX_ATTEMPTS ?? defaultLimits.attemptsMax,
    payloadBytesMax: data.HAIRTRIGGER_MAX_PAYLOAD_BYTES ?? defaultLimits.payloadBytesMax,
    metadataBytesMax: data.HAIRTRIGGER_MAX_METADATA_BYTES ?? defaultLimits.metadataBytesMax,
    tagsMax: data.HAIRTRIGGER_MAX_TAGS ?? defaultLimits.tagsMax,
    idempotencyKeyTtlMs: data.HAIRTRIGGER_IDEMPOTENCY_KEY_TTL ?? defaultLimits.idempotencyKeyTtlMs,
    batchItemRate: rateOf(data.HAIRTRIGGER_BATCH_ITEM_RATE),
    requestRate: rateOf(data.HAIRTRIGGER_REQUEST_RATE),
    sessionMs,
    heartbeatMs: inProportion(defaultLimits.heartbeatMs),
    silentMs: inProportion(defaultLimits.silentMs),
    selfFenceMs: inProportion(defaultLimits.selfFenceMs),
    pickUpMs: data.HAIRTRIGGER_PICK_UP_TIMEOUT ?? defaultLimits.pickUpMs,
    cancelGraceMs: data.HAIRTRIGGER_CANCEL_GRACE ?? defaultLimits.cancelGraceMs,
  };
}

function rateOf(given: Rate | "off" | undefined): Rate | undefined {
  return given === "off" ? undefined : given;
}

/** Letters that may be wrong in a name for it to be taken for a setting; Kubernetes gives every service variables of its own. */
const TYPOS_MAX = 2;

function unknownNames(environment: Environment): Config["unknown"] {
  const known: readonly string[] = [...SETTING_NAMES, ...CLIENT_NAMES];
  return Object.keys(environment)
    .filter((name) => name.startsWith("HAIRTRIGGER_") && !known.includes(name))
    .flatMap((name) => {
      const meant = SETTING_NAMES.find((candidate) => editDistance(name, candidate) <= TYPOS_MAX);
      return meant === undefined ? [] : [{ name, meant }];
    });
}

/** The effective settings for a log line: what differs from a bare start, secrets left out. */
export function describeConfig(config: Config): Readonly<Record<string, unknown>> {
  const limits = Object.entries(config.limits).filter(
    ([name, value]) => !Object.is(value, Object.entries(defaultLimits).find(([other]) => other === name)?.[1]),
  );
  return {
    listen: addressText(config.listen),
    store: storeText(config),
    payloads: config.payloads,
    publicUrl: config.publicUrl,
    keys: config.secretKeys.map((key) => `${key.slice(0, key.lastIndexOf("_"))}_…`),
    administratorKey: config.administratorKey === undefined ? "none" : "…",
    allowedOrigins: config.allowedOrigins,
    tls: config.tls ?? false,
    logLevel: config.logLevel,
    openDiscovery: config.isDiscoveryOpen,
    limits: Object.fromEntries(limits),
  };
}

/** Where the store is, without credentials. */
export function storeText({ storeDirectory, mongoUrl }: Pick<Config, "storeDirectory" | "mongoUrl">): string {
  return mongoUrl?.replace(/^([a-z+]+:\/\/)(?:[^/@]*@)?([^?]*).*$/i, "$1$2") ?? storeDirectory;
}

/** `host:port`, with the brackets of an IPv6 address. */
export function addressText({ host, port }: ListenAddress): string {
  return `${host.includes(":") ? `[${host}]` : host}:${port}`;
}
