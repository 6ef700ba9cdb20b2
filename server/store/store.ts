/**
 * THE PORT: what the engine asks of a store, in the language of the domain. Verbs are batch-first (arrays in, one result per item out, in
 * order), `now` and ids are arguments, and every verb states its atomicity. Decisions are pure functions of server/domain that a verb
 * calls inside its guarded write; a store decides nothing itself.
 *
 * Common to all verbs:
 * - When a promise resolves, what it wrote is durable (promise 1 of docs/architecture.md).
 * - Atomic per item, unless said otherwise: an item that fails leaves nothing behind and harms no other item of the same call.
 * - Everything happens inside the environment named by the item; an id of another environment is unknown.
 * - Safe to repeat.
 * - @throws AppError STORE_UNAVAILABLE (with RetryInfo) when the store cannot write or read at the moment; nothing of the call is then
 *   acknowledged, and a repeat completes what is missing.
 */
import type { BatchFailure, BatchItem, BatchState, NewBatch } from "../domain/batch.js";
import type { Failure } from "../domain/failure.js";
import type { MetadataOperation, MetadataRefusal } from "../domain/metadata-operations.js";
import type { AttemptSummary, RunState } from "../domain/run.js";
import type { AttemptRef, Refusal, RunChange } from "../domain/run-change.js";
import type { RunPlace } from "../domain/run-machine.js";
import type { RunStatus } from "../domain/run-status.js";
import type { PublishParams, StreamChunk, StreamRefusal } from "../domain/run-streams.js";
import type { SecretKeyRecord } from "../domain/secret-key.js";
import type { SessionRecord } from "../domain/session.js";
import type { QueueDeclaration, TaskDeclaration, TaskRecord } from "../domain/task.js";
import type { OneTimeUse } from "../domain/token-caller.js";
import type { Waitpoint, WaitpointEnd, WaitpointStatus } from "../domain/waitpoint.js";

export interface Store {
  /** Named capability: only of stores that several servers may use at once. Where it is missing, nobody else changes the records. */
  readonly shared?: SharedStore;
  /** Opens, locks and migrates. `lastTimeMs`: the latest time found in the records, below which no clock may start (0 when empty). */
  start(): Promise<{ readonly lastTimeMs: number }>;
  /** Finishes what is under way, then closes. Idempotent. */
  stop(): Promise<void>;
  /** Whether a write would succeed now; asked by /readyz. Resolves, never rejects. */
  checkWritable(): Promise<{ readonly ok: boolean; readonly error?: string }>;
  /** A random secret of 32 bytes, made once and kept: signs page tokens and URLs. */
  readSecret(): Promise<Uint8Array>;

  // ── runs, asked by producers ──────────────────────────────────────────────────────────────────────────────────────────────────

  /**
   * Stores new runs. In order, per item: an own earlier run under the same id (`repeat`), the use of a one-time token by another request
   * (`tokenUsed`; a run, a hit or a push uses it, nothing else does, and only one of any number of callers), the holder of the key if its window
   * is open and its status keeps the key (`cached`; otherwise that run loses the key), the run of the debounce key if the call may push it
   * (`pushed`, decided by `applyPush`; otherwise that run loses the debounce key), the size of the queue (`queueFull`), then the run, its key,
   * its queue (made on first use; `queueLimit` becomes its base limit unless a registration declares the queue) and, for a hit or push under a
   * request id, the remembered answer. Items of one call see each other in order.
   */
  insertRuns(items: readonly InsertRun[]): Promise<readonly InsertRunResult[]>;

  /** The states of runs; undefined where unknown. */
  readRuns(ids: readonly RunRef[]): Promise<readonly (RunState | undefined)[]>;
  /** All that `runs.retrieve` shows (RUN-10); undefined where unknown. Sees every write acknowledged before the call. */
  readRunDetails(ids: readonly RunRef[]): Promise<readonly (RunDetail | undefined)[]>;
  /** How runs stand and, of finished ones, what came of them: what those who waited for them are told. Undefined where unknown. */
  readRunResults(ids: readonly RunRef[]): Promise<readonly (RunResult | undefined)[]>;
  /** One page of runs, newest first by (creation, id) (RUN-17…20). */
  listRuns(query: RunQuery): Promise<RunPage>;
  /** How many runs the filter matches. */
  countRuns(query: { readonly environment: string; readonly filter: RunFilter }): Promise<number>;
  /**
   * Takes the key from its run (IDM-28). Under a request id the answer is remembered in the same step and repeated (REQ-1).
   * `undefined`: no run holds the key.
   */
  resetKey(params: ResetKey): Promise<{ readonly runId: string } | undefined>;

