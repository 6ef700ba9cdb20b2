/**
 * Objects in a bucket of any S3-compatible store. The two packages of the AWS SDK are optional and loaded only here. URLs are the
 * store's own: data does not pass through the server but on its way in from producers.
 */
import type { GetObjectCommandInput, PutObjectCommandInput, S3Client } from "@aws-sdk/client-s3";
import type { NewObject, ObjectBody, Payloads } from "./payloads.js";
import { verified } from "./verified.js";

export interface S3Options {
  readonly bucket: string;
  /** Before every key; empty: none. */
  readonly prefix: string;
  /** Default: what the AWS SDK finds in its environment. */
  readonly endpoint: string | undefined;
  readonly region: string | undefined;
}

/** A store that does not take a connection, or says nothing on it, for this long is away; five tries have to end within a call (PAY-10). */
const CONNECT_MS = 2_000;
const SILENCE_MS = 5_000;
/** Objects that one call removes: what S3 takes. */
const REMOVE_MAX = 1_000;
/** Of a store with an endpoint of its own, which seldom has any. */
const REGION_DEFAULT = "us-east-1";

/** @throws Error saying what to install, where the packages are missing. */
export async function createS3Payloads(options: S3Options): Promise<Payloads> {
  const { bucket, prefix, endpoint, region } = options;
  const { s3, getSignedUrl } = await load();
  const client: S3Client = new s3.S3Client({
    ...(endpoint === undefined ? {} : { endpoint }),
    ...(region === undefined ? (endpoint === undefined ? {} : { region: REGION_DEFAULT }) : { region }),
    forcePathStyle: true,
    requestChecksumCalculation: "WHEN_REQUIRED",
    responseChecksumValidation: "WHEN_REQUIRED",
    // The callers of this port try again by themselves.
    maxAttempts: 1,
    requestHandler: { connectionTimeout: CONNECT_MS, socketTimeout: SILENCE_MS },
  });
  const at = (key: string): { readonly Bucket: string; readonly Key: string } => ({
    Bucket: bucket,
    Key: `${prefix}${key}`,
  });
  const putInput = ({ key, sizeBytes, sha256, contentType }: NewObject): PutObjectCommandInput => ({
    ...at(key),
    ContentLength: sizeBytes,
    ContentType: contentType,
    ChecksumSHA256: Buffer.from(sha256).toString("base64"),
  });

  async function write(object: NewObject, body: ObjectBody): Promise<void> {
    await client.send(new s3.PutObjectCommand({ ...putInput(object), Body: await collected(object, body) }));
  }

  return {
    driver: "s3",
    async start() {
      await client.send(new s3.ListObjectsV2Command({ Bucket: bucket, Prefix: prefix, MaxKeys: 1 }));
    },
    stop: async () => client.destroy(),
    write,
    async read(key) {
      const answer = await client.send(new s3.GetObjectCommand(at(key))).catch(undefinedIfMissing);
      if (answer?.Body === undefined) return undefined;
      const { Body: body } = answer;
      if (Symbol.asyncIterator in body) return body;
      throw new TypeError("the AWS SDK gave a body that is no stream of Node");
    },
    async sizeOf(key) {
      const answer = await client.send(new s3.HeadObjectCommand(at(key))).catch(undefinedIfMissing);
      return answer?.ContentLength;
    },
    async copy(from, to) {
      const source = `${bucket}/${prefix}${from}`.split("/").map(encodeURIComponent).join("/");
      const copied = await client
        .send(new s3.CopyObjectCommand({ ...at(to), CopySource: source }))
        .catch(undefinedIfMissing);
      return copied !== undefined;
    },
    async remove(keys) {
      for (let from = 0; from < keys.length; from += REMOVE_MAX) {
        const page = keys.slice(from, from + REMOVE_MAX);
        const { Errors: errors = [] } = await client.send(
          new s3.DeleteObjectsCommand({
            Bucket: bucket,
            Delete: { Objects: page.map((key) => ({ Key: `${prefix}${key}` })), Quiet: true },
          }),
        );
        const [first] = errors;
        if (first !== undefined)
          throw new Error(`${errors.length} objects were not removed: ${first.Message ?? first.Code ?? ""}`);
      }
    },
    async list({ after, limit }) {
      const answer = await client.send(
        new s3.ListObjectsV2Command({
          Bucket: bucket,
          Prefix: prefix,
          MaxKeys: limit,
          ...(after === undefined ? {} : { StartAfter: `${prefix}${after}` }),
        }),
      );
      const objects = (answer.Contents ?? []).flatMap(({ Key: key, LastModified: writtenAt }) =>
        key === undefined ? [] : [{ key: key.slice(prefix.length), writtenAtMs: writtenAt?.getTime() ?? 0 }],
      );
      return { objects, next: answer.IsTruncated === true ? objects.at(-1)?.key : undefined };
    },
    // A PUT leaves nothing before it is whole.
    removeRemains: async () => 0,
    presigner: {
      download(key, contentType, validMs) {
        const input: GetObjectCommandInput = { ...at(key), ResponseContentType: contentType };
        return getSignedUrl(client, new s3.GetObjectCommand(input), { expiresIn: validMs / 1_000 });
      },
      async upload(object, validMs) {
        const headers = {
          "content-type": object.contentType,
          "x-amz-checksum-sha256": Buffer.from(object.sha256).toString("base64"),
        };
        const url = await getSignedUrl(client, new s3.PutObjectCommand(putInput(object)), {
          expiresIn: validMs / 1_000,
          signableHeaders: new Set([...Object.keys(headers), "content-length"]),
          unhoistableHeaders: new Set(["x-amz-checksum-sha256"]),
        });
        return { url, headers };
      },
    },
  };
}

async function load() {
  try {
    const [s3, { getSignedUrl }] = await Promise.all([
      import("@aws-sdk/client-s3"),
      import("@aws-sdk/s3-request-presigner"),
    ]);
    return { s3, getSignedUrl };
  } catch (error) {
    throw new Error(
      "HAIRTRIGGER_PAYLOADS=s3://… needs two packages: npm install @aws-sdk/client-s3 @aws-sdk/s3-request-presigner",
      { cause: error },
    );
  }
}

/** A PUT with a digest in its header wants the whole body; those of this server are payloads, 10 MB at most by default. */
async function collected(object: NewObject, body: ObjectBody): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of verified(object, body)) chunks.push(chunk);
  return Buffer.concat(chunks);
}

function undefinedIfMissing(error: unknown): undefined {
  if (error instanceof Error && ["NoSuchKey", "NotFound"].includes(error.name)) return undefined;
  throw error;
}
