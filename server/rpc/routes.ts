/**
 * Every call's way in. Usual unary gRPC takes the lean path (`unary/`); everything else comes here: Connect's router serves gRPC, gRPC-Web and Connect; around it, the same for all protocols, credentials are looked at
 * before the body is read (TRG-10), bodies are bounded (PAY-12), unary calls get a deadline, and the end of the call is told to telemetry.
 * Inside it the interceptors see the decoded message.
 */
import {
  type ConnectError,
  type ConnectRouter,
  createConnectRouter,
  createContextValues,
  type Interceptor,
} from "@connectrpc/connect";
import type { UniversalHandler, UniversalServerResponse } from "@connectrpc/connect/protocol";
import { compressionBrotli, compressionGzip, universalRequestFromNodeRequest } from "@connectrpc/connect-node";
import type { Caller } from "../auth/principal.js";
import type { Limits } from "../domain/limits.js";
import type { Clock } from "../engine/clock.js";
import type { Entropy } from "../engine/entropy.js";
import type { HintReceiver } from "../signals/signals.js";
import { type Answer, answerOf, grpcRefusalAnswer, refusalAnswer, type Settle } from "./answer.js";
import { streamedBody, wholeBody } from "./body.js";
import { baseUrlOf, callScopeKey, clientOf } from "./call-scope.js";
import { type AllowedOrigins, answerCors } from "./cors.js";
import {
  codeName,
  detailRegistry,
  errorOf,
  faultError,
  frameworkError,
  unknownMethodError,
  wireErrorOf,
  wrongFormError,
} from "./error.js";
import { answerHints } from "./hints.js";
import { authenticate, type HoldCredential } from "./interceptors/authenticate.js";
import { clientVersion } from "./interceptors/client-version.js";
import { DEADLINE_DEFAULT_SECONDS, deadline } from "./interceptors/deadline.js";
import { refuse } from "./interceptors/refuse.js";
import { validate } from "./interceptors/validate.js";
import type { HttpRequest, HttpResponse, Listeners, RequestListener } from "./listen.js";
import type { RpcLog } from "./log.js";
import { methodPath } from "./method-path.js";
import { answerObject, type ObjectsDeps } from "./payload-objects.js";
import { answerPlain, pathOf } from "./plain.js";
import type { Readiness } from "./readiness.js";
import { requestIdOf } from "./request-id.js";
import { answerTokenCompletion, type TokenCompletion } from "./token-completion.js";
import { createUnaryListener } from "./unary/call.js";
import { unaryMethods } from "./unary/methods.js";
import { writeAnswer } from "./write-answer.js";

export interface Routes {
  /** Registers every service; called for each size of bodies and for the lean path, so it must not do anything else. */
  readonly register: (router: ConnectRouter) => void;
  /** Services that are served without a key, by full name. */
  readonly openServices: ReadonlySet<string>;
  /** Request messages that their handlers validate themselves, by full name. */
  readonly selfValidated: ReadonlySet<string>;
  readonly authenticate: (header: string | undefined) => Promise<Caller>;
  /** Calls back when the credential of an open stream is no longer good; default: never. @returns ends it. */
  readonly holdCredential?: HoldCredential;
  readonly readiness: Readiness;
  /** Objects of the payload store over plain HTTP; default: none are served. */
  readonly objects?: ObjectsDeps;
  /** Of the port. Default `http`. */
  readonly scheme?: "http" | "https";
  /** Takes hints of other servers; undefined: there are none. */
  readonly hints: HintReceiver | undefined;
  /** Completes tokens by their URLs; undefined: none are served. */
  readonly tokenCompletion?: TokenCompletion | undefined;
  readonly limits: Pick<Limits, "bodyBinaryBytesMax" | "bodyJsonBytesMax">;
  readonly allowedOrigins: AllowedOrigins;
  readonly log: RpcLog;
  readonly clock: Clock;
  readonly entropy: Entropy;
}

/** Answers are never compressed: it doubles their CPU and saves nothing in a data centre (design 14). The largest value that is taken. */
const COMPRESS_NEVER_BYTES = 0xffff_ffff;

export function createListeners(routes: Routes): Listeners {
  const bytesMax = routes.limits.bodyBinaryBytesMax;
  const methods = unaryMethods(routes.register, { guards: guards(routes), bytesMax });
  return { onRequest: requestListener(routes), onStream: createUnaryListener({ ...routes, methods, bytesMax }) };
}

