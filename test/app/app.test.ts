/** The app as a value and as a process: how it starts, what it says, how it stops. */
import { type ChildProcessWithoutNullStreams, spawn } from "node:child_process";
import { mkdtemp, readFile, rm, stat } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import test, { type ExecutionContext } from "ava";
import { createApp } from "../../server/app.js";
import { startTestApp, type TestApp } from "../support/harness.js";
import { freePort } from "../support/processes.js";

const CLI = join(import.meta.dirname, "../../clients/cli/main.js");
const KEY = "tr_dev_0123456789abcdefghij";

async function temporaryFolder(t: ExecutionContext): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "hairtrigger-"));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

interface Answer {
  readonly status: number;
  readonly body: Readonly<Record<string, unknown>>;
}

async function call(url: string, method: string, body: object, key = KEY): Promise<Answer> {
  const response = await fetch(`${url}/hairtrigger.v1.${method}`, {
    method: "POST",
    headers: { authorization: `Bearer ${key}`, "content-type": "application/json" },
    body: JSON.stringify(body),
  });
  const answer: unknown = await response.json();
  return { status: response.status, body: typeof answer === "object" && answer !== null ? { ...answer } : {} };
}

async function triggerDelayed(url: string, delay: string, key = KEY): Promise<string> {
  const { status, body } = await call(url, "RunService/TriggerTask", { taskId: "hello", options: { delay } }, key);
  if (status !== 200 || typeof body.runId !== "string") throw new Error(JSON.stringify(body));
  return body.runId;
}

async function statusOf(app: TestApp, runId: string): Promise<string> {
  const { run } = await app.app.engine.retrieveRun("dev", runId);
  return run.status;
}

test("an app starts and stops once, however often it is told, and leaves no timer and no port", async (t) => {
  const testApp = await startTestApp();
  await testApp.app.start();
  t.is((await fetch(`${testApp.url}/readyz`)).status, 200);
  await Promise.all([testApp.stop(), testApp.stop()]);
  await testApp.stop();
  t.is(testApp.clock.pendingTimers, 0);
  await t.throwsAsync(fetch(`${testApp.url}/readyz`));
  await t.throwsAsync(testApp.app.start(), { message: /does not start again/ });
});

test("an app that was never started stops, and says that it has no parts", async (t) => {
  const app = createApp({ storeDirectory: ":memory:", listen: { host: "127.0.0.1", port: 0 } });
  t.throws(() => app.engine, { message: "the app is not started" });
  await t.notThrowsAsync(app.stop());
});

test("a store has one server: a second start is refused, leaves the first alone, and works after its end", async (t) => {
  const storeDirectory = join(await temporaryFolder(t), "store");
  const options = { storeDirectory, listen: { host: "127.0.0.1", port: 0 } };
  const first = createApp(options);
  t.teardown(() => first.stop());
  await first.start();
  await t.throwsAsync(createApp(options).start());
  t.is((await fetch(`${first.url}/readyz`)).status, 200);
  await first.stop();
  const next = createApp(options);
  t.teardown(() => next.stop());
  await next.start();
  t.is((await fetch(`${next.url}/readyz`)).status, 200);
});

test("a taken port is an error, and the store is free again", async (t) => {
  const storeDirectory = join(await temporaryFolder(t), "store");
  const other = createServer().listen(0, "127.0.0.1");
  t.teardown(() => other.close());
  await new Promise((resolve) => other.once("listening", resolve));
  const address = other.address();
  const port = typeof address === "object" && address !== null ? address.port : 0;
  const app = createApp({ storeDirectory, listen: { host: "127.0.0.1", port } });
  await t.throwsAsync(app.start(), { code: "EADDRINUSE" });
  const next = createApp({ storeDirectory, listen: { host: "127.0.0.1", port: 0 } });
  t.teardown(() => next.stop());
  await t.notThrowsAsync(next.start());
});

test("AUT-9: the key of the first start opens the server, stays the same, and is not in the log", async (t) => {
  const storeDirectory = join(await temporaryFolder(t), "store");
  const keys: string[] = [];
  for (let start = 0; start < 2; start += 1) {
    const testApp = await startTestApp({ storeDirectory, secretKeys: [], isRealTime: true });
    keys.push(testApp.key);
    t.is((await call(testApp.url, "RunService/ListRuns", {}, testApp.key)).status, 200);
    t.is((await call(testApp.url, "RunService/ListRuns", {}, KEY)).status, 401);
    t.false(JSON.stringify(testApp.log).includes(testApp.key));
    await testApp.stop();
  }
  t.is(keys[0], keys[1]);
  t.is((await stat(join(storeDirectory, "secret-key"))).mode & 0o777, 0o600);
  t.is(await readFile(join(storeDirectory, ".gitignore"), "utf8"), "*\n");
});

