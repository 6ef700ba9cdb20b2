/**
 * One port for everything (design 14). In clear text the first bytes decide: the HTTP/2 preface goes to an `http2` server, the rest to an
 * `http` server; neither listens itself. With TLS, ALPN decides.
 *
 * Connections are bounded: silence before the first request ends them, and an HTTP/2 connection without streams is closed after a while;
 * one with streams (a worker, a watcher) is asked by ping whether it still lives, since a dead peer looks like a quiet one.
 */
import { createServer as createHttpServer, type IncomingMessage, type ServerResponse } from "node:http";
import {
  createServer as createHttp2Server,
  createSecureServer,
  type Http2SecureServer,
  type Http2Server,
  type Http2ServerRequest,
  type Http2ServerResponse,
  type IncomingHttpHeaders,
  type ServerHttp2Session,
  type ServerHttp2Stream,
  type ServerOptions,
} from "node:http2";
import { createServer as createNetServer, type Server as NetServer, type Socket } from "node:net";

export type HttpRequest = IncomingMessage | Http2ServerRequest;
export type HttpResponse = ServerResponse | Http2ServerResponse;
export type RequestListener = (request: HttpRequest, response: HttpResponse) => void;

/** @returns false to leave the stream to the {@link RequestListener}. */
export type StreamListener = (stream: ServerHttp2Stream, headers: IncomingHttpHeaders) => boolean;

/** What answers on a port. */
export interface Listeners {
  readonly onRequest: RequestListener;
  /** Asked first about every stream of HTTP/2; what it takes never becomes a request and a response. */
  readonly onStream?: StreamListener;
}

export interface ListenOptions extends Listeners {
  readonly host: string;
  /** 0: any free port. */
  readonly port: number;
  /** PEM texts; undefined: clear text. */
  readonly tls: { readonly cert: string; readonly key: string } | undefined;
}

export interface Listener {
  readonly host: string;
  readonly port: number;
  /**
   * Takes no new connection and tells HTTP/2 peers to open no new stream (GOAWAY); resolves when every connection has ended.
   * Idempotent.
   */
  drain(): Promise<void>;
  /** Ends every connection now. Idempotent. */
  destroy(): void;
}

/** RFC 9113, 3.4: what every HTTP/2 connection begins with. */
const PREFACE = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
/** A connection that says nothing for this long is closed. */
const FIRST_BYTES_MS = 20_000;
/** Time for the headers of an HTTP/1.1 request. */
const HEADERS_MS = 20_000;
/** Time for a whole HTTP/1.1 request: 64 MiB at 2 Mbit/s. */
const REQUEST_MS = 300_000;
/** Idle HTTP/1.1 connections; above the 60 s of common load balancers, which should be the first to close. */
const KEEP_ALIVE_MS = 75_000;
/** An HTTP/2 connection without traffic for this long is closed if idle, pinged if not; twice: dead. */
const IDLE_MS = 300_000;
/** TCP probes find peers that vanished without a word. */
const TCP_PROBE_MS = 30_000;

const HTTP2_OPTIONS = {
  /** MB that one connection may hold; below it Node ends connections with many large messages under way. */
  maxSessionMemory: 128,
  settings: {
    maxConcurrentStreams: 1_000,
    /** A whole flush without waiting for window updates; the connection's window bounds what all streams hold together. */
    initialWindowSize: 1_048_576,
  },
} as const satisfies ServerOptions;
const CONNECTION_WINDOW_BYTES = 8_388_608;