  // ── batches ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────

  /**
   * Creates a one-call batch with its runs, or takes a chunk into a streamed one, which is made by its first chunk or by a call without
   * items: whole or not at all, also after a crash. In order: an own earlier batch under the same id, the holder of the batch key, the
   * place of the chunk, then every item as in `insertRuns` (keys are seen in order; a queue without room refuses all), then the runs,
   * visible and claimable together. A constant number of round trips.
   */
  insertBatch(params: InsertBatch): Promise<InsertBatchResult>;
  /** Undefined where unknown. */
  readBatches(refs: readonly BatchRef[]): Promise<readonly (BatchView | undefined)[]>;
  /** Positions of a batch from `fromIndex` on, in order; runs that were purged are named all the same. */
  readBatchItems(params: ReadBatchItems): Promise<readonly BatchItem[]>;
  /** Ends the input of open batches, guarded by what the item says; the state of each afterwards. Undefined where unknown. */
  sealBatches(items: readonly SealBatch[]): Promise<readonly (BatchState | undefined)[]>;
  /** Open batches that a duty has to look at, at most `limit`; the guard of the seal decides again. */
  findBatches(query: FindBatches): Promise<readonly BatchState[]>;
  /** Some run is about to wait for these, which were made without: the end of their runs asks for them from now on. Unknown ones are ignored. */
  awaitBatches(refs: readonly BatchRef[]): Promise<void>;
  /**
   * Of the awaited batches that these final runs are members of, made by them or hit by them: those that are done now (BAT-9). Each
   * look costs as much as there are members that ended since the last one, whatever the size of the batch.
   */
  doneBatches(runs: readonly RunRef[]): Promise<readonly BatchRef[]>;

  // ── runs, asked by workers and the clock ──────────────────────────────────────────────────────────────────────────────────────

  /**
   * For each request, the best runs (smallest order, then id) that can start now: the queue is not paused, the partition has room, the
   * session serves the task, or the run is bound to the session. Applies {@link Claim} to each and takes its slot. A request of a session
   * that is unknown or lapsed gets nothing. No run is given twice, no limit exceeded, whoever else claims at the same time.
   */
  claimRuns(requests: readonly ClaimRequest[]): Promise<readonly (readonly ClaimedRun[])[]>;

  /**
   * Applies changes to existing runs through `applyChange`, with all that belongs to them: place in the queue, slot (freed, or kept by a
   * lingering holder), attempt summary, output, failure. Several changes of one run in one call apply in order.
   */
  changeRuns(changes: readonly RunChange[]): Promise<readonly ChangeResult[]>;

  /**
   * Applies operations to the metadata of live runs; each applied one raises the run's version. Operations of a source are applied once,
   * however often they come: the target remembers the last number of each source with the change. Several items of one run apply in order.
   */
  changeMetadata(items: readonly ChangeMetadata[]): Promise<readonly ChangeMetadataResult[]>;
  /**
   * Adds chunks to the streams of live runs, behind all that are there; a chunk of a source is added once, however often it comes. Several items
   * of one run apply in order. The run itself does not change.
   */
  appendStreams(items: readonly AppendStream[]): Promise<readonly AppendStreamResult[]>;
  /** The next chunks behind a position (0: from the first), in order; at most `limit` and about `bytesMax` of JSON. Empty: there is none. */
  readStream(query: {
    readonly environment: string;
    readonly runId: string;
    readonly after: number;
    readonly limit: number;
    readonly bytesMax: number;
  }): Promise<readonly StreamChunk[]>;

  /** Runs that a duty has to look at, oldest first, at most `limit`; the guard of the change decides again. */
  findRuns(query: FindRuns): Promise<readonly RunState[]>;

  /**
   * Ends lingering holders (code of cancelled, timed-out or interrupted runs, QUE-4) and frees their slots.
   * @returns how many were freed.
   */
  endLingering(which: EndLingering): Promise<number>;

  /** Appends log lines to runs and keeps the last ones (LOG-1). Unknown runs are ignored. */
  appendLogs(entries: readonly AppendLogs[]): Promise<void>;

