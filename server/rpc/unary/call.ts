/**
 * The lean path: unary gRPC over HTTP/2, which is what SDKs and most other clients speak, without a request, a response, and Connect's router
 * between the frames and the handler. Everything that decides is shared with the other path: credentials before the body (TRG-10), limits of
 * bodies (PAY-12), deadlines, guards, handlers, and the file that turns errors into what travels.
 *
 * Whatever is unusual (JSON, compression, a browser's origin, a malformed deadline) is left to that path, which answers everything.
 *
 * A call settles once: with its answer, with a refusal, at its deadline whatever its handler is doing, or because the caller has left.
 */
import type { IncomingHttpHeaders, OutgoingHttpHeaders, ServerHttp2Stream } from "node:http2";
import { Code, ConnectError } from "@connectrpc/connect";
import { contentTypeProto, parseTimeout } from "@connectrpc/connect/protocol-grpc";
import type { Caller } from "../../auth/principal.js";
import type { Clock, Timer } from "../../engine/clock.js";
import type { Entropy } from "../../engine/entropy.js";
import { grpcRefusalAnswer } from "../answer.js";
import { brokenOff, ENVELOPE_BYTES } from "../body.js";
import { baseUrlOf, clientOf } from "../call-scope.js";
import { codeName, faultError, wireErrorOf } from "../error.js";
import { DEADLINE_DEFAULT_SECONDS } from "../interceptors/deadline.js";
import type { StreamListener } from "../listen.js";
import type { RpcLog } from "../log.js";
import { requestIdOf } from "../request-id.js";
import { breakOff, respondTrailersOnly } from "../write-answer.js";
import { readMessage } from "./body.js";
import { UnaryContext } from "./context.js";
import type { UnaryMethod } from "./methods.js";

export interface UnaryDeps {
  readonly methods: ReadonlyMap<string, UnaryMethod>;
  /** Services that are served without a key, by full name. */
  readonly openServices: ReadonlySet<string>;
  readonly authenticate: (header: string | undefined) => Promise<Caller>;
  readonly bytesMax: number;
  readonly scheme?: "http" | "https";
  readonly log: RpcLog;
  readonly clock: Clock;
  readonly entropy: Entropy;
}

const CONTENT_TYPES: ReadonlySet<string | undefined> = new Set(["application/grpc", contentTypeProto]);
const OK_TRAILERS = { "grpc-status": "0" };

/** Takes the streams that the lean path can serve; the others are left alone. */
export function createUnaryListener(deps: UnaryDeps): StreamListener {
  return (stream, headers) => {
    const method = deps.methods.get(headers[":path"] ?? "");
    if (method === undefined || !isUsual(headers)) return false;
    const timeoutMs = timeoutOf(headers);
    if (timeoutMs === undefined) return false;
    new UnaryCall(deps, method, stream, headers).start(timeoutMs);
    return true;
  };
}

function isUsual(headers: IncomingHttpHeaders): boolean {
  const encoding = headers["grpc-encoding"];
  return (
    headers[":method"] === "POST" &&
    CONTENT_TYPES.has(headers["content-type"]) &&
    (encoding === undefined || encoding === "identity") &&
    headers.origin === undefined &&
    headers.expect === undefined
  );
}

/** Milliseconds that the call may take; undefined for a header that is none. */
function timeoutOf(headers: IncomingHttpHeaders): number | undefined {
  const given = headers["grpc-timeout"];
  if (given === undefined) return DEADLINE_DEFAULT_SECONDS * 1_000;
  const { timeoutMs, error } = parseTimeout(String(given), Number.MAX_SAFE_INTEGER);
  return error === undefined ? timeoutMs : undefined;
}

class UnaryCall {
  readonly #deps: UnaryDeps;
  readonly #method: UnaryMethod;
  readonly #stream: ServerHttp2Stream;
  readonly #headers: IncomingHttpHeaders;
  readonly #requestId: string;
  readonly #startedMs: number;
  #timer: Timer | undefined;
  #context: UnaryContext | undefined;
  #isSettled = false;

