/**
 * `node dist/test/tree/again.js <file>`: what failed in a whole run, given as its TAP output, runs once more, each test alone. On two shared
 * cores a process may stand still for longer than a test of real processes allows for; what a change broke fails alone as well.
 *
 * Prints each test with what became of it, and as the last line `N of N failed alone as well`. The exit code is 0 if none did.
 */
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const REPOSITORY = fileURLToPath(new URL("../../../", import.meta.url));
/** More failures than that are no accident. */
const AGAIN_MAX = 6;
/** For one test, above every time limit of its own. */
const LIMIT_MS = 240_000;

interface Failure {
  /** Compiled test file, from the repository's root; undefined: the line names none, such as that of a file that did not load. */
  readonly file: string | undefined;
  readonly title: string;
}

/** Lines such as `not ok 7 - wire › faults › title`; what is skipped or to be done is no failure. */
function failuresOf(tap: string): readonly Failure[] {
  return tap.split("\n").flatMap((line): readonly Failure[] => {
    const [, name] = /^not ok \d+ - (.*)$/.exec(line) ?? [];
    if (name === undefined || / # (?:SKIP|TODO)\b/.test(line)) return [];
    const parts = name.split(" › ");
    for (let length = parts.length - 1; length > 0; length -= 1) {
      const file = join("dist/test", `${parts.slice(0, length).join("/")}.test.js`);
      if (existsSync(join(REPOSITORY, file))) return [{ file, title: parts.slice(length).join(" › ") }];
    }
    return [{ file: undefined, title: name }];
  });
}

function passesAlone({ file, title }: Failure): boolean {
  if (file === undefined) return false;
  const ava = join(REPOSITORY, "node_modules/ava/entrypoints/cli.mjs");
  const args = [ava, file, "--serial", `--match=${title}`];
  const { status } = spawnSync(process.execPath, args, { cwd: REPOSITORY, stdio: "inherit", timeout: LIMIT_MS });
  return status === 0;
}

const [path] = process.argv.slice(2);
if (path === undefined) throw new Error("which file?");
const failures = failuresOf(readFileSync(path, "utf8"));
const tried = failures.length > AGAIN_MAX ? [] : failures;
const failed = failures.filter((failure) => {
  const passes = tried.includes(failure) && passesAlone(failure);
  process.stdout.write(`${passes ? "passed alone" : "failed"}: ${failure.file ?? "?"}: ${failure.title}\n`);
  return !passes;
});
process.stdout.write(`${failed.length} of ${failures.length} failed alone as well\n`);
process.exitCode = failed.length === 0 && failures.length > 0 ? 0 : 1;
