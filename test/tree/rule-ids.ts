/** Rule ids (`IDM-12`): where docs/behaviour.md defines them, and which test titles name them. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { readSources, repositoryFolder } from "./source.js";

export interface Rule {
  readonly id: string;
  /** The beginning of its text. */
  readonly text: string;
}

const DEFINITION = /^- \*\*([A-Z]{2,3}-[A-Z]?\d+[a-z]?)\*\*\s*(.*)$/gm;

/** Every definition in page order; an id that stands twice is there twice. */
export function readRules(folder = repositoryFolder): readonly Rule[] {
  const page = readFileSync(join(folder, "docs/behaviour.md"), "utf8");
  return [...page.matchAll(DEFINITION)].map(([, id = "", text = ""]) => ({ id, text }));
}

/** `DUR-G1: …`, `IDM-1, IDM-2: …`, `IDM-1…4: …` at the beginning of a text, behind the name of a family if there is one. */
const TITLE = /["'`](?:[a-z][\w -]*: )?((?:[A-Z]{2,3}-[A-Z]?\d+[a-z]?(?:…[A-Z]?\d+)?(?:, | and |\/)?)+)[: ]/g;
const ID_OR_RANGE = /([A-Z]{2,3}-[A-Z]?)(\d+)([a-z]?)(?:…[A-Z]?(\d+))?/g;

/** Rule id → the files whose test titles name it. */
export function namedRules(folder = repositoryFolder): ReadonlyMap<string, readonly string[]> {
  const named = new Map<string, string[]>();
  const tests = readSources(folder).filter(({ path }) => /^test\/(?!tree\/|support\/|bench\/)/.test(path));
  for (const { path, text } of tests) {
    for (const id of titleIds(text)) named.set(id, [...(named.get(id) ?? []), path]);
  }
  return named;
}

export function titleIds(text: string): readonly string[] {
  const ids = [...text.matchAll(TITLE)].flatMap(([, list = ""]) =>
    [...list.matchAll(ID_OR_RANGE)].flatMap(([, family = "", first = "", letter = "", last]) => {
      if (last === undefined) return [`${family}${first}${letter}`];
      const count = Number(last) - Number(first) + 1;
      return Array.from({ length: Math.max(count, 0) }, (_, index) => `${family}${Number(first) + index}`);
    }),
  );
  return [...new Set(ids)];
}
