import { readFileSync } from "node:fs";
import { join } from "node:path";
import test from "ava";
import { ConfigError, describeConfig, type Environment, readConfig, SETTING_NAMES } from "../../server/config.js";
import { createEvents } from "../../server/engine/events.js";
import { createLogger, logCalls, logEvents } from "../../server/telemetry/log.js";
import { FakeClock } from "../support/clock.js";

const KEY = "tr_dev_abcdefghijklmnop0123";

function mistakesOf(environment: Environment): readonly string[] {
  try {
    readConfig(environment, "/srv");
    return [];
  } catch (error) {
    if (error instanceof ConfigError) return error.mistakes;
    throw error;
  }
}

test("a bare environment gives the documented defaults", (t) => {
  const config = readConfig({}, "/srv");
  t.like(config, {
    listen: { host: "127.0.0.1", port: 7_470 },
    storeDirectory: "/srv/.hairtrigger",
    secretKeys: [],
    tls: undefined,
    logLevel: "info",
    isDiscoveryOpen: true,
    unknown: [],
  });
  t.like(config.limits, { finishedRunsKeptMs: 30 * 86_400_000, queueSizeMax: undefined, sessionMs: 30_000 });
  t.true(Object.isFrozen(config));
  t.true(Object.isFrozen(config.limits));
});

test("empty variables are unset ones", (t) => {
  const empty = Object.fromEntries(SETTING_NAMES.map((name) => [name, " "]));
  t.deepEqual(readConfig(empty, "/srv"), readConfig({}, "/srv"));
});

test("settings reach what they name", (t) => {
  const config = readConfig(
    {
      HAIRTRIGGER_LISTEN: "[::1]:0",
      HAIRTRIGGER_STORE: "/var/lib/hairtrigger",
      HAIRTRIGGER_KEYS: `${KEY}, tr_prod_abcdefghijklmnop0123`,
      HAIRTRIGGER_TLS_CERT: "cert.pem",
      HAIRTRIGGER_TLS_KEY: "/etc/key.pem",
      HAIRTRIGGER_LOG_LEVEL: "debug",
      HAIRTRIGGER_OPEN_DISCOVERY: "false",
      HAIRTRIGGER_RETENTION: "7d",
      HAIRTRIGGER_MAX_QUEUE_SIZE: "5000",
      HAIRTRIGGER_MAX_TTL: "1h30m",
      HAIRTRIGGER_MAX_TAGS: "20",
    },
    "/srv",
  );
  t.like(config, {
    listen: { host: "::1", port: 0 },
    storeDirectory: "/var/lib/hairtrigger",
    secretKeys: [KEY, "tr_prod_abcdefghijklmnop0123"],
    tls: { certPath: "/srv/cert.pem", keyPath: "/etc/key.pem" },
    logLevel: "debug",
    isDiscoveryOpen: false,
  });
  t.like(config.limits, {
    finishedRunsKeptMs: 604_800_000,
    queueSizeMax: 5_000,
    ttlMaxMs: 5_400_000,
    tagsMax: 20,
  });
});

test("RUN-6: the times of a session stay in proportion when one is set", (t) => {
  const { limits } = readConfig({ HAIRTRIGGER_SESSION_TIMEOUT: "60s" }, "/srv");
  t.like(limits, { sessionMs: 60_000, heartbeatMs: 20_000, silentMs: 24_000, selfFenceMs: 56_000, pickUpMs: 10_000 });
});

test("BAT-5, BAT-6: rate limits are off, on as in the rules, or the operator's own", (t) => {
  t.like(readConfig({}, "/srv").limits, { batchItemRate: undefined, requestRate: undefined });
  const off = readConfig({ HAIRTRIGGER_BATCH_ITEM_RATE: "off", HAIRTRIGGER_REQUEST_RATE: "off" }, "/srv");
  t.like(off.limits, { batchItemRate: undefined, requestRate: undefined });
  const on = readConfig({ HAIRTRIGGER_BATCH_ITEM_RATE: "on", HAIRTRIGGER_REQUEST_RATE: "on" }, "/srv");
  t.deepEqual(on.limits.batchItemRate, { limit: 5_000, refill: 500, intervalMs: 5_000 });
  t.deepEqual(on.limits.requestRate, { limit: 1_500, refill: 1_500, intervalMs: 60_000 });
  const own = readConfig({ HAIRTRIGGER_BATCH_ITEM_RATE: "500,100/10s", HAIRTRIGGER_REQUEST_RATE: "1/1h" }, "/srv");
  t.deepEqual(own.limits.batchItemRate, { limit: 500, refill: 100, intervalMs: 10_000 });
  t.deepEqual(own.limits.requestRate, { limit: 1, refill: 1, intervalMs: 3_600_000 });
});

