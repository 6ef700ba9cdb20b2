/** What every payload store promises; one suite for all drivers. */
import { createHash } from "node:crypto";
import type { ExecutionContext } from "ava";
import { objectKey } from "../../server/domain/payload-object.js";
import { ContentMismatchError, type NewObject, type Payloads } from "../../server/payloads/payloads.js";

export interface PayloadsWorld {
  readonly payloads: Payloads;
  /** Another driver of the same place, as another server would have. */
  readonly again: () => Promise<Payloads>;
}

type Promises = (title: string, promise: (t: ExecutionContext, world: PayloadsWorld) => Promise<void>) => void;

let made = 0;

/** An object of a run that no other test has. */
export function objectOf(bytes: Uint8Array, runNumber = (made += 1)): NewObject {
  const sha256 = createHash("sha256").update(bytes).digest();
  const runId = `run_${String(runNumber).padStart(26, "0")}`;
  const random = createHash("sha256")
    .update(`${runNumber} ${(made += 1)}`)
    .digest()
    .subarray(0, 8);
  const key = objectKey({ environment: "dev", runId, kind: "payload", sha256 }, random);
  return { key, sizeBytes: bytes.length, sha256, contentType: "application/json" };
}

export async function collected(body: AsyncIterable<Uint8Array> | undefined): Promise<Buffer | undefined> {
  if (body === undefined) return undefined;
  const chunks: Uint8Array[] = [];
  for await (const chunk of body) chunks.push(chunk);
  return Buffer.concat(chunks);
}

async function* inChunks(bytes: Uint8Array, size: number): AsyncGenerator<Uint8Array, void, undefined> {
  for (let from = 0; from < bytes.length; from += size) yield bytes.subarray(from, from + size);
}

async function keysOf(payloads: Payloads, limit: number): Promise<readonly string[]> {
  const keys: string[] = [];
  let after: string | undefined;
  do {
    const page = await payloads.list({ after, limit });
    keys.push(...page.objects.map(({ key }) => key));
    after = page.next;
  } while (after !== undefined);
  return keys;
}

const BIG = Buffer.alloc(3_500_000, "0123456789");

export function payloadsPromises(promise: Promises): void {
  promise("PAY-3: what was written is read back, at once and by other servers", async (t, { payloads, again }) => {
    for (const bytes of [Buffer.from("{}"), BIG]) {
      const object = objectOf(bytes);
      await payloads.write(object, bytes);
      t.is(await payloads.sizeOf(object.key), bytes.length);
      t.true(bytes.equals((await collected(await payloads.read(object.key))) ?? Buffer.of()));
      const other = await again();
      t.true(bytes.equals((await collected(await other.read(object.key))) ?? Buffer.of()));
    }
  });

  promise("bytes may come in pieces of any size", async (t, { payloads }) => {
    const object = objectOf(BIG);
    await payloads.write(object, inChunks(BIG, 70_001));
    t.true(BIG.equals((await collected(await payloads.read(object.key))) ?? Buffer.of()));
  });

  promise("what is not there is undefined, and no error", async (t, { payloads }) => {
    const { key } = objectOf(Buffer.from("nobody wrote this"));
    t.is(await payloads.read(key), undefined);
    t.is(await payloads.sizeOf(key), undefined);
    t.false(await payloads.copy(key, objectOf(Buffer.from("x")).key));
    await t.notThrowsAsync(payloads.remove([key]));
  });

  promise("bytes that are not what was announced leave no object", async (t, { payloads }) => {
    const object = objectOf(Buffer.from("announced"));
    for (const sent of ["announce", "announced!", "ANNOUNCED"]) {
      await t.throwsAsync(payloads.write(object, inChunks(Buffer.from(sent), 3)), { instanceOf: ContentMismatchError });
      t.is(await payloads.sizeOf(object.key), undefined, sent);
    }
    await payloads.write(object, Buffer.from("announced"));
    t.is(await payloads.sizeOf(object.key), 9);
  });

  promise("an upload that breaks off leaves no object, and can be repeated", async (t, { payloads }) => {
    const object = objectOf(BIG);
    async function* broken(): AsyncGenerator<Uint8Array, void, undefined> {
      yield BIG.subarray(0, 2_000_000);
      throw new Error("the caller hung up");
    }
    await t.throwsAsync(payloads.write(object, broken()), { message: "the caller hung up" });
    t.is(await payloads.sizeOf(object.key), undefined);
    t.false((await keysOf(payloads, 1_000)).includes(object.key));
    await payloads.write(object, BIG);
    t.is(await payloads.sizeOf(object.key), BIG.length);
  });

  promise("writing an object twice is harmless", async (t, { payloads }) => {
    const object = objectOf(BIG);
    await Promise.all([payloads.write(object, BIG), payloads.write(object, BIG)]);
    await payloads.write(object, BIG);
    t.true(BIG.equals((await collected(await payloads.read(object.key))) ?? Buffer.of()));
    await payloads.remove([object.key]);
    t.is(await payloads.read(object.key), undefined);
  });

  promise("PAY-11: a copy outlives its original", async (t, { payloads }) => {
    const [original, copy] = [objectOf(BIG), objectOf(BIG)];
    await payloads.write(original, BIG);
    t.true(await payloads.copy(original.key, copy.key));
    await payloads.remove([original.key]);
    t.is(await payloads.sizeOf(original.key), undefined);
    t.true(BIG.equals((await collected(await payloads.read(copy.key))) ?? Buffer.of()));
  });

  promise("every object is listed once, page by page, with the time of its writing", async (t, { payloads }) => {
    const sinceMs = Date.now() - 5_000;
    const objects = Array.from({ length: 7 }, (_, index) => objectOf(Buffer.from(`listed ${index}`)));
    for (const [index, object] of objects.entries()) await payloads.write(object, Buffer.from(`listed ${index}`));
    for (const limit of [2, 1_000]) {
      const keys = await keysOf(payloads, limit);
      t.is(new Set(keys).size, keys.length);
      for (const { key } of objects) t.true(keys.includes(key), key);
    }
    const { objects: listed } = await payloads.list({ after: undefined, limit: 1_000 });
    for (const { writtenAtMs } of listed) t.true(writtenAtMs >= sinceMs && writtenAtMs <= Date.now() + 5_000);
    await payloads.remove(objects.map(({ key }) => key));
    const left = await keysOf(payloads, 1_000);
    for (const { key } of objects) t.false(left.includes(key));
  });

  promise("remains are removed only when they are old, and objects never", async (t, { payloads }) => {
    const object = objectOf(BIG);
    await payloads.write(object, BIG);
    await payloads.removeRemains(Date.now() + 60_000, 1_000);
    t.true(BIG.equals((await collected(await payloads.read(object.key))) ?? Buffer.of()));
  });
}
