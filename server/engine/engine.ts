/**
 * The engine's verbs, by who asks. Each is one file: load → decide (domain) → commit (store) → emit, signal. Nothing here knows the wire
 * or which store it has. All times are Unix milliseconds.
 *
 * Every verb rejects with AppError for what the caller did wrong (reasons in its comment) and STORE_UNAVAILABLE when the store cannot
 * write or read; then nothing of the call was acknowledged and a repeat is safe.
 */
import type { BatchFailure, BatchItem, BatchState, BatchStatus } from "../domain/batch.js";
import type { AppError, Violation } from "../domain/error.js";
import type { Failure } from "../domain/failure.js";
import type { IdempotencyKeyInput } from "../domain/idempotency.js";
import type { Lease } from "../domain/lease.js";
import type { Limits } from "../domain/limits.js";
import type { MetadataOperation } from "../domain/metadata-operations.js";
import type { LargeData, PayloadInput } from "../domain/payload.js";
import type { ObjectReference } from "../domain/payload-object.js";
import type { RunState, TriggerFunction } from "../domain/run.js";
import type { AttemptRef } from "../domain/run-change.js";
import type { StreamChunk } from "../domain/run-streams.js";
import type { SessionRecord } from "../domain/session.js";
import type { QueueDeclaration, TaskDeclaration, TaskRecord } from "../domain/task.js";
import type { TokenCaller } from "../domain/token-caller.js";
import type { TriggerOptionsInput } from "../domain/trigger-options.js";
import type { WaitTarget } from "../domain/wait.js";
import type { Waitpoint } from "../domain/waitpoint.js";
import type { NewObject, Payloads } from "../payloads/payloads.js";
import type { Signals } from "../signals/signals.js";
import type {
  ClaimedRun,
  LogLine,
  QueueView,
  RunCursor,
  RunDetail,
  RunFilter,
  RunResult,
  Store,
  TokenPage,
  TokenQuery,
} from "../store/store.js";
import type { Clock } from "./clock.js";
import type { Entropy } from "./entropy.js";
import type { EventSink } from "./events.js";
import type { CreatedWaitpoint, CreateTimerParams, CreateTokenParams } from "./producers/waitpoints.js";
import type { RateLimits } from "./rate-limits.js";
import type { Wakes } from "./wakes.js";
import type { Watched } from "./watch-hub.js";

/** What the verbs give and take of the records, for those above the engine, who do not know the store. */
export type {
  ClaimedRun,
  LogLine,
  RelatedRun,
  RunCursor,
  RunDetail,
  RunFilter,
  RunResult,
  TokenCursor,
  TokenFilter,
} from "../store/store.js";

export interface EngineDeps {
  readonly store: Store;
  readonly payloads: Payloads;
  readonly signals: Signals;
  readonly clock: Clock;
  readonly entropy: Entropy;
  readonly events: EventSink;
  readonly limits: Limits;
  readonly specs: SpecCodec;
  /** Sets a timer for a due time that was stored just now, if it is near (design 13). */
  readonly nudge: (duty: NudgedDuty, dueMs: number) => void;
  /** Wakes who waits; made by the engine itself. */
  readonly wakes: Wakes;
  /** Charged by what triggers; made by the engine itself. */
  readonly rates: RateLimits;
}

/** What the engine is given. */
export type EngineParts = Omit<EngineDeps, "wakes" | "rates">;

export type NudgedDuty = "due" | "expire" | "overrun" | "timeout";

/** Opens and closes spec bytes for the few verbs that need the inside (replay, large data). The wire side implements it. */
export interface SpecCodec {
  /** The spec of a replay: payload, tags, metadata, queue, concurrency key, test flag; nothing else (RUN-15). */
  replayOf(spec: Uint8Array): {
    readonly options: TriggerOptionsInput;
    readonly spec: Uint8Array;
    /** A debounced call may have replaced the spec of an earlier one. */
    readonly isReplaced: boolean;
  };
  /** The reference that a spec holds in the place of its payload. */
  referenceOf(spec: Uint8Array): ObjectReference | undefined;
  /** The spec with this reference in the place of its payload's data. */
  withReference(spec: Uint8Array, reference: ObjectReference): Uint8Array;
  /** The same for an output, an encoded Payload. */
  outputWithReference(output: Uint8Array, reference: ObjectReference): Uint8Array;
}

