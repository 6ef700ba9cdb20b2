/** `npm run check:generated`: generates the protobuf code again, elsewhere, and compares it with what is committed. Exit code 1 names each difference. */
import { execFileSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { repositoryFolder } from "./source.js";

/** Where buf.gen.yaml puts the code, seen from the folder that it is told to write to. */
const GENERATED = "clients/typescript/src/gen";

const folder = mkdtempSync(join(tmpdir(), "hairtrigger-generated-"));
try {
  execFileSync("npx", ["buf", "generate", "--output", folder], { cwd: repositoryFolder, stdio: "inherit" });
  const expected = readTexts(join(folder, GENERATED));
  const committed = readTexts(join(repositoryFolder, GENERATED));
  const names = [...new Set([...expected.keys(), ...committed.keys()])].toSorted();
  const different = names.filter((name) => expected.get(name) !== committed.get(name));
  for (const name of different) console.error(`${GENERATED}/${name} is not what proto/ generates`);
  if (different.length > 0) console.error("Run `npm run generate` and commit the result.");
  process.exitCode = different.length > 0 ? 1 : 0;
} finally {
  rmSync(folder, { recursive: true, force: true });
}

function readTexts(root: string): ReadonlyMap<string, string> {
  const names = readdirSync(root, { recursive: true, encoding: "utf8" }).filter((name) => name.endsWith(".ts"));
  return new Map(names.map((name) => [name, readFileSync(join(root, name), "utf8")]));
}
