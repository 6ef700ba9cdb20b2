/** Which keys a server begins with, by its settings and its store (AUT-9). */
import { findFirstStartKey, firstStartKey } from "./auth/first-start-key.js";
import { secretKeyRecord } from "./auth/keys.js";
import { KEY_RANDOM_BYTES, nameOf, newSecretKey } from "./auth/secret-keys.js";
import type { Entropy } from "./engine/entropy.js";
import type { Store } from "./store/store.js";

export interface ServerKeys {
  /** Keys that hold while the process runs: those of the settings. */
  readonly fixed: readonly string[];
  /** A key in the clear, for whoever built the app; undefined: there are only keys that were shown once. */
  readonly secretKey: string | undefined;
  /** Where the key of the first start is kept. */
  readonly path: string | undefined;
  /** Valid keys in the store, that of the first start included. */
  readonly storedCount: number;
}

export interface ServerKeysParams {
  readonly store: Pick<Store, "createSecretKey" | "listSecretKeys">;
  readonly secretKeys: readonly string[];
  /** Undefined: a shared store; `:memory:`. */
  readonly storeDirectory: string | undefined;
  readonly hasAdministrator: boolean;
  readonly nowMs: number;
  readonly entropy: Entropy;
}

/** AUT-9: nobody could call such a server, and a key that it made would be unknown to the others. */
const NO_KEY =
  "this database has no secret key, and with MongoDB a server makes none by itself: set HAIRTRIGGER_KEYS, or make one with " +
  "`hairtrigger keys create <environment>`";

/** @throws Error for a shared store where no key is, which names both ways to one. */
export async function serverKeys(params: ServerKeysParams): Promise<ServerKeys> {
  const { store, secretKeys, storeDirectory, hasAdministrator, nowMs, entropy } = params;
  const [configured] = secretKeys;
  const records = await store.listSecretKeys();
  const created = records.filter(({ revokedAtMs, origin }) => revokedAtMs === undefined && origin === "created").length;
  if (configured !== undefined) {
    return { fixed: secretKeys, secretKey: configured, path: undefined, storedCount: created };
  }
  if (storeDirectory === undefined) {
    if (created === 0 && !hasAdministrator) throw new Error(NO_KEY);
    return { fixed: [], secretKey: undefined, path: undefined, storedCount: created };
  }
  if (storeDirectory === ":memory:") {
    const secretKey = newSecretKey("dev", entropy.bytes(KEY_RANDOM_BYTES));
    return { fixed: [secretKey], secretKey, path: undefined, storedCount: created };
  }

  const revoked = new Set(records.flatMap(({ name, revokedAtMs }) => (revokedAtMs === undefined ? [] : [name])));
  const isRevoked = (secretKey: string): boolean => revoked.has(nameOf(secretKey));
  const found = await findFirstStartKey(storeDirectory);
  // Whoever has made keys, or revoked this one, does not want another.
  if (created > 0 && (found === undefined || isRevoked(found))) {
    return { fixed: [], secretKey: undefined, path: undefined, storedCount: created };
  }
  const { secretKey, path } = await firstStartKey(storeDirectory, (length) => entropy.bytes(length), isRevoked);
  if (!records.some(({ name }) => name === nameOf(secretKey))) {
    const description = "made at the first start";
    await store.createSecretKey(secretKeyRecord(secretKey, { description, origin: "firstStart", createdAtMs: nowMs }));
  }
  return { fixed: [], secretKey, path, storedCount: created + 1 };
}