// ── producers ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

export interface TriggerItem {
  readonly taskId: string;
  /** Encoded hairtrigger.v1.RunSpec. */
  readonly spec: Uint8Array;
  /** As in the spec; checked here (PAY-6, PAY-12). */
  readonly payload: PayloadInput;
  readonly options: TriggerOptionsInput;
  readonly requestId: string | undefined;
  readonly parentRunId: string | undefined;
  /** Of the run that is about to wait for this one: the lease that it is executed under (section 4.4). */
  readonly awaitedBy?: Lease | undefined;
  readonly isTest: boolean;
  readonly triggerFunction: TriggerFunction;
  /** The run that this one replays. */
  readonly replayOf?: string;
  /** Set where a public token triggers: its names meet nobody else's (AUT-8), and a one-time token is used up (AUT-3). */
  readonly caller?: TokenCaller;
  /** The object that the spec names, of the replayed run: the new run gets a copy (PAY-11). */
  readonly copyOf?: ObjectReference;
}

export interface Triggered {
  readonly ok: true;
  readonly runId: string;
  readonly taskId: string;
  /** Stored by this very call. */
  readonly isNew: boolean;
  readonly isCached: boolean;
  /** Some worker has registered the task (TRG-6a). */
  readonly isTaskKnown: boolean;
  /** Up to 3, only when the task is unknown. */
  readonly similarTaskIds: readonly string[];
  readonly warnings: readonly string[];
  /** Asked for by {@link TriggerItem.awaitedBy} only: the run is over, so that there is nothing to wait for (IDM-15). */
  readonly isOver: boolean;
}

export type TriggerOutcome = Triggered | { readonly ok: false; readonly error: AppError };

/** One item of a batch; the rest of a {@link TriggerItem} is the batch's. */
export type BatchTriggerItem = Pick<TriggerItem, "taskId" | "spec" | "payload" | "options">;

/** A batch as a whole, one-call or streamed. */
export interface BatchCall {
  readonly environment: string;
  /** Names the batch for its repeats (REQ-1, BAT-16). */
  readonly requestId: string | undefined;
  readonly key: IdempotencyKeyInput | undefined;
  /** As sent; also the default of the items, which the wire side has put there (IDM-22). */
  readonly keyTtl: string | undefined;
  readonly parentRunId: string | undefined;
  readonly isTest: boolean;
  /** As for {@link TriggerItem.caller}; a one-time token is used up by the batch. */
  readonly caller?: TokenCaller;
}

export interface TriggerBatchParams extends BatchCall {
  /** Of the run that is about to wait for the batch: the lease that it is executed under. */
  readonly awaitedBy?: Lease | undefined;
  readonly items: readonly BatchTriggerItem[];
  /** What is wrong with the form of the call, to be told with the rest (ERR-1). */
  readonly formViolations: readonly Violation[];
}

/** A task of some item that no worker has registered (TRG-6a). */
export interface UnknownTask {
  readonly taskId: string;
  /** Up to 3. */
  readonly similarTaskIds: readonly string[];
}

export interface TriggeredBatch {
  readonly batch: BatchState;
  readonly isCached: boolean;
  /** Asked for by `awaitedBy` only: all its runs are final. */
  readonly isDone: boolean;
  /** By position; the first 1,000. */
  readonly items: readonly BatchItem[];
  readonly unknownTasks: readonly UnknownTask[];
  readonly warnings: readonly string[];
}

