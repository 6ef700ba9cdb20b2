/** README and documentation say what is true: their samples compile and run, their commands exist, their links lead somewhere. */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import test from "ava";
import { anchorsOf, linksOf } from "../clients/typescript/examples/demo/markdown.js";
import { type Block, missingLines, parseBlocks, readBlocks, unknownBlocks } from "./docs/page.js";
import { createProject, type Project } from "./docs/project.js";
import { lacks } from "./docs/reader.js";
import { testIf } from "./support/available.js";
import { type ServerPlace, startServer } from "./support/processes.js";

const REPOSITORY = fileURLToPath(new URL("../../", import.meta.url));
const PAGES = ["README.md", "CHANGELOG.md", "clients/typescript/README.md", ...markdownIn("docs")];
const BLOCKS = new Map(PAGES.map((page) => [page, readBlocks(REPOSITORY, page)]));
/** Pages that start a server of their own do so in a block. */
const WITH_SERVER = PAGES.filter((page) => !blocksOf(page).some(({ words }) => words.has("background")));
const SAMPLED = PAGES.filter((page) => blocksOf(page).some(isSample));

let project: Project;
let server: ServerPlace;
let compiled: Promise<string>;

test.before("samples in a project, and a server with an environment for each page", async () => {
  project = createProject();
  for (const page of SAMPLED) project.add(page, blocksOf(page));
  compiled = project.compile();
  server = await startServer({ settings: { HAIRTRIGGER_KEYS: WITH_SERVER.map(keyOf).join(",") } });
});
test.after.always(async () => {
  await project.remove();
  await server.remove();
});

test("every sample compiles", async (t) => {
  t.is(await compiled, "");
});

for (const page of SAMPLED) {
  test(`${page}: every sample runs, and prints what the page says`, async (t) => {
    await compiled;
    const connection = WITH_SERVER.includes(page) ? { baseURL: server.url, accessToken: keyOf(page) } : undefined;
    t.deepEqual(await project.follow(page, blocksOf(page), connection), []);
  });
  for (const program of new Set(blocksOf(page).flatMap((block) => lacks(block) ?? []))) {
    testIf(false, `${program} not found`)(`${page}: samples that call ${program}`, (t) => t.fail());
  }
}

test("a sample that does not compile, fails, or prints something else is found", async (t) => {
  const bad = createProject();
  t.teardown(() => bad.remove());
  const blocks = parseBlocks(
    "bad.md",
    [
      "```ts",
      'import { tasks } from "@hairtrigger/sdk";',
      "tasks.triger(1);",
      "```",
      "```sh",
      "echo one; exit 3",
      "```",
      "```sh",
      "echo two",
      "```",
      "```text output",
      "three",
      "```",
    ].join("\n"),
  );
  bad.add("bad.md", blocks);
  t.regex(await bad.compile(), /^bad\.md:2\(2,7\): error .*triger/m);
  const mistakes = await bad.follow("bad.md", blocks.slice(1), undefined);
  t.deepEqual(
    mistakes.map((mistake) => mistake.split("\n")[0]),
    ["bad.md:6: exit code 3", "bad.md:12: not printed: three"],
  );
});

test("output matches line by line, with gaps", (t) => {
  t.deepEqual(missingLines("a … c\nd (e)", "x\n a b c \nd (e)\n"), []);
  t.deepEqual(missingLines("a … c\nd.", "ac\nde"), ["a … c", "d."]);
});

test("every block says what is to be done with it", (t) => {
  t.deepEqual(unknownBlocks([...BLOCKS.values()].flat()), []);
  t.deepEqual(unknownBlocks(parseBlocks("bad.md", "```\n```\n```ts fil=a.ts\n```\n```sh\n```")), [
    "bad.md:2: a block without language",
    "bad.md:4: ts",
  ]);
});

test("commands for a checkout are npm's own, or scripts of package.json", (t) => {
  const { scripts, version, name }: Manifest = JSON.parse(readFileSync(join(REPOSITORY, "package.json"), "utf8"));
  const commands = [...BLOCKS.values()]
    .flat()
    .filter(({ words }) => words.has("checkout"))
    .flatMap(({ place, text }) =>
      text.split(/\n|&&/).map((command) => ({ place, command: command.replace(/#.*|^(?:[A-Z_]+=\S+ )+/g, "").trim() })),
    )
    .filter(({ command }) => command !== "");
  t.true(commands.length > 5);
  const wrong = commands.filter(({ command }) => {
    const script = /^npm run (?:--\w+ )*(?<name>\S+)/.exec(command)?.groups?.name;
    if (script !== undefined) return scripts[script] === undefined;
    return !/^npm (?:ci|test|start|pack|install)\b|^npx (?:ava|biome|oxlint|tsc) |^node dist\/|^\.ci\/run$|^\.ci\/mongodb /.test(
      command,
    );
  });
  t.deepEqual(wrong, []);
  t.true(
    blocksOf("README.md").some(({ words, text }) => words.has("setup") && text.includes(`${name}-${version}.tgz`)),
  );
});

test("every link between documents leads to a file, and to a heading in it", (t) => {
  const broken = PAGES.flatMap((page) =>
    linksOf(readFileSync(join(REPOSITORY, page), "utf8"))
      .filter(({ target }) => !/^[a-z]+:/i.test(target))
      .filter(({ target }) => !leadsSomewhere(page, target))
      .map(({ line, target }) => `${page}:${line}: ${target}`),
  );
  t.deepEqual(broken, []);
  t.false(leadsSomewhere("README.md", "docs/nowhere.md"));
  t.false(leadsSomewhere("README.md", "docs/behaviour.md#99-nothing"));
});

interface Manifest {
  readonly name: string;
  readonly version: string;
  readonly scripts: Readonly<Record<string, string>>;
}

function markdownIn(folder: string): readonly string[] {
  return readdirSync(join(REPOSITORY, folder), { recursive: true, encoding: "utf8" })
    .filter((path) => path.endsWith(".md"))
    .map((path) => join(folder, path))
    .toSorted();
}

function blocksOf(page: string) {
  return BLOCKS.get(page) ?? [];
}

function isSample({ language, words }: Block): boolean {
  return language === "ts" || (language === "sh" && !words.has("checkout") && !words.has("setup"));
}

/** Environments keep pages from seeing each other's runs. */
function keyOf(page: string): string {
  const environment = page
    .replace(/\.md$/, "")
    .replaceAll(/[^a-z]/gi, "")
    .toLowerCase();
  return `tr_${environment}_0123456789abcdefghij`;
}

function leadsSomewhere(page: string, target: string): boolean {
  const [path = "", anchor] = target.split("#");
  const file = path === "" ? page : join(dirname(page), path);
  if (!existsSync(join(REPOSITORY, file))) return false;
  return anchor === undefined || anchorsOf(readFileSync(join(REPOSITORY, file), "utf8")).has(anchor);
}
