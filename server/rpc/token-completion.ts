/** Completion of a token by its URL, as plain HTTP on the port (WAI-10). Answers and refusals are JSON, as those of Connect. */
import { create, toBinary } from "@bufbuild/protobuf";
import { Code, ConnectError } from "@connectrpc/connect";
import { PayloadSchema } from "#proto/hairtrigger/v1/payload_pb.js";
import { invalidRequest } from "../domain/error.js";
import { jsonKind } from "../domain/json.js";
import type { Limits } from "../domain/limits.js";
import type { Engine } from "../engine/engine.js";
import { refusalAnswer } from "./answer.js";
import { wholeBody } from "./body.js";
import { wireErrorOf } from "./error.js";
import type { HttpRequest, HttpResponse } from "./listen.js";
import { pathOf } from "./plain.js";
import type { TokenUrls } from "./token-url.js";
import { writeAnswer } from "./write-answer.js";

export interface TokenCompletion {
  readonly engine: Pick<Engine, "completeToken">;
  readonly urls: TokenUrls;
  readonly limits: Pick<Limits, "bodyJsonBytesMax">;
  /** Tells the log of what nobody foresaw. */
  readonly fault: (error: unknown) => void;
}

interface Exchange {
  readonly request: HttpRequest;
  readonly response: HttpResponse;
}

/** @returns false for other paths, among them those of URLs that were not made here. */
export function answerTokenCompletion(deps: TokenCompletion, request: HttpRequest, response: HttpResponse): boolean {
  const token = deps.urls.tokenOf(pathOf(request));
  if (token === undefined) return false;
  if (request.method !== "POST") {
    response.setHeader("allow", "POST");
    send(response, 405, { code: "unimplemented", message: "A token is completed with POST" });
    return true;
  }
  complete(deps, token, request)
    .then(
      () => send(response, 200, { success: true }),
      (thrown: unknown) => refuse(deps, thrown, { request, response }),
    )
    // The caller is gone.
    .catch(() => response.destroy());
  return true;
}

async function complete(
  { engine, limits }: TokenCompletion,
  token: { readonly environment: string; readonly tokenId: string },
  request: HttpRequest,
): Promise<void> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of wholeBody(request, limits.bodyJsonBytesMax)) chunks.push(chunk);
  const text = Buffer.concat(chunks).toString("utf8");
  const json = text.trim() === "" ? "{}" : text;
  if (jsonKind(json) === "malformed") throw invalidRequest("data", "The body is not JSON");
  const output = toBinary(PayloadSchema, create(PayloadSchema, { data: { case: "json", value: json } }));
  await engine.completeToken({ ...token, output, payload: { json } });
}

/** A mistake of the caller in words; anything else without. */
async function refuse(deps: TokenCompletion, thrown: unknown, to: Exchange): Promise<void> {
  const error = wireErrorOf(thrown, deps.limits.bodyJsonBytesMax);
  if (error === undefined) deps.fault(thrown);
  const refusal = error ?? new ConnectError("Internal error", Code.Internal);
  await writeAnswer(refusalAnswer(refusal), to.request, to.response);
}

function send(response: HttpResponse, status: number, body: object): void {
  const text = `${JSON.stringify(body)}\n`;
  response.statusCode = status;
  response.setHeader("content-type", "application/json");
  response.setHeader("content-length", Buffer.byteLength(text));
  response.setHeader("cache-control", "no-store");
  response.end(text);
}
