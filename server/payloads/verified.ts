/** Bytes on their way into an object, checked against what was announced before the driver makes the object of them. */
import { createHash } from "node:crypto";
import { ContentMismatchError, type NewObject, type ObjectBody } from "./payloads.js";

/** The same bytes; at their end, or as soon as there are too many. @throws ContentMismatchError */
export async function* verified(
  { sizeBytes, sha256 }: Pick<NewObject, "sizeBytes" | "sha256">,
  body: ObjectBody,
): AsyncGenerator<Uint8Array, void, undefined> {
  const hash = createHash("sha256");
  let bytes = 0;
  for await (const chunk of body instanceof Uint8Array ? [body] : body) {
    bytes += chunk.length;
    if (bytes > sizeBytes) throw new ContentMismatchError(`More than the announced ${sizeBytes} bytes were sent`);
    hash.update(chunk);
    yield chunk;
  }
  if (bytes < sizeBytes) throw new ContentMismatchError(`Only ${bytes} of the announced ${sizeBytes} bytes were sent`);
  if (!hash.digest().equals(sha256))
    throw new ContentMismatchError("The bytes have another SHA-256 than was announced");
}
