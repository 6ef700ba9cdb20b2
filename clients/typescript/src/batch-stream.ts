/**
 * Streams a batch (BAT-15). Chunks of at most 500 items and 1 MB are made while earlier ones are on their way: one call carries those that are
 * ready and is answered when they are stored, so that at most 4 chunks are unacknowledged and the input is read no faster. What is not
 * acknowledged is kept, and sent again when the connection breaks: the server knows a chunk by its index.
 */
import { create } from "@bufbuild/protobuf";
import { platform } from "#platform";
import { BatchTriggerError } from "./batch-error.js";
import type { BatchOptions, BatchStream, StreamedBatchHandle } from "./batch-handle.js";
import { sendOnce } from "./call.js";
import { systemClock } from "./clock.js";
import type { CallSettings } from "./configuration.js";
import { type AnyBatchItem, batchOptionsMessage, itemMessage } from "./convert/batch.js";
import { ApiError } from "./errors.js";
import type { BatchItem, BatchOptions as WireOptions } from "./gen/hairtrigger/v1/batch_pb.js";
import {
  type OpenBatch,
  OpenBatchSchema,
  type StreamBatchRequest,
  StreamBatchRequestSchema,
  type StreamBatchResponse,
} from "./gen/hairtrigger/v1/batch_service_pb.js";
import { newRequestId } from "./request-id.js";
import { withRetries } from "./request-retry.js";
import { currentRun } from "./run-context.js";
import { handleToken, tokenEndMs, warnUnknownTask } from "./trigger.js";

const CHUNK_ITEMS_MAX = 500;
const CHUNK_BYTES_MAX = 1_048_576;
/** Chunks that are made or on their way, and not acknowledged. */
const UNACKNOWLEDGED_MAX = 4;
/** Chunks of one call: while it is on its way, as many are made. */
const CALL_CHUNKS_MAX = UNACKNOWLEDGED_MAX / 2;
/** A partial chunk leaves this long after its first item. */
const PARTIAL_MS = 100;

export interface StreamParams<TItem> {
  readonly items: BatchStream<TItem>;
  readonly read: (item: TItem) => AnyBatchItem;
  readonly options: BatchOptions | undefined;
}

interface Chunk {
  readonly index: number;
  readonly items: readonly BatchItem[];
}

export async function streamBatch<TItem>(
  { items, read, options }: StreamParams<TItem>,
  settings: CallSettings,
): Promise<StreamedBatchHandle> {
  if (platform.name === "browser") {
    throw new Error("Browsers cannot stream requests: pass an array of items, or stream from a server");
  }
  const input = iteratorOf(items);
  const issuedAtMs = systemClock.nowMs();
  const expiresAtMs = tokenEndMs(settings, issuedAtMs);
  const batchOptions = await batchOptionsMessage(options);
  const open = openMessage(batchOptions, newRequestId(systemClock));
  const sender = new Sender(settings, open);
  // A batch that its key finds is not read.
  const opened = batchOptions?.idempotencyKey ? await sender.open() : undefined;
  const last = opened?.isCached === true ? opened : await fill(sender, input, read);
  sender.warnOfUnknownTasks();
  const token = { scope: `read:batch:${last.batchId}`, issuedAtMs, expiresAtMs, tokenId: open.requestId };
  return {
    batchId: last.batchId,
    id: last.batchId,
    isCached: last.isCached,
    ...(last.idempotencyKey === "" ? {} : { idempotencyKey: last.idempotencyKey }),
    runCount: Number(last.runCount),
    publicAccessToken: await handleToken(settings, last.publicAccessToken, token),
    ...(sender.warnings.length === 0 ? {} : { warnings: sender.warnings }),
  };
}

/** @param awaitingLease of the run that waits for the batch. Default: none. */
export function openMessage(
  options: WireOptions | undefined,
  requestId: string,
  awaitingLease: Uint8Array = new Uint8Array(),
): OpenBatch {
  const run = currentRun();
  return create(OpenBatchSchema, {
    requestId,
    options,
    parentRunId: run?.ctx.run.id,
    attempt: run === undefined ? undefined : { sessionId: run.sessionId, attempt: run.ctx.attempt.number },
    awaitingLease,
  });
}

