/** Follows one run, or many (RUN-23, RUN-24, RUN-26). */
import { timestampFromDate } from "@bufbuild/protobuf/wkt";
import { systemClock } from "./clock.js";
import { type CallSettings, callSettings } from "./configuration.js";
import { callError, isWorthAnotherTry } from "./convert/error.js";
import { runData } from "./convert/run.js";
import { parseDuration } from "./duration.js";
import { AbortError } from "./errors.js";
import type { StreamChunk as WireChunk, Run as WireRun } from "./gen/hairtrigger/v1/run_pb.js";
import type { WatchRunsRequest } from "./gen/hairtrigger/v1/run_service_pb.js";
import { type Fetched, withData } from "./large-data.js";
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

/** Chunks by the name of their stream, whatever those names are. */
export type StreamChunks = Readonly<Record<string, unknown>>;

/** A state of the run, or a chunk of one of its streams. */
export type RunPart<TStreams extends StreamChunks, TPayload, TOutput> =
  | { readonly type: "run"; readonly run: RunData<TPayload, TOutput> }
  | { [K in keyof TStreams & string]: { readonly type: K; readonly chunk: TStreams[K] } }[keyof TStreams & string];

/** The states of one run, and what it publishes. */
export interface SingleRunSubscription<TPayload, TOutput> extends RunSubscription<TPayload, TOutput> {
  /**
   * States and, in between, what the run published by `metadata.stream`: chunks of a stream in order, from the first on, all of them before the
   * final state. They are kept until 24 h after the run finished. Nothing checks that chunks are of the given types.
   */
  withStreams<TStreams extends StreamChunks = StreamChunks>(): AsyncIterable<RunPart<TStreams, TPayload, TOutput>>;
}

/** Options of a subscription to many runs. */
export type SubscribeToRunsOptions = Omit<SubscribeOptions, "stopOnCompletion">;

export interface SubscribeToTagOptions extends SubscribeToRunsOptions {
  /** How far back existing runs are shown: a duration such as `"1h"`, or a `Date`; a week at most. Default `"24h"`. New runs always are. */
  readonly createdAt?: string | Date;
}

/** @throws ApiClientMissingError without credentials, at the first step of a loop. */
export function subscribe(
  runId: string,
  options: SubscribeOptions,
  requestOptions: RequestOptions | undefined,
): SingleRunSubscription<UntypedValue, UntypedValue> {
  const isKept = options.stopOnCompletion === false;
  const source = (withStreams: boolean): Source => {
    let afterChunk = 0n;
    return {
      open: ({ runs }, call) =>
        runs.watchRun({ runId, keepOpen: isKept, skipFields: skipFields(options), withStreams, afterChunk }, call),
      isEnd: (state) => !isKept && isFinal(state.status),
      sawChunk: (position) => {
        afterChunk = position;
      },
    };
  };
  const { watched, ...states } = subscription(options, requestOptions, () => source(false));
  return {
    ...states,
    withStreams<TStreams extends StreamChunks>(): AsyncIterable<RunPart<TStreams, UntypedValue, UntypedValue>> {
      return {
        async *[Symbol.asyncIterator]() {
          // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- the caller says what the run publishes
          for await (const part of watched(source(true))) yield part as RunPart<TStreams, UntypedValue, UntypedValue>;
        },
      };
    },
  };
}

/** As {@link subscribe}, for the runs that have all of these tags. */
export function subscribeToTags(
  tags: readonly string[],
  options: SubscribeToTagOptions,
  requestOptions: RequestOptions | undefined,
): RunSubscription<UntypedValue, UntypedValue> {
  return subscription(options, requestOptions, () => {
    const createdAfterSpec = createdAfter(options.createdAt);
    return {
      open: ({ runs }, call) =>
        runs.watchRuns(
          { tags: [...tags], createdAfterSpec: createdAfterSpec(), skipFields: skipFields(options) },
          call,
        ),
      isEnd: () => false,
    };
  });
}

/** As {@link subscribe}, for the runs that a batch made. */
export function subscribeToBatch(
  batchId: string,
  options: SubscribeToRunsOptions,
  requestOptions: RequestOptions | undefined,
): RunSubscription<UntypedValue, UntypedValue> {
  return subscription(options, requestOptions, () => ({
    open: ({ runs }, call) => runs.watchRuns({ batchId, skipFields: skipFields(options) }, call),
    isEnd: () => false,
  }));
}

const DAY_MS = 86_400_000;