  // ── waitpoints ────────────────────────────────────────────────────────────────────────────────────────────────────────────────

  /**
   * Stores new waitpoints. In order, per item: an own earlier one under the same id (`repeat`), the holder of the key if its window is open
   * (`cached`; otherwise that one loses the key), then the waitpoint and its key.
   */
  insertWaitpoints(items: readonly InsertWaitpoint[]): Promise<readonly InsertWaitpointResult[]>;
  /** Undefined where unknown. Sees every write acknowledged before the call. */
  readWaitpoints(ids: readonly WaitpointRef[]): Promise<readonly (Waitpoint | undefined)[]>;
  /**
   * Ends waitpoints through `endWaitpoint`; one that ends owes it to those who wait for it to wake them. `isApplied` false: it stands as
   * `waitpoint` says; undefined: unknown.
   */
  endWaitpoints(items: readonly EndWaitpoint[]): Promise<readonly EndWaitpointResult[]>;
  /** Those who wait for these, which are over, have been woken. */
  settleWaitpoints(ids: readonly WaitpointRef[]): Promise<void>;
  /** Waitpoints that a duty has to look at, oldest first. */
  findWaitpoints(query: FindWaitpoints): Promise<readonly Waitpoint[]>;
  /** One page of tokens, newest first by (creation, id) (WAI-11). */
  listTokens(query: TokenQuery): Promise<TokenPage>;

  // ── sessions ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────

  /**
   * Opens a session or takes it over on a new connection. `lapsed`: the session was declared lapsed and still has runs to be lost;
   * `superseded`: a newer connection of the session is known. Both write nothing.
   */
  openSession(session: SessionRecord): Promise<"opened" | "lapsed" | "superseded">;
  /** Moves `untilMs` on; false where the session is unknown, lapsed or on a newer connection. */
  keepSessions(items: readonly KeepSession[]): Promise<readonly boolean[]>;
  /** Marks sessions past their time as lapsed (guarded) and returns them, and those marked earlier that still have live runs. */
  lapseSessions(params: { readonly nowMs: number; readonly limit: number }): Promise<readonly SessionRecord[]>;
  /** Removes a session that holds no live run; ends its lingering holders. False while runs name it. */
  closeSession(params: { readonly environment: string; readonly sessionId: string }): Promise<boolean>;
  listSessions(params: { readonly environment: string }): Promise<readonly SessionRecord[]>;

  // ── tasks and queues ──────────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Stores what a worker declares; the latest wins. Queues of declarations with a name or a limit become declared, with that base limit. */
  registerTasks(params: RegisterTasks): Promise<void>;
  /** All registered tasks of an environment, by id. */
  listTasks(params: { readonly environment: string }): Promise<readonly TaskRecord[]>;
  /** Page `page` (from 1) of the queues of an environment, by name, with figures (QUE-30). */
  listQueues(params: ListQueues): Promise<{ readonly queues: readonly QueueView[]; readonly count: number }>;
  readQueue(ref: QueueRef): Promise<QueueView | undefined>;
  /** Changes the settings of one queue; heads of its partitions open and close with them. */
  changeQueue(change: QueueChange): Promise<QueueChangeResult>;

  // ── secret keys ───────────────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Keeps a key; one of this name that is there stays as it is. */
  createSecretKey(key: SecretKeyRecord): Promise<void>;
  /** All keys, revoked ones included, by environment and age: they are few. */
  listSecretKeys(): Promise<readonly SecretKeyRecord[]>;
  /** Sees every write acknowledged before the call; undefined where unknown. */
  readSecretKey(name: string): Promise<SecretKeyRecord | undefined>;
  /** Marks a key as revoked; of several revocations the first stands. @returns its record; undefined where it is unknown. */
  revokeSecretKey(params: { readonly name: string; readonly nowMs: number }): Promise<SecretKeyRecord | undefined>;

  // ── housekeeping ──────────────────────────────────────────────────────────────────────────────────────────────────────────────

  /**
   * Finishes what a server of this store left half done when it stopped between two writes of one step, as far as only the store knows of
   * it (slots, heads, settings); what the engine owes is found by `findRuns`. A store whose steps are transactions has nothing to repair.
   * What is younger than a step may take is left alone. At most `limit` records of each kind.
   * @returns how many records were repaired; `limit` or more: there may be others.
   */
  repair(params: { readonly nowMs: number; readonly limit: number }): Promise<number>;

