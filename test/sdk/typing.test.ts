/** What the compiler says to users: right programs compile, and of each wrong one the line that is wrong does not. */
import { execFile } from "node:child_process";
import { mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import test from "ava";

const REPOSITORY = fileURLToPath(new URL("../../../", import.meta.url));

const TASKS = `
import { task } from "@hairtrigger/sdk";
export const resize = task({ id: "resize", run: async (payload: { url: string; width: number }) => ({ bytes: payload.width }) });
export const nightly = task({ id: "nightly", run: async () => 5 });
export const greet = task({ id: "greet", run: async (payload: { name: string } | undefined) => payload?.name });
`;

const PROLOGUE = `
import { runs, tasks, type TaskIdentifier, type TaskOutput, type TaskPayload } from "@hairtrigger/sdk";
import type { greet, nightly, resize } from "./tasks.js";
export type All = [typeof greet, typeof nightly, typeof resize, TaskIdentifier<typeof resize>, TaskOutput<typeof resize>, TaskPayload<typeof resize>];
export const used = [runs, tasks];
`;

/** One line of code each. */
const RIGHT = [
  'await tasks.trigger<typeof resize>("resize", { url: "u", width: 1 });',
  'await tasks.trigger<typeof nightly>("nightly");',
  'await tasks.trigger<typeof greet>("greet");',
  'export const bytes: number | undefined = (await runs.retrieve(await tasks.trigger<typeof resize>("resize", { url: "u", width: 1 }))).output?.bytes;',
  'export const other: number | undefined = (await runs.retrieve<typeof resize>("run_x")).output?.bytes;',
  'export const any: { anything: 1 } = (await runs.retrieve("run_x")).output;',
  'export const id: TaskIdentifier<typeof resize> = "resize";',
  "export const output: TaskOutput<typeof resize> = { bytes: 1 };",
];

const WRONG = [
  'await tasks.trigger<typeof resize>("resise", { url: "u", width: 1 });',
  'await tasks.trigger<typeof resize>("resize", { url: "u", width: "1" });',
  'await tasks.trigger<typeof resize>("resize");',
  'await tasks.trigger<typeof nightly>("nightly", 5);',
  'await tasks.trigger<typeof greet>("greet", { nome: "x" });',
  'export const bytes: string | undefined = (await runs.retrieve(await tasks.trigger<typeof resize>("resize", { url: "u", width: 1 }))).output?.bytes;',
  'export const other: string | undefined = (await runs.retrieve<typeof resize>("run_x")).output?.bytes;',
  'export const id: TaskIdentifier<typeof resize> = "other";',
  "export const output: TaskOutput<typeof resize> = { bytes: true };",
  'export const payload: TaskPayload<typeof resize> = { url: "u" };',
];

test("TYP-1, TYP-2, TYP-3, TYP-4: a wrong payload, id or use of an output is a compile error, a right one is not", async (t) => {
  const folder = await mkdtemp(join(tmpdir(), "hairtrigger-typing-"));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  await symlink(join(REPOSITORY, "node_modules"), join(folder, "node_modules"));
  const compilerOptions = { noEmit: true, strict: true, target: "es2023", module: "nodenext", types: ["node"] };
  const files: Record<string, string> = {
    "package.json": JSON.stringify({ type: "module" }),
    "tsconfig.json": JSON.stringify({ compilerOptions }),
    "tasks.ts": TASKS,
  };
  RIGHT.forEach((line, index) => {
    files[`right-${index}.ts`] = `${PROLOGUE}${line}\n`;
  });
  WRONG.forEach((line, index) => {
    files[`wrong-${index}.ts`] = `${PROLOGUE}${line}\n`;
  });
  await Promise.all(Object.entries(files).map(([name, text]) => writeFile(join(folder, name), text)));

  const compiler = join(REPOSITORY, "node_modules/typescript/bin/tsc");
  const said = await new Promise<string>((resolve) => {
    execFile(process.execPath, [compiler, "-p", folder], { cwd: folder }, (_, stdout) => resolve(stdout));
  });
  const places = said.split("\n").flatMap((line) => /^(\S+?\.ts\(\d+),/.exec(line)?.[1] ?? []);
  const lineOfCode = PROLOGUE.split("\n").length;
  t.deepEqual(
    [...new Set(places)].toSorted(),
    WRONG.map((_, index) => `wrong-${index}.ts(${lineOfCode}`).toSorted(),
    said,
  );
});