/** A span counts from the first connection on, so that runs are not lost to a reconnection long after. */
function createdAfter(createdAt: string | Date | undefined): () => WatchRunsRequest["createdAfterSpec"] {
  if (createdAt instanceof Date) {
    // An invalid one is sent as its text, for the server to refuse.
    if (Number.isNaN(createdAt.getTime())) return () => ({ case: "createdWithin", value: String(createdAt) });
    const value = timestampFromDate(createdAt);
    return () => ({ case: "createdAfterTime", value });
  }
  const spanMs = createdAt === undefined ? DAY_MS : parseDuration(createdAt);
  const startMs = systemClock.nowMs();
  let isFirst = true;
  return () => {
    if (isFirst || spanMs === undefined) {
      isFirst = false;
      return createdAt === undefined ? { case: undefined } : { case: "createdWithin", value: createdAt };
    }
    const seconds = Math.ceil((spanMs + systemClock.nowMs() - startMs) / 1_000);
    return { case: "createdWithin", value: `${seconds}s` };
  };
}

function skipFields({ skipColumns = [] }: SubscribeToRunsOptions): string[] {
  return skipColumns.flatMap((column) => WIRE_NAMES[column] ?? []);
}

/** What a subscription is about. */
interface Source {
  readonly open: (
    services: ReturnType<typeof connectionTo>,
    call: { readonly signal: AbortSignal; readonly headers: ReturnType<typeof callHeaders> },
  ) => AsyncIterable<{ readonly run?: WireRun | undefined; readonly chunks?: readonly WireChunk[] }>;
  /** A new connection begins behind this chunk. */
  readonly sawChunk?: (position: bigint) => void;
  /** The subscription ends after this state. */
  readonly isEnd: (state: RunData<UntypedValue, UntypedValue>) => boolean;
}

/** @param sourceOf called for each loop. */
function subscription(
  options: SubscribeToRunsOptions,
  requestOptions: RequestOptions | undefined,
  sourceOf: () => Source,
): RunSubscription<UntypedValue, UntypedValue> & {
  readonly watched: (source: Source) => AsyncIterable<RunPart<StreamChunks, UntypedValue, UntypedValue>>;
} {
  const unsubscribed = new AbortController();
  // Now, while the caller's scope is known; the loop may run elsewhere.
  const settings = settingsOrError(requestOptions);
  const watched = (source: Source): AsyncIterable<RunPart<StreamChunks, UntypedValue, UntypedValue>> => {
    if (settings instanceof Error) throw settings;
    return parts({ source, options, settings, unsubscribed: unsubscribed.signal });
  };
  return {
    unsubscribe: () => unsubscribed.abort(),
    watched,
    async *[Symbol.asyncIterator]() {
      for await (const part of watched(sourceOf())) if ("run" in part) yield part.run;
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
  readonly source: Source;
  readonly options: SubscribeToRunsOptions;
  readonly settings: CallSettings;
  readonly unsubscribed: AbortSignal;
}

async function* parts(
  watch: Watch,
): AsyncGenerator<RunPart<StreamChunks, UntypedValue, UntypedValue>, void, undefined> {
  const { source, options, settings, unsubscribed } = watch;
  const policy = requestRetryPolicy(settings.options.retry);
  const shown = createShown();
  const fetched: Fetched = new Map();
  for (let failures = 0; ; ) {
    const left = new AbortController();
    const signals = [left.signal, unsubscribed, ...(options.signal === undefined ? [] : [options.signal])];
    const signal = AbortSignal.any(signals);
    const headers = callHeaders(settings.accessToken, settings.options.additionalHeaders);
    try {
      for await (const { run, chunks = [] } of source.open(connectionTo(settings.baseURL), { signal, headers })) {
        failures = 0;
        for (const { position, key, chunkJson } of chunks) {
          source.sawChunk?.(position);
          const chunk: unknown = JSON.parse(chunkJson);
          yield { type: key, chunk };
        }
        if (run === undefined) continue;
        const state = runData(await withData(run, fetched, signal));
        // After a new connection the server begins with the present states, which may be known.
        if (shown.isNews(state)) yield { type: "run", run: state };
        if (source.isEnd(state)) return;
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

/** Runs whose last state is remembered; of others one may be seen again after a new connection. */
const SHOWN_MAX = 10_000;

function createShown() {
  const updates = new Map<string, number>();
  return {
    isNews({ id, updatedAt }: RunData<UntypedValue, UntypedValue>): boolean {
      const updatedMs = updatedAt.getTime();
      if (updatedMs <= (updates.get(id) ?? Number.NEGATIVE_INFINITY)) return false;
      updates.delete(id);
      updates.set(id, updatedMs);
      const [oldest] = updates.size > SHOWN_MAX ? updates.keys() : [];
      if (oldest !== undefined) updates.delete(oldest);
      return true;
    },
  };
}

/** @throws AbortError if the caller's signal ends it; an unsubscription ends it quietly. */
async function pause(delayMs: number, signal: AbortSignal, watch: Watch): Promise<void> {
  try {
    await systemClock.sleep(delayMs, signal);
  } catch {
    if (!watch.unsubscribed.aborted) throw new AbortError(undefined, { cause: watch.options.signal?.reason });
  }
}
