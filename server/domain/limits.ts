/**
 * Every limit that an operator can change, with the defaults of behaviour.md section 1.
 *
 * Limits are inclusive: the limit passes, one more fails. Units are the last words of a name. What is fixed by the
 * wire contract (required, enum known, id pattern) is not here but in the proto files.
 */

import type { Rate } from "./rate-limit.js";

const KIB = 1_024;
const MIB = 1_024 * KIB;
const SECOND_MS = 1_000;
const MINUTE_MS = 60 * SECOND_MS;
const HOUR_MS = 60 * MINUTE_MS;
const DAY_MS = 24 * HOUR_MS;

export interface Limits {
  /** PAY-6: bytes of one payload (a string: its own bytes; other values: their JSON in UTF-8). Default 10 MB. */
  readonly payloadBytesMax: number;
  /** PAY-7: bytes of one output. Default 100 MB. */
  readonly outputBytesMax: number;
  /** PAY-3: up to this size payloads and outputs are kept with the run. Default 512 KB. */
  readonly inlineBytesMax: number;
  /** BAT-3: items of a one-call batch. Default 500. */
  readonly batchItemsMax: number;
  /** PAY-8: payload bytes of a one-call batch in total. Default 1 MB. */
  readonly batchPayloadBytesMax: number;
  /** BAT-18: an open streamed batch without a new chunk is sealed after this. Default 30 min. */
  readonly batchIdleMs: number;
  /** BAT-5: items of batches, of one environment at one server. Default none. */
  readonly batchItemRate: Rate | undefined;
  /** BAT-6: triggers, batches and chunks of streamed ones, of one environment at one server. Default none. */
  readonly requestRate: Rate | undefined;
  /** MET-2: bytes of JSON. Default 256 KB. */
  readonly metadataBytesMax: number;
  /** RUN-27: bytes of JSON of one chunk of a stream. Default 512 KB, as much as is kept with a run elsewhere. */
  readonly streamChunkBytesMax: number;
  /** RUN-27: chunks of all streams of one run. Default 100,000: an hour at 28 a second. */
  readonly streamChunksMax: number;
  /** RUN-27: bytes of all chunks of one run. Default 64 MB. */
  readonly streamBytesMax: number;
  /** TAG-1: tags of one run. Default 10. */
  readonly tagsMax: number;
  /** TAG-1: code points of one tag. Default 128. */
  readonly tagLengthMax: number;
  /** IDM-1: code points of a key's material. Default 2,048. */
  readonly idempotencyKeyLengthMax: number;
  /** IDM-19: how long a key names its run, from the run's creation, unless the caller says otherwise. Default 30 d. */
  readonly idempotencyKeyTtlMs: number;
  /** REQ-1: how long a repeated request id gets the same answer. Default 24 h. */
  readonly requestMemoryMs: number;
  /** REQ-1: code points of a request id. Default 256. */
  readonly requestIdLengthMax: number;
  /** DEB-1: code points of a debounce key. Default 512. */
  readonly debounceKeyLengthMax: number;
  /** DEB-1: shortest debounce delay. Default 1 s. */
  readonly debounceDelayMinMs: number;
  /** QUE-20: code points of a concurrency key. Default 512. */
  readonly concurrencyKeyLengthMax: number;
  /** QUE-3: code points of a queue name, counted after cleaning. Default 128. */
  readonly queueNameLengthMax: number;
  /** QUE-10: QUEUED runs of one queue, checked when triggering. Default none. */
  readonly queueSizeMax: number | undefined;
  /** QUE-32: largest concurrency limit that can be set. Default 100,000. */
  readonly concurrencyLimitMax: number;
  /** TTL-8: longest ttl, which also becomes the ttl of runs without one. Default none. */
  readonly ttlMaxMs: number | undefined;
  /** ATT-3: attempts of one run. Default 250. */
  readonly attemptsMax: number;
  /** DUR-1: a shorter maxDuration is raised to this. Default 5 s. */
  readonly maxDurationMinSeconds: number;
  /** DUR-G8, DLY-5: longest duration, and furthest due time. Default 100 years of 365 days. */
  readonly durationMaxMs: number;

  /** WAI-6: when a token times out that names no other time. Default 10 min. */
  readonly tokenTimeoutMs: number;
  /** WAI-6: how long the key of a token names it. Default 1 h. */
  readonly tokenKeyTtlMs: number;

