/** The command line end to end: real processes, a real store, task files in projects of both module systems. */
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import anyTest from "ava";
import { cli, makeProject, startCli, startDev } from "../support/cli-process.js";

/** One after the other: each starts half a dozen processes, which side by side would only be in each other's way. */
const test = anyTest.serial;

const TASKS = `
import { logger, task } from "@hairtrigger/sdk";
import { greet } from "./greet";

interface Person { to: string }
export const hello = task({ id: "hello", run: async (person: Person) => ({ text: greet(person.to) }) });
export const parent = task({
  id: "parent",
  run: async () => {
    logger.info("triggering the child");
    const handle = await hello.trigger({ to: "child" });
    return handle.id;
  },
});
export const broken = task({
  id: "broken",
  retry: { maxAttempts: 1 },
  run: async () => { throw new Error("out of luck"); },
});
`;
const GREET = "export const greet = (name: string): string => `hello ${name}`;\n";

const PROJECTS = {
  "an empty project": undefined,
  "a CommonJS project": '{ "name": "p", "type": "commonjs" }',
  "an ESM project": '{ "name": "p", "type": "module" }',
} as const;

for (const [what, packageJson] of Object.entries(PROJECTS)) {
  test(`dev in ${what}: TypeScript tasks run, and know that they run, by one copy of the SDK`, async (t) => {
    const folder = await makeProject(t, {
      "tasks.ts": TASKS,
      "greet.ts": GREET,
      ...(packageJson === undefined ? {} : { "package.json": packageJson }),
    });
    const dev = await startDev(t, folder, ["tasks.ts"]);
    const { stdout, exitCode } = await cli(t, ["trigger", "parent", "--wait"], { cwd: folder, env: dev.env });
    t.is(exitCode, 0, dev.output());
    const runId = /run_[a-z0-9]{26}/.exec(stdout)?.[0] ?? "";
    const run = JSON.parse((await cli(t, ["runs", "get", runId, "--json"], { cwd: folder, env: dev.env })).stdout);
    t.like(run, { status: "COMPLETED", taskIdentifier: "parent" });
    // A copy of the SDK that is not the worker's would trigger a root, and print its log lines only.
    t.like(run.relatedRuns.children, { 0: { taskIdentifier: "hello", depth: 1 }, length: 1 });
    t.is(run.relatedRuns.children[0].id, run.output);
    t.true(JSON.stringify(run.logs).includes("triggering the child"));
    await dev.until(new RegExp(`parent .*${runId} .*triggered`));
    await dev.until(new RegExp(`parent .*${runId} .*COMPLETED in \\d+`));
    dev.child.kill("SIGINT");
    t.is((await dev.ended).exitCode, 0);
  });
}

test("dev: a change brings new code at once; what still runs is interrupted after 5 s and goes on with it", async (t) => {
  const version = (number: number): string => `
    import { task } from "@hairtrigger/sdk";
    export const which = task({ id: "which", run: async () => ${number} });
    export const slow = task({
      id: "slow",
      run: async () => ${number === 1 ? "new Promise((resolve) => setTimeout(resolve, 600_000))" : `"by ${number}"`},
    });`;
  const folder = await makeProject(t, { "tasks.ts": version(1) });
  const dev = await startDev(t, folder, ["tasks.ts"]);
  const options = { cwd: folder, env: dev.env };
  const first = await cli(t, ["trigger", "which", "--wait"], options);
  t.regex(first.stdout, /COMPLETED {2}1/);
  const slow = startCli(t, ["trigger", "slow", "--wait"], options);
  await slow.until(/EXECUTING/);

  await writeFile(join(folder, "tasks.ts"), version(2));
  await dev.until(/tasks\.ts changed/);
  await dev.until(/worker ready/);
  const second = await cli(t, ["trigger", "which", "--wait"], options);
  t.regex(second.stdout, /COMPLETED {2}2/);
  t.regex((await slow.ended).stdout, /COMPLETED {2}"by 2"/);
  t.regex(dev.output(), /slow .*interrupted/);
});

