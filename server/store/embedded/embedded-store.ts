/**
 * The embedded store: one SQLite file, written by one thread of one process (design 11); or, for tests and simulation, a database in
 * memory, used in the caller's thread, where everything happens in a determined order.
 *
 * Calls made in one turn of the event loop, and all that are made while a transaction is under way, are carried out as one transaction.
 */
import { storeUnavailable } from "../../domain/error.js";
import type { RunChange } from "../../domain/run-change.js";
import type { SecretKeyRecord } from "../../domain/secret-key.js";
import type { SessionRecord } from "../../domain/session.js";
import type * as port from "../store.js";
import { createdItems, toBatchInsert } from "./batch-insert.js";
import { FileBackend } from "./file-backend.js";
import type { Outcome } from "./group.js";
import { type InsertAnswer, toInsertRow } from "./insert-row.js";
import { Lane } from "./lane.js";
import { MemoryBackend } from "./memory-backend.js";
import { type ArgumentOf, type Call, isReadVerb, type ResultOf, type VerbName } from "./verbs.js";
import type { Opened } from "./writer.js";

export interface EmbeddedStoreOptions {
  /** A directory, made where it is missing; or `:memory:`. */
  readonly directory: string;
}

/** Where groups of calls are carried out. */
export interface Backend {
  start(): Promise<Opened>;
  stop(): Promise<void>;
  /** One outcome per call, in order; never rejects. */
  write(calls: readonly Call[]): Promise<readonly Outcome[]>;
  read(calls: readonly Call[]): Promise<readonly Outcome[]>;
  /** What is wrong with the space that is left, or undefined. */
  checkSpace(): Promise<string | undefined>;
  /** Rows of the writing connection, as arrays. */
  query(sql: string): Promise<readonly unknown[]>;
}

export interface EmbeddedStore extends port.Store {
  /** Introspection for tests and operators: what a query gives on the live writing connection. Rows are arrays. */
  query(sql: string): Promise<readonly unknown[]>;
}

export function createEmbeddedStore(options: EmbeddedStoreOptions): EmbeddedStore {
  const { directory } = options;
  const backend = directory === ":memory:" ? new MemoryBackend() : new FileBackend(directory);
  return new LiveStore(backend);
}

class LiveStore implements EmbeddedStore {
  readonly #backend: Backend;
  readonly #writes: Lane;
  readonly #reads: Lane;
  #opened: Opened | undefined;
  #stopping: Promise<void> | undefined;

  constructor(backend: Backend) {
    this.#backend = backend;
    this.#writes = new Lane((calls) => backend.write(calls));
    this.#reads = new Lane((calls) => backend.read(calls));
  }

