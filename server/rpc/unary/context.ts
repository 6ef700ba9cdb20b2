/**
 * What guards and handlers see of a call on the lean path: the same objects as on Connect's, with those parts made on demand that hardly any
 * handler asks for. An AbortController and three Headers for each call cost more than decoding a small message.
 */
import type { IncomingHttpHeaders } from "node:http2";
import type { DescMethodUnary, DescService, Message } from "@bufbuild/protobuf";
import {
  type ContextValues,
  createContextValues,
  type HandlerContext,
  type UnaryRequest,
  type UnaryResponse,
} from "@connectrpc/connect";
import { type CallScope, callScopeKey } from "../call-scope.js";

export class UnaryContext implements HandlerContext {
  readonly method: DescMethodUnary;
  readonly requestMethod = "POST";
  readonly protocolName = "grpc";
  readonly values: ContextValues;
  readonly timeoutMs: () => number;
  readonly #received: IncomingHttpHeaders;
  #requestHeader: Headers | undefined;
  #responseHeader: Headers | undefined;
  #responseTrailer: Headers | undefined;
  #controller: AbortController | undefined;
  #end: { readonly reason: unknown } | undefined;

  constructor(params: {
    readonly method: DescMethodUnary;
    readonly scope: CallScope;
    readonly received: IncomingHttpHeaders;
    readonly timeoutMs: () => number;
  }) {
    this.method = params.method;
    this.values = createContextValues().set(callScopeKey, params.scope);
    this.timeoutMs = params.timeoutMs;
    this.#received = params.received;
  }

  get service(): DescService {
    return this.method.parent;
  }

  get url(): string {
    return `${this.#received[":scheme"] ?? "http"}://${this.#received[":authority"] ?? ""}${this.#received[":path"] ?? ""}`;
  }

  get signal(): AbortSignal {
    if (this.#controller === undefined) {
      this.#controller = new AbortController();
      if (this.#end !== undefined) this.#controller.abort(this.#end.reason);
    }
    return this.#controller.signal;
  }

  get requestHeader(): Headers {
    this.#requestHeader ??= webHeaders(this.#received);
    return this.#requestHeader;
  }

  get responseHeader(): Headers {
    this.#responseHeader ??= new Headers();
    return this.#responseHeader;
  }

  get responseTrailer(): Headers {
    this.#responseTrailer ??= new Headers();
    return this.#responseTrailer;
  }

  /** What the handler added, if it did. */
  get added(): { readonly header: Headers | undefined; readonly trailer: Headers | undefined } {
    return { header: this.#responseHeader, trailer: this.#responseTrailer };
  }

  /** The call is over, however it ended: whoever listens to `signal` is told. Idempotent. */
  end(reason?: unknown): void {
    if (this.#end !== undefined) return;
    this.#end = { reason };
    this.#controller?.abort(reason);
  }
}

/** What guards are given. */
export function requestOf(context: UnaryContext, message: Message): UnaryRequest {
  const { service, method, requestMethod, values: contextValues } = context;
  return {
    stream: false,
    service,
    method,
    requestMethod,
    contextValues,
    message,
    get url() {
      return context.url;
    },
    get signal() {
      return context.signal;
    },
    get header() {
      return context.requestHeader;
    },
  };
}

/** What guards give back. */
export function responseOf(context: UnaryContext, message: Message): UnaryResponse {
  const { service, method } = context;
  return {
    stream: false,
    service,
    method,
    message,
    get header() {
      return context.responseHeader;
    },
    get trailer() {
      return context.responseTrailer;
    },
  };
}

function webHeaders(received: IncomingHttpHeaders): Headers {
  const headers = new Headers();
  for (const [name, value] of Object.entries(received)) {
    if (value === undefined || name.startsWith(":")) continue;
    for (const item of Array.isArray(value) ? value : [value]) headers.append(name, item);
  }
  return headers;
}
