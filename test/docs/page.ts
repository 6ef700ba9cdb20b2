/**
 * Pages of documentation as tests see them: fenced blocks, and what their first line says is to be done with them.
 *
 * - `ts file=tasks.ts` is that file of the page's project; if it is called tasks.ts, a worker serves it.
 * - `ts` is a program of its own: it has to compile and to end without an error.
 * - `sh` is typed into one shell, block after block; `sh background` goes on running; `sh needs=curl` wants that program.
 * - `sh checkout` is for a checkout of the repository, `sh setup` installs the packages: other tests do these, here only their names count.
 * - `text output`: the block before has to print these lines, among others; `…` stands for anything.
 * - Other blocks are to be read.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";

export interface Block {
  /** Path of the page and number of the block's first line. */
  readonly place: string;
  readonly language: string;
  readonly words: ReadonlySet<string>;
  /** `file=…`, `needs=…`. */
  readonly values: ReadonlyMap<string, string>;
  readonly text: string;
}

const FENCE = /^```(?<info>.*)$/;

export function readBlocks(folder: string, path: string): readonly Block[] {
  return parseBlocks(path, readFileSync(join(folder, path), "utf8"));
}

export function parseBlocks(path: string, markdown: string): readonly Block[] {
  const blocks: Block[] = [];
  let open: { readonly info: string; readonly line: number; readonly lines: string[] } | undefined;
  for (const [index, line] of markdown.split("\n").entries()) {
    const info = FENCE.exec(line)?.groups?.info;
    if (open !== undefined && info === "") {
      blocks.push(blockOf(`${path}:${open.line}`, open.info, `${open.lines.join("\n")}\n`));
      open = undefined;
    } else if (open !== undefined) open.lines.push(line);
    else if (info !== undefined) open = { info, line: index + 2, lines: [] };
  }
  if (open !== undefined) throw new Error(`${path}:${open.line}: the block has no end`);
  return blocks;
}

function blockOf(place: string, info: string, text: string): Block {
  const [language = "", ...attributes] = info.trim().split(/\s+/);
  const pairs = attributes.map((attribute) => attribute.split("=")).filter(({ length }) => length === 2);
  return {
    place,
    language,
    words: new Set(attributes.filter((attribute) => !attribute.includes("="))),
    values: new Map(pairs.map(([name = "", value = ""]) => [name, value])),
    text,
  };
}

/** Blocks whose first line says something that no test understands. */
export function unknownBlocks(blocks: readonly Block[]): readonly string[] {
  const known: Readonly<Record<string, readonly string[]>> = {
    ts: ["file"],
    sh: ["background", "checkout", "setup", "needs"],
    text: ["output"],
    json: [],
    mermaid: [],
  };
  return blocks
    .filter(
      ({ language, words, values }) =>
        [...words, ...values.keys()].some((word) => known[language]?.includes(word) !== true) ||
        known[language] === undefined,
    )
    .map(({ place, language }) => `${place}: ${language === "" ? "a block without language" : language}`);
}

/** The lines of `expected` that `printed` lacks; `…` stands for anything. */
export function missingLines(expected: string, printed: string): readonly string[] {
  const lines = printed.split("\n").map((line) => line.trim());
  return expected
    .split("\n")
    .map((line) => line.trim())
    .filter((line) => line !== "")
    .filter((line) => {
      const pattern = new RegExp(
        `^${line
          .split("…")
          .map((part) => escapeText(part))
          .join(".*")}$`,
      );
      return !lines.some((printedLine) => pattern.test(printedLine));
    });
}

function escapeText(text: string): string {
  return text.replaceAll(/[.*+?^${}()|[\]\\]/g, "\\$&");
}