  /**
   * Removes finished runs past their time (RUN-9), keys and remembered answers that have expired, and partitions that nothing uses;
   * at most `limit` of each.
   */
  purge(params: {
    readonly nowMs: number;
    readonly finishedRunsKeptMs: number;
    readonly limit: number;
  }): Promise<Purged>;

  /** Which of these objects of the payload store no run names. Sees every write acknowledged before the call. */
  findUnnamedObjects(keys: readonly string[]): Promise<readonly string[]>;
}

export interface Purged {
  /** Number of runs removed. */
  readonly removed: number;
  /** Objects that they named, and nobody names any more. What a crash loses of this, the `orphans` duty finds. */
  readonly objectKeys: readonly string[];
}

export interface WaitpointRef {
  readonly environment: string;
  readonly waitpointId: string;
}

export interface InsertWaitpoint {
  readonly waitpoint: Waitpoint;
  /** `expiresAtMs` is not looked at: a repeat finds its own as long as that is kept. */
  readonly request: RequestMark | undefined;
  readonly nowMs: number;
}

export interface InsertWaitpointResult {
  /** `cached`: made by another request, which has the key. */
  readonly kind: "created" | "repeat" | "cached";
  readonly waitpoint: Waitpoint;
}

export interface EndWaitpoint extends WaitpointRef {
  readonly end: WaitpointEnd;
}

export interface EndWaitpointResult {
  readonly isApplied: boolean;
  readonly waitpoint: Waitpoint | undefined;
}

export type FindWaitpoints =
  /** WAITING, and their time has come. */
  | { readonly kind: "due"; readonly nowMs: number; readonly limit: number }
  /** Over since `untilMs` or longer, and those who wait for them were not woken. */
  | { readonly kind: "owing"; readonly untilMs: number; readonly limit: number };

/** Values of one member are alternatives, members are all required. Empty arrays and undefined do not filter. */
export interface TokenFilter {
  readonly statuses?: readonly WaitpointStatus[];
  /** The key as its user wrote it. */
  readonly keyText?: string;
  /** Tokens with any of them. */
  readonly tags?: readonly string[];
  readonly fromMs?: number;
  readonly toMs?: number;
}

/** A position between tokens. */
export interface TokenCursor {
  readonly createdAtMs: number;
  readonly waitpointId: string;
}

export interface TokenQuery {
  readonly environment: string;
  readonly filter: TokenFilter;
  readonly limit: number;
  /** `after`: older than this token; `before`: newer. At most one. */
  readonly after?: TokenCursor;
  readonly before?: TokenCursor;
}

export interface TokenPage {
  readonly tokens: readonly Waitpoint[];
  readonly hasOlder: boolean;
  readonly hasNewer: boolean;
}

/** What servers that share a store know of each other. */
export interface SharedStore {
  /** Enters the server, or its last sign of life. */
  announceServer(server: ServerRecord): Promise<void>;
  /** Servers with a sign of life since then. */
  listServers(sinceMs: number): Promise<readonly ServerRecord[]>;
  removeServer(serverId: string): Promise<void>;
}

/** A server process. */
export interface ServerRecord {
  readonly id: string;
  /** Where the others reach it: `http://host:port`, or `https`. */
  readonly address: string;
  readonly lastSeenMs: number;
}

export interface RunRef {
  readonly environment: string;
  readonly runId: string;
}

/** What marks a call as the repeat of an earlier one (REQ-1). */
export interface RequestMark {
  /** Hex SHA-256 over (environment, verb family, request id). */
  readonly hash: string;
  /** How long a derived answer is remembered. */
  readonly expiresAtMs: number;
}

export interface InsertRun {
  readonly run: RunState;
  /** Encoded hairtrigger.v1.RunSpec. */
  readonly spec: Uint8Array;
  /** Objects of the payload store that the spec names. */
  readonly objectKeys?: readonly string[];
  /** JSON object text (MET-1). */
  readonly metadataJson: string | undefined;
  readonly request: RequestMark | undefined;
  readonly debounce?: InsertDebounce;
  /** QUE-10; undefined: no limit, or not to be checked (future delay). */
  readonly queueSizeMax: number | undefined;
  /** Base limit given by the trigger (QUE-11). */
  readonly queueLimit: number | undefined;
  /** Set where a one-time token is used up by it (AUT-3). */
  readonly token?: OneTimeUse;
  readonly nowMs: number;
}

