/** Data that is kept outside of its run, because of its size (PAY-4, PAY-5): fetched by the URL that came with the reference. */
import { create } from "@bufbuild/protobuf";
import { systemClock } from "./clock.js";
import { ApiConnectionError } from "./errors.js";
import { type Payload, PayloadForm, type PayloadReference, PayloadSchema } from "./gen/hairtrigger/v1/payload_pb.js";
import type { Run } from "./gen/hairtrigger/v1/run_pb.js";

export interface FetchOptions {
  /** Before each further try; none: one try. */
  readonly pausesMs: readonly number[];
  readonly sleep?: (delayMs: number) => Promise<void>;
  readonly signal?: AbortSignal;
}

/** A call that is tried again gets a new URL, so that few tries for each are enough. */
const CALL_PAUSES_MS = [500] as const;

/** The data of references that were fetched last, for states of one run that follow each other. */
export type Fetched = Map<string, Payload>;

/** Values that are remembered: payload and output of a run, and of another that changes by turns with it. */
const FETCHED_MAX = 4;

/**
 * Puts the data in the place of references; changes `run`, which is the caller's own.
 * @throws ApiConnectionError PAYLOAD_STORE_UNAVAILABLE
 */
export async function withData(run: Run, known: Fetched = new Map(), signal?: AbortSignal): Promise<Run> {
  const options = { pausesMs: CALL_PAUSES_MS, ...(signal === undefined ? {} : { signal }) };
  const present = async (payload: Payload | undefined, url: string): Promise<Payload | undefined> => {
    if (payload?.data.case !== "reference") return payload;
    const { key } = payload.data.value;
    const data = known.get(key) ?? (await fetchData(payload, url, options));
    known.set(key, data);
    for (const oldest of known.keys()) {
      if (known.size <= FETCHED_MAX) break;
      known.delete(oldest);
    }
    return data;
  };
  run.payload = await present(run.payload, run.payloadPresignedUrl);
  run.output = await present(run.output, run.outputPresignedUrl);
  return run;
}

/**
 * The payload with its data.
 * @throws ApiConnectionError PAYLOAD_STORE_UNAVAILABLE; whatever the signal was aborted with.
 */
export async function fetchData(payload: Payload, url: string, options: FetchOptions): Promise<Payload> {
  if (payload.data.case !== "reference") return payload;
  const reference = payload.data.value;
  if (url === "") throw unavailable("The server knows no place where it would be now");
  const bytes = await withTries(() => get(url, reference, options.signal), options);
  return create(PayloadSchema, { ...payload, data: dataOf(bytes, reference.form) });
}

/** @throws ApiConnectionError PAYLOAD_STORE_UNAVAILABLE after the last try; at once what is not worth another. */
export async function withTries<T>(work: () => Promise<T>, options: FetchOptions): Promise<T> {
  const { pausesMs, sleep = (delayMs: number) => systemClock.sleep(delayMs), signal } = options;
  for (let tried = 0; ; tried += 1) {
    try {
      return await work();
    } catch (error) {
      signal?.throwIfAborted();
      const pauseMs = pausesMs[tried];
      if (pauseMs === undefined || error instanceof RefusedUrlError) throw unavailable(textOf(error), error);
      await sleep(pauseMs);
    }
  }
}

/** A URL that will not be good the next time either. */
export class RefusedUrlError extends Error {}

/** @throws RefusedUrlError where the URL is refused; Error for any other answer but success. */
export async function requireOk(response: Response): Promise<Response> {
  if (response.ok) return response;
  const said = (await response.text().catch(() => "")).slice(0, SAID_MAX);
  const message = `HTTP ${response.status}${said === "" ? "" : `: ${said.trim()}`}`;
  const isFinal = response.status >= 400 && response.status < 500 && ![408, 425, 429].includes(response.status);
  throw isFinal ? new RefusedUrlError(message) : new Error(message);
}

/** Characters of a refusal that an error repeats. */
const SAID_MAX = 300;

async function get(url: string, reference: PayloadReference, signal: AbortSignal | undefined): Promise<Uint8Array> {
  const response = await requireOk(await fetch(url, signal === undefined ? {} : { signal }));
  const bytes = new Uint8Array(await response.arrayBuffer());
  if (BigInt(bytes.length) !== reference.sizeBytes) {
    throw new Error(`Got ${bytes.length} of ${reference.sizeBytes} bytes`);
  }
  return bytes;
}

function dataOf(bytes: Uint8Array, form: PayloadForm): Payload["data"] {
  switch (form) {
    case PayloadForm.BINARY:
      return { case: "binary", value: bytes };
    case PayloadForm.TEXT:
      return { case: "json", value: JSON.stringify(new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes)) };
    case PayloadForm.JSON:
    case PayloadForm.UNSPECIFIED:
      return { case: "json", value: new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes) };
  }
}

function unavailable(text: string, cause?: unknown): ApiConnectionError {
  return new ApiConnectionError({
    code: "unavailable",
    reason: "PAYLOAD_STORE_UNAVAILABLE",
    message: `The data of the run cannot be fetched: ${text}`,
    cause,
  });
}

function textOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  // `fetch` says no more than that it failed.
  return error.cause instanceof Error ? `${error.message} (${error.cause.message})` : error.message;
}
