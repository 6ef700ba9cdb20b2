/**
 * `npm run mutants [-- name …]`: plants each bug of test/mutants/*.patch in a copy of the tree and requires that the tests it names fail.
 * A bug that no test notices survives, and the exit code is 1: the promise it breaks has no proof.
 *
 * A patch is a `git diff` under comment lines:
 *
 *     # breaks: IDM-12, a key is not looked up before the insert
 *     # tests: dist/test/behaviour/idempotency.test.js
 *     # match: IDM-12*                  (optional: only tests with such titles, to be quicker)
 *
 * All of the named tests first run without any bug: a test that fails anyway proves nothing. `--trusting` leaves that out,
 * for a machine that has just run the whole suite.
 */
import { execFileSync, spawnSync } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, realpathSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import { parseArgs } from "node:util";
import { repositoryFolder } from "./source.js";

/** A planted deadlock ends as a failure, not as a hanging check; AVA itself gives up after 2 minutes without progress. */
const RUN_TIMEOUT_MS = 300_000;
const FAILED_TITLE_LENGTH_MAX = 90;

interface Mutant {
  readonly name: string;
  readonly path: string;
  readonly breaks: string;
  readonly tests: readonly string[];
  readonly match: readonly string[];
}

type Outcome =
  | { readonly tag: "caught"; readonly by: string }
  | { readonly tag: "survived" }
  | { readonly tag: "unusable"; readonly why: string };

/** Git must not take the copy for a part of a repository further up, nor for the one that a hook runs in. */
const { GIT_DIR: _dir, GIT_WORK_TREE: _tree, GIT_INDEX_FILE: _index, ...environment } = process.env;

function main(): void {
  const { values, positionals } = parseArgs({
    options: { trusting: { type: "boolean", default: false } },
    allowPositionals: true,
  });
  const mutants = readMutants().filter(({ name }) => positionals.length === 0 || positionals.includes(name));
  if (mutants.length === 0)
    throw new Error(`no patch of test/mutants is called ${positionals.join(" or ") || "*.patch"}`);

  const copy = copyTree();
  try {
    if (!values.trusting) requireHealthy(copy, mutants);
    const outcomes = mutants.map((mutant) => {
      const outcome = tryMutant(copy, mutant);
      console.log(row(mutant, outcome));
      return outcome;
    });
    const caught = outcomes.filter(({ tag }) => tag === "caught").length;
    console.log(`\n${caught} of ${mutants.length} planted bugs were caught.`);
    process.exitCode = caught === mutants.length ? 0 : 1;
  } finally {
    rmSync(copy, { recursive: true, force: true });
  }
}

function readMutants(): readonly Mutant[] {
  const folder = join(repositoryFolder, "test/mutants");
  return readdirSync(folder)
    .filter((file) => file.endsWith(".patch"))
    .toSorted()
    .map((file) => {
      const path = join(folder, file);
      const text = readFileSync(path, "utf8");
      const header = (key: string): string => new RegExp(`^# ${key}: (.+)$`, "m").exec(text)?.[1]?.trim() ?? "";
      const tests = header("tests")
        .split(/[\s,]+/)
        .filter(Boolean);
      if (tests.length === 0) throw new Error(`test/mutants/${file} has no line "# tests: dist/test/….test.js"`);
      const match = header("match")
        .split(",")
        .map((title) => title.trim())
        .filter(Boolean);
      return { name: basename(file, ".patch"), path, breaks: header("breaks"), tests, match };
    });
}

/**
 * The sources as they are now, committed or not, in a folder of their own. Dependencies are linked one by one, because the link to the
 * SDK has to lead to the SDK of the copy.
 */
