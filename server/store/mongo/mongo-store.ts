/**
 * The MongoDB store: any number of servers on one database (design 12). No transactions and no change streams, so that it runs on a replica
 * set, on a sharded cluster and on protocol-compatible servers. What one write cannot do, the first of several says is owed, and `repair`
 * finishes it after a crash.
 */
import { Binary, type Document } from "mongodb";
import { isAppError, storeUnavailable } from "../../domain/error.js";
import type { RunChange } from "../../domain/run-change.js";
import type { SecretKeyRecord } from "../../domain/secret-key.js";
import type { SessionRecord } from "../../domain/session.js";
import type * as port from "../store.js";
import type { AnswerDoc } from "./answers.js";
import { awaitBatches } from "./batch-await.js";
import type { BatchDoc, ChunkDoc, PendingDoc } from "./batch-doc.js";
import { doneBatches, findBatches, readBatches, readBatchItems, sealBatches } from "./batch-read.js";
import { insertBatch } from "./batches.js";
import { changeRuns } from "./change.js";
import { Claims } from "./claim/claims.js";
import { Client } from "./client.js";
import type { Context, Entropy, MachineClock, MetaDoc } from "./context.js";
import { pause } from "./context.js";
import { DatabaseClock } from "./database-clock.js";
import { findRuns } from "./find.js";
import type { HeadDoc } from "./heads.js";
import { createIndexes } from "./indexes.js";
import { insertRuns } from "./insert.js";
import { type KeyDoc, resetKey } from "./keys.js";
import { endLingering } from "./lingering.js";
import { countRuns, listRuns } from "./list.js";
import { appendLogs, type LogsDoc } from "./logs.js";
import { changeMetadata, type MetadataSourceDoc } from "./metadata.js";
import { findUnnamedObjects } from "./objects.js";
import { type PurgeCursor, purge } from "./purge.js";
import { QueueSizes } from "./queue-sizes.js";
import { changeQueue, listQueues, readQueue } from "./queues.js";
import { readRunDetails, readRunResults, readRuns } from "./read.js";
import { repair } from "./repair.js";
import type { RunDoc } from "./run-doc.js";
import { createSecretKey, listSecretKeys, readSecretKey, revokeSecretKey, type SecretKeyDoc } from "./secret-keys.js";
import { createServers } from "./servers.js";
import { closeSession, keepSessions, lapseSessions, listSessions, openSession, type SessionDoc } from "./sessions.js";
import { type QueueDoc, Settings } from "./settings.js";
import type { SlotsDoc } from "./slots.js";
import { appendStreams, readStream, type StreamChunksDoc, type StreamDoc } from "./streams.js";
import { listTasks, registerTasks, type TaskDoc } from "./tasks.js";
import { batchByToken, type TokenUseDoc } from "./token-uses.js";
import {
  endWaitpoints,
  findWaitpoints,
  insertWaitpoints,
  listTokens,
  readWaitpoints,
  settleWaitpoints,
  type WaitpointDoc,
} from "./waitpoints.js";

export interface MongoStoreOptions {
  /** `mongodb://` or `mongodb+srv://`. */
  readonly url: string;
  /** Default: that of the URL, else `hairtrigger`. */
  readonly database?: string;
  /** The machine's monotonic clock; the engine's system clock fits. */
  readonly clock: MachineClock;
  readonly entropy: Entropy;
  /** For how long settings of queues may be cached (design 7). Default 1,000 ms. */
  readonly settingsCacheMs?: number;
  /** Told once per 10 s while the database cannot be reached at start. */
  readonly log?: (message: string) => void;
  /** For tests of crashes only: after so many writes since `start` all further ones are refused, as if the process had been killed there. */
  readonly stopAfterWrites?: number;
  /** For tests of suspended machines only: these further writes wait for this instead. */
  readonly standStill?: () => Promise<void>;
}

export interface MongoStore extends port.Store {
  readonly shared: port.SharedStore;
  /**
   * The database's time minus that of `options.clock`, milliseconds; refreshed every 10 s. The engine's `now` has to be the database's
   * clock, for it is compared between servers: {@link databaseMs}.
   */
  clockOffsetMs(): number;
  /** The database's clock: never backwards. 0 offset before `start`. */
  databaseMs(): number;
  /** For what else keeps its records there: the scheduler's driver, payloads. */
  readonly database: Client["database"];
  /** For tests: its command monitoring. */
  readonly driver: Client["driver"];
}

/** Pause between two looks for a database that cannot be reached at start, and between two log lines about it. */
const START_RETRY_MS = 1_000;
const START_LOG_MS = 10_000;

