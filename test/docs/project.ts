/** A project in a temporary folder, as a reader of the pages would have it: packages installed, samples in files. */
import { chmodSync, mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { removeDirectory, temporaryDirectory } from "../support/children.js";
import type { Block } from "./page.js";
import { run } from "./programs.js";
import { type Connection, createReader, type Reader } from "./reader.js";

const REPOSITORY = fileURLToPath(new URL("../../../", import.meta.url));
const COMMAND = join(REPOSITORY, "dist/clients/cli/main.js");

const COMPILER_OPTIONS = {
  target: "es2023",
  module: "nodenext",
  strict: true,
  noUncheckedIndexedAccess: true,
  types: ["node"],
  rootDir: "pages",
  outDir: "out",
};

export interface Project {
  /** Puts the samples of a page in files. */
  add(page: string, blocks: readonly Block[]): void;
  /** Compiles everything. @returns what the compiler said, by the place of the sample; empty if nothing. */
  compile(): Promise<string>;
  /**
   * Does what a page says, block by block.
   * @param server the page's own environment; undefined: the page starts a server itself.
   * @returns what went wrong.
   */
  follow(page: string, blocks: readonly Block[], server: Connection | undefined): Promise<readonly string[]>;
  /** Idempotent. */
  remove(): Promise<void>;
}

export function createProject(): Project {
  const root = temporaryDirectory("docs");
  const readers: Reader[] = [];
  /** Names of the files without extension, by page and block. */
  const samplesOf = new Map<string, ReadonlyMap<Block, string>>();
  install(root);

  return {
    add(page, blocks) {
      const folder = join(root, "pages", slugOf(page));
      mkdirSync(folder, { recursive: true });
      const samples = new Map(
        blocks
          .filter(({ language }) => language === "ts")
          .map((block, index) => [block, block.values.get("file")?.replace(/\.ts$/, "") ?? `sample-${index}`]),
      );
      samplesOf.set(page, samples);
      for (const [block, name] of samples) {
        // A module each, whatever it imports.
        const end = block.values.has("file") ? "" : "export {};\n";
        writeFileSync(join(folder, `${name}.ts`), `${block.text}${end}`);
      }
    },

    async compile() {
      const config = join(root, "tsconfig.json");
      writeFileSync(config, JSON.stringify({ compilerOptions: COMPILER_OPTIONS, include: ["pages"] }));
      const compiler = join(REPOSITORY, "node_modules/typescript/bin/tsc");
      const { printed } = await run(process.execPath, [compiler, "-p", config], { cwd: root });
      let said = printed;
      for (const [page, samples] of samplesOf) {
        for (const [block, name] of samples) said = said.replaceAll(`pages/${slugOf(page)}/${name}.ts`, block.place);
      }
      return said;
    },

    async follow(page, blocks, server) {
      const slug = slugOf(page);
      const reader = createReader({
        command: COMMAND,
        binFolder: join(root, "node_modules/.bin"),
        folder: join(root, "pages", slug),
        outFolder: join(root, "out", slug),
        exportsFile: join(root, `${slug}.exports`),
        samples: samplesOf.get(page) ?? new Map(),
        server,
      });
      readers.push(reader);
      return reader.follow(blocks);
    },

    async remove() {
      for (const reader of readers) await reader.stop();
      removeDirectory(root);
    },
  };
}

function slugOf(page: string): string {
  return page.replace(/\.md$/, "").replaceAll("/", "-").toLowerCase();
}

/** The packages as links, and `npx` as what it comes to for an installed command. */
function install(root: string): void {
  const modules = join(root, "node_modules");
  const bin = join(modules, ".bin");
  mkdirSync(join(modules, "@hairtrigger"), { recursive: true });
  mkdirSync(join(modules, "@types"));
  mkdirSync(bin);
  symlinkSync(join(REPOSITORY, "clients/typescript"), join(modules, "@hairtrigger/sdk"));
  symlinkSync(join(REPOSITORY, "node_modules/@types/node"), join(modules, "@types/node"));
  symlinkSync(join(REPOSITORY, "clients/testing"), join(modules, "@hairtrigger/testing"));
  symlinkSync(join(REPOSITORY, "node_modules/zod"), join(modules, "zod"));
  writeFileSync(join(root, "package.json"), JSON.stringify({ type: "module", private: true }));
  const tsx = join(REPOSITORY, "node_modules/tsx/dist/cli.mjs");
  writeProgram(join(bin, "hairtrigger"), `exec "${process.execPath}" "${COMMAND}" "$@"`);
  writeProgram(join(bin, "tsx"), `exec "${process.execPath}" "${tsx}" "$@"`);
  writeProgram(join(bin, "npx"), `name=$1; shift; exec "${bin}/$name" "$@"`);
}

function writeProgram(path: string, command: string): void {
  writeFileSync(path, `#!/bin/sh\n${command}\n`);
  chmodSync(path, 0o755);
}