/** A debounced call (section 9). What a trailing one replaces is taken from its run, spec and metadata. */
export interface InsertDebounce {
  /** SHA-256 over [kind, environment, task, key], hex. */
  readonly recordHash: string;
  readonly delayMs: number;
  readonly maxDelayMs: number | undefined;
  readonly isTrailing: boolean;
}

export type InsertRunResult =
  /** `queueLimitIgnored`: the queue is declared by a registration (QUE-11). */
  | { readonly kind: "created"; readonly run: RunState; readonly queueLimitIgnored: boolean }
  /** Made by this very request before; `isCached`: that answer had been a hit. */
  | { readonly kind: "repeat"; readonly runId: string; readonly isCached: boolean }
  | { readonly kind: "cached"; readonly runId: string }
  /** The one-time token was used by another request. */
  | { readonly kind: "tokenUsed" }
  /** The call pushed this run, shown as it is now (DEB-2); under a request id the answer is remembered and the push made once (REQ-1). */
  | { readonly kind: "pushed"; readonly run: RunState }
  | { readonly kind: "queueFull"; readonly size: number };

export interface BatchRef {
  readonly environment: string;
  readonly batchId: string;
}

export interface InsertBatch {
  /** Of a batch that is there already only its id counts. */
  readonly batch: NewBatch;
  /** The place of the items; `firstIndex` is that of the first item. A one-call batch has chunk 0 alone. */
  readonly chunk: { readonly index: number; readonly firstIndex: number };
  /** At most 500, with ids by position; empty: the streamed batch is only opened. Requests of the items are not looked at. */
  readonly items: readonly InsertRun[];
  readonly request: RequestMark | undefined;
  /** Set where a one-time token is used up by the batch, or by a hit on its key (AUT-3). */
  readonly token?: OneTimeUse;
  readonly nowMs: number;
}

export type InsertBatchResult =
  /** `items` in order; `created`: the runs that are new; `ignoredLimits`: declared queues whose limit an item gave (QUE-11). */
  | {
      readonly kind: "created";
      readonly batch: BatchState;
      readonly items: readonly BatchItem[];
      readonly created: readonly RunState[];
      readonly ignoredLimits: readonly string[];
    }
  /** This batch, or this chunk of it, was made by this very request before; or the batch was opened and is there. */
  | { readonly kind: "repeat"; readonly batch: BatchState }
  /** The holder of the batch key. */
  | { readonly kind: "cached"; readonly batch: BatchState }
  /** The one-time token was used by another request. */
  | { readonly kind: "tokenUsed" }
  /** `index`: the item that found no room. */
  | { readonly kind: "queueFull"; readonly index: number; readonly size: number }
  /** The batch is sealed, or `chunk` is not its next one; `batch` undefined: there is none. */
  | { readonly kind: "sealed"; readonly batch: BatchState }
  | { readonly kind: "outOfOrder"; readonly batch: BatchState | undefined };

export interface BatchView {
  readonly batch: BatchState;
  /** Some run that the batch created, or hit, is live. */
  readonly hasLiveRun: boolean;
}

export interface ReadBatchItems extends BatchRef {
  readonly fromIndex: number;
  readonly limit: number;
}

export interface SealBatch extends BatchRef {
  readonly failure: BatchFailure | undefined;
  /** Guard: only if the batch has not changed after this. */
  readonly idleSinceMs: number | undefined;
  readonly nowMs: number;
}

export type FindBatches =
  /** Open, and without a new chunk since then (BAT-18). */
  | { readonly kind: "idle"; readonly untilMs: number; readonly limit: number }
  /** Open, and opened by an attempt of a run that is over. */
  | { readonly kind: "orphaned"; readonly limit: number };

export interface RunDetail {
  readonly run: RunState;
  readonly spec: Uint8Array;
  readonly metadataJson: string | undefined;
  /** Encoded hairtrigger.v1.Payload; only when COMPLETED. */
  readonly output: Uint8Array | undefined;
  readonly failure: Failure | undefined;
  /** The last 10. */
  readonly attempts: readonly AttemptSummary[];
  readonly logs: readonly LogLine[];
  readonly root: RelatedRun | undefined;
  readonly parent: RelatedRun | undefined;
  /** The first 100, by creation. */
  readonly children: readonly RelatedRun[];
}