function requestListener(routes: Routes): RequestListener {
  const { limits } = routes;
  const binary = handlers(routes, limits.bodyBinaryBytesMax);
  const json = handlers(routes, limits.bodyJsonBytesMax);
  return (request, response) => {
    if (answerCors(routes.allowedOrigins, request, response)) return;
    if (answerPlain(routes.readiness, request, response)) return;
    if (routes.objects !== undefined && answerObject(routes.objects, request, response)) return;
    if (routes.hints !== undefined && answerHints(routes.hints, request, response)) return;
    const { tokenCompletion } = routes;
    if (tokenCompletion !== undefined && answerTokenCompletion(tokenCompletion, request, response)) return;
    const isJson = isJsonRequest(request);
    const handler = (isJson ? json : binary).get(pathOf(request));
    const bytesMax = isJson ? limits.bodyJsonBytesMax : limits.bodyBinaryBytesMax;
    const call = new Call(routes, request, response, bytesMax);
    void (handler === undefined ? call.answerUnknown() : call.serve(handler));
  };
}

/** What every call passes before its handler, whatever its protocol and its path. */
function guards(routes: Routes): readonly Interceptor[] {
  return [
    authenticate((service) => routes.openServices.has(service.typeName), routes.holdCredential),
    clientVersion,
    validate((schema) => routes.selfValidated.has(schema.typeName)),
  ];
}

function handlers(routes: Routes, bytesMax: number): ReadonlyMap<string, UniversalHandler> {
  const router = createConnectRouter({
    readMaxBytes: bytesMax,
    compressMinBytes: COMPRESS_NEVER_BYTES,
    acceptCompression: [compressionGzip, compressionBrotli],
    // A typo must not pass silently (CFG-6).
    jsonOptions: { ignoreUnknownFields: false, registry: detailRegistry },
    interceptors: [refuse(routes.log, bytesMax), deadline, ...guards(routes)],
  });
  routes.register(router);
  return new Map(router.handlers.map((handler) => [handler.requestPath, handler]));
}

/** `application/json`, `application/grpc+json`, `application/connect+json; charset=utf-8` … */
function isJsonRequest({ headers }: HttpRequest): boolean {
  return (headers["content-type"] ?? "").split(";", 1)[0]?.endsWith("json") ?? false;
}

/** One call, from its headers to its last byte. */
class Call {
  readonly #routes: Routes;
  readonly #request: HttpRequest;
  readonly #response: HttpResponse;
  readonly #bytesMax: number;
  readonly #requestId: string;
  readonly #startedMs: number;

  constructor(routes: Routes, request: HttpRequest, response: HttpResponse, bytesMax: number) {
    this.#routes = routes;
    this.#request = request;
    this.#response = response;
    this.#bytesMax = bytesMax;
    this.#requestId = requestIdOf(request.headers, routes.entropy);
    this.#startedMs = routes.clock.nowMs();
  }

  async serve(handler: UniversalHandler): Promise<void> {
    const path = methodPath(handler.method);
    try {
      const credentials = await this.#credentials(handler);
      const answer = await this.#answer(handler, await this.#invoke(handler, credentials));
      await this.#write(path, answer);
    } catch (error) {
      this.#broken(path, error);
    }
  }

