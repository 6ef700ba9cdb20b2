/** docs/functions.md is whole: every function of section 3 and every option of section 6, each with a page and with tests of its rules. */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import * as sdk from "@hairtrigger/sdk";
import test from "ava";
import { namedRules } from "../tree/rule-ids.js";
import { repositoryFolder } from "../tree/source.js";

const BEHAVIOUR = readFileSync(join(repositoryFolder, "docs/behaviour.md"), "utf8");
const PAGE = readFileSync(join(repositoryFolder, "docs/functions.md"), "utf8");
const TASK_MEMBERS = ["trigger", "batchTrigger", "triggerAndWait", "batchTriggerAndWait", "triggerAndSubscribe"];

function section(markdown: string, heading: string): string {
  const [, found = ""] = markdown.split(`\n## ${heading}\n`);
  return found.split("\n## ")[0] ?? "";
}

/** The cells of every row whose first cell has a name in backticks. */
function rows(text: string): readonly (readonly string[])[] {
  return text
    .split("\n")
    .filter((line) => /^\|.*`.*\|$/.test(line))
    .map((line) =>
      line
        .slice(1, -1)
        .split(" | ")
        .map((cell) => cell.trim()),
    );
}

function names(cell: string): readonly string[] {
  return [...cell.matchAll(/`([\w.*]+)(?:\(\))?`/g)].map(([, name = ""]) => name);
}

/** What section 3 names, each with its namespace: `tasks.trigger`, `metadata.parent`, `task`. */
function specified(): readonly string[] {
  return rows(section(BEHAVIOUR, "3. SDK surface")).flatMap(([space = "", functions = ""]) => {
    if (space.includes("schemaTask")) return ["task", "schemaTask", ...TASK_MEMBERS.map((name) => `yourTask.${name}`)];
    if (space === "other") return names(functions).filter((name) => name !== "auth.configure");
    const spaces = names(space);
    const parts = spaces.length === 1 ? [functions] : functions.split("; ");
    const members = spaces.flatMap((name, index) =>
      name === "queue"
        ? ["queue"]
        : names(spaces[0] === "queue" ? functions : (parts[index] ?? "")).map(
            (member) => `${name}.${member.replace(/\.\*$/, "")}`,
          ),
    );
    return space === "`tasks`" ? [...TASK_MEMBERS.map((name) => `tasks.${name}`), ...members] : members;
  });
}

function isExported(name: string): boolean {
  const yourTask = sdk.task({ id: "any", run: async () => undefined });
  let found: unknown = { ...sdk, yourTask };
  for (const part of name.split(".")) {
    if (typeof found !== "object" || found === null || !(part in found)) return false;
    found = Object.entries(found).find(([key]) => key === part)?.[1];
  }
  return found !== undefined;
}

const FUNCTIONS = rows(section(PAGE, "Functions"));
const OPTIONS = rows(section(PAGE, "Options"));
const LISTED = new Set(FUNCTIONS.flatMap(([cell = ""]) => names(cell)));
const MISSING = new Set(names(section(PAGE, "Not there yet")));

test("every function of section 3 is in the table, or said to be missing", (t) => {
  const all = specified();
  t.true(all.length > 80, all.join());
  for (const name of [
    "tasks.onCancel",
    "queues.pause",
    "retry.fetch",
    "runs.bulk.replay",
    "metadata.root",
    "timeout.None",
  ]) {
    t.true(all.includes(name), name);
  }
  t.deepEqual(
    all.filter((name) => !LISTED.has(name) && (isExported(name) || !MISSING.has(name))),
    [],
  );
});

test("what is said to be missing is missing", (t) => {
  t.true(MISSING.has("useRealtimeRun"));
  t.deepEqual(
    [...MISSING].filter((name) => isExported(name)),
    [],
  );
});

test("what the table lists is there", (t) => {
  t.deepEqual(
    [...LISTED].filter((name) => name !== "startWorker" && !isExported(name)),
    [],
  );
  t.false(isExported("tasks.triggerTwice"));
});

test("the options are those of section 6", (t) => {
  const listed = OPTIONS.flatMap(([cell = ""]) => names(cell));
  const [table = ""] = section(BEHAVIOUR, "6. Options of a trigger").split("### ");
  const options = rows(table).flatMap(([cell = ""]) => names(cell));
  t.true(options.length > 10);
  t.deepEqual(listed, options);
});

test("each row has a page, and tests that exist and name all of its rules", (t) => {
  const named = namedRules();
  for (const [what = "", guide = "", ids = "", files = ""] of [...FUNCTIONS, ...OPTIONS]) {
    t.regex(guide, /\]\(guide\/[\w-]+\.md(?:#[\w-]+)?\)$/, what);
    const paths = [...files.matchAll(/\]\(\.\.\/(test\/[^)]+)\)/g)].map(([, path = ""]) => path);
    const rules = ids.split(", ");
    t.true(paths.length > 0 && rules.length > 0, what);
    for (const path of paths) {
      t.true(existsSync(join(repositoryFolder, path)), `${what}: ${path}`);
      t.true(
        rules.some((rule) => named.get(rule)?.includes(path)),
        `${what}: ${path} names none of ${ids}`,
      );
    }
    for (const rule of rules) {
      t.true(
        paths.some((path) => named.get(rule)?.includes(path)),
        `${what}: no test of the row names ${rule}`,
      );
    }
  }
});

test("the README leads to every page of the guide", (t) => {
  const readme = readFileSync(join(repositoryFolder, "README.md"), "utf8");
  const pages = readdirSync(join(repositoryFolder, "docs/guide"));
  t.true(pages.length > 10);
  t.deepEqual(
    pages.filter((page) => !readme.includes(`](docs/guide/${page})`)),
    [],
  );
});