  async start(): Promise<{ readonly lastTimeMs: number }> {
    this.#opened = await this.#backend.start();
    return { lastTimeMs: this.#opened.lastTimeMs };
  }

  stop(): Promise<void> {
    this.#stopping ??= this.#stop();
    return this.#stopping;
  }

  async #stop(): Promise<void> {
    await Promise.all([this.#writes.drained(), this.#reads.drained()]);
    this.#opened = undefined;
    await this.#backend.stop();
  }

  async checkWritable(): Promise<{ readonly ok: boolean; readonly error?: string }> {
    try {
      await this.#call("probe", undefined);
      const error = await this.#backend.checkSpace();
      return error === undefined ? { ok: true } : { ok: false, error };
    } catch (error) {
      const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
      return { ok: false, error: cause instanceof Error ? cause.message : String(cause) };
    }
  }

  async readSecret(): Promise<Uint8Array> {
    if (this.#opened === undefined) throw storeUnavailable();
    return this.#opened.secret;
  }

  async insertRuns(items: readonly port.InsertRun[]): Promise<readonly port.InsertRunResult[]> {
    const inserts = items.map(toInsertRow);
    const outcome = await this.#lane("insertRuns").call({ verb: "insertRuns", inserts });
    // What insertRuns returns, one answer per row.
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- the value comes from the other thread, which checked it
    const answers = valueOf(outcome) as readonly InsertAnswer[];
    return items.map(({ run }, index) => {
      const answer = answers[index];
      if (answer === undefined) throw new Error("the store gave no answer for a run");
      return answer.kind === "created" ? { ...answer, run } : answer;
    });
  }

  readRuns(ids: readonly port.RunRef[]): ReturnType<port.Store["readRuns"]> {
    return this.#call("readRuns", ids);
  }

  readRunDetails(ids: readonly port.RunRef[]): Promise<readonly (port.RunDetail | undefined)[]> {
    return this.#call("readRunDetails", ids);
  }

  readRunResults(ids: readonly port.RunRef[]): ReturnType<port.Store["readRunResults"]> {
    return this.#call("readRunResults", ids);
  }

  listRuns(query: port.RunQuery): Promise<port.RunPage> {
    return this.#call("listRuns", query);
  }

  countRuns(query: Parameters<port.Store["countRuns"]>[0]): Promise<number> {
    return this.#call("countRuns", query);
  }

  resetKey(params: port.ResetKey): Promise<{ readonly runId: string } | undefined> {
    return this.#call("resetKey", params);
  }

  async insertBatch(params: port.InsertBatch): Promise<port.InsertBatchResult> {
    const answer = await this.#call("insertBatch", toBatchInsert(params));
    return answer.kind === "created" ? { ...answer, ...createdItems(params, answer) } : answer;
  }

  readBatches(refs: readonly port.BatchRef[]): ReturnType<port.Store["readBatches"]> {
    return this.#call("readBatches", refs);
  }

  readBatchItems(params: port.ReadBatchItems): ReturnType<port.Store["readBatchItems"]> {
    return this.#call("readBatchItems", params);
  }

  sealBatches(items: readonly port.SealBatch[]): ReturnType<port.Store["sealBatches"]> {
    return this.#call("sealBatches", items);
  }

  findBatches(query: port.FindBatches): ReturnType<port.Store["findBatches"]> {
    return this.#call("findBatches", query);
  }

  awaitBatches(refs: readonly port.BatchRef[]): Promise<void> {
    return this.#call("awaitBatches", refs);
  }

  doneBatches(runs: readonly port.RunRef[]): Promise<readonly port.BatchRef[]> {
    return this.#call("doneBatches", runs);
  }

  claimRuns(requests: readonly port.ClaimRequest[]): Promise<readonly (readonly port.ClaimedRun[])[]> {
    return this.#call("claimRuns", requests);
  }

  changeRuns(changes: readonly RunChange[]): Promise<readonly port.ChangeResult[]> {
    return this.#call("changeRuns", changes);
  }

  changeMetadata(items: readonly port.ChangeMetadata[]): Promise<readonly port.ChangeMetadataResult[]> {
    return this.#call("changeMetadata", items);
  }

  appendStreams(items: readonly port.AppendStream[]): Promise<readonly port.AppendStreamResult[]> {
    return this.#call("appendStreams", items);
  }

  readStream(query: Parameters<port.Store["readStream"]>[0]): ReturnType<port.Store["readStream"]> {
    return this.#call("readStream", query);
  }

  findRuns(query: port.FindRuns): ReturnType<port.Store["findRuns"]> {
    return this.#call("findRuns", query);
  }

  endLingering(which: port.EndLingering): Promise<number> {
    return this.#call("endLingering", which);
  }

  appendLogs(entries: readonly port.AppendLogs[]): Promise<void> {
    return this.#call("appendLogs", entries);
  }

  insertWaitpoints(items: readonly port.InsertWaitpoint[]): ReturnType<port.Store["insertWaitpoints"]> {
    return this.#call("insertWaitpoints", items);
  }

  readWaitpoints(ids: readonly port.WaitpointRef[]): ReturnType<port.Store["readWaitpoints"]> {
    return this.#call("readWaitpoints", ids);
  }

  endWaitpoints(items: readonly port.EndWaitpoint[]): ReturnType<port.Store["endWaitpoints"]> {
    return this.#call("endWaitpoints", items);
  }

  settleWaitpoints(ids: readonly port.WaitpointRef[]): Promise<void> {
    return this.#call("settleWaitpoints", ids);
  }

  findWaitpoints(query: port.FindWaitpoints): ReturnType<port.Store["findWaitpoints"]> {
    return this.#call("findWaitpoints", query);
  }

  listTokens(query: port.TokenQuery): Promise<port.TokenPage> {
    return this.#call("listTokens", query);
  }

  openSession(session: SessionRecord): Promise<"opened" | "lapsed" | "superseded"> {
    return this.#call("openSession", session);
  }

  keepSessions(items: readonly port.KeepSession[]): Promise<readonly boolean[]> {
    return this.#call("keepSessions", items);
  }

  lapseSessions(params: { readonly nowMs: number; readonly limit: number }): Promise<readonly SessionRecord[]> {
    return this.#call("lapseSessions", params);
  }

  closeSession(params: { readonly environment: string; readonly sessionId: string }): Promise<boolean> {
    return this.#call("closeSession", params);
  }

  listSessions(params: { readonly environment: string }): Promise<readonly SessionRecord[]> {
    return this.#call("listSessions", params);
  }

  registerTasks(params: port.RegisterTasks): Promise<void> {
    return this.#call("registerTasks", params);
  }

  listTasks(params: { readonly environment: string }): ReturnType<port.Store["listTasks"]> {
    return this.#call("listTasks", params);
  }

  listQueues(params: port.ListQueues): ReturnType<port.Store["listQueues"]> {
    return this.#call("listQueues", params);
  }

  readQueue(ref: port.QueueRef): Promise<port.QueueView | undefined> {
    return this.#call("readQueue", ref);
  }

  changeQueue(change: port.QueueChange): Promise<port.QueueChangeResult> {
    return this.#call("changeQueue", change);
  }

  createSecretKey(key: SecretKeyRecord): Promise<void> {
    return this.#call("createSecretKey", key);
  }

  listSecretKeys(): Promise<readonly SecretKeyRecord[]> {
    return this.#call("listSecretKeys", undefined);
  }

  readSecretKey(name: string): Promise<SecretKeyRecord | undefined> {
    return this.#call("readSecretKey", name);
  }

  revokeSecretKey(params: Parameters<port.Store["revokeSecretKey"]>[0]): Promise<SecretKeyRecord | undefined> {
    return this.#call("revokeSecretKey", params);
  }

  /** Every step is one transaction. */
  async repair(): Promise<number> {
    return 0;
  }

  purge(params: Parameters<port.Store["purge"]>[0]): Promise<port.Purged> {
    return this.#call("purge", params);
  }

  findUnnamedObjects(keys: readonly string[]): Promise<readonly string[]> {
    return this.#call("findUnnamedObjects", keys);
  }

  query(sql: string): Promise<readonly unknown[]> {
    return this.#backend.query(sql);
  }

  /** @throws AppError STORE_UNAVAILABLE before start and after stop. */
  #lane(verb: VerbName): Lane {
    if (this.#opened === undefined || this.#stopping !== undefined) {
      throw storeUnavailable(new Error("the store is not running"));
    }
    return isReadVerb(verb) ? this.#reads : this.#writes;
  }

  async #call<V extends Exclude<VerbName, "insertRuns">>(verb: V, argument: ArgumentOf<V>): Promise<ResultOf<V>> {
    const outcome = await this.#lane(verb).call({ verb, argument });
    // What a verb of this name returns; the pair is lost in the message.
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- the value comes from the other thread, which checked it
    return valueOf(outcome) as ResultOf<V>;
  }
}

/** @throws AppError STORE_UNAVAILABLE; or what the verb threw, which is a mistake of ours. */
function valueOf(outcome: Outcome): unknown {
  switch (outcome.kind) {
    case "done":
      return outcome.value;
    case "failed":
      throw outcome.error;
    case "unavailable":
      throw storeUnavailable(outcome.error);
  }
}
