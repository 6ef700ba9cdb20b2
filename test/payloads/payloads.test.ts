/** The drivers of the payload store. Those that need a server of their own are skipped where there is none. */
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { chmod, mkdir, utimes, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test from "ava";
import { MongoClient } from "mongodb";
import { parseS3Address } from "../../server/payloads/address.js";
import { createFilePayloads } from "../../server/payloads/file.js";
import { createGridfsPayloads } from "../../server/payloads/gridfs.js";
import { createMemoryPayloads } from "../../server/payloads/memory.js";
import { createS3Payloads } from "../../server/payloads/s3.js";
import { testIf } from "../support/available.js";
import { MONGODB_URI, takeDatabase } from "../support/mongo.js";
import { S3_MISSING, startS3 } from "../support/s3.js";
import { collected, objectOf, payloadsPromises } from "./payloads-contract.js";

function newDirectory(t: { teardown: (done: () => void) => void }): string {
  const directory = mkdtempSync(join(tmpdir(), "payloads-"));
  t.teardown(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

payloadsPromises((title, promise) => {
  test(`memory: ${title}`, async (t) => {
    const payloads = createMemoryPayloads(() => Date.now());
    await promise(t, { payloads, again: async () => payloads });
  });

  test(`file: ${title}`, async (t) => {
    const directory = join(newDirectory(t), "of", "payloads");
    const payloads = createFilePayloads(directory);
    await payloads.start();
    await promise(t, { payloads, again: async () => createFilePayloads(directory) });
    await payloads.stop();
  });

  testIf(MONGODB_URI !== undefined, "MONGODB_URI is not set")(`gridfs: ${title}`, async (t) => {
    const url = await takeDatabase(t);
    const open = async () => {
      const client = await new MongoClient(url, { writeConcern: { w: "majority", journal: true } }).connect();
      t.teardown(() => client.close());
      return createGridfsPayloads(client.db());
    };
    await promise(t, { payloads: await open(), again: open });
  });

  testIf(S3_MISSING === undefined, S3_MISSING ?? "")(`s3: ${title}`, async (t) => {
    const s3 = await startS3(t);
    const options = parseS3Address(s3.address);
    if (options === undefined) throw new Error("the test's own address is none");
    const open = async () => {
      const payloads = await createS3Payloads(options);
      t.teardown(() => payloads.stop());
      await payloads.start();
      return payloads;
    };
    await promise(t, { payloads: await open(), again: open });
  });
});

const BYTES = Buffer.from(JSON.stringify({ some: "payload" }));

test("file: parts of interrupted writes go when they are old; what is not ours stays", async (t) => {
  const directory = newDirectory(t);
  const payloads = createFilePayloads(directory);
  await payloads.start();
  const [old, fresh] = [join(directory, "parts", "1-1-abc"), join(directory, "parts", "1-2-def")];
  await writeFile(old, "half");
  await writeFile(fresh, "half");
  await utimes(old, new Date(1_000), new Date(1_000));
  await writeFile(join(directory, "notes.txt"), "of the operator");
  t.is(await payloads.removeRemains(Date.now() - 3_600_000, 100), 1);
  t.deepEqual(readdirSync(join(directory, "parts")), ["1-2-def"]);
  t.deepEqual(await payloads.list({ after: undefined, limit: 10 }), { objects: [], next: undefined });
  t.true(readdirSync(directory).includes("notes.txt"));
});

test("file: a key that is none of ours never names a path", async (t) => {
  const payloads = createFilePayloads(newDirectory(t));
  for (const key of ["../../etc/passwd", "dev/../x", "a/b", "a/b/c/d", "dev/run/..", ""]) {
    await t.throwsAsync(payloads.read(key), { instanceOf: TypeError }, key);
  }
});

test("file: a directory that cannot be written refuses, and takes writes again as soon as it can", async (t) => {
  const directory = newDirectory(t);
  const object = objectOf(BYTES);
  // A file in the place of the folder stops everybody, root included.
  await writeFile(join(directory, "parts"), "");
  const payloads = createFilePayloads(directory);
  await t.throwsAsync(payloads.start());
  await t.throwsAsync(payloads.write(object, BYTES));
  t.is(await payloads.sizeOf(object.key), undefined);
  rmSync(join(directory, "parts"));
  await payloads.write(object, BYTES);
  t.deepEqual(await collected(await payloads.read(object.key)), BYTES);
});

test("file: objects are for the server's user alone", async (t) => {
  const directory = newDirectory(t);
  await mkdir(directory, { recursive: true });
  await chmod(directory, 0o755);
  const payloads = createFilePayloads(join(directory, "payloads"));
  await payloads.write(objectOf(BYTES), BYTES);
  const { statSync } = await import("node:fs");
  t.is(statSync(join(directory, "payloads")).mode & 0o077, 0);
});

testIf(MONGODB_URI !== undefined, "MONGODB_URI is not set")(
  "gridfs: chunks without a file go when they are old, those of files stay",
  async (t) => {
    const client = await new MongoClient(await takeDatabase(t)).connect();
    t.teardown(() => client.close());
    const payloads = createGridfsPayloads(client.db());
    const object = objectOf(BYTES);
    await payloads.write(object, BYTES);
    const chunks = client.db().collection("payloads.chunks");
    await chunks.insertOne({ files_id: objectOf(Buffer.from("lost")).key, n: 0 });
    t.is(await payloads.removeRemains(Date.now() - 3_600_000, 100), 0);
    t.is(await payloads.removeRemains(Date.now() + 3_600_000, 100), 1);
    t.deepEqual(await collected(await payloads.read(object.key)), BYTES);
  },
);

testIf(S3_MISSING === undefined, S3_MISSING ?? "")(
  "PAY-4: s3: its own URLs give and take objects, and nothing else",
  async (t) => {
    const s3 = await startS3(t);
    const options = parseS3Address(s3.address.replace("?", "/some/prefix?"));
    if (options === undefined) throw new Error("the test's own address is none");
    const payloads = await createS3Payloads(options);
    t.teardown(() => payloads.stop());
    const { presigner } = payloads;
    if (presigner === undefined) throw new Error("S3 signs URLs");
    const object = objectOf(BYTES);
    const { url, headers } = await presigner.upload(object, 60_000);
    const put = (body: Buffer, change: Record<string, string> = {}) =>
      fetch(url, { method: "PUT", headers: { ...headers, ...change }, body });
    t.false((await put(Buffer.from("x".repeat(BYTES.length)))).ok, "other bytes of that size");
    t.false((await put(Buffer.from("more than was announced, by far more than that"))).ok);
    t.is(await payloads.sizeOf(object.key), undefined);
    t.true((await put(BYTES)).ok);
    t.is(await payloads.sizeOf(object.key), BYTES.length);

    const download = await presigner.download(object.key, "text/plain; charset=utf-8", 60_000);
    const got = await fetch(download);
    t.is(got.headers.get("content-type"), "text/plain; charset=utf-8");
    t.is(await got.text(), BYTES.toString());
    const other = objectOf(BYTES);
    await payloads.write(other, BYTES);
    t.false((await fetch(download.replace(object.key, other.key))).ok);
    t.false((await fetch(download.replace(/X-Amz-Signature=.{8}/, "X-Amz-Signature=00000000"))).ok);
  },
);

testIf(S3_MISSING === undefined, S3_MISSING ?? "")(
  "PAY-10: s3: a store that is away is an error, and soon",
  async (t) => {
    const options = parseS3Address("s3://bucket?endpoint=http://127.0.0.1:1");
    if (options === undefined) throw new Error("the test's own address is none");
    const payloads = await createS3Payloads(options);
    t.teardown(() => payloads.stop());
    await t.throwsAsync(payloads.write(objectOf(BYTES), BYTES));
    await t.throwsAsync(payloads.start());
  },
);