test("keys that are given make no key file", async (t) => {
  const storeDirectory = join(await temporaryFolder(t), "store");
  const testApp = await startTestApp({ storeDirectory, isRealTime: true });
  t.teardown(() => testApp.stop());
  t.is(testApp.app.secretKeyPath, undefined);
  await t.throwsAsync(stat(join(storeDirectory, "secret-key")), { code: "ENOENT" });
});

test("DLY-1: a delay of 1 s is over at its millisecond by a nudge, with the duties' periods asleep", async (t) => {
  const testApp = await startTestApp({ areDutiesEnabled: false });
  t.teardown(() => testApp.stop());
  const runId = await triggerDelayed(testApp.url, "1s");
  await testApp.advance(999);
  t.is(await statusOf(testApp, runId), "DELAYED");
  await testApp.advance(1);
  t.is(await statusOf(testApp, runId), "QUEUED");
});

test("DLY-1: without nudges a delay is over within a second of its time", async (t) => {
  const testApp = await startTestApp({ areNudgesEnabled: false });
  t.teardown(() => testApp.stop());
  const runId = await triggerDelayed(testApp.url, "10s");
  await testApp.advance(9_999);
  t.is(await statusOf(testApp, runId), "DELAYED");
  await testApp.advance(1_001);
  t.is(await statusOf(testApp, runId), "QUEUED");
});

test("a dead scheduler delays and never corrupts: what is overdue starts when it is back", async (t) => {
  const storeDirectory = join(await temporaryFolder(t), "store");
  const dead = await startTestApp({ storeDirectory, areDutiesEnabled: false, areNudgesEnabled: false });
  const runId = await triggerDelayed(dead.url, "1s");
  await dead.advance(3_600_000);
  t.is(await statusOf(dead, runId), "DELAYED");
  await dead.stop();

  const alive = await startTestApp({ storeDirectory });
  t.teardown(() => alive.stop());
  const due = new Promise<void>((resolve) => {
    alive.app.events.on("run.moved", (move) => {
      if (move.runId === runId && move.event === "due") resolve();
    });
  });
  await alive.clock.jump(3_600_000);
  await alive.advance(1_000);
  await due;
  t.is(await statusOf(alive, runId), "QUEUED");
});

test("DLY-12: a delay of 60 days is accepted and does not start at once", async (t) => {
  const testApp = await startTestApp();
  t.teardown(() => testApp.stop());
  const runId = await triggerDelayed(testApp.url, "60d");
  await testApp.advance(60_000);
  t.is(await statusOf(testApp, runId), "DELAYED");
  await testApp.clock.jump(60 * 86_400_000);
  await testApp.advance(1_000);
  t.is(await statusOf(testApp, runId), "QUEUED");
});

test("the app speaks TLS where it has a certificate", async (t) => {
  await t.throwsAsync(
    startTestApp({ tls: { cert: "not a certificate", key: "not a key" } }),
    undefined,
    "a wrong certificate is an error, not clear text",
  );
});

interface ServerProcess {
  readonly child: ChildProcessWithoutNullStreams;
  /** The next line of standard output. */
  line(): Promise<string>;
  stderr(): string;
  readonly ended: Promise<number | null>;
}

function serve(t: ExecutionContext, environment: Readonly<Record<string, string>>): ServerProcess {
  const child = spawn(process.execPath, [CLI, "serve"], {
    env: { PATH: process.env.PATH, HAIRTRIGGER_LISTEN: "127.0.0.1:0", ...environment },
  });
  t.teardown(() => child.kill("SIGKILL"));
  let errors = "";
  child.stderr.on("data", (chunk: Buffer) => (errors += chunk.toString()));
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  return {
    child,
    async line() {
      const next = await lines.next();
      if (next.done === true) throw new Error(`the process ended: ${errors}`);
      return next.value;
    },
    stderr: () => errors,
    ended: new Promise((resolve) => child.once("exit", resolve)),
  };
}

async function readyUrl(server: ServerProcess): Promise<string> {
  const line = await server.line();
  return /^hairtrigger listening on (http:\/\/127\.0\.0\.1:\d+)$/.exec(line)?.[1] ?? `no ready line: ${line}`;
}

