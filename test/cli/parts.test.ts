import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test from "ava";
import { readConnection } from "../../clients/cli/environment.js";
import { CommandError, EXIT, usageError } from "../../clients/cli/exit-codes.js";
import { durationText } from "../../clients/cli/output.js";
import { explain } from "../../clients/cli/refusal.js";
import { createRunLines } from "../../clients/cli/run-lines.js";

for (const name of ["HAIRTRIGGER_SECRET_KEY", "TRIGGER_SECRET_KEY", "HAIRTRIGGER_API_URL", "TRIGGER_API_URL"]) {
  delete process.env[name];
}

async function storeWithKey(key: string): Promise<string> {
  const store = await mkdtemp(join(tmpdir(), "hairtrigger-"));
  await writeFile(join(store, "secret-key"), `${key}\n`);
  return store;
}

test("AUT-9: without a key the command line takes the one that the server on this machine made", async (t) => {
  const store = await storeWithKey("tr_dev_0123456789abcdef");
  t.teardown(() => rm(store, { recursive: true }));
  const local = { baseURL: "http://127.0.0.1:7470", accessToken: "tr_dev_0123456789abcdef" };
  t.deepEqual(await readConnection({ store }), local);
  t.like(await readConnection({ store, url: "http://[::1]:9000" }), { accessToken: local.accessToken });
  t.like(await readConnection({ store, key: "tr_dev_given" }), { accessToken: "tr_dev_given" });
});

test("AUT-9: the key of this machine's server is sent to no other machine", async (t) => {
  const store = await storeWithKey("tr_dev_0123456789abcdef");
  t.teardown(() => rm(store, { recursive: true }));
  for (const url of [
    "https://example.com",
    "http://127.0.0.1.example.com:7470",
    "http://10.0.0.1:7470",
    "http://localhost.example.com",
  ]) {
    t.deepEqual(await readConnection({ store, url }), { baseURL: url, accessToken: undefined });
  }
});

test("CFG-4: without any key the call is left to the SDK, which says so", async (t) => {
  t.like(await readConnection({ store: join(tmpdir(), "no-such-store") }), { accessToken: undefined });
});

test("exit codes tell scripts what went wrong", (t) => {
  const apiError = (code: string, reason?: string): Error => Object.assign(new Error("text"), { code, reason });
  t.is(explain(usageError("x")).exitCode, 2);
  t.is(explain(new CommandError("x", EXIT.failed)).exitCode, 1);
  t.is(explain(apiError("not_found", "RUN_NOT_FOUND")).exitCode, 1);
  t.is(explain(apiError("invalid_argument", "INVALID_DELAY")).exitCode, 2);
  t.is(explain(apiError("unavailable")).exitCode, 3);
  t.is(explain(apiError("unavailable", "STORE_UNAVAILABLE")).exitCode, 1);
  t.is(explain(apiError("unauthenticated", "INVALID_CREDENTIALS")).exitCode, 4);
  t.is(explain(Object.assign(new Error("No credentials"), { name: "ApiClientMissingError" })).exitCode, 4);
  t.is(explain(apiError("not_found", "RUN_NOT_FOUND")).message, "text (RUN_NOT_FOUND)");
  t.is(explain("thrown text").message, "thrown text");
});

test("durations are written for people", (t) => {
  t.deepEqual([0, 850.4, 1_000, 61_500, 3_600_000, 90_060_000].map(durationText), [
    "0 ms",
    "850 ms",
    "1.0 s",
    "1 m 2 s",
    "1 h 0 m",
    "25 h 1 m",
  ]);
});

test("dev says when a run begins, is tried again, and ends, with its duration", (t) => {
  const written: string[] = [];
  let nowMs = Date.UTC(2026, 0, 1);
  const lines = createRunLines(
    () => nowMs,
    (line) => written.push(line.replace(/^\S+\s+/, "")),
  );
  const run = { runId: "run_1", taskId: "hello" };
  lines.triggered({ ...run, isCached: false });
  lines.moved({ ...run, event: "claim", status: "EXECUTING", attempt: 1 });
  lines.moved({ ...run, event: "confirm", status: "EXECUTING", attempt: 1 });
  nowMs += 400;
  lines.moved({ ...run, event: "retrySoon", status: "EXECUTING", attempt: 2 });
  nowMs += 850;
  lines.moved({ ...run, event: "complete", status: "COMPLETED", attempt: 2 });
  lines.moved({ runId: "run_0", taskId: "old", event: "expire", status: "EXPIRED", attempt: 0 });
  t.deepEqual(written, [
    "hello  run_1  triggered",
    "hello  run_1  failed, trying again",
    "hello  run_1  COMPLETED in 1.3 s (attempt 2)",
    "old  run_0  EXPIRED",
  ]);
});
