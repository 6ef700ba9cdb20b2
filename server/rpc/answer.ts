/**
 * What the framework answers, put right before it is written:
 * - errors that it raised by itself, in front of every interceptor (malformed JSON, a body too large), get reason and details like all
 *   others (ERR-1);
 * - `grpc-message` is encoded as the gRPC protocol says.
 * Each protocol hides its error somewhere else: trailers, a last frame, the body. The helpers for that are the framework's own, which are
 * not under semantic versioning: its version is pinned, and the wire tests look at the bytes.
 */
import { Code, ConnectError } from "@connectrpc/connect";
import type { UniversalServerResponse } from "@connectrpc/connect/protocol";
import {
  codeToHttpStatus,
  createEndStreamSerialization,
  endStreamFlag,
  errorFromJsonBytes,
  errorToJsonBytes,
} from "@connectrpc/connect/protocol-connect";
import { findTrailerError, setTrailerStatus } from "@connectrpc/connect/protocol-grpc";
import { trailerFlag, trailerParse, trailerSerialize } from "@connectrpc/connect/protocol-grpc-web";
import { detailRegistry } from "./error.js";
import { encodeGrpcMessage } from "./grpc-message.js";
import type { Protocol } from "./log.js";

/** Gives an error of the framework its reason; one that has details stays as it is. */
export type Settle = (error: ConnectError) => ConnectError;

export interface Answer {
  readonly protocol: Protocol;
  readonly status: number;
  readonly header: Headers;
  readonly body: AsyncIterable<Uint8Array> | undefined;
  /** Puts a chunk of the body right; only the last one of a failed call changes. */
  fix(chunk: Uint8Array): Uint8Array;
  /** gRPC trailers, right once the body has ended; undefined where the protocol has none. */
  trailer(): Headers | undefined;
  /** Canonical code of the call, known once the body has ended; 0 is OK. */
  code(): number;
}

const endStream = createEndStreamSerialization({ registry: detailRegistry });
/** One byte of flags and four of length precede every message. */
const ENVELOPE_BYTES = 5;

export async function answerOf(response: UniversalServerResponse, settle: Settle): Promise<Answer> {
  const header = response.header ?? new Headers();
  const { status, body } = response;
  const type = header.get("content-type") ?? "";
  const base = { status, header, body, fix: asItIs, trailer: () => undefined };
  let code = 0;
  const note = (error: ConnectError): ConnectError => {
    const settled = settle(error);
    code = settled.code;
    return settled;
  };

  if (type.startsWith("application/grpc-web")) {
    const fix = (chunk: Uint8Array): Uint8Array =>
      fixFrame(chunk, trailerFlag, (data) => {
        const trailer = trailerParse(data);
        fixTrailer(trailer, note);
        return trailerSerialize(trailer);
      });
    return { ...base, protocol: "grpc-web", fix, code: () => code };
  }
  if (type.startsWith("application/grpc")) {
    let isFixed = false;
    const trailer = (): Headers => {
      const found = response.trailer ?? new Headers();
      if (!isFixed) fixTrailer(found, note);
      isFixed = true;
      return found;
    };
    return { ...base, protocol: "grpc", trailer, code: () => code };
  }
  if (type.startsWith("application/connect+")) {
    const fix = (chunk: Uint8Array): Uint8Array =>
      fixFrame(chunk, endStreamFlag, (data) => {
        const end = endStream.parse(data);
        return end.error === undefined ? data : endStream.serialize({ ...end, error: note(end.error) });
      });
    return { ...base, protocol: "connect", fix, code: () => code };
  }
  if (status === 200 || body === undefined) return { ...base, protocol: "connect", code: () => code };
  return failedUnary(header, body, note);
}

/** An answer that the framework did not give: to what has no handler, or a method or media type that it does not serve. */
export function refusalAnswer(error: ConnectError, status = codeToHttpStatus(error.code)): Answer {
  return jsonAnswer(error, status, new Headers());
}

/** The same for a caller that speaks gRPC or gRPC-Web: a status instead of a body. */
export function grpcRefusalAnswer(error: ConnectError, contentType: string): Answer {
  const header = new Headers({ "content-type": contentType });
  const isWeb = contentType.startsWith("application/grpc-web");
  const trailer = isWeb ? header : new Headers();
  setTrailerStatus(trailer, error);
  trailer.set("grpc-message", encodeGrpcMessage(error.rawMessage));
  return {
    protocol: isWeb ? "grpc-web" : "grpc",
    status: 200,
    header,
    body: undefined,
    fix: asItIs,
    trailer: () => (isWeb ? undefined : trailer),
    code: () => error.code,
  };
}

/** The error of a unary Connect call is its body. */
async function failedUnary(header: Headers, body: AsyncIterable<Uint8Array>, note: Settle): Promise<Answer> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of body) chunks.push(chunk);
  const fallback = new ConnectError("Internal error", Code.Internal);
  let error: ConnectError;
  try {
    error = errorFromJsonBytes(Buffer.concat(chunks), undefined, fallback);
  } catch {
    error = fallback;
  }
  const settled = note(error);
  return jsonAnswer(settled, codeToHttpStatus(settled.code), header);
}

function jsonAnswer(error: ConnectError, status: number, header: Headers): Answer {
  const bytes = errorToJsonBytes(error, { registry: detailRegistry });
  header.set("content-type", "application/json");
  header.set("content-length", String(bytes.length));
  return {
    protocol: "connect",
    status,
    header,
    body: once(bytes),
    fix: asItIs,
    trailer: () => undefined,
    code: () => error.code,
  };
}

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes;
}

function asItIs(chunk: Uint8Array): Uint8Array {
  return chunk;
}

/** Replaces the data of a frame that carries `flag`; other chunks stay as they are. The framework gives one frame per chunk. */
function fixFrame(chunk: Uint8Array, flag: number, fix: (data: Uint8Array) => Uint8Array): Uint8Array {
  if (((chunk[0] ?? 0) & flag) === 0) return chunk;
  const data = fix(chunk.subarray(ENVELOPE_BYTES));
  const fixed = new Uint8Array(ENVELOPE_BYTES + data.length);
  fixed[0] = flag;
  new DataView(fixed.buffer).setUint32(1, data.length);
  fixed.set(data, ENVELOPE_BYTES);
  return fixed;
}

function fixTrailer(trailer: Headers, note: Settle): void {
  const error = findTrailerError(trailer);
  if (error === undefined) return;
  const settled = note(error);
  if (settled !== error) setTrailerStatus(trailer, settled);
  trailer.set("grpc-message", encodeGrpcMessage(settled.rawMessage));
}
