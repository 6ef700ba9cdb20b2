/**
 * Secret keys `tr_<environment>_<random>` (AUT-1). A key ring remembers of each key its SHA-256, for look-up, and the signing key derived
 * from it, for public tokens; the key itself is dropped at once, so that nothing that is logged or dumped can hold it.
 */
import { createHash, hkdfSync, timingSafeEqual } from "node:crypto";

/** `tr_`, the environment's slug, and at least 16 random letters and digits; the random part holds no `_`. */
const KEY_PATTERN = /^tr_([a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?)_([A-Za-z0-9]{16,128})$/;

/** Random bytes of a key that we make: 192 bits, written as 48 hex characters. */
export const KEY_RANDOM_BYTES = 24;

/** AUT-1. */
const SIGNING_INFO = "hairtrigger public token v1";
const SIGNING_KEY_BYTES = 32;

/** What is kept of a secret key. */
export interface KnownKey {
  readonly environment: string;
  /** `kid` of AUT-1: the first 16 hex characters of the key's SHA-256. */
  readonly keyName: string;
  /** SHA-256 of the key. */
  readonly digest: Uint8Array;
  /** HKDF-SHA-256 of the key: signs public tokens (AUT-1). */
  readonly signingKey: Uint8Array;
}

export interface KeyRing {
  /** The key that a caller presents, or undefined where no such key is known. */
  find(secretKey: string): Found;
  /** The key that signed a token, by the token's `kid`. */
  named(keyName: string): Found;
}

type Found = KnownKey | undefined | Promise<KnownKey | undefined>;

/** Keys that never change while the process runs. */
export interface FixedKeys extends KeyRing {
  readonly all: readonly KnownKey[];
  find(secretKey: string): KnownKey | undefined;
  named(keyName: string): KnownKey | undefined;
}

/** The environment of a well-formed secret key, or undefined. */
export function keyEnvironment(secretKey: string): string | undefined {
  return KEY_PATTERN.exec(secretKey)?.[1];
}

/** What may be kept of a secret key. @throws RangeError for a malformed one, without repeating it. */
export function knownKey(secretKey: string): KnownKey {
  const environment = keyEnvironment(secretKey);
  if (environment === undefined) {
    throw new RangeError("a secret key is tr_<environment>_<at least 16 letters and digits>");
  }
  const digest = digestOf(secretKey);
  return {
    environment,
    keyName: digest.toString("hex").slice(0, 16),
    digest,
    signingKey: new Uint8Array(hkdfSync("sha256", secretKey, "", SIGNING_INFO, SIGNING_KEY_BYTES)),
  };
}

/** A ring of these keys; equal ones count once. @throws RangeError for a malformed one. */
export function createKeyRing(secretKeys: readonly string[]): FixedKeys {
  const byName = new Map(secretKeys.map(knownKey).map((key) => [key.keyName, key]));
  return {
    all: [...byName.values()],
    find(secretKey) {
      const key = byName.get(nameOf(secretKey));
      return key !== undefined && isKey(key, secretKey) ? key : undefined;
    },
    named: (keyName) => byName.get(keyName),
  };
}

/** A key's name. It is found by hash, which tells a guesser nothing about the rest; the rest is compared in constant time. */
export function nameOf(secretKey: string): string {
  return digestOf(secretKey).toString("hex").slice(0, 16);
}

/** Whether this is the secret of the key, in constant time. */
export function isKey(key: KnownKey, secretKey: string): boolean {
  return timingSafeEqual(key.digest, digestOf(secretKey));
}

/**
 * A new secret key.
 * @param random {@link KEY_RANDOM_BYTES} random bytes.
 */
export function newSecretKey(environment: string, random: Uint8Array): string {
  const secretKey = `tr_${environment}_${Buffer.from(random).toString("hex")}`;
  if (random.length !== KEY_RANDOM_BYTES || keyEnvironment(secretKey) === undefined) {
    throw new RangeError(`a new key takes an environment's slug and ${KEY_RANDOM_BYTES} random bytes`);
  }
  return secretKey;
}

function digestOf(secretKey: string): Buffer {
  return createHash("sha256").update(secretKey).digest();
}