function copyTree(): string {
  const copy = realpathSync(mkdtempSync(join(tmpdir(), "hairtrigger-mutants-")));
  const listed = execFileSync("git", ["ls-files", "-z", "--cached", "--others", "--exclude-standard"], {
    cwd: repositoryFolder,
    encoding: "utf8",
  });
  for (const path of new Set(listed.split("\0"))) {
    if (path === "") continue;
    mkdirSync(join(copy, dirname(path)), { recursive: true });
    cpSync(join(repositoryFolder, path), join(copy, path), { force: true });
  }
  linkDependencies(repositoryFolder, copy, "node_modules");
  mkdirSync(join(copy, "node_modules/@hairtrigger"));
  symlinkSync("../../clients/typescript", join(copy, "node_modules/@hairtrigger/sdk"));
  return copy;
}

function linkDependencies(from: string, to: string, folder: string): void {
  mkdirSync(join(to, folder));
  for (const name of readdirSync(join(from, folder))) {
    if (name !== "@hairtrigger") symlinkSync(join(from, folder, name), join(to, folder, name));
  }
}

function requireHealthy(copy: string, mutants: readonly Mutant[]): void {
  const failure = build(copy) ?? runTests(copy, [...new Set(mutants.flatMap(({ tests }) => tests))], []);
  if (failure !== undefined) throw new Error(`the tests fail without any planted bug: ${failure}`);
}

function tryMutant(copy: string, { path, tests, match }: Mutant): Outcome {
  const applied = run(copy, "git", ["apply", "--whitespace=nowarn", path]);
  if (applied.status !== 0) return { tag: "unusable", why: `the patch does not apply: ${firstLine(applied.stderr)}` };
  const outcome = judge(copy, tests, match);
  const reverted = run(copy, "git", ["apply", "--whitespace=nowarn", "--reverse", path]);
  if (reverted.status !== 0) throw new Error(`${path} cannot be taken back: ${reverted.stderr}`);
  return outcome;
}

function judge(copy: string, tests: readonly string[], match: readonly string[]): Outcome {
  const broken = build(copy);
  if (broken !== undefined) return { tag: "unusable", why: `does not compile: ${broken}` };
  const failed = runTests(copy, tests, match);
  return failed === undefined ? { tag: "survived" } : { tag: "caught", by: failed };
}

/** What the compiler says, or undefined if all is well. */
function build(copy: string): string | undefined {
  const { status, stdout } = run(copy, process.execPath, ["node_modules/typescript/bin/tsc", "-b"]);
  return status === 0 ? undefined : firstLine(stdout);
}

/** The first failure, or undefined if all passed. */
function runTests(copy: string, tests: readonly string[], match: readonly string[]): string | undefined {
  const matching = match.flatMap((title) => ["--match", title]);
  const ava = ["node_modules/ava/entrypoints/cli.mjs", "--tap", ...matching, ...tests];
  const { status, stdout, stderr } = run(copy, process.execPath, ava);
  if (status === 0) return undefined;
  const failed = /^not ok \d+ - (.*)$/m.exec(stdout)?.[1];
  // A run that AVA could not do (no such file, no such title) is no proof that a bug was noticed.
  if (failed === undefined && status !== null)
    throw new Error(`${tests.join(" ")} did not run: ${firstLine(stderr || stdout)}`);
  return failed ?? `no end within ${RUN_TIMEOUT_MS / 1_000} s`;
}

function run(cwd: string, program: string, args: readonly string[]) {
  const env = { ...environment, GIT_CEILING_DIRECTORIES: dirname(cwd), NODE_ENV: "test" };
  return spawnSync(program, args, { cwd, env, encoding: "utf8", timeout: RUN_TIMEOUT_MS, maxBuffer: 2 ** 28 });
}

function row({ name, breaks }: Mutant, outcome: Outcome): string {
  switch (outcome.tag) {
    case "caught":
      return `caught    ${name} (${breaks})\n          by ${outcome.by.slice(0, FAILED_TITLE_LENGTH_MAX)}`;
    case "survived":
      return `SURVIVED  ${name} (${breaks})`;
    case "unusable":
      return `UNUSABLE  ${name}: ${outcome.why}`;
  }
}

function firstLine(text: string): string {
  return text.trim().split("\n")[0] ?? "";
}

try {
  main();
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
  process.exitCode = 1;
}
