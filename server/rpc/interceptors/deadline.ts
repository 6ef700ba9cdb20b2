/**
 * On Connect's path: answers a unary call when its deadline passes or its caller leaves, whatever its handler is doing; the framework only aborts the signal.
 * The default deadline is set where calls come in (`routes.ts`).
 */
import type { Interceptor } from "@connectrpc/connect";

/** For unary calls that name no deadline (design 14). */
export const DEADLINE_DEFAULT_SECONDS = 30;

export const deadline: Interceptor = (next) => (request) =>
  request.stream ? next(request) : unlessAborted(next(request), request.signal);

function unlessAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const onAbort = (): void => reject(signal.reason);
    if (signal.aborted) onAbort();
    signal.addEventListener("abort", onAbort, { once: true });
    work.then(resolve, reject).finally(() => signal.removeEventListener("abort", onAbort));
  });
}
