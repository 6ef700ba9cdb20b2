/**
 * AUT-9: an embedded server without any key makes one for environment `dev` at its first start and keeps it in `<store>/secret-key`,
 * readable by its owner alone, beside a `.gitignore` of `*`: the folder usually stands in somebody's project.
 */
import { chmod, mkdir, readFile, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { KEY_RANDOM_BYTES, keyEnvironment, newSecretKey } from "./secret-keys.js";

/** Environment of the key that a first start makes. */
const FIRST_ENVIRONMENT = "dev";

/** Where a store keeps that key. */
export function firstStartKeyPath(storeDirectory: string): string {
  return join(storeDirectory, "secret-key");
}

/**
 * The key of the first start: read if it is there and was not revoked, made otherwise; it appears whole or not at all. Call it while
 * holding the lock of the store, so that two first starts do not make two keys.
 * @param randomBytes source of randomness.
 * @param isRevoked asked about the key that is there.
 * @throws Error naming the file where it holds something else.
 */
export async function firstStartKey(
  storeDirectory: string,
  randomBytes: (length: number) => Uint8Array,
  isRevoked: (secretKey: string) => boolean = () => false,
): Promise<{ readonly secretKey: string; readonly path: string; readonly isNew: boolean }> {
  const path = firstStartKeyPath(storeDirectory);
  const found = await readKey(path);
  if (found !== undefined && !isRevoked(found)) return { secretKey: found, path, isNew: false };

  await mkdir(storeDirectory, { recursive: true });
  await writeUnlessThere(join(storeDirectory, ".gitignore"), "*\n", 0o644);
  const secretKey = newSecretKey(FIRST_ENVIRONMENT, randomBytes(KEY_RANDOM_BYTES));
  const draft = `${path}.draft`;
  await writeFile(draft, `${secretKey}\n`, { mode: 0o600, flush: true });
  // An older draft kept its own mode.
  await chmod(draft, 0o600);
  await rename(draft, path);
  return { secretKey, path, isNew: true };
}

/** The key of an earlier first start. @throws Error as {@link firstStartKey}. */
export function findFirstStartKey(storeDirectory: string): Promise<string | undefined> {
  return readKey(firstStartKeyPath(storeDirectory));
}

async function readKey(path: string): Promise<string | undefined> {
  let text: string;
  try {
    text = (await readFile(path, "utf8")).trim();
  } catch (error) {
    if (hasCode(error, "ENOENT")) return undefined;
    throw error;
  }
  if (keyEnvironment(text) === undefined) {
    throw new Error(`${path} does not hold a secret key: restore it, or delete it and a new key is made`);
  }
  return text;
}

async function writeUnlessThere(path: string, text: string, mode: number): Promise<void> {
  try {
    await writeFile(path, text, { mode, flag: "wx" });
  } catch (error) {
    if (!hasCode(error, "EEXIST")) throw error;
  }
}

function hasCode(error: unknown, code: string): boolean {
  return error instanceof Error && "code" in error && error.code === code;
}
