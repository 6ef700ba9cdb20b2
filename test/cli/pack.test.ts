/** What users install: the packages from their tarballs, in an empty project, on a machine with Node and npm only. */

import { spawnSync } from "node:child_process";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { testIf } from "../support/available.js";
import { makeProject, start } from "../support/cli-process.js";

const ROOT = join(import.meta.dirname, "../../..");

/** The dependencies come from npm's cache, or from its registry. */
const hasRegistry =
  spawnSync("npm", ["view", "commander@14.0.3", "version", "--prefer-offline"], { timeout: 20_000 }).status === 0;

const TASKS = `import { task } from "@hairtrigger/sdk";

export const hello = task({
  id: "hello",
  run: async (payload: { to: string }) => ({ greeting: \`hello \${payload.to}\` }),
});
`;

const CALLER = `import { tasks } from "@hairtrigger/sdk";

const run = await tasks.triggerAndPoll("hello", { to: "you" }, { pollIntervalMs: 50 });
console.log(run.status, run.output.greeting);
`;

const UNIT_TEST = `import { task } from "@hairtrigger/sdk";
import { startTestKit } from "@hairtrigger/testing";

const hello = task({ id: "hello", run: async (to) => "hello " + to });
const kit = await startTestKit({ tasks: [hello] });
const handle = await kit.run(() => hello.trigger("you", { delay: "1h" }));
await kit.clock.advance("1h");
console.log((await kit.result(handle)).output);
await kit.stop();
`;

testIf(hasRegistry, "npm reaches no registry")(
  "an empty project installs the tarballs, runs `npx hairtrigger dev tasks.ts`, and a second file triggers a completed run",
  async (t) => {
    t.timeout(300_000);
    const folder = await makeProject(
      t,
      { "tasks.ts": TASKS, "caller.mjs": CALLER, "kit.mjs": UNIT_TEST },
      { hasSdk: false },
    );
    const run = async (...command: [string, ...string[]]): Promise<string> => {
      const { exitCode, stdout, stderr } = await start(t, command, { cwd: folder }).ended;
      if (exitCode !== 0) throw new Error(`${command.join(" ")} ended with ${exitCode}:\n${stdout}${stderr}`);
      return stdout;
    };
    // The build is what is under test: packing must not start another.
    for (const path of [ROOT, join(ROOT, "clients/typescript"), join(ROOT, "clients/testing")])
      await run("npm", "pack", "--ignore-scripts", path);
    const tarballs = (await readdir(folder)).filter((name) => name.endsWith(".tgz")).map((name) => `./${name}`);
    t.is(tarballs.length, 3);
    await run("npm", "init", "-y");
    await run("npm", "install", "--prefer-offline", "--no-audit", "--no-fund", ...tarballs);
    t.false(await hasNestedSdk(folder), "one copy of the SDK");
    t.is(await run(process.execPath, "kit.mjs"), "hello you\n");

    const dev = start(t, ["npx", "hairtrigger", "dev", "tasks.ts"], {
      cwd: folder,
      env: { HAIRTRIGGER_LISTEN: "127.0.0.1:0" },
    });
    const [, url = ""] = await dev.until(/^hairtrigger listening on (\S+)$/m);
    await dev.until(/worker ready .*hello/);
    const key = (await readFile(join(folder, ".hairtrigger/secret-key"), "utf8")).trim();
    const caller = start(t, [process.execPath, "caller.mjs"], {
      cwd: folder,
      env: { TRIGGER_SECRET_KEY: key, TRIGGER_API_URL: url },
    });
    const { stdout, stderr } = await caller.ended;
    t.is(stdout.trim(), "COMPLETED hello you", stderr);
    await dev.until(/hello .*COMPLETED/);
    t.false(dev.output().includes(key));
    dev.signalGroup("SIGTERM");
    await dev.ended;
  },
);

async function hasNestedSdk(folder: string): Promise<boolean> {
  const nested = await readdir(join(folder, "node_modules/hairtrigger/node_modules")).catch((): string[] => []);
  return nested.includes("@hairtrigger");
}
