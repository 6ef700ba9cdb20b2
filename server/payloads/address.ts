/** Where payloads are, as one text: a directory, `gridfs`, or `s3://bucket[/prefix][?endpoint=…&region=…]`. */
import type { S3Options } from "./s3.js";

export type PayloadsAddress =
  | { readonly kind: "memory" }
  | { readonly kind: "file"; readonly directory: string }
  | { readonly kind: "gridfs" }
  | { readonly kind: "s3"; readonly options: S3Options };

const BUCKET = /^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/;

/** Undefined for a text that begins like an address of S3 and is none. */
export function parseS3Address(text: string): S3Options | undefined {
  const match = /^s3:\/\/([^/?]+)(?:\/([^?]*))?(?:\?(.*))?$/.exec(text);
  const [, bucket = "", path = "", query = ""] = match ?? [];
  const params = new URLSearchParams(query);
  const known = [...params.keys()].every((name) => name === "endpoint" || name === "region");
  const endpoint = params.get("endpoint") ?? undefined;
  if (!BUCKET.test(bucket) || !known || (endpoint !== undefined && !/^https?:\/\//.test(endpoint))) return undefined;
  const prefix = path.replace(/^\/+|\/+$/g, "");
  return { bucket, prefix: prefix === "" ? "" : `${prefix}/`, endpoint, region: params.get("region") ?? undefined };
}
