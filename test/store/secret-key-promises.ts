/** Secret keys that are made while servers run. */
import type { SecretKeyRecord } from "../../server/domain/secret-key.js";
import type { Promises } from "./store-contract.js";
import { hashOf, type World } from "./world.js";

function record(world: World, name: string, more: Partial<SecretKeyRecord> = {}): SecretKeyRecord {
  return {
    name,
    environment: "dev",
    digest: hashOf(name),
    signingKey: hashOf(`signing ${name}`),
    description: "a note",
    origin: "created",
    createdAtMs: world.nowMs,
    revokedAtMs: undefined,
    ...more,
  };
}

export function secretKeyPromises(promise: Promises): void {
  promise("AUT-9: a key is read as it was made, and one of its name does not take its place", async (t, world) => {
    const key = record(world, "a".repeat(16));
    await world.store.createSecretKey(key);
    await world.store.createSecretKey({ ...key, environment: "prod", digest: hashOf("other") });
    t.deepEqual(await world.store.readSecretKey(key.name), key);
    t.deepEqual(await world.store.listSecretKeys(), [key]);
    t.is(await world.store.readSecretKey("b".repeat(16)), undefined);
  });

  promise("AUT-9: a key is revoked once, and stays in the list", async (t, world) => {
    const key = record(world, "a".repeat(16), { origin: "firstStart" });
    await world.store.createSecretKey(key);
    const revoked = { ...key, revokedAtMs: world.nowMs };
    const { name } = key;
    t.deepEqual(await world.store.revokeSecretKey({ name, nowMs: world.nowMs }), revoked);
    t.deepEqual(await world.store.revokeSecretKey({ name, nowMs: world.nowMs + 1 }), revoked);
    t.deepEqual(await world.store.readSecretKey(name), revoked);
    t.deepEqual(await world.store.listSecretKeys(), [revoked]);
    // Made again, as by a second first start, it stays what it was.
    await world.store.createSecretKey(key);
    t.deepEqual(await world.store.readSecretKey(name), revoked);
    t.is(await world.store.revokeSecretKey({ name: "b".repeat(16), nowMs: world.nowMs }), undefined);
  });

  promise("AUT-9: keys are listed by environment and age", async (t, world) => {
    const keys = [
      record(world, "2".repeat(16), { environment: "b" }),
      record(world, "3".repeat(16), { environment: "a", createdAtMs: world.nowMs + 1 }),
      record(world, "1".repeat(16), { environment: "a", createdAtMs: world.nowMs + 2 }),
    ];
    for (const key of keys) await world.store.createSecretKey(key);
    t.deepEqual(
      (await world.store.listSecretKeys()).map(({ name }) => name[0]),
      ["3", "1", "2"],
    );
  });
}