export interface RunResult {
  readonly run: RunState;
  /** Encoded hairtrigger.v1.Payload; only when COMPLETED. */
  readonly output: Uint8Array | undefined;
  readonly failure: Failure | undefined;
}

export interface RelatedRun {
  readonly runId: string;
  readonly status: RunStatus;
  readonly taskId: string;
  readonly depth: number;
  readonly triggerFunction: RunState["triggerFunction"];
  readonly batchId: string | undefined;
}

/** Values of one member are alternatives, members are all required (RUN-17). Empty arrays and undefined do not filter. */
export interface RunFilter {
  readonly statuses?: readonly RunStatus[];
  readonly taskIds?: readonly string[];
  /** Runs with any of them (TAG-6). */
  readonly tags?: readonly string[];
  /** Runs with all of them (RUN-24). */
  readonly allTags?: readonly string[];
  /** Runs that changed at this time or later. */
  readonly updatedFromMs?: number;
  /** Full queue names, `task/` included. */
  readonly queues?: readonly string[];
  readonly fromMs?: number;
  readonly toMs?: number;
  readonly isTest?: boolean;
  readonly batchId?: string;
}

/** A position in the order of the list: between runs, by creation time and id. */
export interface RunCursor {
  readonly createdAtMs: number;
  readonly runId: string;
}

export interface RunQuery {
  readonly environment: string;
  readonly filter: RunFilter;
  readonly limit: number;
  /** `after`: older than this run; `before`: newer. At most one. */
  readonly after?: RunCursor;
  readonly before?: RunCursor;
}

export interface RunPage {
  readonly runs: readonly RunState[];
  readonly hasOlder: boolean;
  readonly hasNewer: boolean;
}

export interface ResetKey {
  readonly environment: string;
  readonly recordHash: string;
  readonly request: RequestMark | undefined;
  readonly nowMs: number;
}

export interface ClaimRequest {
  readonly environment: string;
  readonly sessionId: string;
  /** Free places; at most this many runs. */
  readonly places: number;
  readonly tasks: readonly ClaimableTask[];
  readonly nowMs: number;
  readonly pickUpDeadlineMs: number;
}

/** A task that the session serves, with what its policy adds where the trigger gave nothing (TRG-6). */
export interface ClaimableTask {
  readonly taskId: string;
  readonly maxDurationSeconds: number | undefined;
  readonly maxAttempts: number;
}

export interface ClaimedRun {
  readonly run: RunState;
  readonly spec: Uint8Array;
  readonly metadataJson: string | undefined;
  /** The queue has a limit: code starts only after `started` was acknowledged (RUN-6). */
  readonly isLimited: boolean;
  /** Goes on after a wait, in the same attempt. */
  readonly isResume: boolean;
}

export type ChangeResult =
  | {
      readonly kind: "applied";
      readonly before: RunPlace;
      readonly run: RunState;
      /** A slot was freed, or the run became claimable: somebody should look for runs to claim. */
      readonly isClaimable: boolean;
    }
  /** `run`: its present state; undefined where the run is unknown. */
  | { readonly kind: "refused"; readonly refusal: Refusal | "unknown"; readonly run: RunState | undefined };

export interface AppendStream extends Omit<PublishParams, "appliedUpTo"> {
  readonly environment: string;
  /** The run whose streams they are. */
  readonly runId: string;
  /** Who numbers them. */
  readonly source: string;
  readonly nowMs: number;
}

export interface AppendStreamResult {
  readonly isChanged: boolean;
  /** Why the last of the refused ones was. */
  readonly refusal: StreamRefusal | undefined;
}

export interface ChangeMetadata {
  readonly environment: string;
  /** The run whose metadata changes. */
  readonly runId: string;
  /** Who numbers the operations, at most 512 characters; undefined: nobody, and every call counts. */
  readonly source: string | undefined;
  /** Rising numbers from 1. */
  readonly operations: readonly { readonly sequence: number; readonly operation: MetadataOperation }[];
  /** The run itself asks: refused as stale once that attempt is over (RUN-8). */
  readonly attempt: AttemptRef | undefined;
  /** All or none; otherwise each for itself. */
  readonly isWhole: boolean;
  readonly bytesMax: number;
  readonly nowMs: number;
}