const SETTINGS_CACHE_MS = 1_000;
const SECRET_BYTES = 32;

export function createMongoStore(options: MongoStoreOptions): MongoStore {
  return new LiveStore(options);
}

class LiveStore implements MongoStore {
  readonly shared: port.SharedStore;
  readonly #options: MongoStoreOptions;
  readonly #client: Client;
  readonly #clock: DatabaseClock;
  readonly #context: Context;
  readonly #claims = new Claims();
  readonly #cursor: PurgeCursor = { head: "", slots: "" };
  /** Calls under way; stop waits for them. */
  readonly #calls = new Set<Promise<unknown>>();
  #secret: Uint8Array | undefined;
  #isRunning = false;
  #stopping: Promise<void> | undefined;

  constructor(options: MongoStoreOptions) {
    const { url, database, stopAfterWrites, standStill, clock, entropy, settingsCacheMs = SETTINGS_CACHE_MS } = options;
    this.#options = options;
    const client = new Client({ url, database, stopAfterWrites, standStill });
    this.#client = client;
    this.shared = createServers(client);
    this.#clock = new DatabaseClock(client, clock);
    const queues = client.table<QueueDoc>("queues");
    this.#context = {
      client,
      clock,
      entropy,
      databaseMs: () => this.#clock.nowMs(),
      settings: new Settings(queues, clock, settingsCacheMs),
      sizes: new QueueSizes(clock),
      queues,
      runs: client.table<RunDoc>("runs"),
      keys: client.table<KeyDoc>("keys"),
      batches: client.table<BatchDoc>("batches"),
      chunks: client.table<ChunkDoc>("batch_chunks"),
      pendingRuns: client.table<PendingDoc>("pending_runs"),
      answers: client.table<AnswerDoc>("requests"),
      metadataSources: client.table<MetadataSourceDoc>("metadata_sources"),
      streams: client.table<StreamDoc>("streams"),
      streamChunks: client.table<StreamChunksDoc>("stream_chunks"),
      secretKeys: client.table<SecretKeyDoc>("secret_keys"),
      tokenUses: client.table<TokenUseDoc>("token_uses"),
      waitpoints: client.table<WaitpointDoc>("waitpoints"),
      slots: client.table<SlotsDoc>("slots"),
      heads: client.table<HeadDoc>("heads"),
      tasks: client.table<TaskDoc>("tasks"),
      sessions: client.table<SessionDoc>("sessions"),
      logs: client.table<LogsDoc>("logs"),
      meta: client.table<MetaDoc>("meta"),
    };
  }

  get database(): Client["database"] {
    return this.#client.database;
  }

  get driver(): Client["driver"] {
    return this.#client.driver;
  }

  clockOffsetMs(): number {
    return this.#clock.offsetMs;
  }

  databaseMs(): number {
    return Math.floor(this.#clock.nowMs());
  }

  /** Waits for a database that cannot be reached. @throws AppError STORE_UNAVAILABLE when stopped meanwhile. */
  async start(): Promise<{ readonly lastTimeMs: number }> {
    const { clock, log } = this.#options;
    let loggedMs = Number.NEGATIVE_INFINITY;
    for (;;) {
      if (this.#stopping !== undefined) throw storeUnavailable(new Error("the store was stopped"));
      try {
        await this.#prepare();
        break;
      } catch (error) {
        // A mistake of ours, or a right that is missing, does not go away by waiting.
        if (!isStoreUnavailable(error)) throw error;
        if (clock.nowMs() - loggedMs >= START_LOG_MS) {
          loggedMs = clock.nowMs();
          log?.(`The database cannot be reached, waiting for it: ${causeOf(error)}`);
        }
        await pause(this.#context, START_RETRY_MS);
      }
    }
    this.#client.countWrites();
    this.#isRunning = true;
    // Times in the records are the database's own, and so is the clock that starts now.
    return { lastTimeMs: this.databaseMs() };
  }

  /** Each step may meet a database that goes away; all of them may be repeated. */
  async #prepare(): Promise<void> {
    await this.#client.connect();
    await this.#clock.start();
    await createIndexes(this.#context);
    this.#secret = await ensureSecret(this.#context);
  }

  stop(): Promise<void> {
    this.#stopping ??= this.#stop();
    return this.#stopping;
  }

  async #stop(): Promise<void> {
    this.#isRunning = false;
    this.#clock.stop();
    await Promise.allSettled(this.#calls);
    await this.#client.close();
  }

  async checkWritable(): Promise<{ readonly ok: boolean; readonly error?: string }> {
    try {
      await this.#call((context) => context.meta.bulk([PROBE]));
      return { ok: true };
    } catch (error) {
      return { ok: false, error: causeOf(error) };
    }
  }

  async readSecret(): Promise<Uint8Array> {
    if (this.#secret === undefined) throw storeUnavailable(new Error("the store is not running"));
    return this.#secret;
  }

  insertRuns(items: readonly port.InsertRun[]): ReturnType<port.Store["insertRuns"]> {
    return this.#call((context) => insertRuns(context, items));
  }

  readRuns(ids: readonly port.RunRef[]): ReturnType<port.Store["readRuns"]> {
    return this.#call((context) => readRuns(context, ids));
  }

  readRunResults(ids: readonly port.RunRef[]): ReturnType<port.Store["readRunResults"]> {
    return this.#call((context) => readRunResults(context, ids));
  }

  readRunDetails(ids: readonly port.RunRef[]): ReturnType<port.Store["readRunDetails"]> {
    return this.#call((context) => readRunDetails(context, ids));
  }

  listRuns(query: port.RunQuery): Promise<port.RunPage> {
    return this.#call((context) => listRuns(context, query));
  }

  countRuns(query: Parameters<port.Store["countRuns"]>[0]): Promise<number> {
    return this.#call((context) => countRuns(context, query));
  }

  resetKey(params: port.ResetKey): ReturnType<port.Store["resetKey"]> {
    return this.#call((context) => resetKey(context, params));
  }

  insertBatch(params: port.InsertBatch): ReturnType<port.Store["insertBatch"]> {
    return this.#call((context) => batchByToken(context, params, () => insertBatch(context, params)));
  }

  readBatches(refs: readonly port.BatchRef[]): ReturnType<port.Store["readBatches"]> {
    return this.#call((context) => readBatches(context, refs));
  }

  readBatchItems(params: port.ReadBatchItems): ReturnType<port.Store["readBatchItems"]> {
    return this.#call((context) => readBatchItems(context, params));
  }

  sealBatches(items: readonly port.SealBatch[]): ReturnType<port.Store["sealBatches"]> {
    return this.#call((context) => sealBatches(context, items));
  }

  findBatches(query: port.FindBatches): ReturnType<port.Store["findBatches"]> {
    return this.#call((context) => findBatches(context, query));
  }

  awaitBatches(refs: readonly port.BatchRef[]): Promise<void> {
    return this.#call((context) => awaitBatches(context, refs));
  }

  doneBatches(runs: readonly port.RunRef[]): ReturnType<port.Store["doneBatches"]> {
    return this.#call((context) => doneBatches(context, runs));
  }

  claimRuns(requests: readonly port.ClaimRequest[]): ReturnType<port.Store["claimRuns"]> {
    return this.#call((context) => this.#claims.claim(context, requests));
  }

  changeRuns(changes: readonly RunChange[]): ReturnType<port.Store["changeRuns"]> {
    return this.#call((context) => changeRuns(context, changes));
  }

  changeMetadata(items: readonly port.ChangeMetadata[]): ReturnType<port.Store["changeMetadata"]> {
    return this.#call((context) => changeMetadata(context, items));
  }

  findRuns(query: port.FindRuns): ReturnType<port.Store["findRuns"]> {
    return this.#call((context) => findRuns(context, query));
  }

  endLingering(which: port.EndLingering): Promise<number> {
    return this.#call((context) => endLingering(context, which));
  }

  appendStreams(items: readonly port.AppendStream[]): Promise<readonly port.AppendStreamResult[]> {
    return this.#call((context) => appendStreams(context, items));
  }

  readStream(query: Parameters<port.Store["readStream"]>[0]): ReturnType<port.Store["readStream"]> {
    return this.#call((context) => readStream(context, query));
  }

  appendLogs(entries: readonly port.AppendLogs[]): Promise<void> {
    return this.#call((context) => appendLogs(context, entries));
  }

  insertWaitpoints(items: readonly port.InsertWaitpoint[]): ReturnType<port.Store["insertWaitpoints"]> {
    return this.#call((context) => insertWaitpoints(context, items));
  }

  readWaitpoints(ids: readonly port.WaitpointRef[]): ReturnType<port.Store["readWaitpoints"]> {
    return this.#call((context) => readWaitpoints(context, ids));
  }

  endWaitpoints(items: readonly port.EndWaitpoint[]): ReturnType<port.Store["endWaitpoints"]> {
    return this.#call((context) => endWaitpoints(context, items));
  }

  settleWaitpoints(ids: readonly port.WaitpointRef[]): Promise<void> {
    return this.#call((context) => settleWaitpoints(context, ids));
  }

  findWaitpoints(query: port.FindWaitpoints): ReturnType<port.Store["findWaitpoints"]> {
    return this.#call((context) => findWaitpoints(context, query));
  }

  listTokens(query: port.TokenQuery): Promise<port.TokenPage> {
    return this.#call((context) => listTokens(context, query));
  }

  openSession(session: SessionRecord): ReturnType<port.Store["openSession"]> {
    return this.#call((context) => openSession(context, session));
  }

  keepSessions(items: readonly port.KeepSession[]): ReturnType<port.Store["keepSessions"]> {
    return this.#call((context) => keepSessions(context, items));
  }

  lapseSessions(params: Parameters<port.Store["lapseSessions"]>[0]): ReturnType<port.Store["lapseSessions"]> {
    return this.#call((context) => lapseSessions(context, params));
  }

  closeSession(params: Parameters<port.Store["closeSession"]>[0]): Promise<boolean> {
    return this.#call((context) => closeSession(context, params));
  }

  listSessions(params: Parameters<port.Store["listSessions"]>[0]): ReturnType<port.Store["listSessions"]> {
    return this.#call((context) => listSessions(context, params));
  }

  registerTasks(params: port.RegisterTasks): Promise<void> {
    return this.#call((context) => registerTasks(context, params));
  }

  listTasks(params: Parameters<port.Store["listTasks"]>[0]): ReturnType<port.Store["listTasks"]> {
    return this.#call((context) => listTasks(context, params));
  }

  listQueues(params: port.ListQueues): ReturnType<port.Store["listQueues"]> {
    return this.#call((context) => listQueues(context, params));
  }

  readQueue(ref: port.QueueRef): Promise<port.QueueView | undefined> {
    return this.#call((context) => readQueue(context, ref));
  }

  changeQueue(change: port.QueueChange): Promise<port.QueueChangeResult> {
    return this.#call((context) => changeQueue(context, change));
  }

  createSecretKey(key: SecretKeyRecord): Promise<void> {
    return this.#call((context) => createSecretKey(context, key));
  }

  listSecretKeys(): Promise<readonly SecretKeyRecord[]> {
    return this.#call(listSecretKeys);
  }

  readSecretKey(name: string): Promise<SecretKeyRecord | undefined> {
    return this.#call((context) => readSecretKey(context, name));
  }

  revokeSecretKey(params: Parameters<port.Store["revokeSecretKey"]>[0]): Promise<SecretKeyRecord | undefined> {
    return this.#call((context) => revokeSecretKey(context, params));
  }

  repair(params: Parameters<port.Store["repair"]>[0]): Promise<number> {
    return this.#call((context) => repair(context, params));
  }

  purge(params: Parameters<port.Store["purge"]>[0]): Promise<port.Purged> {
    return this.#call((context) => purge(context, this.#cursor, params));
  }

  findUnnamedObjects(keys: readonly string[]): Promise<readonly string[]> {
    return this.#call((context) => findUnnamedObjects(context, keys));
  }

  /** @throws AppError STORE_UNAVAILABLE before start and after stop. */
  async #call<T>(verb: (context: Context) => Promise<T>): Promise<T> {
    if (!this.#isRunning) throw storeUnavailable(new Error("the store is not running"));
    const call = verb(this.#context);
    this.#calls.add(call);
    try {
      return await call;
    } finally {
      this.#calls.delete(call);
    }
  }
}

const PROBE = { updateOne: { filter: { _id: "probe" }, update: { $inc: { probes: 1 } }, upsert: true } } as const;

async function ensureSecret(context: Context): Promise<Uint8Array> {
  const known = await readSecret(context);
  if (known !== undefined) return known;
  await context.meta.insertMany([{ _id: "secret", secret: new Binary(context.entropy.bytes(SECRET_BYTES)) }]);
  const made = await readSecret(context);
  if (made === undefined) throw storeUnavailable(new Error("the secret was written and is not there"));
  return made;
}

async function readSecret(context: Context): Promise<Uint8Array | undefined> {
  const doc: Document | undefined = (await context.meta.findByIds(["secret"])).get("secret");
  return doc?.secret instanceof Binary ? new Uint8Array(doc.secret.value()) : undefined;
}

function isStoreUnavailable(error: unknown): boolean {
  return isAppError(error) && error.reason === "STORE_UNAVAILABLE";
}

function causeOf(error: unknown): string {
  const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
  return cause instanceof Error ? cause.message : String(cause);
}