export interface OpenBatchParams extends BatchCall {
  /** What the token of `caller` may trigger: all that is known of the tasks of a stream when it begins. */
  readonly scopes?: readonly string[];
  /** The attempt of the parent that opens it: chunks are refused once it is over (RUN-8), and the batch is sealed (BAT-18). */
  readonly attempt: AttemptRef | undefined;
  /** Of the run that waits for the batch once it is sealed: the lease that it is executed under. */
  readonly awaitedBy?: Lease | undefined;
  readonly formViolations: readonly Violation[];
}

/** One call that fills a streamed batch. Chunks are added one at a time. */
export interface BatchStream {
  /** As it is now. */
  readonly batch: BatchState;
  /** The batch is the holder of the key; nothing may be added. */
  readonly isCached: boolean;
  /** Asked for by `awaitedBy` only: it is sealed and all its runs are final. */
  readonly isDone: boolean;
  readonly itemsAccepted: number;
  readonly itemsDeduplicated: number;
  /** The first 100 of each. */
  readonly unknownTasks: readonly UnknownTask[];
  readonly warnings: readonly string[];
  /**
   * Creates the runs of a chunk, all or none; a known chunk changes nothing. Reasons: as for `triggerBatch`, BATCH_SEALED,
   * BATCH_CHUNK_OUT_OF_ORDER, STALE_LEASE.
   */
  add(chunk: BatchChunk): Promise<void>;
  /** Ends the input. `failure`: early. Reasons: BATCH_EMPTY for a batch that got nothing, which is ABORTED. */
  seal(failure: BatchFailure | undefined): Promise<void>;
}

export interface BatchChunk {
  readonly index: number;
  readonly count: number;
  /** Opened only if the chunk is new; what it gives depends on where in the batch it stands. */
  decode(firstIndex: number): {
    readonly items: readonly BatchTriggerItem[];
    readonly violations: readonly Violation[];
  };
}

/** A batch as readers see it (BAT-25). */
export interface BatchDetail {
  readonly batch: BatchState;
  readonly status: BatchStatus;
  /** The first 1,000. */
  readonly runIds: readonly string[];
}

/** What came of the run at one position; `detail` undefined: it was purged. */
export interface BatchResult {
  readonly item: BatchItem;
  readonly detail: RunDetail | undefined;
}

export interface ListBatchResults {
  readonly environment: string;
  readonly batchId: string;
  readonly fromIndex: number;
  readonly limit: number;
}

export interface ListRunsParams {
  readonly environment: string;
  readonly filter: RunFilter;
  readonly limit: number;
  readonly after?: { readonly createdAtMs: number; readonly runId: string };
  readonly before?: { readonly createdAtMs: number; readonly runId: string };
}

export interface AddTagsParams {
  readonly environment: string;
  readonly runId: string;
  readonly tags: readonly string[];
  /** The call comes from inside the run and holds only while that attempt does. */
  readonly attempt: AttemptRef | undefined;
}

/** One call of a bulk action (RUN-22). */
export interface BulkParams {
  readonly environment: string;
  readonly which: { readonly filter: RunFilter } | { readonly runIds: readonly string[] };
  /** Runs of this call, 1 to 500. */
  readonly limit: number;
  /** Where the last call ended; undefined: this is the first. */
  readonly place: BulkPlace | undefined;
}

/** Where a bulk action goes on, with the set that its first call froze. */
export interface BulkPlace {
  readonly filter: RunFilter;
  /** Runs of the whole action. */
  readonly matched: number;
  /** The last run that was handled; of ids, how many were. */
  readonly after?: RunCursor;
  readonly index: number;
}

export interface BulkFailure {
  readonly runId: string;
  readonly error: AppError;
}

export interface BulkDone {
  readonly matched: number;
  /** Of this call. */
  readonly succeeded: number;
  readonly failures: readonly BulkFailure[];
  /** undefined: done. */
  readonly next: BulkPlace | undefined;
}