/** Sends the whole input, and seals the batch. @throws BatchTriggerError; what is wrong with an item as it is (RES-13). */
export async function fill<TItem>(
  sender: Sender,
  input: AsyncIterator<TItem, unknown>,
  read: (item: TItem) => AnyBatchItem,
): Promise<StreamBatchResponse> {
  const chunks = new ChunkMaker(input, read);
  chunks.start();
  try {
    for (;;) {
      const ready = await chunks.take(CALL_CHUNKS_MAX);
      if (ready.length === 0) return await sender.seal(undefined);
      await sender.send(ready);
    }
  } catch (error) {
    chunks.stop();
    const told = await sender.giveUp(error, chunks.itemCount);
    // What is wrong with an item itself is the caller's mistake, and stays as it is (RES-13).
    throw chunks.isItemWrong ? error : told;
  }
}

/** Makes chunks from the input, a few ahead of those that are sent. */
class ChunkMaker<TItem> {
  readonly #input: AsyncIterator<TItem, unknown>;
  readonly #read: (item: TItem) => AnyBatchItem;
  readonly #ready: Chunk[] = [];
  #items: BatchItem[] = [];
  #bytes = 0;
  #index = 0;
  #state: "reading" | "ended" | "failed" | "stopped" = "reading";
  #failure: unknown;
  #taken: readonly Chunk[] = [];
  #changed: (() => void) | undefined;
  #mayRead: (() => void) | undefined;
  #timer: AbortController | undefined;
  /** The failure is that of an item that cannot be sent. */
  isItemWrong = false;
  /** Items that were taken from the input and are in order. */
  itemCount = 0;

  constructor(input: AsyncIterator<TItem, unknown>, read: (item: TItem) => AnyBatchItem) {
    this.#input = input;
    this.#read = read;
  }

  start(): void {
    void this.#run();
  }