/** @throws the error of `listen`, such as EADDRINUSE. */
export async function listen(options: ListenOptions): Promise<Listener> {
  const sockets = new Set<Socket>();
  /** Connections that have not said yet what they speak. */
  const undecided = new Set<Socket>();
  const sessions = new Set<ServerHttp2Session>();
  let isDraining = false;

  const onRequest: RequestListener = (request, response) => {
    if (request.httpVersionMajor === 1) {
      response.once("finish", () => {
        if (isDraining) request.socket.end();
      });
    }
    options.onRequest(request, response);
  };
  const onSession = (session: ServerHttp2Session): void => {
    sessions.add(session);
    session.once("close", () => sessions.delete(session));
    session.setLocalWindowSize(CONNECTION_WINDOW_BYTES);
    watchForSilence(session);
    // A connection that came in while the server began to stop.
    if (isDraining) session.close();
  };
  const { server, stopHttp1 } = options.tls === undefined ? clearText() : encrypted(options.tls);
  server.on("connection", (socket: Socket) => {
    sockets.add(socket);
    socket.once("close", () => sockets.delete(socket));
    socket.setNoDelay(true);
    socket.setKeepAlive(true, TCP_PROBE_MS);
  });

  function clearText(): PortServer {
    const http2 = createHttp2Server(HTTP2_OPTIONS, onRequest);
    askFirst(http2, options.onStream);
    http2.on("session", onSession);
    const http1 = createHttpServer(
      { headersTimeout: HEADERS_MS, requestTimeout: REQUEST_MS, keepAliveTimeout: KEEP_ALIVE_MS },
      onRequest,
    );
    // Its time limits are looked after from `listening` on, which a server that is handed its connections never emits.
    http1.emit("listening");
    const net = createNetServer((socket) => {
      undecided.add(socket);
      socket.once("close", () => undecided.delete(socket));
      route(socket, (isHttp2) => {
        undecided.delete(socket);
        (isHttp2 ? http2 : http1).emit("connection", socket);
      });
    });
    // Closing ends idle connections; it fails, harmlessly, for want of a port of its own.
    return { server: net, stopHttp1: () => http1.close(() => {}) };
  }

  function encrypted(tls: { readonly cert: string; readonly key: string }): PortServer {
    const secure = createSecureServer(
      { ...HTTP2_OPTIONS, ...tls, allowHTTP1: true, handshakeTimeout: FIRST_BYTES_MS, minVersion: "TLSv1.2" },
      onRequest,
    );
    askFirst(secure, options.onStream);
    secure.on("session", onSession);
    // Closing it ends idle HTTP/1.1 connections as well.
    return { server: secure, stopHttp1: () => {} };
  }

  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(options.port, options.host, () => {
      server.off("error", reject);
      resolve();
    });
  });
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("a TCP server has an address");

  let drained: Promise<void> | undefined;
  return {
    host: options.host,
    port: address.port,
    drain() {
      isDraining = true;
      drained ??= new Promise((resolve) => {
        server.close(() => resolve());
        stopHttp1();
        for (const session of sessions) session.close();
        for (const socket of undecided) socket.destroy();
      });
      return drained;
    },
    destroy() {
      for (const session of sessions) session.destroy();
      for (const socket of sockets) socket.destroy();
    },
  };
}

interface PortServer {
  readonly server: NetServer;
  readonly stopHttp1: () => void;
}

/** Puts `onStream` before the listener by which Node makes a request and a response of every stream. */
function askFirst(server: Http2Server | Http2SecureServer, onStream: StreamListener | undefined): void {
  if (onStream === undefined) return;
  const others = server.listeners("stream");
  server.removeAllListeners("stream");
  server.on("stream", (stream: ServerHttp2Stream, headers: IncomingHttpHeaders, ...rest: readonly unknown[]) => {
    if (onStream(stream, headers)) return;
    for (const listener of others) Reflect.apply(listener, server, [stream, headers, ...rest]);
  });
}

/** Looks at the first bytes without taking them. */
function route(socket: Socket, hand: (isHttp2: boolean) => void): void {
  let seen: Buffer = Buffer.alloc(0);
  const drop = (): void => void socket.destroy();
  socket.setTimeout(FIRST_BYTES_MS, drop);
  socket.on("error", drop);
  socket.on("data", look);

  function look(chunk: Buffer): void {
    seen = seen.length === 0 ? chunk : Buffer.concat([seen, chunk]);
    const length = Math.min(seen.length, PREFACE.length);
    const isPreface = seen.subarray(0, length).equals(PREFACE.subarray(0, length));
    if (isPreface && length < PREFACE.length) return;
    socket.off("data", look);
    socket.off("error", drop);
    socket.off("timeout", drop);
    socket.setTimeout(0);
    socket.pause();
    socket.unshift(seen);
    hand(isPreface);
    // An HTTP/2 session takes what was put back by itself; flowing, the socket would lose it.
    if (!isPreface) socket.resume();
  }
}

function watchForSilence(session: ServerHttp2Session): void {
  let streams = 0;
  let isAsked = false;
  session.on("stream", (stream) => {
    streams += 1;
    stream.once("close", () => {
      streams -= 1;
    });
  });
  session.on("error", () => {});
  session.setTimeout(IDLE_MS, () => {
    if (streams === 0) return session.close();
    if (isAsked) return session.destroy();
    isAsked = true;
    session.ping(() => {
      isAsked = false;
    });
  });
}