export interface WatchRunsParams {
  readonly environment: string;
  readonly watched: Extract<Watched, { readonly kind: "tags" | "batch" }>;
  /** Runs that were created before are not shown; without effect for a batch. */
  readonly createdFromMs: number;
  readonly signal: AbortSignal;
}

export interface WatchStreamsParams {
  readonly environment: string;
  readonly runId: string;
  readonly stopOnCompletion: boolean;
  /** Position of the last chunk that is known; 0: none is. */
  readonly afterChunk: number;
  readonly signal: AbortSignal;
}

export interface UpdateMetadataParams {
  readonly environment: string;
  readonly runId: string;
  readonly operations: readonly MetadataOperation[];
  /** Who numbers the operations; undefined: the request id, if there is one. */
  readonly writer: string | undefined;
  /** Number of the first operation, from 1; undefined: 1. */
  readonly firstSequence: number | undefined;
  readonly requestId: string | undefined;
}

/** Changes that a run makes from inside, of itself and its ancestors (MET-7), numbered within the attempt. */
/** What a run does to metadata, and what it publishes beside them (RUN-27). */
export type ReportedOperation =
  | MetadataOperation
  | { readonly kind: "publish"; readonly key: string; readonly json: string };

export interface MetadataReport {
  readonly runId: string;
  readonly attempt: number;
  readonly firstSequence: number;
  readonly operations: readonly {
    readonly target: "self" | "parent" | "root";
    /** An error: what could not be read of it; it counts as refused. */
    readonly operation: ReportedOperation | AppError;
  }[];
}

/** A queue as readers see it: figures plus which of its tasks nobody serves (QUE-30). */
export interface QueueItem extends QueueView {
  readonly limit: number | undefined;
  readonly unservedTaskIds: readonly string[];
}

export type QueueSelector = { readonly queueId: string } | { readonly name: string };