test("serve says where it listens, where its store and its key are, and ends in peace at SIGTERM", async (t) => {
  const store = join(await temporaryFolder(t), "store");
  const server = serve(t, { HAIRTRIGGER_STORE: store });
  const url = await readyUrl(server);
  t.is(await server.line(), `store: ${store}`);
  t.is(await server.line(), `key: in ${join(store, "secret-key")} (environment dev)`);
  const key = (await readFile(join(store, "secret-key"), "utf8")).trim();
  t.is((await call(url, "RunService/ListRuns", {}, key)).status, 200);
  server.child.kill("SIGTERM");
  t.is(await server.ended, 0, server.stderr());
  t.false(server.stderr().includes(key));
});

test("TRG-7: an acknowledged trigger survives kill -9 of the server", async (t) => {
  const store = join(await temporaryFolder(t), "store");
  const environment = { HAIRTRIGGER_STORE: store, HAIRTRIGGER_KEYS: KEY };
  const first = serve(t, environment);
  const runId = await triggerDelayed(await readyUrl(first), "1h");
  first.child.kill("SIGKILL");
  await first.ended;
  const second = serve(t, environment);
  const { status, body } = await call(await readyUrl(second), "RunService/RetrieveRun", { runId });
  t.is(status, 200);
  t.like(body, { run: { id: runId, status: "RUN_STATUS_DELAYED" } });
});

test("serve tells all mistakes of its settings at once, without a trace, and ends with 2", async (t) => {
  const server = serve(t, {
    HAIRTRIGGER_STORE: "mongodb://u:hunter2@db",
    HAIRTRIGGER_KEYS: "hunter2",
    HAIRTRIGGER_LOG_LEVEL: "loud",
  });
  t.is(await server.ended, 2);
  t.regex(server.stderr(), /HAIRTRIGGER_KEYS: expected .*got 7 other characters as key 1 of 1/);
  t.regex(server.stderr(), /HAIRTRIGGER_LOG_LEVEL: expected one of/);
  t.notRegex(server.stderr(), /hunter2|\n {4}at /);
});

test("serve on a database that cannot be reached lives, is not ready, refuses calls, says why once per 10 s, and stops when told", async (t) => {
  t.timeout(60_000);
  const listen = `127.0.0.1:${await freePort()}`;
  const server = serve(t, {
    HAIRTRIGGER_STORE: "mongodb://u:hunter2@127.0.0.1:1/x",
    HAIRTRIGGER_KEYS: KEY,
    HAIRTRIGGER_LISTEN: listen,
  });
  const tell = /The database cannot be reached, waiting for it/g;
  while (!tell.test(server.stderr())) await new Promise((resolve) => setTimeout(resolve, 50));
  const url = `http://${listen}`;
  t.is((await fetch(`${url}/livez`)).status, 200);
  const readiness = await fetch(`${url}/readyz`);
  t.is(readiness.status, 503);
  t.regex(await readiness.text(), /waits for its database/);
  const { status, body } = await call(url, "RunService/RetrieveRun", { runId: `run_${"0".repeat(26)}` });
  t.is(status, 503);
  t.like(body, { code: "unavailable" });
  t.is(server.stderr().match(tell)?.length, 1);
  t.notRegex(server.stderr(), /hunter2|\n {4}at /);
  server.child.kill("SIGTERM");
  t.is(await server.ended, 0);
});

test("serve with a taken port or store says so in one line and ends with 1", async (t) => {
  const folder = await temporaryFolder(t);
  const first = serve(t, { HAIRTRIGGER_STORE: join(folder, "a") });
  const url = await readyUrl(first);
  const samePort = serve(t, { HAIRTRIGGER_STORE: join(folder, "b"), HAIRTRIGGER_LISTEN: url.slice("http://".length) });
  t.is(await samePort.ended, 1);
  t.regex(samePort.stderr(), /^hairtrigger: 127\.0\.0\.1:\d+ is taken/m);
  const sameStore = serve(t, { HAIRTRIGGER_STORE: join(folder, "a") });
  t.is(await sameStore.ended, 1);
  t.regex(
    sameStore.stderr(),
    new RegExp(`^hairtrigger: .*${first.child.pid}`, "m"),
    "it names the process that has the store",
  );
});

test("serve on an address that others reach warns as long as there is no TLS", async (t) => {
  const store = join(await temporaryFolder(t), "store");
  const server = serve(t, { HAIRTRIGGER_STORE: store, HAIRTRIGGER_LISTEN: "0.0.0.0:0" });
  t.regex(await server.line(), /^hairtrigger listening on http:\/\/0\.0\.0\.0:\d+$/);
  t.regex(server.stderr(), /"level":"warn".*HAIRTRIGGER_TLS_CERT/);
});