  /** RUN-6: a session without a heartbeat for this long lapses, and its runs are lost. Default 30 s. */
  readonly sessionMs: number;
  /** RUN-6: pause between a worker's heartbeats. Default 10 s. */
  readonly heartbeatMs: number;
  /** RUN-6: time in which a worker confirms a pick-up. Default 10 s. */
  readonly pickUpMs: number;
  /** RUN-6: a worker that was silent for this long is assigned nothing until its next message. Default 12 s. */
  readonly silentMs: number;
  /** RUN-6: a worker without an acknowledged heartbeat for this long gives up its runs by itself. Default 28 s. */
  readonly selfFenceMs: number;
  /** RUN-6: unconfirmed pick-ups in a row that end a run as SYSTEM_FAILURE. Default 5. */
  readonly pickUpFailuresMax: number;
  /** RTY-5: a retry pause below this is spent on the worker; from this on the run is QUEUED. Default 30 s. */
  readonly shortRetryMs: number;
  /** CAN-3, QUE-4: how long code of a cancelled or timed-out run may hold its slot and capacity. Default 30 s. */
  readonly cancelGraceMs: number;
  /** RUN-7: how long a stopping worker lets runs finish. Default 25 s. */
  readonly stopGraceMs: number;
  /** RUN-7: interruptions in a row that end a run as CRASHED. Default 20. */
  readonly interruptionsMax: number;

  /** RUN-9: how long finished runs are kept; at least 24 h from creation whatever is configured. Default 30 d. */
  readonly finishedRunsKeptMs: number;
  /** RUN-17: largest page. Default 100. */
  readonly pageSizeMax: number;
  /** RUN-17: page size of a caller that names none. Default 25. */
  readonly pageSizeDefault: number;
  /** PAY-12: binary request body, checked before decoding. Default 24 MiB. */
  readonly bodyBinaryBytesMax: number;
  /** PAY-12: JSON request body, checked before decoding; escaping can more than double a text. Default 64 MiB. */
  readonly bodyJsonBytesMax: number;
  /** RUN-10: attempts of a run that are kept with it, the last ones. Default 10. */
  readonly attemptsKept: number;
  /** LOG-1: log lines kept with a run, the last ones. Default 200. */
  readonly logLinesKept: number;
  /** LOG-1: bytes of log lines kept with a run, the last ones. Default 16 KB. */
  readonly logBytesKept: number;
}

/** DUR-G8: 100 years of 365 days. */
export const CENTURY_MS = 100 * 365 * DAY_MS;

/** The defaults of section 1. */
export const defaultLimits: Limits = {
  payloadBytesMax: 10 * MIB,
  outputBytesMax: 100 * MIB,
  inlineBytesMax: 512 * KIB,
  batchItemsMax: 500,
  batchPayloadBytesMax: MIB,
  batchIdleMs: 30 * MINUTE_MS,
  batchItemRate: undefined,
  requestRate: undefined,
  metadataBytesMax: 256 * KIB,
  streamChunkBytesMax: 512 * KIB,
  streamChunksMax: 100_000,
  streamBytesMax: 64 * MIB,
  tagsMax: 10,
  tagLengthMax: 128,
  idempotencyKeyLengthMax: 2_048,
  idempotencyKeyTtlMs: 30 * DAY_MS,
  requestMemoryMs: 24 * HOUR_MS,
  requestIdLengthMax: 256,
  debounceKeyLengthMax: 512,
  debounceDelayMinMs: SECOND_MS,
  concurrencyKeyLengthMax: 512,
  queueNameLengthMax: 128,
  queueSizeMax: undefined,
  concurrencyLimitMax: 100_000,
  ttlMaxMs: undefined,
  attemptsMax: 250,
  maxDurationMinSeconds: 5,
  durationMaxMs: CENTURY_MS,
  tokenTimeoutMs: 10 * MINUTE_MS,
  tokenKeyTtlMs: HOUR_MS,

  sessionMs: 30 * SECOND_MS,
  heartbeatMs: 10 * SECOND_MS,
  pickUpMs: 10 * SECOND_MS,
  silentMs: 12 * SECOND_MS,
  selfFenceMs: 28 * SECOND_MS,
  pickUpFailuresMax: 5,
  shortRetryMs: 30 * SECOND_MS,
  cancelGraceMs: 30 * SECOND_MS,
  stopGraceMs: 25 * SECOND_MS,
  interruptionsMax: 20,

  finishedRunsKeptMs: 30 * DAY_MS,
  pageSizeMax: 100,
  pageSizeDefault: 25,
  bodyBinaryBytesMax: 24 * MIB,
  bodyJsonBytesMax: 64 * MIB,
  attemptsKept: 10,
  logLinesKept: 200,
  logBytesKept: 16 * KIB,
};
