/** A key that names a business action (section 8.1). */

export type IdempotencyKeyScope = "run" | "attempt" | "global";

/** Found by this name, so that keys of another copy of the package are recognised. */
const KEY_MATERIAL = Symbol.for("hairtrigger.idempotencyKey");

/** What the user wrote, and within what it is unique; travels inside the key (IDM-8). */
export interface KeyMaterial {
  readonly text: string;
  readonly scope: IdempotencyKeyScope;
}

/** Made by `idempotencyKeys.create`. Immutable. As text and in JSON it is its hash: 64 lower-case hex characters. */
export interface IdempotencyKey {
  toString(): string;
  toJSON(): string;
  readonly [Symbol.toPrimitive]: () => string;
}

/** The key of a hash; empty for no key (IDM-7). */
export function newIdempotencyKey(hash: string, material: KeyMaterial): IdempotencyKey {
  const text = (): string => hash;
  const key = { toString: text, toJSON: text, [Symbol.toPrimitive]: text };
  return Object.freeze(Object.defineProperty(key, KEY_MATERIAL, { value: Object.freeze({ ...material }) }));
}

/** What a created key was made of; undefined for anything else. */
export function keyMaterial(key: unknown): KeyMaterial | undefined {
  if (typeof key !== "object" || key === null || !(KEY_MATERIAL in key)) return undefined;
  const material = key[KEY_MATERIAL];
  return isKeyMaterial(material) ? material : undefined;
}

function isKeyMaterial(value: unknown): value is KeyMaterial {
  return (
    typeof value === "object" && value !== null && "text" in value && typeof value.text === "string" && "scope" in value
  );
}