  constructor(deps: UnaryDeps, method: UnaryMethod, stream: ServerHttp2Stream, headers: IncomingHttpHeaders) {
    this.#deps = deps;
    this.#method = method;
    this.#stream = stream;
    this.#headers = headers;
    this.#requestId = requestIdOf(headers, deps.entropy);
    this.#startedMs = deps.clock.nowMs();
  }

  start(timeoutMs: number): void {
    const stream = this.#stream;
    // What breaks a stream closes it as well.
    stream.on("error", () => {});
    stream.once("close", () => {
      if (!this.#isSettled) this.#refuse(brokenOff());
    });
    const deadlineMs = this.#startedMs + timeoutMs;
    const onDeadline = (): void => this.#refuse(new ConnectError("the operation timed out", Code.DeadlineExceeded));
    if (timeoutMs <= 0) return onDeadline();
    this.#timer = this.#deps.clock.setTimer(timeoutMs, onDeadline);
    this.#serve(deadlineMs).then(
      (answer) => this.#answer(answer),
      (thrown: unknown) => this.#refuse(thrown),
    );
  }

  /** @returns the encoded answer; undefined if the call was settled meanwhile. */
  async #serve(deadlineMs: number): Promise<Uint8Array | undefined> {
    const { bytesMax, openServices, authenticate, clock } = this.#deps;
    const { method, parse, serialize, invoke } = this.#method;
    const isOpen = openServices.has(method.parent.typeName);
    const principal = isOpen ? undefined : await authenticate(this.#headers.authorization);
    const bytes = await readMessage(this.#stream, this.#headers, bytesMax);
    if (this.#isSettled) return undefined;
    this.#context = new UnaryContext({
      method,
      scope: {
        requestId: this.#requestId,
        client: clientOf(this.#headers),
        base: baseUrlOf(this.#deps.scheme, this.#headers),
        principal,
        refusal: undefined,
      },
      received: this.#headers,
      timeoutMs: () => deadlineMs - clock.nowMs(),
    });
    return serialize(await invoke(parse(bytes), this.#context));
  }

  #answer(message: Uint8Array | undefined): void {
    const stream = this.#stream;
    // Nobody is left to answer; its `close` is on the way.
    if (message === undefined || stream.closed || stream.destroyed || !this.#settle()) return;
    const { header, trailer } = this.#context?.added ?? {};
    stream.respond(
      { ...plain(header), ":status": 200, "content-type": contentTypeProto, "x-request-id": this.#requestId },
      { waitForTrailers: true },
    );
    stream.once("wantTrailers", () => stream.sendTrailers({ ...plain(trailer), ...OK_TRAILERS }));
    const envelope = Buffer.alloc(ENVELOPE_BYTES);
    envelope.writeUInt32BE(message.length, 1);
    stream.end(Buffer.concat([envelope, message]));
    this.#ended(0);
  }

  #refuse(thrown: unknown): void {
    if (!this.#settle(thrown)) return;
    const error = this.#wireError(thrown);
    if (!this.#stream.closed && !this.#stream.destroyed) {
      const headers = { "x-request-id": this.#requestId };
      respondTrailersOnly(grpcRefusalAnswer(error, contentTypeProto), this.#stream, headers);
      if (!this.#stream.readableEnded) {
        this.#stream.resume();
        breakOff(this.#stream);
      }
    }
    this.#ended(error.code);
  }

  #wireError(thrown: unknown): ConnectError {
    const error = wireErrorOf(thrown, this.#deps.bytesMax);
    if (error !== undefined) return error;
    this.#deps.log.fault({ requestId: this.#requestId, method: this.#method.path, error: thrown });
    return faultError(this.#requestId);
  }

  /** @returns false if it is settled already. */
  #settle(reason?: unknown): boolean {
    if (this.#isSettled) return false;
    this.#isSettled = true;
    this.#timer?.cancel();
    this.#context?.end(reason);
    return true;
  }

  #ended(code: number): void {
    const durationMs = this.#deps.clock.nowMs() - this.#startedMs;
    this.#deps.log.callEnded({
      requestId: this.#requestId,
      method: this.#method.path,
      protocol: "grpc",
      code: codeName(code),
      durationMs,
    });
  }
}

function plain(headers: Headers | undefined): OutgoingHttpHeaders {
  return headers === undefined ? {} : Object.fromEntries(headers);
}