test("WRK-5: isolated tasks of TypeScript files run in processes of the worker of dev", async (t) => {
  const folder = await makeProject(t, {
    "tasks.ts": `
      import { task } from "@hairtrigger/sdk";
      const run = async (): Promise<readonly number[]> => [process.pid, process.ppid];
      export const isolated = task({ id: "isolated", isolation: "process", run });
      export const plain = task({ id: "plain", run });`,
  });
  const dev = await startDev(t, folder, ["tasks.ts"]);
  const pidsOf = async (taskId: string): Promise<readonly string[]> => {
    const { stdout } = await cli(t, ["trigger", taskId, "--wait"], { cwd: folder, env: dev.env });
    return /COMPLETED {2}\[(\d+),(\d+)\]/.exec(stdout)?.slice(1) ?? [stdout];
  };
  const [worker] = await pidsOf("plain");
  const [pid, parent] = await pidsOf("isolated");
  t.is(parent, worker);
  t.not(pid, worker);
  t.is(dev.output().match(/worker ready/g)?.length ?? 0, 1, "a task process is no worker");
});

test("dev: files that do not load are told, and the next good version runs", async (t) => {
  const folder = await makeProject(t, { "tasks.ts": TASKS, "greet.ts": GREET });
  const dev = await startDev(t, folder, ["tasks.ts"]);
  await writeFile(join(folder, "greet.ts"), "export const greet = (name: string => name;\n");
  await dev.until(/the task files do not load/);
  await dev.until(/greet\.ts:1/);
  await writeFile(join(folder, "greet.ts"), "export const greet = (name: string): string => `good day ${name}`;\n");
  await dev.until(/worker ready/);
  const { stdout } = await cli(t, ["trigger", "hello", '{"to":"you"}', "--wait"], { cwd: folder, env: dev.env });
  t.regex(stdout, /good day you/);
});

test("dev without the SDK, or with a file that is not there, says what to do", async (t) => {
  const folder = await makeProject(t, { "tasks.ts": TASKS }, { hasSdk: false });
  const missing = await cli(t, ["dev", "nowhere.ts"], { cwd: folder });
  t.is(missing.exitCode, 2);
  t.regex(missing.stderr, /nowhere\.ts does not exist/);
  const dev = startCli(t, ["dev", "tasks.ts"], { cwd: folder, env: { HAIRTRIGGER_LISTEN: "127.0.0.1:0" } });
  await dev.until(/npm install @hairtrigger\/sdk/);
});

test("WRK-2: a worker that is told to stop lets its runs finish, and ends with 0; told twice, it ends at once", async (t) => {
  const folder = await makeProject(t, {
    "tasks.ts": `
      import { task } from "@hairtrigger/sdk";
      export const napping = task({
        id: "napping",
        run: async (ms: number) => new Promise((resolve) => setTimeout(() => resolve("rested"), ms)),
      });`,
  });
  const server = startCli(t, ["serve"], { cwd: folder, env: { HAIRTRIGGER_LISTEN: "127.0.0.1:0" } });
  const [, url = ""] = await server.until(/^hairtrigger listening on (\S+)$/m);
  const options = { cwd: folder, env: { TRIGGER_API_URL: url } };
  const nap = async (ms: number) => {
    const worker = startCli(t, ["worker", "tasks.ts"], options);
    await worker.until(/worker session_\w+ ready/);
    const run = startCli(t, ["trigger", "napping", String(ms), "--wait"], options);
    await run.until(/EXECUTING/);
    worker.child.kill("SIGTERM");
    return { worker, run };
  };

  const short = await nap(1_500);
  t.is((await short.worker.ended).exitCode, 0, short.worker.output());
  t.regex((await short.run.ended).stdout, /COMPLETED {2}"rested"/);

  const long = await nap(600_000);
  // Signals that come together are one.
  await long.worker.until(/SIGTERM: finishing what runs/);
  long.worker.child.kill("SIGTERM");
  t.not((await long.worker.ended).exitCode, 0);
  t.notRegex(long.run.output(), /COMPLETED/);
});