export interface Engine {
  /**
   * Triggers independent runs; one outcome per item, in order. Never rejects for an item's mistakes.
   * Reasons: those of trigger options, PAYLOAD_TOO_LARGE, PAYLOAD_STORE_UNAVAILABLE, QUEUE_FULL, RUN_NOT_FOUND (parent),
   * TOKEN_ALREADY_USED, PARENT_RUN_FINAL and STALE_LEASE (awaited).
   */
  trigger(environment: string, items: readonly TriggerItem[]): Promise<readonly TriggerOutcome[]>;
  /** Reasons: RUN_NOT_FOUND. */
  retrieveRun(environment: string, runId: string): Promise<RunDetail>;
  /**
   * Creates a batch of one call: all runs or none (BAT-8). Reasons: those of trigger, violations named `items[n].…`; BATCH_EMPTY,
   * BATCH_TOO_LARGE, BATCH_PAYLOAD_TOO_LARGE; PARENT_RUN_FINAL and STALE_LEASE (awaited).
   */
  triggerBatch(params: TriggerBatchParams): Promise<TriggeredBatch>;
  /**
   * Opens a streamed batch, or finds it by its request id or key. Reasons: those of keys, STALE_LEASE, RUN_NOT_FOUND (parent of an
   * attempt).
   */
  streamBatch(params: OpenBatchParams): Promise<BatchStream>;
  /** Reasons: BATCH_NOT_FOUND. */
  retrieveBatch(environment: string, batchId: string): Promise<BatchDetail>;
  /** A page in the order of items, shorter than asked for where outputs are large. Reasons: BATCH_NOT_FOUND, INVALID_PAGE. */
  listBatchResults(
    params: ListBatchResults,
  ): Promise<{ readonly results: readonly BatchResult[]; readonly hasMore: boolean }>;
  /** Reasons: INVALID_PAGE. Filters are already typed; limits are checked here. */
  listRuns(params: ListRunsParams): Promise<{
    readonly runs: readonly RunState[];
    readonly hasOlder: boolean;
    readonly hasNewer: boolean;
  }>;
  /**
   * The present state, then the newest state after every change; intermediate states may be skipped, never reordered (RUN-26). Ends after
   * the final state if `stopOnCompletion`, or when `signal` aborts. Reasons: RUN_NOT_FOUND.
   */
  watchRun(params: {
    readonly environment: string;
    readonly runId: string;
    readonly stopOnCompletion: boolean;
    readonly signal: AbortSignal;
  }): AsyncIterable<RunDetail>;
  /**
   * Runs that have all of some tags, or that a batch made: those that exist, new ones, and the newest state after every change (RUN-24).
   * Ends when `signal` aborts. Reasons: BATCH_NOT_FOUND.
   */
  /** {@link watchRun} with what the run publishes: chunks behind `afterChunk`, all of them before the final state (RUN-27). */
  watchRunWithStreams(params: WatchStreamsParams): AsyncIterable<RunDetail | readonly StreamChunk[]>;
  watchRuns(params: WatchRunsParams): AsyncIterable<RunDetail>;
  /** Final runs are left alone (CAN-1). Reasons: RUN_NOT_FOUND. */
  cancelRun(environment: string, runId: string, reason: string | undefined): Promise<RunState>;
  /** Reasons: RUN_NOT_FOUND, RUN_NOT_DELAYED, INVALID_DELAY. */
  rescheduleRun(
    environment: string,
    runId: string,
    delay: NonNullable<TriggerOptionsInput["delay"]>,
  ): Promise<RunDetail>;
  /** Reasons: RUN_NOT_FOUND, QUEUE_FULL, PAYLOAD_STORE_UNAVAILABLE. */
  replayRun(environment: string, runId: string, requestId: string | undefined): Promise<{ readonly runId: string }>;
  /** As {@link cancelRun}, up to 500 a call. Reasons: INVALID_PAGE; those of single runs are in the result. */
  bulkCancel(params: BulkParams & { readonly reason: string | undefined }): Promise<BulkDone>;
  /** As {@link replayRun}; a repeated page makes no second runs. Reasons as above. */
  bulkReplay(params: BulkParams & { readonly requestId: string | undefined }): Promise<BulkDone>;
  /** `key` as on the wire (see TriggerOptionsInput). Reasons: IDEMPOTENCY_KEY_NOT_FOUND. */
  resetIdempotencyKey(params: {
    readonly environment: string;
    readonly taskId: string;
    readonly key: string;
    readonly requestId: string | undefined;
  }): Promise<{ readonly runId: string }>;
  /** All tags of the run afterwards (TAG-2). Reasons: RUN_NOT_FOUND, RUN_FINAL, TOO_MANY_TAGS, INVALID_TAG, STALE_LEASE. */
  addTags(params: AddTagsParams): Promise<readonly string[]>;

  /** The metadata afterwards; all operations or none (REQ-1). Reasons: RUN_NOT_FOUND, RUN_FINAL, INVALID_METADATA, METADATA_TOO_LARGE. */
  updateMetadata(params: UpdateMetadataParams): Promise<string>;
  /** Reasons: INVALID_DURATION, INVALID_IDEMPOTENCY_KEY, INVALID_IDEMPOTENCY_KEY_TTL, TOO_MANY_TAGS, INVALID_TAG. */
  createToken(params: CreateTokenParams): Promise<CreatedWaitpoint>;
  /** The first completion counts; a later one, also after the timeout, changes nothing (WAI-7). Reasons: WAITPOINT_NOT_FOUND, PAYLOAD_TOO_LARGE. */
  completeToken(params: {
    readonly environment: string;
    readonly tokenId: string;
    /** Encoded hairtrigger.v1.Payload; undefined: the value `undefined`. */
    readonly output: Uint8Array | undefined;
    /** The same; checked here. */
    readonly payload: PayloadInput;
  }): Promise<void>;
  /** Reasons: WAITPOINT_NOT_FOUND. */
  retrieveToken(environment: string, tokenId: string): Promise<Waitpoint>;
  /** Reasons: INVALID_PAGE. */
  listTokens(query: TokenQuery): Promise<TokenPage>;
  /**
   * An instant that the run of this lease is about to wait for. One whose instant has come is over: there is nothing to wait for. Reasons:
   * STALE_LEASE, INVALID_DURATION, INVALID_IDEMPOTENCY_KEY, INVALID_IDEMPOTENCY_KEY_TTL.
   */
  createTimer(params: CreateTimerParams): Promise<CreatedWaitpoint>;

