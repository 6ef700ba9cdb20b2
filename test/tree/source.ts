/** Reads the repository's own TypeScript as text: enough for checks of layout, without a compiler API (TypeScript 7 has none). */
import { readdirSync, readFileSync } from "node:fs";
import { join, posix } from "node:path";

/** Folder of the repository; npm and AVA both run there. */
export const repositoryFolder = process.cwd();

export interface SourceFile {
  /** Path from the repository's folder, with forward slashes. */
  readonly path: string;
  readonly text: string;
  /** The text with comments blanked and strings emptied, line by line as before: what a search for calls should look at. */
  readonly code: string;
  readonly imports: readonly Import[];
}

export interface Import {
  /** As written: `./run.js`, `#proto/…`, `node:fs`, `pino`. */
  readonly specifier: string;
  /** Path from the repository's folder of the imported source; undefined for packages. */
  readonly target: string | undefined;
  /** `import type` and `export type`: gone at run time. */
  readonly isTypeOnly: boolean;
  /** `import("…")`: loaded when reached. */
  readonly isDynamic: boolean;
  readonly line: number;
}

const SOURCE_FOLDERS = ["server", "scheduler", "clients", "test"];
const SKIPPED_FOLDERS = new Set(["node_modules", "dist", "gen"]);

/** Every TypeScript source of ours, generated code excluded, in path order. */
export function readSources(folder = repositoryFolder): readonly SourceFile[] {
  return SOURCE_FOLDERS.flatMap((name) => listFiles(folder, name))
    .filter((path) => path.endsWith(".ts"))
    .map((path) => parseSource(path, readFileSync(join(folder, path), "utf8")));
}

/** Paths of all files below `root/folder`, from `root`; without dependencies, build output and generated code. */
export function listFiles(root: string, folder: string): readonly string[] {
  const entries = readEntries(join(root, folder));
  return entries.flatMap((entry) => {
    const path = posix.join(folder, entry.name);
    if (entry.isDirectory()) return SKIPPED_FOLDERS.has(entry.name) ? [] : listFiles(root, path);
    return [path];
  });
}

function readEntries(folder: string) {
  try {
    return readdirSync(folder, { withFileTypes: true }).toSorted((a, b) => a.name.localeCompare(b.name));
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return [];
    throw error;
  }
}

export function parseSource(path: string, text: string): SourceFile {
  return { path, text, code: blankTexts(text), imports: findImports(path, text) };
}

const STATIC_IMPORT = /^(?:import|export)\s+(type\s+)?(?:[\w*{][^;"']*?\s*from\s*)?["']([^"']+)["']/gm;
const DYNAMIC_IMPORT = /\bimport\(\s*["']([^"']+)["']\s*\)/g;

function findImports(path: string, text: string): readonly Import[] {
  const bare = blankComments(text);
  const found: Import[] = [];
  const add = (specifier: string, index: number, isTypeOnly: boolean, isDynamic: boolean): void => {
    const line = text.slice(0, index).split("\n").length;
    found.push({ specifier, target: resolveTarget(path, specifier), isTypeOnly, isDynamic, line });
  };
  for (const match of bare.matchAll(STATIC_IMPORT)) add(match[2] ?? "", match.index, match[1] !== undefined, false);
  for (const match of bare.matchAll(DYNAMIC_IMPORT)) add(match[1] ?? "", match.index, false, true);
  return found;
}

function resolveTarget(path: string, specifier: string): string | undefined {
  if (!specifier.startsWith(".")) return undefined;
  return posix.join(posix.dirname(path), specifier).replace(/\.js$/, ".ts");
}

/** Comments, and the strings and templates that could hide a comment sign. Regular expressions are not understood; none here holds a quote. */
const TOKEN = /\/\/[^\n]*|\/\*[\s\S]*?\*\/|"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|`(?:[^`\\]|\\[\s\S])*`/g;

function blankComments(text: string): string {
  return text.replace(TOKEN, (token) => (token.startsWith("/") ? blank(token) : token));
}

function blankTexts(text: string): string {
  return text.replace(TOKEN, (token) => {
    if (token.startsWith("/")) return blank(token);
    // What a template computes is code.
    if (token.startsWith("`"))
      return token.replace(/\$\{[^}]*\}|[^\n]/g, (part) => (part.startsWith("${") ? part : " "));
    // The names of modules are code too.
    if (/^"node:[\w/]+"$/.test(token)) return token;
    return `"${blank(token.slice(1, -1))}"`;
  });
}

function blank(text: string): string {
  return text.replace(/[^\n]/g, " ");
}