export type ChangeMetadataResult =
  /** `isChanged` false: nothing was left to apply. `refusal`: of operations that were left out. */
  | {
      readonly kind: "applied";
      readonly run: RunState;
      readonly isChanged: boolean;
      readonly metadataJson: string;
      readonly refusal: MetadataRefusal | undefined;
    }
  | {
      readonly kind: "refused";
      readonly refusal: MetadataRefusal | { readonly reason: "unknown" | "final" | "stale" };
      readonly run: RunState | undefined;
    };

export type FindRuns =
  /** DELAYED or parked, `dueMs` ≤ now. */
  | { readonly kind: "due"; readonly nowMs: number; readonly limit: number }
  /** QUEUED, never started, ttl passed. */
  | { readonly kind: "expired"; readonly nowMs: number; readonly limit: number }
  /** Pick-up deadline passed. */
  | { readonly kind: "unconfirmed"; readonly nowMs: number; readonly limit: number }
  /** Deadline of maxDuration at or before `nowMs`. */
  | { readonly kind: "overrun"; readonly nowMs: number; readonly limit: number }
  /** `todo` ≠ 0 and unchanged since `untilMs`. */
  | { readonly kind: "todo"; readonly untilMs: number; readonly limit: number }
  /** Live and held by the session. */
  | { readonly kind: "session"; readonly environment: string; readonly sessionId: string; readonly limit: number }
  /** Live children of a run. */
  | { readonly kind: "children"; readonly environment: string; readonly parentRunId: string; readonly limit: number }
  /** WAITING for any of these (`waitTarget` of domain/wait.ts), found by their index. */
  | {
      readonly kind: "waiting";
      readonly environment: string;
      readonly waitingFor: readonly string[];
      readonly limit: number;
    };

export type EndLingering =
  /** The worker says that the code of this run, given under this fence, has ended. */
  | { readonly kind: "run"; readonly environment: string; readonly runId: string; readonly fence: number }
  /** Holders older than the grace (CAN-3). */
  | { readonly kind: "expired"; readonly nowMs: number; readonly graceMs: number; readonly limit: number };

export interface LogLine {
  readonly timeMs: number;
  readonly level: "debug" | "log" | "info" | "warn" | "error" | "trace";
  readonly attempt: number;
  readonly message: string;
  /** JSON object text with what else was logged. */
  readonly fieldsJson: string | undefined;
}

export interface AppendLogs extends RunRef {
  readonly lines: readonly LogLine[];
  readonly linesMax: number;
  readonly bytesMax: number;
}

export interface KeepSession {
  readonly environment: string;
  readonly sessionId: string;
  readonly connectionEpoch: number;
  readonly untilMs: number;
}

export interface RegisterTasks {
  readonly environment: string;
  readonly tasks: readonly TaskDeclaration[];
  /** Beside those that tasks name. */
  readonly queues: readonly QueueDeclaration[];
  readonly nowMs: number;
}

/** By full name (`task/<id>` or a custom name). Queue ids are hashes of (environment, name), so the engine passes names or ids. */
export type QueueRef = { readonly environment: string } & ({ readonly name: string } | { readonly queueId: string });

export interface ListQueues {
  readonly environment: string;
  readonly page: number;
  readonly perPage: number;
}

/** A queue with its figures. */
export interface QueueView {
  readonly environment: string;
  readonly queueId: string;
  /** Full name. */
  readonly name: string;
  readonly isDeclared: boolean;
  readonly isPaused: boolean;
  readonly baseLimit: number | undefined;
  readonly override: { readonly limit: number; readonly atMs: number; readonly by: string } | undefined;
  /** Holders of slots (QUE-4). */
  readonly running: number;
  /** QUEUED runs, parked ones included. */
  readonly queued: number;
  /** Ids of tasks with QUEUED runs here; the engine tells which of them no connected worker serves. */
  readonly queuedTaskIds: readonly string[];
}

export type QueueChange = QueueRef & { readonly nowMs: number } & (
    | { readonly kind: "pause" }
    | { readonly kind: "resume" }
    | { readonly kind: "override"; readonly limit: number; readonly by: string }
    | { readonly kind: "reset" }
  );

export type QueueChangeResult =
  | { readonly kind: "changed"; readonly queue: QueueView }
  | { readonly kind: "unknown" }
  /** `reset` without an override (QUE-32). */
  | { readonly kind: "notOverridden" };
