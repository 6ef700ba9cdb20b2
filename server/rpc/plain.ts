/** What is plain HTTP on the port: liveness and readiness for orchestrators, and clear answers to what nothing here serves. */
import type { HttpRequest, HttpResponse } from "./listen.js";
import type { Readiness } from "./readiness.js";

/** `/livez`: the process answers. `/readyz`: it should be given work; 503 with the reason otherwise. @returns false for other paths. */
export function answerPlain(readiness: Readiness, request: HttpRequest, response: HttpResponse): boolean {
  const path = pathOf(request);
  if (path !== "/livez" && path !== "/readyz") return false;
  if (request.method !== "GET" && request.method !== "HEAD") {
    response.setHeader("allow", "GET, HEAD");
    sendJson(request, response, 405, { code: "unimplemented", message: `${path} is read with GET` });
    return true;
  }
  if (path === "/livez") {
    sendJson(request, response, 200, { status: "ok" });
    return true;
  }
  readiness.check().then(
    ({ ok, error }) =>
      sendJson(request, response, ok ? 200 : 503, ok ? { status: "ok" } : { status: "not ready", error }),
    () => sendJson(request, response, 503, { status: "not ready" }),
  );
  return true;
}

export function pathOf(request: HttpRequest): string {
  return request.url?.split("?", 1)[0] ?? "";
}

/** A small answer of ours. */
export function sendJson(request: HttpRequest, response: HttpResponse, status: number, body: object): void {
  const text = `${JSON.stringify(body)}\n`;
  response.statusCode = status;
  response.setHeader("content-type", "application/json");
  response.setHeader("content-length", Buffer.byteLength(text));
  response.setHeader("cache-control", "no-store");
  if (request.method === "HEAD") response.end();
  else response.end(text);
}
