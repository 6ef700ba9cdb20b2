/**
 * Loads task files, TypeScript included, so that there is one copy of the SDK: the one that the files themselves import. A second copy would
 * have a context of its own, in which code of a run is outside of any run. TypeScript of CommonJS projects is where it would come from: there
 * `import` becomes `require`, and the loader compiles the SDK again for it.
 */
import { access } from "node:fs/promises";
import Module, { createRequire } from "node:module";
import { extname, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import type { startWorker } from "@hairtrigger/sdk/worker";
import { usageError } from "./exit-codes.js";

const SDK = "@hairtrigger/sdk";

/** The entry points that task code may import. */
const ENTRIES = [SDK, `${SDK}/worker`] as const;

const TYPESCRIPT = new Set([".ts", ".tsx", ".mts", ".cts"]);
/** CommonJS whatever the project says; the loader of TypeScript takes these only by `require`. */
const COMMONJS = new Set([".cts", ".cjs"]);

type WorkerModule = { readonly startWorker: typeof startWorker };

export interface LoadedTasks {
  /** `startWorker` of the SDK that the files import. */
  readonly startWorker: WorkerModule["startWorker"];
  /** One module namespace for each file. */
  readonly modules: readonly Readonly<Record<string, unknown>>[];
}

/**
 * @param files paths, relative to the working directory.
 * @throws CommandError naming a file that does not exist, or a project without the SDK. What a file throws is thrown.
 */
export async function loadTaskFiles(files: readonly string[]): Promise<LoadedTasks> {
  const paths = await absolutePaths(files);
  const [first] = paths;
  if (first === undefined) throw usageError("no task file given");
  if (paths.some((path) => TYPESCRIPT.has(extname(path)))) await registerTypeScript();
  const require = createRequire(first);
  const copies = new Map<string, unknown>();
  for (const entry of ENTRIES) copies.set(entry, await import(pathToFileURL(resolveEntry(require, entry)).href));
  answerRequires(copies);

  const worker = copies.get(`${SDK}/worker`);
  if (!isWorkerModule(worker)) throw usageError(`the ${SDK} of this project has no startWorker`);
  const modules: Readonly<Record<string, unknown>>[] = [];
  for (const path of paths) modules.push(namespaceOf(await load(require, path)));
  return { startWorker: worker.startWorker, modules };
}

/** From now on `import` and `require` take TypeScript. */
async function registerTypeScript(): Promise<void> {
  const [esm, cjs] = await Promise.all([import("tsx/esm/api"), import("tsx/cjs/api")]);
  esm.register();
  cjs.register();
}

async function absolutePaths(files: readonly string[]): Promise<readonly string[]> {
  const paths = files.map((file) => resolve(file));
  for (const [index, path] of paths.entries()) {
    await access(path).catch(() => {
      throw usageError(`${files[index]} does not exist`);
    });
  }
  return paths;
}

function resolveEntry(require: NodeJS.Require, entry: string): string {
  try {
    return require.resolve(entry);
  } catch {
    throw usageError(`${SDK} is not installed in this project: npm install ${SDK}`);
  }
}

/** From now on `require` of an entry answers with the copy that `import` gives. */
function answerRequires(copies: ReadonlyMap<string, unknown>): void {
  const original: unknown = Reflect.get(Module, "_load");
  if (typeof original !== "function") return;
  Reflect.set(Module, "_load", function answer(this: unknown, request: unknown, ...rest: readonly unknown[]): unknown {
    return typeof request === "string" && copies.has(request)
      ? copies.get(request)
      : Reflect.apply(original, this, [request, ...rest]);
  });
}

async function load(require: NodeJS.Require, path: string): Promise<unknown> {
  return COMMONJS.has(extname(path)) ? require(path) : import(pathToFileURL(path).href);
}

/** Exports of a CommonJS module may stand in `default` alone. */
function namespaceOf(loaded: unknown): Readonly<Record<string, unknown>> {
  if (!isRecord(loaded)) return {};
  const { default: inner, ...named } = loaded;
  return Object.keys(named).length === 0 && isRecord(inner) ? inner : { ...named, default: inner };
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null;
}

function isWorkerModule(value: unknown): value is WorkerModule {
  return isRecord(value) && typeof value.startWorker === "function";
}
