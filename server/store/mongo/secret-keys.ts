/** Secret keys made at run time. */
import type { SecretKeyRecord } from "../../domain/secret-key.js";
import type { Identified } from "./client.js";
import type { Context } from "./context.js";

/** `_id`: the key's name. */
export interface SecretKeyDoc extends Identified, Omit<SecretKeyRecord, "name" | "revokedAtMs"> {
  readonly revokedAtMs?: number;
}

export async function createSecretKey(context: Context, { name, revokedAtMs, ...key }: SecretKeyRecord): Promise<void> {
  await context.secretKeys.insertMany([{ _id: name, ...key, ...(revokedAtMs === undefined ? {} : { revokedAtMs }) }]);
}

/** They are few: read whole, put in order here. */
export async function listSecretKeys(context: Context): Promise<readonly SecretKeyRecord[]> {
  const docs = await context.secretKeys.find({});
  return docs
    .map(recordOf)
    .toSorted(
      (a, b) => byText(a.environment, b.environment) || a.createdAtMs - b.createdAtMs || byText(a.name, b.name),
    );
}

export async function readSecretKey(context: Context, name: string): Promise<SecretKeyRecord | undefined> {
  const doc = (await context.secretKeys.findByIds([name])).get(name);
  return doc === undefined ? undefined : recordOf(doc);
}

export async function revokeSecretKey(
  context: Context,
  { name, nowMs }: { readonly name: string; readonly nowMs: number },
): Promise<SecretKeyRecord | undefined> {
  await context.secretKeys.updateOne({ _id: name, revokedAtMs: { $exists: false } }, { $set: { revokedAtMs: nowMs } });
  return readSecretKey(context, name);
}

function recordOf({ _id: name, ...key }: SecretKeyDoc): SecretKeyRecord {
  return { ...key, name, revokedAtMs: key.revokedAtMs };
}

function byText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
