/** `npm run demo`, as a person runs it: what it promises, and that it would say so if a promise were broken. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import test from "ava";
import { summarise } from "../../clients/typescript/examples/demo/summary.js";
import { adopt } from "../support/children.js";
import { mongoTest, takeDatabase } from "../support/mongo.js";

const DEMO = fileURLToPath(new URL("../../clients/typescript/examples/demo/main.js", import.meta.url));

interface Demo {
  readonly lines: readonly string[];
  /** Resolves when such a line is printed. @throws Error where the demo ends before. */
  line(like: RegExp): Promise<RegExpExecArray>;
  stop(): void;
  readonly exitCode: Promise<number | null>;
}

function startDemo(args: readonly string[] = [], settings: Readonly<Record<string, string>> = {}): Demo {
  const env = { ...process.env, ...settings };
  const child = adopt(spawn(process.execPath, [DEMO, ...args], { env, stdio: ["ignore", "pipe", "inherit"] }));
  let printed = "";
  let hasEnded = false;
  let changed = (): void => undefined;
  child.stdout.on("data", (chunk: Buffer) => {
    printed += chunk.toString();
    changed();
  });
  const exitCode = once(child, "close").then(() => {
    hasEnded = true;
    changed();
    return child.exitCode;
  });
  return {
    get lines() {
      return printed.split("\n");
    },
    line: (like) =>
      new Promise((resolve, reject) => {
        changed = () => {
          const found = like.exec(printed);
          if (found !== null) resolve(found);
          else if (hasEnded) reject(new Error(`the demo ended without ${String(like)}:\n${printed}`));
        };
        changed();
      }),
    stop: () => child.kill("SIGTERM"),
    exitCode,
  };
}

test("DLY-7, IDM-10, RTY-5, TTL-5, QUE-4: the demo keeps its six promises, the limit of five among them, and cleans up", async (t) => {
  const demo = startDemo();
  const exitCode = await demo.exitCode;
  const summary = demo.lines.slice(demo.lines.indexOf("Summary"));
  const rows = summary.filter((line) => line.startsWith("   ✔  ")).map((line) => line.trim().split(/\s{2,}/));
  t.like(
    rows.map(([, what, promise]) => [what, promise]),
    [
      ["a run", "a typed report"],
      ["a delayed run", "starts when due, never before"],
      ["an idempotent pair", "one key, one run"],
      ["a run that fails once", "tried again by itself"],
      ["a run that expires", "given up after its ttl"],
      ["100 runs, limit 5", "never more than 5 at once"],
    ],
    demo.lines.join("\n"),
  );
  t.regex(rows[3]?.[3] ?? "", /^FAILED, then COMPLETED$/);
  t.regex(rows[4]?.[3] ?? "", /^EXPIRED after \d+ ms, 0 attempts$/);
  t.regex(rows[5]?.[3] ?? "", /^100 completed, at most [1-5] at once$/);
  t.true(summary.some((line) => /^ {3}6 of 6 promises kept in [\d.]+ s$/.test(line)));
  t.is(exitCode, 0);

  const samples = demo.lines.map((line) => /most at once: (\d+) .* (\d+) in (\d+) samples/.exec(line)).find(Boolean);
  t.true(Number(samples?.[1]) <= 5 && Number(samples?.[2]) <= 5 && Number(samples?.[3]) > 1);
  t.false(
    demo.lines.some((line) => line.includes("\u001b")),
    "no colours, nothing moves where nobody looks",
  );
  const store = demo.lines.map((line) => /^ {3}store {3}(\S+)$/.exec(line)?.[1]).find(Boolean);
  t.false(existsSync(store ?? "/"));
});

test("the demo goes on serving with --keep, says what to type next, and ends on a signal", async (t) => {
  const demo = startDemo(["--keep"]);
  const [, key = "", url = ""] = await demo.line(/^export TRIGGER_SECRET_KEY=(\S+) TRIGGER_API_URL=(\S+)$/m);
  await demo.line(/^console\.log/m);
  const headers = { authorization: `Bearer ${key}`, "content-type": "application/json" };
  const [, body = ""] = await demo.line(/^curl .* -d '(.*)' http/m);
  const answer = await fetch(`${url}/hairtrigger.v1.RunService/TriggerTask`, { method: "POST", headers, body });
  t.is(answer.status, 200, await answer.text());
  demo.stop();
  t.is(await demo.exitCode, 0);
  await t.throwsAsync(fetch(`${url}/livez`));
});

mongoTest("the demo keeps its promises on MongoDB, in an environment of its own", async (t) => {
  t.timeout(120_000);
  const HAIRTRIGGER_STORE = await takeDatabase(t);
  for (const round of [1, 2]) {
    const demo = startDemo([], { HAIRTRIGGER_STORE });
    t.is(await demo.exitCode, 0, `round ${round}:\n${demo.lines.join("\n")}`);
    t.true(demo.lines.some((line) => line.includes("one database that remembers")));
  }
});

test("a broken promise of the demo is shown, and is its exit code", (t) => {
  const finding = { what: "a run", promise: "a report", seen: "none", tookMs: 1 };
  t.is(summarise([{ ...finding, isKept: true }], 1).exitCode, 0);
  t.is(summarise([], 1).exitCode, 1);
  const { lines, exitCode } = summarise(
    [
      { ...finding, isKept: true },
      { ...finding, isKept: false },
    ],
    1_500,
  );
  t.is(exitCode, 1);
  t.true(lines.some((line) => line.startsWith("   ✘  a run")));
  t.is(lines.at(-1), "   1 of 2 promises kept in 1.5 s");
});
