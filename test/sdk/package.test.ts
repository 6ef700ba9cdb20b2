/** The package as users install it: what a browser would load, what its declarations show. */
import { existsSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import test from "ava";
import { PROTOCOL_VERSION, SDK_VERSION } from "#sdk/version.js";

const PACKAGE = fileURLToPath(new URL("../../../clients/typescript/", import.meta.url));
const manifest: { version: string; imports: Record<string, Record<string, string>>; exports: Record<string, unknown> } =
  JSON.parse(readFileSync(join(PACKAGE, "package.json"), "utf8"));

interface Reached {
  readonly files: ReadonlySet<string>;
  readonly packages: ReadonlySet<string>;
}

/** Everything that a file loads, and what that loads, by the given condition of the `imports` map. */
function reached(entry: string, condition: string, isDeclaration = false): Reached {
  const files = new Set<string>();
  const packages = new Set<string>();
  const open = [join(PACKAGE, entry)];
  for (let file = open.pop(); file !== undefined; file = open.pop()) {
    if (files.has(file)) continue;
    files.add(file);
    for (const [, specifier = ""] of readFileSync(file, "utf8").matchAll(/(?:from|import)\s*\(?\s*["']([^"']+)["']/g)) {
      const mapped = manifest.imports[specifier]?.[condition];
      const target =
        mapped !== undefined
          ? join(PACKAGE, mapped)
          : specifier.startsWith(".")
            ? join(dirname(file), specifier)
            : undefined;
      if (target === undefined) packages.add(specifier);
      else open.push(isDeclaration ? target.replace(/\.js$/, ".d.ts") : target);
    }
  }
  return { files: new Set([...files].map((file) => file.slice(PACKAGE.length))), packages };
}

test("RCT-7: what a browser loads holds no Node code and no worker", (t) => {
  const { files, packages } = reached("dist/index.js", "browser");
  t.true(files.has("dist/platform-browser.js"));
  t.deepEqual(
    [...files].filter((file) => file.includes("/worker/") || file.includes("platform-node")),
    [],
  );
  t.deepEqual(
    [...packages].filter((name) => name.startsWith("node:") || name === "@connectrpc/connect-node"),
    [],
  );
});

test("RCT-7: what a server loads holds no transport for browsers", (t) => {
  const { packages } = reached("dist/index.js", "default");
  t.true(packages.has("@connectrpc/connect-node"));
  t.false(packages.has("@connectrpc/connect-web"));
});

test("the SDK speaks TypeScript: no generated type shows in a public declaration", (t) => {
  for (const condition of ["browser", "default"]) {
    const { files, packages } = reached("dist/index.d.ts", condition, true);
    t.deepEqual(
      [...files].filter((file) => file.startsWith("dist/gen/")),
      [],
    );
    t.deepEqual(
      [...packages].filter((name) => name.startsWith("@bufbuild/")),
      [],
    );
  }
});

test("WRK-3: the version that calls name is the package's", (t) => {
  t.is(SDK_VERSION, manifest.version);
  t.true(manifest.version.startsWith(`${PROTOCOL_VERSION}.`), "one minor version, one contract");
});

test("every file that the manifest names is there", (t) => {
  const paths = (value: unknown): string[] =>
    typeof value === "string"
      ? [value]
      : typeof value === "object" && value !== null
        ? Object.values(value).flatMap(paths)
        : [];
  const named = [manifest.imports, manifest.exports].flatMap(paths).filter((path) => !path.includes("*"));
  t.true(named.length > 5);
  t.deepEqual(
    named.filter((path) => !existsSync(join(PACKAGE, path))),
    [],
  );
});
