/**
 * The port of a server whose store is not there yet: it lives, it is not ready, and it refuses every call with UNAVAILABLE, so that
 * orchestrators let it wait and callers try again. Later the same port serves.
 */
import { storeUnavailable } from "../domain/error.js";
import { type Answer, grpcRefusalAnswer, refusalAnswer } from "./answer.js";
import { connectErrorOf } from "./error.js";
import { type HttpRequest, type HttpResponse, type Listener, type Listeners, listen } from "./listen.js";
import { answerPlain } from "./plain.js";
import { writeAnswer } from "./write-answer.js";

export interface Door {
  readonly listener: Listener;
  /** From now on calls are answered by this. */
  open(listeners: Listeners): void;
  /** Idempotent. */
  close(): Promise<void>;
}

export interface DoorOptions {
  readonly host: string;
  readonly port: number;
  readonly tls: { readonly cert: string; readonly key: string } | undefined;
  /** Why nothing is served yet, for operators. */
  readonly reason: string;
}

/** @throws the error of `listen`, such as EADDRINUSE. */
export async function createDoor({ host, port, tls, reason }: DoorOptions): Promise<Door> {
  const readiness = { check: async () => ({ ok: false, error: reason }) };
  let current: Listeners = {
    onRequest(request, response) {
      if (!answerPlain(readiness, request, response)) void refuse(reason, request, response);
    },
  };
  const listener = await listen({
    host,
    port,
    tls,
    onRequest: (request, response) => current.onRequest(request, response),
    onStream: (stream, headers) => current.onStream?.(stream, headers) ?? false,
  });
  return {
    listener,
    open(listeners) {
      current = listeners;
    },
    async close() {
      const drained = listener.drain();
      listener.destroy();
      await drained;
    },
  };
}

async function refuse(reason: string, request: HttpRequest, response: HttpResponse): Promise<void> {
  const error = connectErrorOf(storeUnavailable(new Error(reason)));
  const type = request.headers["content-type"] ?? "";
  const answer: Answer = type.startsWith("application/grpc") ? grpcRefusalAnswer(error, type) : refusalAnswer(error);
  // Whoever has hung up meanwhile is told nothing.
  await writeAnswer(answer, request, response).catch(() => response.destroy());
}
