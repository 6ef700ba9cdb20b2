/** Which keys a server begins with (AUT-9), and how the command line makes others. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test, { type ExecutionContext } from "ava";
import { createApp } from "../../server/app.js";
import { cli, startCli } from "../support/cli-process.js";
import { startTestApp } from "../support/harness.js";
import { callJson, refusalJson } from "../support/json-api.js";
import { mongoTest, takeDatabase } from "../support/mongo.js";

const ADMIN = "administrator-0123456789abcdef";
const LIST_RUNS = "hairtrigger.v1.RunService/ListRuns";
const AUTH = "hairtrigger.v1.AuthService";

async function temporaryStore(t: ExecutionContext): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "hairtrigger-"));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  return join(folder, "store");
}

async function opens(url: string, key: string): Promise<boolean> {
  try {
    await callJson(url, LIST_RUNS, key, {});
    return true;
  } catch {
    return (await refusalJson(url, LIST_RUNS, key, {})).reason !== "INVALID_CREDENTIALS";
  }
}

async function createKey(url: string, environment: string): Promise<string> {
  const { secretKey } = await callJson(url, `${AUTH}/CreateKey`, ADMIN, { environment });
  if (typeof secretKey !== "string") throw new Error("no key was made");
  return secretKey;
}

interface Listed {
  readonly id: string;
  readonly origin: string;
  readonly revokeTime?: string;
}

async function listKeys(url: string): Promise<readonly Listed[]> {
  return JSON.parse(JSON.stringify((await callJson(url, `${AUTH}/ListKeys`, ADMIN, {})).keys));
}

test("AUT-9: the key of the first start is revoked like any other, for good; a server without any key makes a new one", async (t) => {
  const storeDirectory = await temporaryStore(t);
  const start = () => startTestApp({ storeDirectory, secretKeys: [], administratorKey: ADMIN, isRealTime: true });
  const first = await start();
  const { key } = first;
  const keys = await listKeys(first.url);
  t.like(keys, { 0: { origin: "KEY_ORIGIN_FIRST_START" }, length: 1 });
  t.true(await opens(first.url, key));
  await callJson(first.url, `${AUTH}/RevokeKey`, ADMIN, { keyId: keys[0]?.id });
  t.false(await opens(first.url, key));
  await first.stop();

  const second = await start();
  t.not(second.key, key);
  t.false(await opens(second.url, key));
  t.true(await opens(second.url, second.key));
  const made = await createKey(second.url, "prod");
  await second.stop();

  // A key that was made lives on; that of the first start counts only where none is configured.
  const third = await startTestApp({ storeDirectory, isRealTime: true });
  t.teardown(() => third.stop());
  t.true(await opens(third.url, made));
  t.false(await opens(third.url, second.key));
});

mongoTest("AUT-9: with MongoDB a server without any key refuses to start and names both ways", async (t) => {
  t.timeout(120_000);
  const mongoUrl = await takeDatabase(t);
  const listen = { host: "127.0.0.1", port: 0 };
  const options = { storeDirectory: "", mongoUrl, listen, areHintsEnabled: false, areDutiesShared: false };
  const bare = createApp(options);
  t.teardown(() => bare.stop());
  const refused = await t.throwsAsync(bare.start());
  t.regex(refused?.message ?? "", /set HAIRTRIGGER_KEYS, or make one with `hairtrigger keys create/);

  // Whoever can make a key may start; with a key that was made any server starts.
  const first = createApp({ ...options, administratorKey: ADMIN });
  t.teardown(() => first.stop());
  await first.start();
  const made = await createKey(first.url, "prod");
  const second = createApp(options);
  t.teardown(() => second.stop());
  await second.start();
  t.true(await opens(second.url, made));
});

test("AUT-9: the command line makes, lists and revokes keys of a store that no server has open, and of a running server", async (t) => {
  t.timeout(120_000);
  const store = await temporaryStore(t);
  const cwd = tmpdir();
  const env = { HAIRTRIGGER_STORE: store, HAIRTRIGGER_LISTEN: "127.0.0.1:0" };
  const made = await cli(t, ["keys", "create", "prod", "--description", "by hand"], { cwd, env });
  t.is(made.exitCode, 0, made.stderr);
  const secretKey = made.stdout.trim();
  t.regex(secretKey, /^tr_prod_[0-9a-f]{48}$/);
  const list = await cli(t, ["keys", "list"], { cwd, env });
  t.regex(list.stdout, /^[0-9a-f]{16} +prod +20\d\d-.* by hand$/m);
  t.false(list.stdout.includes(secretKey.slice(-48)));
  t.is((await cli(t, ["keys", "create", "Prod"], { cwd, env })).exitCode, 2);

  const server = startCli(t, ["serve"], { cwd, env: { ...env, HAIRTRIGGER_ADMIN_KEY: ADMIN } });
  const [, url = ""] = await server.until(/^hairtrigger listening on (\S+)$/m);
  await server.until(/^keys: 1 in the store$/m);
  t.true(await opens(url, secretKey));
  const locked = await cli(t, ["keys", "list"], { cwd, env });
  t.is(locked.exitCode, 1);
  t.regex(locked.stderr, /in use by process \d+.*HAIRTRIGGER_ADMIN_KEY/);

  const asked = { cwd, env: { HAIRTRIGGER_ADMIN_KEY: ADMIN, TRIGGER_API_URL: url } };
  const [line] = JSON.parse((await cli(t, ["keys", "list", "--json"], asked)).stdout);
  t.like(line, { environment: "prod", description: "by hand", origin: "created" });
  const revoked = await cli(t, ["keys", "revoke", line.id], asked);
  t.is(revoked.exitCode, 0, revoked.stderr);
  t.false(await opens(url, secretKey));
  t.is((await cli(t, ["keys", "revoke", "0123456789abcdef"], asked)).exitCode, 1);
  const wrong = { cwd, env: { ...asked.env, HAIRTRIGGER_ADMIN_KEY: `${ADMIN}x` } };
  t.is((await cli(t, ["keys", "list"], wrong)).exitCode, 4);
});
