/**
 * Tests of parts that a machine may lack (grpcurl, strace, another Node). Such a test is skipped by name and counted, never silently absent:
 * AVA lists it as skipped, with the reason at the front of its title.
 */
import { accessSync, constants } from "node:fs";
import { delimiter, join } from "node:path";
import test, { type ImplementationFn } from "ava";

/**
 * Declares a test if `isAvailable`; otherwise the same title is counted as skipped, with its reason.
 * @example testIf(findProgram("grpcurl") !== undefined, "grpcurl not found")("API-7: grpcurl triggers a run", async (t) => { … });
 */
export function testIf(isAvailable: boolean, reason: string): (title: string, fn: ImplementationFn<[]>) => void {
  return (title, fn) => {
    if (isAvailable) test(title, fn);
    else test.skip(`skipped: ${reason}: ${title}`, fn);
  };
}

/** The absolute path of a program on PATH, or undefined. Go's own bin folder counts too: CI installs grpcurl there. */
export function findProgram(name: string): string | undefined {
  const goBin = process.env.GOBIN ?? join(process.env.GOPATH ?? join(process.env.HOME ?? "", "go"), "bin");
  for (const folder of [...(process.env.PATH ?? "").split(delimiter), goBin]) {
    if (folder === "") continue;
    const path = join(folder, name);
    try {
      accessSync(path, constants.X_OK);
      return path;
    } catch {
      // Not here; the next folder may have it.
    }
  }
  return undefined;
}
