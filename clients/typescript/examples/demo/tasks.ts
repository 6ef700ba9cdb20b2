/** What the demo's worker can do. Another program triggers these by their ids and imports this file for its types alone. */
import { mkdir, stat, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import { brotliCompress } from "node:zlib";
import { logger, queue, task } from "@hairtrigger/sdk";
import { markdownFiles, readText } from "./files.js";
import { anchorsOf, type Counts, countMarkdown, linksOf, renderPage, sectionsOf } from "./markdown.js";

const compress = promisify(brotliCompress);

/** What a folder of Markdown holds. */
export interface MarkdownReport extends Counts {
  readonly folder: string;
  /** The wordiest first. */
  readonly files: readonly (Counts & { readonly path: string })[];
}

export const markdownReport = task({
  id: "markdown-report",
  description: "Counts words, headings, code blocks and links of the Markdown files in a folder",
  run: async ({ folder }: { readonly folder: string }, { signal }): Promise<MarkdownReport> => {
    const files: (Counts & { readonly path: string })[] = [];
    for (const path of await markdownFiles(folder)) {
      signal.throwIfAborted();
      files.push({ path, ...countMarkdown(await readText(path)) });
    }
    logger.info("counted", { folder, files: files.length });
    const total = (count: keyof Counts): number => files.reduce((sum, file) => sum + file[count], 0);
    return {
      folder,
      files: files.toSorted((a, b) => b.words - a.words),
      words: total("words"),
      headings: total("headings"),
      codeBlocks: total("codeBlocks"),
      links: total("links"),
    };
  },
});

export interface LinkReport {
  readonly path: string;
  readonly checked: number;
  readonly broken: readonly { readonly line: number; readonly target: string; readonly why: string }[];
}

export const checkLinks = task({
  id: "check-links",
  description: "Follows the relative links of a Markdown file",
  retry: { maxAttempts: 3, minTimeoutInMs: 400, randomize: false },
  run: async (
    { path, isDiskFlaky = false }: { readonly path: string; readonly isDiskFlaky?: boolean },
    { ctx },
  ): Promise<LinkReport> => {
    const text = await readText(path, isDiskFlaky && ctx.attempt.number === 1);
    const links = linksOf(text).filter(({ target }) => !/^[a-z]+:/i.test(target));
    const broken: { line: number; target: string; why: string }[] = [];
    for (const { line, target } of links) {
      const why = await whyBroken(path, target);
      if (why !== undefined) broken.push({ line, target, why });
    }
    return { path, checked: links.length, broken };
  },
});

async function whyBroken(path: string, target: string): Promise<string | undefined> {
  const [file = "", anchor] = target.split("#");
  const linked = file === "" ? path : join(dirname(path), file);
  const found = await stat(linked).catch(() => undefined);
  if (found === undefined) return "no such file";
  if (anchor === undefined || !linked.endsWith(".md")) return undefined;
  return anchorsOf(await readText(linked)).has(anchor) ? undefined : "no such heading";
}

/** A printing press with room for five sheets. */
export const press = queue({ name: "press", concurrencyLimit: 5 });

export interface PublishedSection {
  readonly title: string;
  readonly htmlBytes: number;
  readonly compressedBytes: number;
  /** Sections that this worker was publishing when this one began, itself included. */
  readonly atOnce: number;
}

let publishing = 0;

export const publishSection = task({
  id: "publish-section",
  description: "Renders one section of a Markdown file as a web page, beside a compressed copy",
  queue: press,
  run: async ({
    path,
    index,
    outFolder,
  }: {
    readonly path: string;
    /** Which section of the file, from 0. */
    readonly index: number;
    readonly outFolder: string;
  }): Promise<PublishedSection> => {
    publishing += 1;
    const atOnce = publishing;
    try {
      const section = sectionsOf(await readText(path))[index];
      if (section === undefined) throw new Error(`${path} has no section ${index}`);
      const html = renderPage(section);
      const compressed = await compress(html);
      await mkdir(outFolder, { recursive: true });
      const file = join(outFolder, `${path.replaceAll(/[^a-z0-9]+/gi, "-")}-${index}.html`);
      await Promise.all([writeFile(file, html), writeFile(`${file}.br`, compressed)]);
      return { title: section.title, htmlBytes: Buffer.byteLength(html), compressedBytes: compressed.length, atOnce };
    } finally {
      publishing -= 1;
    }
  },
});