test("all mistakes are reported at once, with name, expected and got", (t) => {
  t.deepEqual(
    mistakesOf({
      HAIRTRIGGER_LISTEN: "7470",
      HAIRTRIGGER_RETENTION: "1h",
      HAIRTRIGGER_MAX_QUEUE_SIZE: "-1",
      HAIRTRIGGER_LOG_LEVEL: "loud",
      HAIRTRIGGER_OPEN_DISCOVERY: "yes",
      HAIRTRIGGER_TLS_KEY: "key.pem",
    }),
    [
      'HAIRTRIGGER_LISTEN: expected host:port such as 127.0.0.1:7470 or [::1]:7470, got "7470"',
      'HAIRTRIGGER_LOG_LEVEL: expected one of trace, debug, info, warn, error, fatal, silent, got "loud"',
      'HAIRTRIGGER_OPEN_DISCOVERY: expected true or false, got "yes"',
      'HAIRTRIGGER_RETENTION: expected a duration such as 30s or 1h30m, from 1d to 5214w2d, got "1h"',
      'HAIRTRIGGER_MAX_QUEUE_SIZE: expected a whole number from 1 to 1000000000, got "-1"',
      "HAIRTRIGGER_TLS_CERT: expected the path of a file, since HAIRTRIGGER_TLS_KEY is set, got nothing",
    ],
  );
});

for (const [name, text] of [
  ["HAIRTRIGGER_LISTEN", "127.0.0.1:70000"],
  ["HAIRTRIGGER_LISTEN", "::1:7470"],
  ["HAIRTRIGGER_LISTEN", "http://127.0.0.1:7470"],
  ["HAIRTRIGGER_STORE", "postgres://db"],
  ["HAIRTRIGGER_STORE", "mongodb://"],
  ["HAIRTRIGGER_STORE", "mongodb:db"],
  ["HAIRTRIGGER_PEER_ADDRESS", "10.0.0.7:7470"],
  ["HAIRTRIGGER_PEER_ADDRESS", "http://10.0.0.7:7470/hints"],
  ["HAIRTRIGGER_HINTS", "false"],
  ["HAIRTRIGGER_KEYS", `${KEY},`],
  ["HAIRTRIGGER_MAX_TTL", "5 minutes"],
  ["HAIRTRIGGER_MAX_TTL", "101y"],
  ["HAIRTRIGGER_MAX_ATTEMPTS", "1.5"],
  ["HAIRTRIGGER_BATCH_ITEM_RATE", "499/5s"],
  ["HAIRTRIGGER_BATCH_ITEM_RATE", "500,501/5s"],
  ["HAIRTRIGGER_REQUEST_RATE", "1500"],
  ["HAIRTRIGGER_REQUEST_RATE", "1500,0/1m"],
  ["HAIRTRIGGER_REQUEST_RATE", "1500/0s"],
  ["HAIRTRIGGER_MAX_PAYLOAD_BYTES", "10MB"],
  ["HAIRTRIGGER_OPEN_DISCOVERY", "toString"],
] as const) {
  test(`${name}=${text} is a mistake`, (t) => {
    const [mistake, ...others] = mistakesOf({ [name]: text });
    t.regex(mistake ?? "", new RegExp(`^${name}: expected `));
    t.deepEqual(others, []);
  });
}

test("a database instead of a directory, and what other servers of it need to know", (t) => {
  const config = readConfig(
    {
      HAIRTRIGGER_STORE: "mongodb://app:hunter2@db:27017/jobs?replicaSet=rs0",
      HAIRTRIGGER_KEYS: KEY,
      HAIRTRIGGER_PEER_ADDRESS: "http://10.0.0.7:7470/",
      HAIRTRIGGER_HINTS: "off",
    },
    "/srv",
  );
  t.like(config, {
    mongoUrl: "mongodb://app:hunter2@db:27017/jobs?replicaSet=rs0",
    peerAddress: "http://10.0.0.7:7470",
    areHintsEnabled: false,
  });
  const text = JSON.stringify(describeConfig(config));
  t.true(text.includes('"store":"mongodb://db:27017/jobs"'), text);
  t.false(text.includes("hunter2"));
  t.like(readConfig({}, "/srv"), { mongoUrl: undefined, peerAddress: undefined, areHintsEnabled: true });
});

test("AUT-9: the administrator key is long, is no secret key, and is not repeated", (t) => {
  for (const bad of ["hunter2", "two words that are long enough", `tr_dev_${"a".repeat(24)}`]) {
    const [mistake] = mistakesOf({ HAIRTRIGGER_ADMIN_KEY: bad });
    t.regex(mistake ?? "", /^HAIRTRIGGER_ADMIN_KEY: expected at least 24 printable characters/);
    t.false(mistake?.includes(bad));
  }
  const administratorKey = "administrator-0123456789";
  const config = readConfig({ HAIRTRIGGER_ADMIN_KEY: administratorKey });
  t.is(config.administratorKey, administratorKey);
  t.false(JSON.stringify(describeConfig(config)).includes(administratorKey));
});

