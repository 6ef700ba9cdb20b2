/**
 * Objects of the payload store over plain HTTP, by the URLs of `payload-urls.ts`. Bytes pass through in both directions without being
 * held; an upload becomes an object only if it is what its URL was made for.
 */
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { parseObjectKey } from "../domain/payload-object.js";
import { ContentMismatchError, type Payloads } from "../payloads/payloads.js";
import type { HttpRequest, HttpResponse } from "./listen.js";
import { PAYLOADS_PATH, type PayloadUrls } from "./payload-urls.js";
import { pathOf, sendJson } from "./plain.js";

export interface ObjectsDeps {
  readonly payloads: Payloads;
  readonly urls: PayloadUrls;
  /** A try to reach the payload store failed. */
  readonly onUnavailable: (error: unknown) => void;
}

const REFUSALS = {
  forged: "The URL was not made by this server for this request, or was changed",
  expired: "The URL has expired: ask for the run again to get a new one",
} as const;

/** @returns false for other paths. */
export function answerObject(deps: ObjectsDeps, request: HttpRequest, response: HttpResponse): boolean {
  const path = pathOf(request);
  if (!path.startsWith(PAYLOADS_PATH)) return false;
  const method = request.method === "HEAD" ? "GET" : request.method;
  if (method !== "GET" && method !== "PUT") {
    stopReading(request, response);
    response.setHeader("allow", "GET, HEAD, PUT");
    refuse(request, response, 405, "unimplemented", "A URL of a payload is for GET, or for PUT");
    return true;
  }
  const query = new URLSearchParams(request.url?.split("?")[1] ?? "");
  const opened = deps.urls.open(method, path, query);
  if ("refusal" in opened) {
    if (method === "PUT") stopReading(request, response);
    refuse(request, response, 403, "permission_denied", REFUSALS[opened.refusal]);
    return true;
  }
  const served = method === "GET" ? download(deps, opened, request, response) : upload(deps, opened, request, response);
  served.catch((error: unknown) => {
    // Whoever has hung up is told nothing; an answer that has begun can only be cut off.
    if (response.headersSent || response.destroyed) {
      response.destroy();
      return;
    }
    if (method === "PUT") stopReading(request, response);
    deps.onUnavailable(error);
    response.setHeader("retry-after", "1");
    refuse(request, response, 503, "unavailable", "The payload store cannot be reached at the moment");
  });
  return true;
}

interface Opened {
  readonly key: string;
  readonly contentType: string;
  readonly sizeBytes: number;
}

async function download(
  { payloads }: ObjectsDeps,
  { key, contentType }: Opened,
  request: HttpRequest,
  response: HttpResponse,
): Promise<void> {
  const sizeBytes = await payloads.sizeOf(key);
  const body = sizeBytes === undefined || request.method === "HEAD" ? undefined : await payloads.read(key);
  if (sizeBytes === undefined || (body === undefined && request.method !== "HEAD")) {
    refuse(request, response, 404, "not_found", "The object is gone: its run was removed");
    return;
  }
  response.statusCode = 200;
  response.setHeader("content-type", contentType);
  response.setHeader("content-length", sizeBytes);
  response.setHeader("cache-control", "private, no-store");
  // What callers stored is data, whatever it calls itself: no browser runs it in the name of this server.
  response.setHeader("x-content-type-options", "nosniff");
  response.setHeader("content-security-policy", "default-src 'none'; sandbox");
  if (body === undefined) response.end();
  else await pipeline(Readable.from(body), response);
}

async function upload(
  { payloads }: ObjectsDeps,
  { key, contentType, sizeBytes }: Opened,
  request: HttpRequest,
  response: HttpResponse,
): Promise<void> {
  const name = parseObjectKey(key);
  const length = request.headers["content-length"];
  if (name === undefined || (length !== undefined && Number(length) !== sizeBytes)) {
    stopReading(request, response);
    const got = length ?? "none";
    refuse(request, response, 400, "invalid_argument", `The upload has to have ${sizeBytes} bytes, got ${got}`);
    return;
  }
  const sha256 = Buffer.from(name.sha256, "hex");
  try {
    await payloads.write({ key, contentType, sizeBytes, sha256 }, request);
  } catch (error) {
    stopReading(request, response);
    if (!(error instanceof ContentMismatchError)) throw error;
    refuse(request, response, 400, "invalid_argument", error.message);
    return;
  }
  response.statusCode = 204;
  response.end();
}

/** What is still on its way is not wanted; on HTTP/1.1 the connection goes with it. */
function stopReading(request: HttpRequest, response: HttpResponse): void {
  if (request.httpVersionMajor === 1) response.setHeader("connection", "close");
  request.resume();
}

function refuse(request: HttpRequest, response: HttpResponse, status: number, code: string, message: string): void {
  sendJson(request, response, status, { code, message });
}
