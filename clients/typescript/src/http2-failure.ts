/** What kept an HTTP/2 request from an answer, with the code that Connect gives it, so that unary calls and streams fail alike. */
import { constants } from "node:http2";
import { Code, ConnectError } from "@connectrpc/connect";

/** Codes of Node's errors: the connection was lost while the request was under way. */
const BROKEN = new Set([
  "ERR_STREAM_WRITE_AFTER_END",
  "ERR_STREAM_DESTROYED",
  "ERR_HTTP2_INVALID_STREAM",
  "ECONNRESET",
]);
/** There was no connection. */
const UNREACHABLE = new Set(["ETIMEDOUT", "ENOTFOUND", "EAI_AGAIN", "ECONNREFUSED"]);

/** An error of Node's as a ConnectError whose cause it is. */
export function failureOf(thrown: unknown): ConnectError {
  const codes = causes(thrown).map(nodeCode);
  let code = Code.Internal;
  if (codes.some((name) => BROKEN.has(name))) code = Code.Aborted;
  else if (codes.some((name) => UNREACHABLE.has(name))) code = Code.Unavailable;
  const error = ConnectError.from(thrown, code);
  if (error !== thrown) error.cause = thrown;
  return error;
}

/** The error and what caused it, outermost first. */
function causes(thrown: unknown): readonly Error[] {
  const chain: Error[] = [];
  for (let next = thrown; next instanceof Error && !chain.includes(next); next = next.cause) chain.push(next);
  return chain;
}

function nodeCode(error: Error): string {
  return "code" in error && typeof error.code === "string" ? error.code : "";
}

const RESETS: ReadonlyMap<number, Code> = new Map([
  [constants.NGHTTP2_PROTOCOL_ERROR, Code.Internal],
  [constants.NGHTTP2_INTERNAL_ERROR, Code.Internal],
  [constants.NGHTTP2_FLOW_CONTROL_ERROR, Code.Internal],
  [constants.NGHTTP2_SETTINGS_TIMEOUT, Code.Internal],
  [constants.NGHTTP2_FRAME_SIZE_ERROR, Code.Internal],
  [constants.NGHTTP2_COMPRESSION_ERROR, Code.Internal],
  [constants.NGHTTP2_CONNECT_ERROR, Code.Internal],
  [constants.NGHTTP2_REFUSED_STREAM, Code.Unavailable],
  [constants.NGHTTP2_CANCEL, Code.Canceled],
  [constants.NGHTTP2_ENHANCE_YOUR_CALM, Code.ResourceExhausted],
  [constants.NGHTTP2_INADEQUATE_SECURITY, Code.PermissionDenied],
  [constants.NGHTTP2_HTTP_1_1_REQUIRED, Code.PermissionDenied],
]);

/** What the code of a RST_STREAM says; undefined where it says nothing went wrong. */
export function resetFailure(rstCode: number | undefined): ConnectError | undefined {
  const code = rstCode === undefined ? undefined : RESETS.get(rstCode);
  if (code === undefined) return undefined;
  return new ConnectError(`the HTTP/2 stream was reset with error code 0x${(rstCode ?? 0).toString(16)}`, code);
}
