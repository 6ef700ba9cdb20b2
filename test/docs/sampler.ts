/**
 * Runs samples, one after the other, each a module of its own: a process for each would spend most of its time on loading the SDK. A line on
 * stdin is the path of the next sample; when it has run, a line with {@link SAMPLE_END} and its exit code is written after what it printed.
 */
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";

export const SAMPLE_END = "\u0004 end of sample, exit code ";

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) {
  for await (const path of createInterface({ input: process.stdin })) {
    let exitCode = 0;
    try {
      await import(pathToFileURL(path).href);
    } catch (error) {
      process.stdout.write(`${error instanceof Error ? error.stack : String(error)}\n`);
      exitCode = 1;
    }
    process.stdout.write(`${SAMPLE_END}${exitCode}\n`);
  }
  process.exit();
}