  /** The next chunks, once there is one; those taken before are acknowledged by this. Empty: the input has ended. @throws what it threw. */
  async take(count: number): Promise<readonly Chunk[]> {
    this.#taken = [];
    this.#mayRead?.();
    while (this.#ready.length === 0 && this.#state === "reading") {
      await new Promise<void>((resolve) => {
        this.#changed = resolve;
      });
    }
    if (this.#ready.length === 0 && this.#state === "failed") throw this.#failure;
    this.#taken = this.#ready.splice(0, count);
    this.#mayRead?.();
    return this.#taken;
  }

  /** Reads no more, and tells the input. */
  stop(): void {
    if (this.#state === "reading") {
      this.#state = "stopped";
      this.#leave();
    }
    this.#timer?.abort();
    this.#mayRead?.();
  }

  /** Tells the input that nobody reads on. Whatever it does about it is its own affair. */
  #leave(): void {
    void Promise.resolve(this.#input.return?.()).catch(() => undefined);
  }

  async #run(): Promise<void> {
    try {
      while (this.#state === "reading") {
        await this.#room();
        const { done, value } = await this.#input.next();
        if (done === true || this.#state !== "reading") break;
        await this.#add(value);
      }
      if (this.#state === "reading") this.#state = "ended";
    } catch (error) {
      this.#failure = error;
      this.#state = "failed";
    }
    this.#flush();
    this.#changed?.();
  }

  async #add(value: TItem): Promise<void> {
    const item = await this.#encode(value);
    const bytes = bytesOf(item);
    if (this.#items.length > 0 && this.#bytes + bytes > CHUNK_BYTES_MAX) this.#flush();
    this.#items.push(item);
    this.#bytes += bytes;
    this.itemCount += 1;
    if (this.#items.length === CHUNK_ITEMS_MAX || this.#bytes > CHUNK_BYTES_MAX) this.#flush();
    else if (this.#items.length === 1) this.#flushSoon();
  }

  async #encode(value: TItem): Promise<BatchItem> {
    try {
      return await itemMessage(this.#read(value), `items[${this.itemCount}]`);
    } catch (error) {
      this.isItemWrong = true;
      this.#leave();
      throw error;
    }
  }

  /** Resolves when one more chunk may be begun. */
  async #room(): Promise<void> {
    while (this.#ready.length + this.#taken.length >= UNACKNOWLEDGED_MAX && this.#state === "reading") {
      await new Promise<void>((resolve) => {
        this.#mayRead = resolve;
      });
    }
  }

  #flushSoon(): void {
    const timer = new AbortController();
    this.#timer = timer;
    systemClock.sleep(PARTIAL_MS, timer.signal).then(
      () => this.#flush(),
      () => undefined,
    );
  }

  #flush(): void {
    this.#timer?.abort();
    this.#timer = undefined;
    if (this.#items.length === 0) return;
    this.#ready.push({ index: this.#index, items: this.#items });
    this.#index += 1;
    this.#items = [];
    this.#bytes = 0;
    this.#changed?.();
  }
}

/** As the server counts them: of a string its own bytes, of anything else its JSON (PAY-6). An upper bound is good enough. */
function bytesOf({ payload }: BatchItem): number {
  return payload?.data.case === "json" ? encoder.encode(payload.data.value).length : 0;
}

const encoder = new TextEncoder();

/** Sends the messages of one batch, call by call. */
export class Sender {
  readonly #settings: CallSettings;
  readonly #open: OpenBatch;
  readonly #unknown = new Map<string, readonly string[]>();
  readonly #warnings = new Set<string>();
  #last: StreamBatchResponse | undefined;

  constructor(settings: CallSettings, open: OpenBatch) {
    this.#settings = settings;
    this.#open = open;
  }

  get warnings(): readonly string[] {
    return [...this.#warnings];
  }

  open(): Promise<StreamBatchResponse> {
    return this.#call([]);
  }

  send(chunks: readonly Chunk[]): Promise<StreamBatchResponse> {
    return this.#call(
      chunks.map(({ index, items }) => ({
        case: "chunk" as const,
        value: { $typeName: "hairtrigger.v1.BatchChunk" as const, index: BigInt(index), items: [...items] },
      })),
    );
  }

  seal(failure: { readonly error: string; readonly errorCode: string } | undefined): Promise<StreamBatchResponse> {
    const value = create(StreamBatchRequestSchema, { message: { case: "seal", value: { failure } } });
    return this.#call([value.message]);
  }

  /** The batch is sealed with what was accepted, and the caller told (BAT-19). */
  async giveUp(cause: unknown, itemCount: number): Promise<unknown> {
    const apiError = cause instanceof ApiError ? cause : undefined;
    const text = cause instanceof Error ? cause.message : String(cause);
    // Sealing an empty batch says again what was wrong, or fails as the stream did; either way the server seals it in the end.
    const sealed = await this.seal({ error: text, errorCode: apiError?.reason ?? "" }).catch(() => undefined);
    const state = sealed ?? this.#last;
    return new BatchTriggerError({
      phase: apiError?.reason === "BATCH_EMPTY" ? "create" : "stream",
      batchId: state?.batchId,
      itemCount,
      acceptedCount: Number(state?.runCount ?? 0),
      cause,
      apiError,
    });
  }

  warnOfUnknownTasks(): void {
    for (const [taskId, similar] of this.#unknown) warnUnknownTask(this.#settings, taskId, similar);
  }

  async #call(messages: readonly StreamBatchRequest["message"][]): Promise<StreamBatchResponse> {
    const requests = [{ case: "open" as const, value: this.#open }, ...messages].map((message) =>
      create(StreamBatchRequestSchema, { message }),
    );
    const send = () => sendOnce(this.#settings, ({ batches }, options) => batches.streamBatch(each(requests), options));
    const { data } = await withRetries(send, this.#settings.options.retry, systemClock);
    this.#last = data;
    for (const { taskId, similarTaskIds } of data.unknownTasks) this.#unknown.set(taskId, similarTaskIds);
    for (const warning of data.warnings) this.#warnings.add(warning);
    return data;
  }
}

async function* each<T>(values: readonly T[]): AsyncGenerator<T> {
  yield* values;
}

/** @throws TypeError for what is no stream of items. */
export function iteratorOf<TItem>(items: BatchStream<TItem>): AsyncIterator<TItem, unknown> {
  if (typeof items === "object" && items !== null) {
    if (Symbol.asyncIterator in items) return items[Symbol.asyncIterator]();
    if (Symbol.iterator in items) return asynchronous(items[Symbol.iterator]());
    if ("getReader" in items) return readerOf(items.getReader());
  }
  throw new TypeError("items must be an array, an AsyncIterable, a generator or a ReadableStream");
}

function asynchronous<TItem>(iterator: Iterator<TItem, unknown>): AsyncIterator<TItem, unknown> {
  return {
    next: async () => iterator.next(),
    return: async (value?: unknown) => iterator.return?.(value) ?? { done: true, value },
  };
}

function readerOf<TItem>(
  reader: ReturnType<Extract<BatchStream<TItem>, { getReader(): unknown }>["getReader"]>,
): AsyncIterator<TItem, unknown> {
  return {
    async next() {
      const { done, value } = await reader.read();
      return done || value === undefined ? { done: true, value: undefined } : { done: false, value };
    },
    async return() {
      await reader.cancel();
      return { done: true, value: undefined };
    },
  };
}
