/** One unary call: credentials, headers, tries, errors. */
import type { CallOptions } from "@connectrpc/connect";
import { type ApiAnswer, ApiPromise } from "./api-promise.js";
import { systemClock } from "./clock.js";
import { type CallSettings, callSettings } from "./configuration.js";
import { callError } from "./convert/error.js";
import type { RequestOptions } from "./request-options.js";
import { withRetries } from "./request-retry.js";
import { type Connection, callHeaders, connectionTo } from "./transport.js";

/** Time for one try, as on the server (design 14). */
const CALL_TIMEOUT_MS = 30_000;

/** What one try does. `options` has to be handed on, it carries the credentials. */
export type Send<T> = (connection: Connection, options: CallOptions) => Promise<T>;

/**
 * A call with the settings in force here and now; nothing is sent without credentials (CFG-4).
 * @param request makes the request, once: all tries send the same. What it throws, the call rejects with.
 * @param send sends it, once for each try.
 */
export function call<R, T>(
  requestOptions: RequestOptions | undefined,
  request: () => R | Promise<R>,
  send: (connection: Connection, request: R, options: CallOptions) => Promise<T>,
): ApiPromise<T> {
  return new ApiPromise(answerOf(requestOptions, request, send));
}

async function answerOf<R, T>(
  requestOptions: RequestOptions | undefined,
  request: () => R | Promise<R>,
  send: (connection: Connection, request: R, options: CallOptions) => Promise<T>,
): Promise<ApiAnswer<T>> {
  const settings = callSettings(requestOptions);
  const made = await request();
  const sendMade: Send<T> = (connection, options) => send(connection, made, options);
  return withRetries(() => sendOnce(settings, sendMade), settings.options.retry, systemClock);
}

/** One try. @throws ApiError */
export async function sendOnce<T>(settings: CallSettings, send: Send<T>): Promise<ApiAnswer<T>> {
  const { accessToken, baseURL, options } = settings;
  // Outside of the `try`: a header that cannot be sent is the caller's mistake and no answer.
  const sent = callHeaders(accessToken, options.additionalHeaders);
  let headers = new Headers();
  let trailers = new Headers();
  const callOptions: CallOptions = {
    headers: sent,
    timeoutMs: CALL_TIMEOUT_MS,
    onHeader: (received) => {
      headers = received;
    },
    onTrailer: (received) => {
      trailers = received;
    },
  };
  try {
    const data = await send(connectionTo(baseURL), callOptions);
    return { data, response: { headers, trailers } };
  } catch (error) {
    throw callError(error, baseURL);
  }
}