  /** Reasons: INVALID_PAGE. */
  listQueues(
    environment: string,
    page: number,
    perPage: number,
  ): Promise<{ readonly queues: readonly QueueItem[]; readonly count: number }>;
  /** Reasons: QUEUE_NOT_FOUND (also the four below). */
  retrieveQueue(environment: string, queue: QueueSelector): Promise<QueueItem>;
  pauseQueue(environment: string, queue: QueueSelector): Promise<QueueItem>;
  resumeQueue(environment: string, queue: QueueSelector): Promise<QueueItem>;
  /** Reasons: INVALID_CONCURRENCY_LIMIT. `by`: name of the key that asked. */
  overrideConcurrencyLimit(environment: string, queue: QueueSelector, limit: number, by: string): Promise<QueueItem>;
  /** Reasons: QUEUE_NOT_OVERRIDDEN. */
  resetConcurrencyLimit(environment: string, queue: QueueSelector): Promise<QueueItem>;

  listTasks(environment: string): Promise<readonly TaskRecord[]>;
  /** Sessions that have not lapsed. */
  listWorkers(environment: string): Promise<readonly SessionRecord[]>;

  // ── workers ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────

  /**
   * Opens a session for one worker connection (or takes it over) and answers for every lease that the worker says it holds. From then on
   * runs go to `sink.assign` whenever the session has places. Reasons: STALE_LEASE when a newer connection of the session exists.
   */
  openSession(params: OpenSession, sink: SessionSink): Promise<OpenedSession>;

  /**
   * An object to which a worker may put a large output of a run that it holds; written by nobody yet. Reasons: STALE_LEASE,
   * PAYLOAD_TOO_LARGE.
   */
  createUpload(environment: string, lease: Lease, upload: UploadRequest): Promise<NewObject>;

  // ── the clock: bounded passes, each returns how many it handled (the page was full when it equals `limit`) ─────────────────────

  readonly duties: Readonly<Record<DutyName, (limit: number) => Promise<number>>>;

  /** Ends sessions' timers and watchers. The store is closed by whoever opened it. Idempotent. */
  stop(): Promise<void>;
}

export type DutyName =
  | "due"
  | "expire"
  | "lose"
  | "release"
  | "overrun"
  | "timeout"
  | "settle"
  | "ended"
  | "seal"
  | "purge"
  | "orphans";

export interface UploadRequest {
  readonly sizeBytes: number;
  /** 32 bytes. */
  readonly sha256: Uint8Array;
  /** Media type. */
  readonly contentType: string;
}

// ── worker sessions ──────────────────────────────────────────────────────────────────────────────────────────────────────────────

export interface OpenSession {
  readonly environment: string;
  readonly sessionId: string;
  readonly connectionEpoch: number;
  readonly workerName: string;
  readonly sdk: string;
  readonly concurrency: number;
  readonly tasks: readonly TaskDeclaration[];
  /** Named queues beside those of the tasks. */
  readonly queues: readonly QueueDeclaration[];
  readonly held: readonly HeldLease[];
}

export interface HeldLease {
  readonly lease: Lease;
  /** The worker fenced it by itself (RUN-6): it goes on as interrupted. */
  readonly isInterrupted: boolean;
  /** Of an interrupted one: no code of it goes on. */
  readonly codeEnded: boolean;
}

/** A claimed run on its way to a worker. */
export interface AssignedRun extends ClaimedRun {
  /** Of a resumed run: what came of that which it waited for; undefined where it is too large, or not known here. */
  readonly outcome?: WaitOutcome | undefined;
}