test("AUT-7: origins of browsers are a list, or all", (t) => {
  t.is(readConfig({}).allowedOrigins, "*");
  t.is(readConfig({ HAIRTRIGGER_ALLOWED_ORIGINS: "*" }).allowedOrigins, "*");
  const list = "https://app.example.com, http://localhost:3000";
  t.deepEqual(readConfig({ HAIRTRIGGER_ALLOWED_ORIGINS: list }).allowedOrigins, list.split(", "));
  for (const bad of ["app.example.com", "https://app.example.com/", "https://app.example.com,*"]) {
    t.regex(mistakesOf({ HAIRTRIGGER_ALLOWED_ORIGINS: bad })[0] ?? "", /^HAIRTRIGGER_ALLOWED_ORIGINS: expected/, bad);
  }
});

test("AUT-1: a malformed key is counted and measured, not repeated", (t) => {
  const [mistake] = mistakesOf({ HAIRTRIGGER_KEYS: `${KEY},tr_prod_hunter2` });
  t.regex(mistake ?? "", /got 15 other characters as key 2 of 2$/);
  t.false(mistake?.includes("hunter2"));
  t.false(mistake?.includes("abcdefghijkl"));
});

test("effective settings are printed without the secret part of keys", (t) => {
  const text = JSON.stringify(
    describeConfig(readConfig({ HAIRTRIGGER_KEYS: KEY, HAIRTRIGGER_MAX_TAGS: "20" }, "/srv")),
  );
  t.true(text.includes("tr_dev_…"));
  t.true(text.includes('"limits":{"tagsMax":20}'), text);
  t.false(text.includes("abcdefghijkl"));
});

test("a mistyped name is found; names of clients and of container platforms are left alone", (t) => {
  const { unknown } = readConfig(
    {
      HAIRTRIGGER_STROE: "x",
      HAIRTRIGGER_SECRET_KEY: KEY,
      HAIRTRIGGER_API_URL: "http://x",
      HAIRTRIGGER_PORT: "tcp://10.0.0.1:7470",
      HAIRTRIGGER_SERVICE_HOST: "10.0.0.1",
      PATH: "/bin",
    },
    "/srv",
  );
  t.deepEqual(unknown, [{ name: "HAIRTRIGGER_STROE", meant: "HAIRTRIGGER_STORE" }]);
});

test("the page of settings names every setting once, and no other, with its default", (t) => {
  const page = readFileSync(join(import.meta.dirname, "../../../docs/operating/configuration.md"), "utf8");
  const rows = [...page.matchAll(/^\| `(HAIRTRIGGER_\w+)` \| (?:`([^`]+)`|none) \|/gm)];
  t.true(SETTING_NAMES.every((name) => rows.some(([, written]) => written === name)));
  t.is(rows.length, SETTING_NAMES.length);
  const written = Object.fromEntries(rows.flatMap(([, name, value]) => (value === undefined ? [] : [[name, value]])));
  t.true(Object.keys(written).length > 10);
  t.deepEqual(readConfig(written, "/srv"), readConfig({}, "/srv"));
});

function logged(level: string) {
  const lines: string[] = [];
  return { lines, log: createLogger(level, { write: (line: string) => void lines.push(line) }) };
}

test("the log tells engine events at their level, as JSON, until it is unsubscribed", (t) => {
  const { lines, log } = logged("info");
  const events = createEvents();
  const end = logEvents(events, log, () => 0);
  events.emit("run.triggered", { environment: "dev", runId: "run_1", taskId: "a", isCached: false });
  t.deepEqual(lines, [], "runs are debug lines");
  events.emit("session.lapsed", { environment: "dev", sessionId: "session_1", runsLost: 2 });
  t.like(JSON.parse(lines[0] ?? ""), { level: "warn", sessionId: "session_1", runsLost: 2 });
  end();
  events.emit("session.lapsed", { environment: "dev", sessionId: "session_1", runsLost: 2 });
  t.is(lines.length, 1);
});

test("a duty that fails on and on is one line per 10 s, with the number of those left out", async (t) => {
  const { lines, log } = logged("info");
  const events = createEvents();
  const clock = new FakeClock();
  logEvents(events, log, () => clock.nowMs());
  for (let beat = 0; beat <= 20; beat += 1) {
    events.emit("duty.failed", { duty: "due", error: new Error("disk full", { cause: new Error("SQLITE_FULL") }) });
    await clock.advance(500);
  }
  t.is(lines.length, 2);
  t.regex(lines[0] ?? "", /disk full.*SQLITE_FULL/);
  t.is(JSON.parse(lines[0] ?? "").leftOut, undefined);
  t.is(JSON.parse(lines[1] ?? "").leftOut, 19);
});

test("refused calls are no error lines; faults are, with all that is known", (t) => {
  const { lines, log } = logged("info");
  const calls = logCalls(log);
  const call = { requestId: "r1", method: "/a.B/C", protocol: "grpc", durationMs: 1 };
  calls.callEnded({ ...call, code: "INVALID_ARGUMENT" });
  t.deepEqual(lines, []);
  calls.fault({ ...call, error: new TypeError("boom") });
  t.like(JSON.parse(lines[0] ?? ""), {
    level: "error",
    requestId: "r1",
    error: { type: "TypeError", message: "boom" },
  });
});
