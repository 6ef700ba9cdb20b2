/** Hints of other servers of the same store, as plain HTTP on the port (design 12). They carry their own proof of where they come from. */
import type { HintReceiver } from "../signals/signals.js";
import type { HttpRequest, HttpResponse } from "./listen.js";
import { pathOf } from "./plain.js";

const PATH = "/hints";
const SIGNATURE_HEADER = "x-hairtrigger-signature";
/** A page of hints with long reasons; more is nobody's hint. */
const BODY_BYTES_MAX = 8 * 1_048_576;

/** @returns false for other paths. 204: taken; 403: not from a server of this store. */
export function answerHints(receiver: HintReceiver, request: HttpRequest, response: HttpResponse): boolean {
  if (pathOf(request) !== PATH || request.method !== "POST") return false;
  const signature = request.headers[SIGNATURE_HEADER];
  const end = (status: number): void => {
    response.statusCode = status;
    response.end();
  };
  const chunks: Buffer[] = [];
  let bytes = 0;
  request.on("data", (chunk: Buffer) => {
    bytes += chunk.length;
    if (bytes <= BODY_BYTES_MAX) chunks.push(chunk);
    else request.destroy();
  });
  // The other side hung up: its hints are lost, and nothing else.
  request.on("error", () => {});
  request.on("end", () => {
    try {
      const isTaken = receiver.receive(Buffer.concat(chunks), typeof signature === "string" ? signature : undefined);
      end(isTaken ? 204 : 403);
    } catch {
      end(400);
    }
  });
  return true;
}
