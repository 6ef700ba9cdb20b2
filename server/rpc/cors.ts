/** AUT-7: browsers may call from every origin that the operator allows; by default from all, since a token is what grants anything. */
import { cors } from "@connectrpc/connect";
import type { HttpRequest, HttpResponse } from "./listen.js";

/** `*`, or origins as browsers send them: `https://app.example.com`. */
export type AllowedOrigins = "*" | readonly string[];

const ALLOWED_METHODS = cors.allowedMethods.join(", ");
const ALLOWED_HEADERS = [...cors.allowedHeaders, "Authorization", "Hairtrigger-Client", "X-Request-Id"].join(", ");
const EXPOSED_HEADERS = [...cors.exposedHeaders, "Grpc-Status-Details-Bin", "X-Request-Id"].join(", ");
/** Browsers keep a preflight's answer for at most 2 h. */
const PREFLIGHT_SECONDS = "7200";

/** Adds what a browser wants to see. @returns true if the request was a preflight and is answered. */
export function answerCors(allowed: AllowedOrigins, request: HttpRequest, response: HttpResponse): boolean {
  const { origin } = request.headers;
  if (origin === undefined) return false;
  const isAllowed = allowed === "*" || allowed.includes(origin);
  if (allowed !== "*") response.setHeader("vary", "Origin");
  if (isAllowed) {
    response.setHeader("access-control-allow-origin", allowed === "*" ? "*" : origin);
    response.setHeader("access-control-expose-headers", EXPOSED_HEADERS);
  }
  if (request.method !== "OPTIONS" || request.headers["access-control-request-method"] === undefined) return false;
  if (isAllowed) {
    response.setHeader("access-control-allow-methods", ALLOWED_METHODS);
    response.setHeader("access-control-allow-headers", ALLOWED_HEADERS);
    response.setHeader("access-control-max-age", PREFLIGHT_SECONDS);
  }
  response.statusCode = 204;
  response.end();
  return true;
}
