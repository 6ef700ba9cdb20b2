/**
 * Objects in GridFS of the database that the servers share. Chunks are written first, the file's document last: an object is there when
 * that document is. The key is the document's `_id`, so nothing else has to be unique and the collections can be sharded by it; what an
 * interrupted write left are chunks without a document.
 */
import { type Db, GridFSBucket, MongoServerError, ObjectId } from "mongodb";
import type { NewObject, ObjectBody, Payloads } from "./payloads.js";
import { verified } from "./verified.js";

const BUCKET = "payloads";
/** A quarter of the documents of the default of 255 KB; a payload of 10 MB is ten. */
const CHUNK_BYTES = 1_048_576;
/** Code of a write that met a document of its `_id`. */
const DUPLICATE_KEY = 11_000;

interface ChunkDoc {
  readonly _id: ObjectId;
  readonly files_id: string;
}

interface FileDoc {
  readonly _id: string;
  readonly length: number;
  readonly uploadDate: Date;
}

/** @param db of a client whose writes are acknowledged by a majority and its journals. */
export function createGridfsPayloads(db: Db): Payloads {
  const bucket = new GridFSBucket(db, { bucketName: BUCKET, chunkSizeBytes: CHUNK_BYTES });
  const files = db.collection<FileDoc>(`${BUCKET}.files`);
  const chunks = db.collection<ChunkDoc>(`${BUCKET}.chunks`);
  let afterChunk: ObjectId | undefined;

  async function write(object: NewObject, body: ObjectBody): Promise<void> {
    const upload = bucket.openUploadStreamWithId(idOf(object.key), object.key);
    try {
      for await (const chunk of verified(object, body)) {
        if (!upload.write(chunk))
          await new Promise<void>((resolve, reject) => {
            const settle = (error?: Error): void => {
              upload.off("drain", onDrain);
              upload.off("error", settle);
              if (error === undefined) resolve();
              else reject(error);
            };
            const onDrain = (): void => settle();
            upload.once("drain", onDrain);
            upload.once("error", settle);
          });
      }
      await new Promise<void>((resolve, reject) => {
        upload.once("error", reject);
        upload.end(() => resolve());
      });
    } catch (error) {
      // Another writer of the same bytes was first: the object is there.
      if (error instanceof MongoServerError && error.code === DUPLICATE_KEY) return;
      upload.on("error", () => undefined);
      await upload.abort().catch(() => undefined);
      throw error;
    }
  }

  async function* bytesOf(key: string): AsyncGenerator<Uint8Array, void, undefined> {
    yield* bucket.openDownloadStream(idOf(key));
  }

  async function sizeOf(key: string): Promise<number | undefined> {
    return (await files.findOne({ _id: key }, { projection: { length: 1 } }))?.length;
  }

  return {
    driver: "gridfs",
    async start() {
      await files.findOne({ _id: "" });
    },
    stop: async () => undefined,
    write,
    async read(key) {
      return (await sizeOf(key)) === undefined ? undefined : bytesOf(key);
    },
    sizeOf,
    async copy(from, to) {
      const sizeBytes = await sizeOf(from);
      if (sizeBytes === undefined) return false;
      await write({ key: to, sizeBytes, sha256: digestOf(from), contentType: "" }, bytesOf(from));
      return true;
    },
    async remove(keys) {
      if (keys.length === 0) return;
      // In this order an interruption leaves chunks without a document, never a document without chunks.
      await files.deleteMany({ _id: { $in: [...keys] } });
      await chunks.deleteMany({ files_id: { $in: [...keys] } });
    },
    async list({ after = "", limit }) {
      const found = await files
        .find({ _id: { $gt: after } }, { sort: { _id: 1 }, limit, projection: { uploadDate: 1 } })
        .toArray();
      return {
        objects: found.map(({ _id, uploadDate }) => ({ key: _id, writtenAtMs: uploadDate.getTime() })),
        next: found.length < limit ? undefined : found.at(-1)?._id,
      };
    },
    async removeRemains(beforeMs, limit) {
      const before = ObjectId.createFromTime(Math.max(0, Math.floor(beforeMs / 1_000)));
      const range = afterChunk === undefined ? { $lt: before } : { $lt: before, $gt: afterChunk };
      const page = await chunks
        .find({ _id: range }, { sort: { _id: 1 }, limit, projection: { files_id: 1 } })
        .toArray();
      afterChunk = page.length < limit ? undefined : page.at(-1)?._id;
      const named = [...new Set(page.map(({ files_id }) => files_id))];
      const present = await files.find({ _id: { $in: named } }, { projection: { _id: 1 } }).toArray();
      const known = new Set(present.map(({ _id }) => _id));
      const lost = page.filter(({ files_id }) => !known.has(files_id)).map(({ _id }) => _id);
      if (lost.length === 0) return 0;
      return (await chunks.deleteMany({ _id: { $in: lost } })).deletedCount;
    },
  };
}

/** GridFS takes any value as an id; only its types want an ObjectId. */
function idOf(key: string): ObjectId;
function idOf(key: unknown): unknown {
  return key;
}

/** The digest that ends every key. */
function digestOf(key: string): Uint8Array {
  return Buffer.from(key.slice(-64), "hex");
}
