/** The message of a unary gRPC request: the whole body, without its envelope. Limits and texts are those of Connect's path. */
import type { IncomingHttpHeaders, ServerHttp2Stream } from "node:http2";
import { Code, ConnectError } from "@connectrpc/connect";
import { messageTooLarge } from "../../domain/error.js";
import { ENVELOPE_BYTES, requireFits } from "../body.js";
import { connectErrorOf } from "../error.js";

const COMPRESSED_FLAG = 1;

/**
 * Never settles if the caller hangs up on the way; whoever serves the call notices that himself.
 * @throws ConnectError RESOURCE_EXHAUSTED, MESSAGE_TOO_LARGE, as soon as it is known; what is wrong with the envelope.
 */
export function readMessage(
  stream: ServerHttp2Stream,
  headers: IncomingHttpHeaders,
  bytesMax: number,
): Promise<Uint8Array> {
  return new Promise((resolve, reject) => {
    requireFits(headers["content-length"], bytesMax);
    const chunks: Buffer[] = [];
    let bytes = 0;
    stream.on("data", (chunk: Buffer) => {
      bytes += chunk.length;
      if (bytes > bytesMax + ENVELOPE_BYTES) reject(connectErrorOf(messageTooLarge(bytesMax)));
      else chunks.push(chunk);
    });
    const onEnd = (): void => {
      const [first] = chunks;
      const body = chunks.length === 1 && first !== undefined ? first : Buffer.concat(chunks, bytes);
      try {
        resolve(unframed(body, bytesMax));
      } catch (error) {
        reject(error);
      }
    };
    // Node reads to the end by itself where a request has no body.
    if (stream.readableEnded) onEnd();
    else stream.once("end", onEnd);
  });
}

/** @throws ConnectError unless there is exactly one uncompressed message. */
function unframed(body: Buffer, bytesMax: number): Uint8Array {
  if (body.length === 0) throw unary("missing input message", Code.Unimplemented);
  if (body.length < ENVELOPE_BYTES) throw new ConnectError("protocol error: incomplete envelope", Code.InvalidArgument);
  const length = body.readUInt32BE(1);
  if (length > bytesMax) throw connectErrorOf(messageTooLarge(bytesMax));
  const end = ENVELOPE_BYTES + length;
  if (end > body.length) throw new ConnectError("protocol error: incomplete envelope", Code.InvalidArgument);
  if (((body[0] ?? 0) & COMPRESSED_FLAG) !== 0) {
    throw new ConnectError("received compressed envelope, but do not know how to decompress", Code.Internal);
  }
  if (end < body.length) throw unary("received extra input message", Code.Unimplemented);
  return body.subarray(ENVELOPE_BYTES);
}

function unary(what: string, code: Code): ConnectError {
  return new ConnectError(`protocol error: ${what} for unary method`, code);
}
