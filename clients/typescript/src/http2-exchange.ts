/**
 * One request and its whole answer on a stream of HTTP/2. It settles once: with the answer, or with the first thing that went wrong; a stream
 * that nobody waits for any more is closed with CANCEL, so that the other side stops as well.
 */
import { type ClientHttp2Stream, constants, type IncomingHttpHeaders } from "node:http2";
import { Code, ConnectError } from "@connectrpc/connect";
import type { Http2SessionManager } from "@connectrpc/connect-node";
import { startTimer } from "./clock.js";
import { failureOf, resetFailure } from "./http2-failure.js";

export interface ExchangeRequest {
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Uint8Array;
  /** Time for all of it, connecting included. Default: none. */
  readonly timeoutMs: number | undefined;
  /** Ends it. */
  readonly signal: AbortSignal | undefined;
}

export interface Exchanged {
  readonly status: number;
  readonly headers: Headers;
  /** Empty where the headers were all there is. */
  readonly trailers: Headers;
  readonly body: Buffer;
}

/** @throws ConnectError whatever kept it from an answer. */
export function exchange(sessions: Http2SessionManager, request: ExchangeRequest): Promise<Exchanged> {
  return new Promise((resolve, reject) => {
    new Exchange(sessions, request, resolve, reject).start();
  });
}

class Exchange {
  readonly #sessions: Http2SessionManager;
  readonly #request: ExchangeRequest;
  readonly #resolve: (exchanged: Exchanged) => void;
  readonly #reject: (error: ConnectError) => void;
  readonly #onAbort = (): void => this.#fail(ConnectError.from(this.#request.signal?.reason, Code.Canceled));
  #stream: ClientHttp2Stream | undefined;
  #stopTimer: (() => void) | undefined;
  #headers: IncomingHttpHeaders | undefined;
  #trailers: IncomingHttpHeaders | undefined;
  #chunks: Buffer[] = [];
  #isEnded = false;
  #isSettled = false;

  constructor(
    sessions: Http2SessionManager,
    request: ExchangeRequest,
    resolve: (exchanged: Exchanged) => void,
    reject: (error: ConnectError) => void,
  ) {
    this.#sessions = sessions;
    this.#request = request;
    this.#resolve = resolve;
    this.#reject = reject;
  }

  start(): void {
    const { signal, timeoutMs, path, headers } = this.#request;
    if (signal?.aborted === true) return this.#onAbort();
    signal?.addEventListener("abort", this.#onAbort, { once: true });
    if (timeoutMs !== undefined) {
      const onDue = (): void => this.#fail(new ConnectError("the operation timed out", Code.DeadlineExceeded));
      this.#stopTimer = startTimer(timeoutMs, onDue);
    }
    this.#sessions.request("POST", path, headers, {}).then(
      (stream) => this.#send(stream),
      (error: unknown) => this.#fail(failureOf(error)),
    );
  }

  #send(stream: ClientHttp2Stream): void {
    this.#stream = stream;
    // A server that has answered in full need not read the rest of the request.
    stream.on("error", (error) => (this.#isWhole ? this.#finish() : this.#fail(failureOf(error))));
    // Connected too late: the caller has left.
    if (this.#isSettled) return stream.close(constants.NGHTTP2_CANCEL);
    stream.once("response", (headers) => {
      this.#headers = headers;
    });
    stream.on("data", (chunk: Buffer) => {
      this.#chunks.push(chunk);
      this.#sessions.notifyResponseByteRead(stream);
    });
    stream.once("trailers", (trailers) => {
      this.#trailers = trailers;
      if (this.#isEnded) this.#finish();
    });
    stream.once("end", () => {
      this.#isEnded = true;
      if (this.#isWhole) this.#finish();
    });
    stream.once("close", () => {
      // A connection that was cut ends its streams as well, without trailers.
      const failure = this.#isWhole ? undefined : resetFailure(stream.rstCode);
      if (failure !== undefined) this.#fail(failure);
      else this.#finish();
    });
    stream.end(this.#request.body);
  }

  get #isWhole(): boolean {
    return this.#isEnded && (this.#trailers !== undefined || this.#stream?.endAfterHeaders === true);
  }

  #finish(): void {
    if (this.#headers === undefined) {
      return this.#fail(new ConnectError("the stream was closed without an answer", Code.Aborted));
    }
    if (!this.#settle()) return;
    const [first, ...others] = this.#chunks;
    this.#resolve({
      status: Number(this.#headers[":status"]),
      headers: webHeaders(this.#headers),
      trailers: webHeaders(this.#trailers ?? {}),
      body: first !== undefined && others.length === 0 ? first : Buffer.concat(this.#chunks),
    });
  }

  #fail(error: ConnectError): void {
    if (!this.#settle()) return;
    const stream = this.#stream;
    if (stream !== undefined && !stream.closed) stream.close(constants.NGHTTP2_CANCEL);
    this.#reject(error);
  }

  /** @returns false if it is settled already. */
  #settle(): boolean {
    if (this.#isSettled) return false;
    this.#isSettled = true;
    this.#stopTimer?.();
    this.#request.signal?.removeEventListener("abort", this.#onAbort);
    return true;
  }
}

function webHeaders(received: IncomingHttpHeaders): Headers {
  const headers = new Headers();
  for (const [name, value] of Object.entries(received)) {
    if (value === undefined || name.startsWith(":")) continue;
    if (Array.isArray(value)) for (const item of value) headers.append(name, item);
    else headers.append(name, value);
  }
  return headers;
}
