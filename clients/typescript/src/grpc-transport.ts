/**
 * gRPC over HTTP/2 on Node. One connection for each address carries unary calls and streams alike; it is Connect's, which connects, probes,
 * survives a server's good-bye and keeps no process alive when idle.
 *
 * Unary calls are framed here. Connect's own go through a chain of asynchronous iterables with an AbortController, a link of signals and two
 * races of promises each, which is three quarters of what a call costs; streams, whose messages are many to a call, are left to it.
 * Codes and texts of failures are Connect's.
 */
import {
  create,
  type DescMessage,
  type DescMethodUnary,
  fromBinary,
  type MessageInitShape,
  type MessageShape,
  toBinary,
} from "@bufbuild/protobuf";
import { Code, ConnectError, type Transport, type UnaryResponse } from "@connectrpc/connect";
import { contentTypeProto, validateResponseWithCompression, validateTrailer } from "@connectrpc/connect/protocol-grpc";
import { createGrpcTransport, Http2SessionManager } from "@connectrpc/connect-node";
import { type Exchanged, exchange } from "./http2-exchange.js";
import { SDK_VERSION } from "./version.js";

/** A silent connection with open streams is probed, so that a subscription over a dead one ends within a minute. */
const PING_INTERVAL_MS = 30_000;
/** Megabytes of a connection's buffers: several payloads of the largest size (PAY-6) may be on their way at once. */
const SESSION_MEMORY_MB = 64;
/** One byte of flags and four of length precede every message. */
const ENVELOPE_BYTES = 5;
const COMPRESSED_FLAG = 1;

type HeadersGiven = ConstructorParameters<typeof Headers>[0];

const USER_AGENT = `hairtrigger-typescript/${SDK_VERSION}`;

export function grpcTransport(baseURL: string): Transport {
  const sessions = new Http2SessionManager(
    baseURL,
    { pingIntervalMs: PING_INTERVAL_MS },
    { maxSessionMemory: SESSION_MEMORY_MB },
  );
  // The server compresses nothing by default; not offering it keeps requests small.
  const streams = createGrpcTransport({ baseUrl: baseURL, sessionManager: sessions, acceptCompression: [] });
  const prefix = new URL(baseURL).pathname.replace(/\/$/, "");
  return {
    async unary(method, signal, timeoutMs, header, input) {
      const exchanged = await exchange(sessions, {
        path: `${prefix}/${method.parent.typeName}/${method.name}`,
        headers: requestHeaders(header, timeoutMs),
        body: requestBody(method.input, input),
        timeoutMs,
        signal,
      });
      return answerOf(method, exchanged);
    },
    stream: (...call) => streams.stream(...call),
  };
}

function requestHeaders(given: HeadersGiven, timeoutMs: number | undefined): Record<string, string> {
  const headers: Record<string, string> = {
    "user-agent": USER_AGENT,
    ...plainHeaders(given),
    "content-type": contentTypeProto,
    te: "trailers",
  };
  if (timeoutMs !== undefined) headers["grpc-timeout"] = `${timeoutMs}m`;
  return headers;
}

/** A plain object is taken as it is: `callHeaders` made it, and looked at each value. */
function plainHeaders(given: HeadersGiven): Readonly<Record<string, string>> {
  if (given === undefined) return {};
  return isPlain(given) ? given : Object.fromEntries(new Headers(given));
}

function isPlain(given: object): given is Readonly<Record<string, string>> {
  return Object.getPrototypeOf(given) === Object.prototype;
}

function requestBody<I extends DescMessage>(schema: I, input: MessageInitShape<I>): Uint8Array {
  const message = toBinary(schema, create(schema, input));
  const body = Buffer.allocUnsafe(ENVELOPE_BYTES + message.length);
  body[0] = 0;
  body.writeUInt32BE(message.length, 1);
  body.set(message, ENVELOPE_BYTES);
  return body;
}

/** @throws ConnectError what the server says instead of an answer, or what is wrong with it. */
function answerOf<I extends DescMessage, O extends DescMessage>(
  method: DescMethodUnary<I, O>,
  { status, headers, trailers, body }: Exchanged,
): UnaryResponse<I, O> {
  const { headerError } = validateResponseWithCompression([], status, headers);
  validateTrailer(trailers, headers);
  if (headerError !== undefined) {
    if (body.length === 0) throw headerError;
    throw new ConnectError("protocol error: received output message for unary method with error status", Code.Unknown);
  }
  const message = messageOf(method.output, body, trailers);
  return { stream: false, service: method.parent, method, header: headers, trailer: trailers, message };
}

function messageOf<O extends DescMessage>(schema: O, body: Buffer, trailers: Headers): MessageShape<O> {
  if (body.length === 0) {
    const code = trailers.has("grpc-status") ? Code.Unimplemented : Code.Unknown;
    throw new ConnectError("protocol error: missing output message for unary method", code);
  }
  const end = body.length < ENVELOPE_BYTES ? Number.POSITIVE_INFINITY : ENVELOPE_BYTES + body.readUInt32BE(1);
  if (end > body.length) throw new ConnectError("protocol error: incomplete envelope", Code.InvalidArgument);
  if (end < body.length)
    throw new ConnectError("protocol error: received extra output message for unary method", Code.Unimplemented);
  if (((body[0] ?? 0) & COMPRESSED_FLAG) !== 0)
    throw new ConnectError("received compressed envelope, but do not know how to decompress", Code.Internal);
  try {
    return fromBinary(schema, body.subarray(ENVELOPE_BYTES));
  } catch (error) {
    const text = error instanceof Error ? error.message : String(error);
    throw new ConnectError(`parse binary: ${text}`, Code.Internal);
  }
}
