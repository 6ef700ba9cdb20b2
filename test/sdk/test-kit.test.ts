/** The test kit, as users' unit tests use it: tasks on the real engine, in a time that the test moves. */
import { spawnSync } from "node:child_process";
import { mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { AbortTaskRunError, queue, runs, task, tasks } from "@hairtrigger/sdk";
import test from "ava";
import { startTestKit, type TestKitOptions } from "../../clients/testing/index.js";

import { removeDirectory, temporaryDirectory } from "../support/children.js";

async function kitFor(t: { teardown(fn: () => Promise<void>): void }, options: TestKitOptions) {
  const kit = await startTestKit(options);
  t.teardown(() => kit.stop());
  return kit;
}

const greet = task({ id: "greet", run: async ({ name }: { name: string }) => `hello ${name}` });

test("a task runs in the kit, and its result is typed", async (t) => {
  const kit = await kitFor(t, { tasks: [greet] });
  const handle = await kit.run(() => greet.trigger({ name: "Ada" }));
  const run = await kit.result(handle);
  const output: string | undefined = run.output;
  t.deepEqual([run.status, output, run.attemptCount], ["COMPLETED", "hello Ada", 1]);
});

test("a delay of a year takes as long as one of a second, and ends at its moment", async (t) => {
  const begun = new Date("2026-01-01T00:00:00Z");
  const kit = await kitFor(t, { tasks: [greet], now: begun });
  const handle = await kit.run(() => greet.trigger({ name: "Ada" }, { delay: "365d" }));
  await kit.clock.advance("364d23h59m59s");
  t.is((await kit.run(() => runs.retrieve(handle))).status, "DELAYED");
  await kit.clock.advance(1_000);
  const run = await kit.result(handle);
  t.deepEqual([run.status, run.startedAt], ["COMPLETED", new Date("2027-01-01T00:00:00Z")]);
  t.deepEqual(kit.clock.now(), run.startedAt);
});

test("retries follow their policy in the kit's time, short pauses and long ones", async (t) => {
  const begun = new Date("2026-01-01T00:00:00Z");
  const startedAt: number[] = [];
  const flaky = task({
    id: "flaky",
    retry: { maxAttempts: 4, minTimeoutInMs: 1_000, factor: 60, maxTimeoutInMs: 3_600_000, randomize: false },
    run: (_: undefined, { ctx }) => {
      startedAt.push(ctx.attempt.startedAt.getTime() - begun.getTime());
      if (ctx.attempt.number < 4) throw new Error("again");
      return "worked";
    },
  });
  const kit = await kitFor(t, { tasks: [flaky], now: begun });
  const handle = await kit.run(() => flaky.trigger());
  await kit.clock.advance("2h");
  t.is((await kit.result(handle)).output, "worked");
  t.deepEqual(startedAt, [0, 1_000, 61_000, 3_661_000]);
});

test("a tree of triggers runs whole: children, queues with limits, keys, failures", async (t) => {
  const order: string[] = [];
  const narrow = queue({ name: "narrow", concurrencyLimit: 1 });
  const leaf = task({
    id: "leaf",
    queue: narrow,
    run: async (name: string) => {
      order.push(`${name} begins`);
      await Promise.resolve();
      order.push(`${name} ends`);
      if (name === "b") throw new AbortTaskRunError("no b");
    },
  });
  const root = task({
    id: "root",
    run: async () => {
      const handles = [];
      for (const name of ["a", "b", "a"]) handles.push(await leaf.trigger(name, { idempotencyKey: name }));
      return handles.map(({ id }) => id);
    },
  });
  const kit = await kitFor(t, { tasks: [root, leaf] });
  const { output = [] } = await kit.result(await kit.run(() => root.trigger()));
  t.is(output[0], output[2]);
  await kit.settled();
  const [a, b] = await kit.run(() => Promise.all(output.map((id) => runs.retrieve(id))));
  t.deepEqual([a?.status, b?.status, b?.error?.message], ["COMPLETED", "FAILED", "no b"]);
  t.deepEqual(order, ["a begins", "a ends", "b begins", "b ends"]);
});

test("maxDuration and ttl end runs in the kit's time", async (t) => {
  const stuck = task({
    id: "stuck",
    maxDuration: 60,
    run: (_: undefined, { signal }) => new Promise((resolve) => signal.addEventListener("abort", resolve)),
  });
  const kit = await kitFor(t, { tasks: [stuck], concurrency: 1 });
  const [first, second] = await kit.run(() => Promise.all([stuck.trigger(), stuck.trigger(undefined, { ttl: "30s" })]));
  await kit.clock.advance("59s");
  t.is((await kit.result(second)).status, "EXPIRED");
  t.is((await kit.run(() => runs.retrieve(first))).status, "EXECUTING");
  await kit.clock.advance("1s");
  t.is((await kit.result(first)).status, "TIMED_OUT");
});

test("a result that needs time says so, instead of waiting for ever", async (t) => {
  const kit = await kitFor(t, { tasks: [greet], now: new Date("2026-01-01T00:00:00Z") });
  const delayed = await kit.run(() => greet.trigger({ name: "Ada" }, { delay: "1h" }));
  await t.throwsAsync(kit.result(delayed, { timeoutMs: 20 }), {
    message: /is DELAYED after 20 ms: it waits until 2026-01-01T01:00:00\.000Z: move the clock/,
  });
  const unserved = await kit.run(() => tasks.trigger("nobody", {}));
  await t.throwsAsync(kit.result(unserved, { timeoutMs: 20 }), { message: /is QUEUED .* no worker of the kit serves/ });
  for (const span of ["soon", -1, Number.NaN, "1.5h"]) {
    await t.throwsAsync(kit.clock.advance(span), { instanceOf: TypeError, message: /^advance takes/ });
  }
});

test("several kits do not meet, and a stopped kit leaves nothing behind", async (t) => {
  const [one, other] = await Promise.all([kitFor(t, { tasks: [greet] }), kitFor(t, { tasks: [greet] })]);
  const handle = await one.run(() => greet.trigger({ name: "Ada" }));
  await t.throwsAsync(
    other.run(() => runs.retrieve(handle)),
    { message: /not found/ },
  );
  await one.stop();
  await one.stop();
  await t.throwsAsync(
    one.run(() => greet.trigger({ name: "Ada" }, {}, { retry: { maxAttempts: 1 } })),
    { name: "TriggerApiError" },
  );
});

const REPOSITORY = fileURLToPath(new URL("../../../", import.meta.url));

/** The same test for another runner; it fails where the kit keeps the process alive, or the clock does not move. */
const FOREIGN = (runner: string): string => `
import { task } from "@hairtrigger/sdk";
import { startTestKit } from "@hairtrigger/testing";
import { test } from "${runner}";

const greet = task({ id: "greet", run: async (name) => "hello " + name });

test("a month passes", async () => {
  const kit = await startTestKit({ tasks: [greet] });
  const handle = await kit.run(() => greet.trigger("Ada", { delay: "30d" }));
  await kit.clock.advance("30d");
  const run = await kit.result(handle);
  await kit.stop();
  if (run.output !== "hello Ada") throw new Error("got " + run.output);
});
`;

for (const { runner, args } of [
  { runner: "node:test", args: ["--test"] },
  { runner: "vitest", args: [join(REPOSITORY, "node_modules/vitest/vitest.mjs"), "run"] },
]) {
  test(`the kit works under ${runner}, and its process ends by itself`, (t) => {
    const folder = temporaryDirectory("kit");
    t.teardown(() => removeDirectory(folder));
    mkdirSync(join(folder, "node_modules/@hairtrigger"), { recursive: true });
    for (const [name, target] of [
      ["@hairtrigger/sdk", "clients/typescript"],
      ["@hairtrigger/testing", "clients/testing"],
      ["vitest", "node_modules/vitest"],
    ] as const) {
      symlinkSync(join(REPOSITORY, target), join(folder, "node_modules", name));
    }
    writeFileSync(join(folder, "month.test.mjs"), FOREIGN(runner));
    const { status, stdout, stderr } = spawnSync(process.execPath, [...args, "month.test.mjs"], {
      cwd: folder,
      encoding: "utf8",
      // The runner must not take itself for a part of this one.
      env: { PATH: process.env.PATH, NO_COLOR: "1" },
      timeout: 60_000,
    });
    t.is(status, 0, `${stdout}${stderr}`);
    t.regex(stdout, /(?:pass 1|1 passed)/);
  });
}
