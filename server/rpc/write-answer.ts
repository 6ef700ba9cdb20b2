/**
 * Writes an answer to the socket. A failed gRPC call without any message is Trailers-Only: one HEADERS frame that ends the stream. The
 * framework would send headers and then trailers, which makes clients believe that an answer has begun, so that their retry policies
 * never fire.
 */
import { constants, Http2ServerResponse, type OutgoingHttpHeaders, type ServerHttp2Stream } from "node:http2";
import type { Answer } from "./answer.js";
import type { HttpRequest, HttpResponse } from "./listen.js";

/** @throws when the connection breaks; the body is told first, so that its maker stops. */
export async function writeAnswer(answer: Answer, request: HttpRequest, response: HttpResponse): Promise<void> {
  const body = answer.body?.[Symbol.asyncIterator]();
  try {
    const first = await body?.next();
    if (answer.protocol === "grpc" && (first === undefined || first.done === true) && isFailed(answer)) {
      writeTrailersOnly(answer, response);
    } else {
      writeHead(answer, response);
      for (let chunk = first; chunk !== undefined && chunk.done !== true; chunk = await body?.next()) {
        await write(response, answer.fix(chunk.value));
      }
      const trailer = answer.trailer();
      if (trailer !== undefined) response.addTrailers(Object.fromEntries(trailer));
      response.end();
    }
    stopUpload(request, response);
  } catch (error) {
    await body?.throw?.(error).catch(() => {});
    throw error;
  } finally {
    await body?.return?.().catch(() => {});
  }
}

function isFailed(answer: Answer): boolean {
  answer.trailer();
  return answer.code() !== 0;
}

function writeTrailersOnly(answer: Answer, response: HttpResponse): void {
  if (response instanceof Http2ServerResponse) {
    respondTrailersOnly(answer, response.stream, response.getHeaders());
    return;
  }
  response.writeHead(answer.status, trailersOnlyHeaders(answer));
  response.end();
}

/** @param others headers that every answer has. */
export function respondTrailersOnly(answer: Answer, stream: ServerHttp2Stream, others: OutgoingHttpHeaders): void {
  const headers = { ...others, ...trailersOnlyHeaders(answer), [constants.HTTP2_HEADER_STATUS]: answer.status };
  stream.respond(headers, { endStream: true });
}

function trailersOnlyHeaders(answer: Answer): OutgoingHttpHeaders {
  return { ...nodeHeaders(answer.header), ...nodeHeaders(answer.trailer() ?? new Headers()) };
}

function writeHead(answer: Answer, response: HttpResponse): void {
  // The two classes have the same method with different types.
  if (response instanceof Http2ServerResponse) response.writeHead(answer.status, nodeHeaders(answer.header));
  else response.writeHead(answer.status, nodeHeaders(answer.header));
}

function nodeHeaders(headers: Headers): OutgoingHttpHeaders {
  return Object.fromEntries(headers);
}

/** Resolves when more may be written. */
function write(response: HttpResponse, chunk: Uint8Array): Promise<void> {
  return new Promise((resolve, reject) => {
    const isRoom = writeChunk(response, chunk, (error) => {
      if (error instanceof Error) reject(error);
    });
    if (isRoom) return resolve();
    const settle = (how: () => void): void => {
      response.off("drain", onDrain);
      response.off("close", onClose);
      how();
    };
    const onDrain = (): void => settle(resolve);
    const onClose = (): void => settle(() => reject(new Error("the connection was closed")));
    response.on("drain", onDrain);
    response.on("close", onClose);
  });
}

function writeChunk(response: HttpResponse, chunk: Uint8Array, done: (error?: Error | null) => void): boolean {
  return response instanceof Http2ServerResponse ? response.write(chunk, "utf8", done) : response.write(chunk, done);
}

/**
 * RFC 9113, 8.1: an answer may end a request that is still coming in; without this the caller would upload to nobody, and its open half would
 * keep the connection from closing. The stream must not break before its trailers, or the caller sees no answer at all: Node sends them in
 * an immediate of `wantTrailers`, so one that is asked for after it is late enough. (A ping of that moment is not: it can come back within
 * the same turn.) HTTP/1.1 has no such break: the rest of the body is read and thrown away.
 */
function stopUpload(request: HttpRequest, response: HttpResponse): void {
  if (request.complete) return;
  request.resume();
  if (!(response instanceof Http2ServerResponse)) return;
  const { stream } = response;
  // A Trailers-Only answer has left already.
  if (stream.endAfterHeaders || stream.sentHeaders["grpc-status"] !== undefined) breakOff(stream);
  else stream.once("wantTrailers", () => breakOff(stream));
}

/** Ends a stream whose answer has left, in the next turn. */
export function breakOff(stream: ServerHttp2Stream): void {
  setImmediate(() => {
    if (!stream.destroyed) stream.close(constants.NGHTTP2_NO_ERROR);
  });
}
