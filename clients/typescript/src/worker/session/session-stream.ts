/** The one place where the worker meets the network: a bidirectional stream over a connection of its own. */
import { createClient, type Interceptor } from "@connectrpc/connect";
import { createGrpcTransport, Http2SessionManager } from "@connectrpc/connect-node";
import type { OpenSessionRequest, OpenSessionResponse } from "../../gen/hairtrigger/worker/v1/worker_service_pb.js";
import { WorkerService } from "../../gen/hairtrigger/worker/v1/worker_service_pb.js";

export interface SessionStream {
  /** Ends when the server has ended the stream in order; rejects with ConnectError otherwise. */
  readonly responses: AsyncIterable<OpenSessionResponse>;
  /** Closes the connection under the stream, answered or not. Idempotent. */
  destroy(): void;
}

/**
 * Opens a stream whose messages are pulled from `requests`: the next one is asked for when the one before has been handed to the
 * operating system, so whatever comes together meanwhile is one flush (design 8).
 */
export type OpenStream = (requests: AsyncIterable<OpenSessionRequest>) => SessionStream;

/** Megabytes of a connection's buffers: an output of the largest size (PAY-7) beside everything else. */
const SESSION_MEMORY_MB = 128;

/**
 * Streams over HTTP/2, each with a TCP connection of its own: a connection that seems dead must not be used again, and a stream that
 * lives for weeks must not share one that others close when they are idle.
 */
export function grpcStreams(baseUrl: string, interceptors: readonly Interceptor[]): OpenStream {
  return (requests) => {
    const sessionManager = new Http2SessionManager(baseUrl, undefined, { maxSessionMemory: SESSION_MEMORY_MB });
    const abort = new AbortController();
    const transport = createGrpcTransport({
      baseUrl,
      interceptors: [...interceptors],
      sessionManager,
      acceptCompression: [],
    });
    const responses = createClient(WorkerService, transport).openSession(requests, { signal: abort.signal });
    return {
      responses,
      destroy() {
        abort.abort();
        sessionManager.abort();
      },
    };
  };
}