  /** A path that nothing serves: gRPC callers want a status, others a 404 that says so. */
  async answerUnknown(): Promise<void> {
    const path = pathOf(this.#request);
    const error = unknownMethodError(path);
    const type = this.#request.headers["content-type"] ?? "";
    const answer = type.startsWith("application/grpc") ? grpcRefusalAnswer(error, type) : refusalAnswer(error, 404);
    await this.#write(path, answer).catch((broken: unknown) => this.#broken(path, broken));
  }

  /** Who calls, or why nobody may; both go with the call, so that the answer has the form of its protocol. */
  async #credentials(handler: UniversalHandler): Promise<{ readonly principal?: Caller; readonly refusal?: Error }> {
    if (this.#routes.openServices.has(handler.service.typeName)) return {};
    try {
      return { principal: await this.#routes.authenticate(this.#request.headers.authorization) };
    } catch (thrown) {
      return { refusal: errorOf(thrown) };
    }
  }

  #invoke(
    handler: UniversalHandler,
    { principal, refusal }: { readonly principal?: Caller; readonly refusal?: Error },
  ): Promise<UniversalServerResponse> {
    const client = clientOf(this.#request.headers);
    const values = createContextValues().set(callScopeKey, {
      requestId: this.#requestId,
      client,
      base: baseUrlOf(this.#routes.scheme, this.#request.headers),
      principal,
      refusal,
    });
    const universal = universalRequestFromNodeRequest(this.#request, this.#response, undefined, values);
    if (handler.method.methodKind === "unary") setDeadline(universal.header);
    return handler({
      ...universal,
      body: refusal === undefined ? this.#body(handler) : this.#refusedBody(refusal, handler),
    });
  }

  #body({ method }: UniversalHandler): AsyncIterable<Uint8Array> {
    const isOneMessage = method.methodKind === "unary" || method.methodKind === "server_streaming";
    return isOneMessage ? wholeBody(this.#request, this.#bytesMax) : streamedBody(this.#request);
  }

  /** Thrown where the body would be read: the framework writes it in the caller's protocol, and not a byte is decoded. */
  #refusedBody(refusal: Error, handler: UniversalHandler): AsyncIterable<Uint8Array> {
    const next = (): Promise<never> => Promise.reject(this.#wireError(refusal, methodPath(handler.method)));
    return { [Symbol.asyncIterator]: () => ({ next }) };
  }

  #wireError(thrown: unknown, method: string): ConnectError {
    const error = wireErrorOf(thrown, this.#bytesMax);
    if (error !== undefined) return error;
    this.#routes.log.fault({ requestId: this.#requestId, method, error: thrown });
    return faultError(this.#requestId);
  }

  #answer(handler: UniversalHandler, response: UniversalServerResponse): Promise<Answer> | Answer {
    const method = methodPath(handler.method);
    const settle: Settle = (error) => (error.details.length > 0 ? error : this.#settled(error, method));
    if (response.body !== undefined) return answerOf(response, settle);
    return wrongForm(response.status, handler, this.#response);
  }

  #settled(error: ConnectError, method: string): ConnectError {
    const settled = frameworkError(error, this.#bytesMax);
    if (settled !== undefined) return settled;
    this.#routes.log.fault({ requestId: this.#requestId, method, error });
    return faultError(this.#requestId);
  }

  async #write(method: string, answer: Answer): Promise<void> {
    this.#response.setHeader("x-request-id", this.#requestId);
    await writeAnswer(answer, this.#request, this.#response);
    this.#ended(method, answer.protocol, codeName(answer.code()));
  }

  /** The caller is gone, or the answer could not be written; there is nobody to tell but the log. */
  #broken(method: string, error: unknown): void {
    if (!this.#response.headersSent && !this.#response.destroyed) {
      this.#routes.log.fault({ requestId: this.#requestId, method, error });
      this.#response.statusCode = 500;
      this.#response.end();
    } else {
      this.#response.destroy();
    }
    this.#ended(method, "connect", "CANCELLED");
  }

  #ended(method: string, protocol: Answer["protocol"], code: string): void {
    const durationMs = this.#routes.clock.nowMs() - this.#startedMs;
    this.#routes.log.callEnded({ requestId: this.#requestId, method, protocol, code, durationMs });
  }
}

function setDeadline(header: Headers): void {
  if (header.has("grpc-timeout") || header.has("connect-timeout-ms")) return;
  if (header.get("content-type")?.startsWith("application/grpc") === true) {
    header.set("grpc-timeout", `${DEADLINE_DEFAULT_SECONDS}S`);
  } else {
    header.set("connect-timeout-ms", String(DEADLINE_DEFAULT_SECONDS * 1_000));
  }
}

/** The framework refuses a wrong verb, media type or HTTP version with an empty answer; people at a shell want to know. */
function wrongForm(status: number, handler: UniversalHandler, response: HttpResponse): Answer {
  const path = methodPath(handler.method);
  const allowed = handler.allowedMethods;
  switch (status) {
    case 405:
      response.setHeader("allow", allowed.join(", "));
      return refusalAnswer(wrongFormError(`${path} is called with ${allowed.join(" or ")}`), status);
    case 415:
      return refusalAnswer(
        wrongFormError(`${path} takes JSON (application/json) or Protobuf, as Connect, gRPC or gRPC-Web`),
        status,
      );
    case 505:
      response.setHeader("connection", "close");
      return refusalAnswer(wrongFormError(`${path} streams in both directions and needs HTTP/2`), status);
    default:
      return refusalAnswer(wrongFormError(`${path} cannot be called like this`), status);
  }
}