/** What came of that which a run waited for. */
export type WaitOutcome =
  | { readonly kind: "run"; readonly result: RunResult }
  | { readonly kind: "token"; readonly waitpoint: Waitpoint };

/** What the engine tells a connected worker; each call is one flush, after its commit. Must not throw. */
export interface SessionSink {
  assign(runs: readonly AssignedRun[]): void;
  cancel(runs: readonly { readonly lease: Lease; readonly reason: string }[]): void;
  lost(leases: readonly Lease[]): void;
  /** The connection is over: superseded by a newer one, or the session is gone. */
  end(reason: "superseded" | "lapsed" | "stopping"): void;
}

/** What a worker is told about a lease: the answer to a report, and to each lease of a hello. */
export type Instruction =
  | { readonly kind: "goOn" }
  /** The wait is recorded. */
  | { readonly kind: "keepWaiting" }
  /** It has been claimed to go on after its wait, under a new lease. */
  | { readonly kind: "resume"; readonly lease: Lease }
  | { readonly kind: "finished" }
  /** The run went back to the queue; this worker is done with it. */
  | { readonly kind: "released" }
  | { readonly kind: "retry"; readonly lease: Lease; readonly attempt: number; readonly delayMs: number }
  | { readonly kind: "cancel"; readonly reason: string }
  | { readonly kind: "lost" };

interface ReportOf<Kind extends string> {
  readonly kind: Kind;
  readonly lease: Lease;
}

export type Report =
  | ReportOf<"started">
  | (ReportOf<"completed"> & {
      readonly output: Uint8Array | undefined;
      /** What the output holds that belongs into the payload store, or names there. */
      readonly large?: LargeOutput;
    })
  /** `retryDelayMs` undefined: no retry. The final status follows from `failure.code` (§12.3). */
  | (ReportOf<"failed"> & { readonly failure: Failure; readonly retryDelayMs: number | undefined })
  | (ReportOf<"waiting"> & { readonly target: WaitTarget })
  | ReportOf<"timedOut">
  | (ReportOf<"interrupted"> & { readonly codeEnded: boolean })
  /** Code of a cancelled, timed-out or interrupted run has ended. */
  | ReportOf<"ended">;

export type LargeOutput =
  /** Sent with the report; the server puts it there. */
  | { readonly kind: "data"; readonly data: LargeData; readonly contentType: string }
  /** Put there by the worker, as `createUpload` said. */
  | { readonly kind: "uploaded"; readonly reference: ObjectReference };

export interface OpenedSession {
  /** Answers to `held`, in order. */
  readonly instructions: readonly Instruction[];
  /** Free places, an absolute number; the engine claims at once. */
  setPlaces(places: number): void;
  /** Any message counts as a sign of life for RUN-6 (silent workers are assigned nothing). */
  noteMessage(): void;
  /** Keeps the session; `confirmed`: runs the worker has begun. False: the session is gone, end the connection. */
  heartbeat(confirmed: readonly Lease[]): Promise<boolean>;
  /** Applies reports; one instruction each, in order. Durable when it resolves. */
  report(reports: readonly Report[]): Promise<readonly Instruction[]>;
  /**
   * Applies changes of metadata, each once; the result says of each report why the last of its refused operations was (MET-2, MET-11:
   * the run goes on), undefined for none. Durable when it resolves.
   */
  changeMetadata(reports: readonly MetadataReport[]): Promise<readonly (AppError | undefined)[]>;
  appendLogs(entries: readonly { readonly runId: string; readonly lines: readonly LogLine[] }[]): Promise<void>;
  /**
   * The connection ended. `left`: the worker said good-bye (draining and nothing held); the session is closed. Otherwise it stays until it
   * lapses or reconnects. Idempotent.
   */
  close(how: "left" | "disconnected"): Promise<void>;
}
