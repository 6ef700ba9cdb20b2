/**
 * Objects as files in a directory: `<two hex>/<environment>~<run id>~<name>`, in 256 folders by a hash of the run, so that no folder
 * grows past what a file system likes. An object is written in `parts`, synced, renamed to its place, and its folder synced: it is there
 * whole or not at all, whenever the power goes.
 */
import { createHash } from "node:crypto";
import { copyFile, link, mkdir, open, readdir, rename, rm, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { NewObject, ObjectPage, Payloads } from "./payloads.js";
import { verified } from "./verified.js";

/** Where objects are made; the name of no shard. */
const PARTS = "parts";
const SHARD_COUNT = 256;
/** What a file of ours is called; anything else in the directory is not ours to touch. */
const FILE = /^[^~]+~[^~]+~[^~]+$/;

export function createFilePayloads(directory: string): Payloads {
  const parts = join(directory, PARTS);
  let writes = 0;

  /** Another name for each write; what a crash left under it is written over. */
  const newPart = (key: string): string => {
    writes += 1;
    return join(parts, `${process.pid}-${writes}-${createHash("sha256").update(key).digest("hex")}`);
  };

  /** Makes a part, then the object of it. */
  async function place(key: string, fill: (part: string) => Promise<void>): Promise<void> {
    const path = pathOf(directory, key);
    await makeFolder(parts);
    const part = newPart(key);
    try {
      await fill(part);
      await makeFolder(dirname(path));
      await rename(part, path);
      await sync(dirname(path));
    } catch (error) {
      // It says more that the object could not be made.
      await rm(part, { force: true }).catch(() => undefined);
      throw error;
    }
  }

  return {
    driver: "file",
    async start() {
      await makeFolder(parts);
      const probe = newPart("");
      await (await open(probe, "w")).close();
      await rm(probe, { force: true });
    },
    stop: async () => undefined,
    write: (object, body) => place(object.key, (part) => writeFile(part, object, body)),
    async read(key) {
      const file = await open(pathOf(directory, key), "r").catch(undefinedIfMissing);
      return file?.createReadStream({ highWaterMark: 256 * 1_024 });
    },
    sizeOf: async (key) => (await stat(pathOf(directory, key)).catch(undefinedIfMissing))?.size,
    async copy(from, to) {
      const source = pathOf(directory, from);
      if ((await stat(source).catch(undefinedIfMissing)) === undefined) return false;
      // Objects never change, so two names of one file are as good as two files.
      await place(to, (part) => link(source, part).catch(() => copySynced(source, part)));
      return true;
    },
    async remove(keys) {
      for (const key of keys) await rm(pathOf(directory, key), { force: true });
    },
    list: ({ after, limit }) => listPage(directory, after, limit),
    removeRemains: (beforeMs, limit) => removeOldParts(parts, beforeMs, limit),
  };
}

async function writeFile(part: string, object: NewObject, body: Parameters<Payloads["write"]>[1]): Promise<void> {
  const file = await open(part, "w", 0o600);
  try {
    for await (const chunk of verified(object, body)) await file.write(chunk);
    await file.sync();
  } finally {
    await file.close();
  }
}

/** For file systems without hard links. */
async function copySynced(source: string, part: string): Promise<void> {
  await copyFile(source, part);
  await sync(part);
}

function shardOf(runId: string): string {
  return createHash("sha256").update(runId).digest("hex").slice(0, 2);
}

/** @throws TypeError for what is no key of ours, which must never name a path. */
function pathOf(directory: string, key: string): string {
  const [environment, runId, name, ...more] = key.split("/");
  const texts = [environment, runId, name];
  if (more.length > 0 || runId === undefined || !texts.every((text) => /^[\w-]+$/.test(text ?? ""))) {
    throw new TypeError("not a key of an object");
  }
  return join(directory, shardOf(runId), texts.join("~"));
}

async function makeFolder(folder: string): Promise<void> {
  const first = await mkdir(folder, { recursive: true, mode: 0o700 });
  if (first !== undefined) await sync(dirname(first));
}

/** Of a file or a folder. */
async function sync(path: string): Promise<void> {
  const handle = await open(path, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** @param after `<shard>/<file name>`. */
async function listPage(directory: string, after: string | undefined, limit: number): Promise<ObjectPage> {
  const [firstShard = "00", afterName = ""] = after?.split("/") ?? [];
  const objects: ObjectPage["objects"][number][] = [];
  for (let number = Number.parseInt(firstShard, 16); number < SHARD_COUNT; number += 1) {
    const shard = number.toString(16).padStart(2, "0");
    const names = (await readdir(join(directory, shard)).catch(undefinedIfMissing)) ?? [];
    for (const name of names.toSorted()) {
      if ((shard === firstShard && name <= afterName) || !FILE.test(name)) continue;
      const found = await stat(join(directory, shard, name)).catch(undefinedIfMissing);
      if (found === undefined) continue;
      objects.push({ key: name.replaceAll("~", "/"), writtenAtMs: found.ctimeMs });
      if (objects.length === limit) return { objects, next: `${shard}/${name}` };
    }
  }
  return { objects, next: undefined };
}

async function removeOldParts(parts: string, beforeMs: number, limit: number): Promise<number> {
  const names = (await readdir(parts).catch(undefinedIfMissing)) ?? [];
  let removed = 0;
  for (const name of names) {
    const found = await stat(join(parts, name)).catch(undefinedIfMissing);
    if (found === undefined || found.mtimeMs >= beforeMs) continue;
    await rm(join(parts, name), { force: true });
    removed += 1;
    if (removed === limit) break;
  }
  return removed;
}

function undefinedIfMissing(error: unknown): undefined {
  if (error instanceof Error && "code" in error && error.code === "ENOENT") return undefined;
  throw error;
}
