/** Tells when code changed: files of the task files' folders and the working directory, `node_modules` and hidden folders aside. */
import { dirname, extname, relative, resolve, sep } from "node:path";
import { watch } from "chokidar";

const CODE = new Set([".ts", ".tsx", ".mts", ".cts", ".js", ".jsx", ".mjs", ".cjs"]);

/** Editors and formatters write a file, or several, in steps; one change is what comes within this time. */
const SETTLE_MS = 100;

export interface TaskWatch {
  stop(): Promise<void>;
}

/** Calls `onChange` with the path of the first changed file, relative to the working directory. Resolves when it watches. */
export async function watchTasks(files: readonly string[], onChange: (path: string) => void): Promise<TaskWatch> {
  const roots = outermost([process.cwd(), ...files.map((file) => dirname(resolve(file)))]);
  const watcher = watch([...roots], {
    ignoreInitial: true,
    ignored: (path, stats) => isIgnored(roots, path) || (stats?.isFile() === true && !CODE.has(extname(path))),
  });
  let timer: NodeJS.Timeout | undefined;
  watcher.on("all", (event, path) => {
    if (event === "addDir" || event === "unlinkDir" || !CODE.has(extname(path))) return;
    timer ??= setTimeout(() => {
      timer = undefined;
      onChange(relative(process.cwd(), path));
    }, SETTLE_MS);
  });
  await new Promise<void>((resolveReady, reject) => {
    watcher.once("ready", () => resolveReady());
    watcher.once("error", reject);
  });
  return {
    async stop() {
      clearTimeout(timer);
      await watcher.close();
    },
  };
}

/** Folders that are not inside another one of them. */
function outermost(folders: readonly string[]): readonly string[] {
  const unique = [...new Set(folders)];
  return unique.filter((folder) => !unique.some((other) => other !== folder && folder.startsWith(withSlash(other))));
}

function withSlash(folder: string): string {
  return folder.endsWith(sep) ? folder : `${folder}${sep}`;
}

function isIgnored(roots: readonly string[], path: string): boolean {
  const root = roots.find((folder) => path === folder || path.startsWith(withSlash(folder)));
  if (root === undefined) return false;
  const parts = relative(root, path).split(sep);
  return parts.some((part) => part === "node_modules" || (part.startsWith(".") && part.length > 1));
}
