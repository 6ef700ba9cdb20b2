/** Follows one run (RUN-23, RUN-26). */

import { systemClock } from "./clock.js";
import { type CallSettings, callSettings } from "./configuration.js";
import { callError, isWorthAnotherTry } from "./convert/error.js";
import { runData } from "./convert/run.js";
import { AbortError } from "./errors.js";
import type { WatchRunResponse } from "./gen/hairtrigger/v1/run_service_pb.js";
import type { RequestOptions } from "./request-options.js";
import { requestPauseMs, requestRetryPolicy } from "./request-retry.js";
import type { RunData, UntypedValue } from "./run.js";
import { isFinal } from "./run-status.js";
import { callHeaders, connectionTo } from "./transport.js";

/** A member that a subscription can leave out. */
export type SkippableColumn = keyof typeof WIRE_NAMES;

/** Members of runs → fields of the wire. */
const WIRE_NAMES = {
  payload: ["payload", "payload_presigned_url"],
  output: ["output", "output_presigned_url"],
  error: ["error"],
  metadata: ["metadata_json"],
  tags: ["tags"],
  attempts: ["attempts"],
  idempotencyKey: ["idempotency_key"],
  ttl: ["ttl"],
  startedAt: ["start_time"],
  finishedAt: ["finish_time"],
  delayedUntil: ["delayed_until_time"],
  expiredAt: ["expired_time"],
} as const satisfies Readonly<Record<string, readonly string[]>>;

export interface SubscribeOptions {
  /** End after the final state. Default true; otherwise the subscription lasts until it is ended. */
  readonly stopOnCompletion?: boolean;
  /** Members to leave out. */
  readonly skipColumns?: readonly SkippableColumn[];
  /** Ends the subscription: the loop throws an AbortError. */
  readonly signal?: AbortSignal;
}

/**
 * The states of a run: the present one, then every change, in order; states may be skipped, the final one always arrives. It reconnects by
 * itself. Leaving the loop, `unsubscribe()` or the signal releases the stream. Each loop over it is a stream of its own.
 */
export interface RunSubscription<TPayload, TOutput> extends AsyncIterable<RunData<TPayload, TOutput>> {
  /** Ends all loops over it, quietly. Idempotent. */
  unsubscribe(): void;
}

/** @throws ApiClientMissingError without credentials, at the first step of a loop. */
export function subscribe(
  runId: string,
  options: SubscribeOptions,
  requestOptions: RequestOptions | undefined,
): RunSubscription<UntypedValue, UntypedValue> {
  const unsubscribed = new AbortController();
  // Now, while the caller's scope is known; the loop may run elsewhere.
  const settings = settingsOrError(requestOptions);
  return {
    unsubscribe: () => unsubscribed.abort(),
    async *[Symbol.asyncIterator]() {
      if (settings instanceof Error) throw settings;
      const watch: Watch = { runId, options, settings, unsubscribed: unsubscribed.signal };
      yield* states(watch);
    },
  };
}

function settingsOrError(requestOptions: RequestOptions | undefined): CallSettings | Error {
  try {
    return callSettings(requestOptions);
  } catch (error) {
    return error instanceof Error ? error : new Error(String(error));
  }
}

interface Watch {
  readonly runId: string;
  readonly options: SubscribeOptions;
  readonly settings: CallSettings;
  readonly unsubscribed: AbortSignal;
}

async function* states(watch: Watch): AsyncGenerator<RunData<UntypedValue, UntypedValue>, void, undefined> {
  const { options, settings, unsubscribed } = watch;
  const policy = requestRetryPolicy(settings.options.retry);
  let lastMs = Number.NEGATIVE_INFINITY;
  for (let failures = 0; ; ) {
    const left = new AbortController();
    const signals = [left.signal, unsubscribed, ...(options.signal === undefined ? [] : [options.signal])];
    const signal = AbortSignal.any(signals);
    try {
      for await (const { run } of open(watch, signal)) {
        failures = 0;
        if (run === undefined) continue;
        const state = runData(run);
        const isEnd = isFinal(state.status) && options.stopOnCompletion !== false;
        // After a new connection the server begins with the present state, which may be known.
        const updatedMs = state.updatedAt.getTime();
        if (updatedMs > lastMs) {
          lastMs = updatedMs;
          yield state;
        }
        if (isEnd) return;
      }
    } catch (thrown) {
      if (unsubscribed.aborted) return;
      const error = callError(thrown, settings.baseURL, options.signal);
      if (!isWorthAnotherTry(error)) throw error;
      failures += 1;
      await pause(requestPauseMs(policy, failures, error, systemClock.random()), signal, watch);
    } finally {
      left.abort();
    }
    if (unsubscribed.aborted) return;
  }
}

function open(watch: Watch, signal: AbortSignal): AsyncIterable<WatchRunResponse> {
  const { runId, options, settings } = watch;
  const { runs } = connectionTo(settings.baseURL);
  return runs.watchRun(
    {
      runId,
      keepOpen: options.stopOnCompletion === false,
      skipFields: (options.skipColumns ?? []).flatMap((column) => WIRE_NAMES[column] ?? []),
    },
    { signal, headers: callHeaders(settings.accessToken, settings.options.additionalHeaders) },
  );
}

/** @throws AbortError if the caller's signal ends it; an unsubscription ends it quietly. */
async function pause(delayMs: number, signal: AbortSignal, watch: Watch): Promise<void> {
  try {
    await systemClock.sleep(delayMs, signal);
  } catch {
    if (!watch.unsubscribed.aborted) throw new AbortError(undefined, { cause: watch.options.signal?.reason });
  }
}