test("serve, worker and the commands: triggered, listed, shown, with exit codes for scripts", async (t) => {
  const folder = await makeProject(t, { "tasks.ts": TASKS, "greet.ts": GREET, "to.json": '{"to":"file"}' });
  const server = startCli(t, ["serve"], { cwd: folder, env: { HAIRTRIGGER_LISTEN: "127.0.0.1:0" } });
  const [, url = ""] = await server.until(/^hairtrigger listening on (\S+)$/m);
  const options = { cwd: folder, env: { TRIGGER_API_URL: url } };
  const run = (...args: readonly string[]) => cli(t, args, options);

  // Nobody works yet.
  const early = (await run("trigger", "hello", '{"to":"me"}', "--tag", "a", "b", "--json")).stdout;
  const { id } = JSON.parse(early);
  t.regex((await run("queues", "list")).stdout, /task\/hello +0 +none +1 /);
  t.like(await run("queues", "limit", "task/hello", "3"), { exitCode: 0 });
  t.regex((await run("queues", "list")).stdout, /task\/hello +0 +3 \(own: none\) +1 /);
  t.like(await run("queues", "limit", "task/hello", "reset"), { exitCode: 0 });
  t.is((await run("queues", "limit", "task/hello", "reset")).exitCode, 1, "it has no override any more");
  t.is((await run("queues", "limit", "task/hello", "many")).exitCode, 2);
  t.regex((await run("queues", "pause", "task/hello")).stdout, /paused/);
  t.notRegex((await run("queues", "resume", "task/hello")).stdout, /paused/);

  const worker = startCli(t, ["worker", "tasks.ts", "--concurrency", "2"], options);
  await worker.until(/worker session_\w+ ready/);
  t.regex((await run("runs", "watch", id)).stdout, /COMPLETED {2}\{"text":"hello me"\}/);
  t.regex((await run("trigger", "hello", "@to.json", "--wait")).stdout, /hello file/);
  const failed = await run("trigger", "broken", "--wait");
  t.is(failed.exitCode, 1);
  t.regex(failed.stdout, /FAILED {2}Error: out of luck/);
  t.regex(
    (await run("runs", "list", "--task", "hello", "--tag", "a")).stdout,
    new RegExp(`${id} +hello +COMPLETED .*a b$`, "m"),
  );
  t.notRegex((await run("runs", "list", "--status", "FAILED")).stdout, new RegExp(id));
  t.regex((await run("runs", "get", id)).stdout, /output +\{"text":"hello me"\}/);

  const delayed = (
    await run("trigger", "hello", '{"to":"x"}', "--delay", "1h", "--idempotency-key", "k")
  ).stdout.trim();
  t.regex(
    (await run("trigger", "hello", '{"to":"x"}', "--idempotency-key", "k")).stdout,
    new RegExp(`^${delayed} .*same key`),
  );
  t.regex((await run("runs", "reschedule", delayed, "--delay", "2h")).stdout, /DELAYED until/);
  t.regex((await run("runs", "cancel", delayed)).stdout, /CANCELED/);
  t.regex((await run("runs", "replay", id)).stdout, /^run_[a-z0-9]{26}$/m);

  t.is((await run("runs", "get", "run_00000000000000000000000000")).exitCode, 1);
  t.is((await run("trigger", "hello", "{not json")).exitCode, 2);
  t.is((await run("trigger", "hello", "--delay", "soon")).exitCode, 2);
  t.is((await run("runs", "list", "--status", "ODD")).exitCode, 2);
  t.is((await run("nonsense")).exitCode, 2);
  t.is((await run("runs", "list", "--url", "http://127.0.0.1:1")).exitCode, 3);
  t.is((await run("runs", "list", "--key", "tr_dev_00000000000000000000")).exitCode, 4);
  t.is((await run("runs", "list", "--store", "elsewhere")).exitCode, 4);
  t.is((await run("--help")).exitCode, 0);
  const { version } = JSON.parse(await readFile(join(import.meta.dirname, "../../../package.json"), "utf8"));
  t.is((await run("--version")).stdout.trim(), version);

  worker.child.kill("SIGTERM");
  t.is((await worker.ended).exitCode, 0, worker.output());
  server.child.kill("SIGTERM");
  t.is((await server.ended).exitCode, 0, server.output());
});
