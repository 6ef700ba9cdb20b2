/**
 * Bodies of requests. Where a call has one message, its body is read whole before the framework sees it: the framework looks for the end of a
 * message anew with every chunk of 16 KB, and copies all that it has each time, which for 10 MB is seconds. The limit is looked at
 * before and while reading (PAY-12).
 *
 * What is thrown here reaches the caller as it is, in the caller's protocol.
 */
import { Code, ConnectError } from "@connectrpc/connect";
import { messageTooLarge } from "../domain/error.js";
import { connectErrorOf } from "./error.js";
import type { HttpRequest } from "./listen.js";

/** Flags and length before a message of gRPC. */
export const ENVELOPE_BYTES = 5;

/** A stream of messages, as it comes. Its connection outlives a reader that stops early: the refusal still has to go out. */
export async function* streamedBody(request: HttpRequest): AsyncGenerator<Uint8Array> {
  const chunks: AsyncIterable<Uint8Array> = request.iterator({ destroyOnReturn: false });
  try {
    yield* chunks;
  } catch (error) {
    throw brokenOff(error);
  }
}

/** The caller hung up in the middle of a body: no mistake of ours, and nobody left to tell. */
export function brokenOff(cause?: unknown): ConnectError {
  return new ConnectError("The request was broken off", Code.Canceled, undefined, undefined, cause);
}

/** @throws ConnectError RESOURCE_EXHAUSTED, MESSAGE_TOO_LARGE, for a `content-length` above the limit. */
export function requireFits(contentLength: string | undefined, bytesMax: number): void {
  const announced = Number(contentLength ?? Number.NaN);
  if (announced > bytesMax + ENVELOPE_BYTES) throw connectErrorOf(messageTooLarge(bytesMax, announced));
}

/** The body of one message, in one piece. @throws ConnectError RESOURCE_EXHAUSTED, MESSAGE_TOO_LARGE. */
export async function* wholeBody(request: HttpRequest, bytesMax: number): AsyncGenerator<Uint8Array> {
  requireFits(request.headers["content-length"], bytesMax);
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of streamedBody(request)) {
    chunks.push(chunk);
    bytes += chunk.length;
    if (bytes > bytesMax + ENVELOPE_BYTES) throw connectErrorOf(messageTooLarge(bytesMax));
  }
  yield chunks.length === 1 && chunks[0] !== undefined ? chunks[0] : Buffer.concat(chunks, bytes);
}
