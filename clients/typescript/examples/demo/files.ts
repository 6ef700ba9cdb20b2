/** The Markdown files that the demo works on, and a disk that does not always answer. */
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";

/** Folders that hold other people's files, or generated ones. */
const SKIPPED = new Set(["node_modules", "dist"]);

/** Paths of all Markdown files below a folder, in order. */
export async function markdownFiles(folder: string): Promise<readonly string[]> {
  const found: string[] = [];
  for (const entry of await readdir(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) {
      if (!SKIPPED.has(entry.name) && !entry.name.startsWith(".")) found.push(...(await markdownFiles(path)));
    } else if (entry.name.endsWith(".md")) found.push(path);
  }
  return found.toSorted();
}

/** Reads a text file. @throws Error as a worn disk does, where `isFlaky`. */
export async function readText(path: string, isFlaky = false): Promise<string> {
  if (isFlaky) throw new Error(`EIO: the disk did not answer, read '${path}'`);
  return readFile(path, "utf8");
}
