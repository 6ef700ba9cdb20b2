/**
 * The one place that knows the driver: makes the client, and carries out every read and write, so that three things hold everywhere:
 * writes are acknowledged by a majority and its journals, reads see only what a majority has, and an error of the network or of a
 * replica set that is electing is STORE_UNAVAILABLE and no other.
 */
import {
  type AnyBulkWriteOperation,
  type Collection,
  type Db,
  type Document,
  type Filter,
  type FindOptions,
  type IndexDescription,
  MongoAPIError,
  MongoBulkWriteError,
  MongoClient,
  MongoClientClosedError,
  MongoError,
  MongoNotConnectedError,
  MongoServerError,
  MongoTopologyClosedError,
  type OptionalUnlessRequiredId,
  type UpdateFilter,
  type WriteError,
} from "mongodb";
import { isAppError, storeUnavailable } from "../../domain/error.js";

/** Every unique constraint is an `_id`, so that each collection can be sharded by its hash. */
export interface Identified {
  readonly _id: string;
}

export interface ClientOptions {
  readonly url: string;
  /** Default: that of the URL, else `hairtrigger`. */
  readonly database: string | undefined;
  readonly stopAfterWrites: number | undefined;
  readonly standStill: (() => Promise<void>) | undefined;
}

const DATABASE = "hairtrigger";
/** How long an operation looks for a primary before the caller hears UNAVAILABLE; longer than an election on a healthy network. */
const SELECTION_MS = 5_000;
/** An operation without an answer for this long is given up; every one of ours is bounded to a page. */
const SOCKET_MS = 20_000;

/** Documents of one answer: more than any page of ours. The default of 101 would make a second round trip of most. */
const BATCH = 10_000;

/** A connection of one store. Constructing it does nothing. */
export class Client {
  readonly #client: MongoClient;
  readonly #db: Db;
  readonly #stopAfterWrites: number;
  readonly #standStill: (() => Promise<void>) | undefined;
  #writesLeft = Number.POSITIVE_INFINITY;

  constructor(options: ClientOptions) {
    this.#client = new MongoClient(options.url, {
      writeConcern: { w: "majority", journal: true },
      readConcern: { level: "majority" },
      readPreference: "primary",
      retryWrites: true,
      retryReads: true,
      ignoreUndefined: true,
      ...(options.url.includes("serverSelectionTimeoutMS=") ? {} : { serverSelectionTimeoutMS: SELECTION_MS }),
      ...(options.url.includes("socketTimeoutMS=") ? {} : { socketTimeoutMS: SOCKET_MS }),
      appName: "hairtrigger",
      monitorCommands: true,
    });
    const named = this.#client.options.dbName;
    this.#db = this.#client.db(options.database ?? (named === "test" ? DATABASE : named));
    this.#standStill = options.standStill;
    this.#stopAfterWrites = options.stopAfterWrites ?? Number.POSITIVE_INFINITY;
  }

  /** The driver's client, for command monitoring in tests. */
  get driver(): MongoClient {
    return this.#client;
  }

  get database(): Db {
    return this.#db;
  }

  /** From now on writes count (see `stopAfterWrites`). */
  countWrites(): void {
    this.#writesLeft = this.#stopAfterWrites;
  }

  async close(): Promise<void> {
    await this.#client.close();
  }

  /** Needed before the first operation, and again after it failed: a client that never reached its server does not try again by itself. */
  async connect(): Promise<void> {
    await this.read(() => this.#client.connect());
  }

  /** @returns the database's clock, Unix milliseconds. */
  async hello(): Promise<number | undefined> {
    const answer = await this.read(() => this.#db.command({ hello: 1 }));
    const time: unknown = answer.localTime;
    return time instanceof Date ? time.getTime() : undefined;
  }

  table<D extends Identified>(name: string): Table<D> {
    return new Table<D>(this, this.#db.collection<D>(name));
  }

  /** @throws AppError STORE_UNAVAILABLE */
  async read<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      throw isUnavailable(error) ? storeUnavailable(error) : error;
    }
  }

  /** @throws AppError STORE_UNAVAILABLE; the write may have happened. */
  async write<T>(work: () => Promise<T>): Promise<T> {
    if (this.#writesLeft <= 0) {
      if (this.#standStill === undefined) throw storeUnavailable(new Error("the store was told to stop here"));
      await this.#standStill();
    }
    this.#writesLeft -= 1;
    return this.read(work);
  }
}

/** What became of an unordered bulk. */
export interface BulkOutcome {
  /** Updates that found their document. */
  readonly matched: number;
  /** Documents made, by insert or upsert. */
  readonly made: number;
  /** Positions of writes that met a document of the same `_id`. */
  readonly duplicates: ReadonlySet<number>;
}

const DUPLICATE = 11_000;
const NO_BULK: BulkOutcome = { matched: 0, made: 0, duplicates: new Set() };

/** One collection. Each method is one round trip, whatever the number of documents; an empty one is none. */
export class Table<D extends Identified> {
  readonly #client: Client;
  readonly #collection: Collection<D>;

  constructor(client: Client, collection: Collection<D>) {
    this.#client = client;
    this.#collection = collection;
  }

  get name(): string {
    return this.#collection.collectionName;
  }

  find(filter: Filter<D>, options: FindOptions = {}): Promise<readonly D[]> {
    // Without `project` the documents are what was stored; a projection leaves out optional members only.
    return this.#client.read(() => this.#collection.find<D>(filter, { batchSize: BATCH, ...options }).toArray());
  }

  async findByIds(ids: Iterable<string>, projection?: Document): Promise<ReadonlyMap<string, D>> {
    const wanted = [...new Set(ids)];
    if (wanted.length === 0) return new Map();
    const found = await this.findIn("_id", wanted, projection);
    return new Map(found.map((doc) => [doc._id, doc]));
  }

  findIn(field: string, values: readonly string[], projection?: Document): Promise<readonly D[]> {
    return this.find(filterOf<D>({ [field]: { $in: values } }), projection === undefined ? {} : { projection });
  }

  aggregate<R extends Document>(pipeline: readonly Document[]): Promise<readonly R[]> {
    return this.#client.read(() => this.#collection.aggregate<R>([...pipeline], { batchSize: BATCH }).toArray());
  }

  /** @returns positions of documents whose `_id` exists already; the others were stored. */
  async insertMany(docs: readonly OptionalUnlessRequiredId<D>[]): Promise<ReadonlySet<number>> {
    if (docs.length === 0) return new Set();
    try {
      await this.#client.write(() => this.#collection.insertMany([...docs], { ordered: false }));
      return new Set();
    } catch (error) {
      return duplicatesOf(error);
    }
  }

  async bulk(writes: readonly AnyBulkWriteOperation<D>[]): Promise<BulkOutcome> {
    if (writes.length === 0) return NO_BULK;
    try {
      const result = await this.#client.write(() => this.#collection.bulkWrite([...writes], { ordered: false }));
      return {
        matched: result.matchedCount,
        made: result.insertedCount + result.upsertedCount,
        duplicates: new Set(),
      };
    } catch (error) {
      const duplicates = duplicatesOf(error);
      const result = error instanceof MongoBulkWriteError ? error.result : undefined;
      return {
        matched: result?.matchedCount ?? 0,
        made: (result?.insertedCount ?? 0) + (result?.upsertedCount ?? 0),
        duplicates,
      };
    }
  }

  /**
   * A bulk of updates that may be repeated: each guarded by what it changes. After an error of the network it is tried once more, as the driver
   * does with updates of single documents; then `matched` says less than was done, and who won is to be read.
   */
  async guarded(writes: readonly AnyBulkWriteOperation<D>[]): Promise<BulkOutcome> {
    try {
      return await this.bulk(writes);
    } catch (error) {
      if (!isAppError(error)) throw error;
      return this.bulk(writes);
    }
  }

  /** @returns whether a document matched. */
  async updateOne(filter: Filter<D>, update: UpdateFilter<D>): Promise<boolean> {
    const result = await this.#client.write(() => this.#collection.updateOne(filter, update));
    return result.matchedCount > 0;
  }

  async updateMany(filter: Filter<D>, update: UpdateFilter<D>): Promise<number> {
    const result = await this.#client.write(() => this.#collection.updateMany(filter, update));
    return result.matchedCount;
  }

  /** @returns how many were removed. */
  async deleteMany(filter: Filter<D>): Promise<number> {
    const result = await this.#client.write(() => this.#collection.deleteMany(filter));
    return result.deletedCount;
  }

  async createIndexes(indexes: readonly IndexDescription[]): Promise<void> {
    await this.#client.write(() => this.#collection.createIndexes([...indexes]));
  }

  listIndexes(): Promise<readonly Document[]> {
    return this.#client.read(() => this.#collection.listIndexes().toArray());
  }
}

/** A filter whose field names are computed; the driver's type cannot follow them. */
export function filterOf<D extends Identified>(filter: Document): Filter<D> {
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- names of fields are computed
  return filter as Filter<D>;
}

/** Positions of duplicates, if a bulk failed for nothing else. The driver wraps errors of the network in the same class. */
function duplicatesOf(error: unknown): ReadonlySet<number> {
  if (!(error instanceof MongoBulkWriteError)) throw error;
  const errors = writeErrorsOf(error);
  const isAllDuplicates = errors.length > 0 && errors.every(({ code }) => code === DUPLICATE);
  if (!isAllDuplicates || error.result.getWriteConcernError() !== undefined) throw error;
  return new Set(errors.map(({ index }) => index));
}

function writeErrorsOf(error: MongoBulkWriteError): readonly WriteError[] {
  return [error.writeErrors].flat();
}

/** Codes of a server that is not, or no longer, the primary, is shutting down, or could not reach the others in time. */
const UNAVAILABLE_CODES: ReadonlySet<number> = new Set([
  1, // InternalError: what protocol-compatible servers answer when what is behind them is away
  6, // HostUnreachable
  7, // HostNotFound
  50, // MaxTimeMSExpired
  64, // WriteConcernFailed
  79, // UnknownReplWriteConcern
  89, // NetworkTimeout
  91, // ShutdownInProgress
  100, // UnsatisfiableWriteConcern
  133, // FailedToSatisfyReadPreference
  134, // ReadConcernMajorityNotAvailableYet
  189, // PrimarySteppedDown
  202, // NetworkInterfaceExceededTimeLimit
  234, // RetryChangeStream
  262, // ExceededTimeLimit
  9_001, // SocketException
  10_058, // LegacyNotPrimary
  10_107, // NotWritablePrimary
  11_600, // InterruptedAtShutdown
  11_602, // InterruptedDueToReplStateChange
  13_435, // NotPrimaryNoSecondaryOk
  13_436, // NotPrimaryOrSecondary
]);

/** Whether the error is of the network or of a server that cannot serve now; every other one is a mistake of ours. */
export function isUnavailable(error: unknown): boolean {
  if (!(error instanceof MongoError)) return false;
  if (error instanceof MongoBulkWriteError) {
    const codes = writeErrorsOf(error).map(({ code }) => code);
    if (codes.length > 0) {
      const isOnlyDuplicates = codes.every((code) => code === DUPLICATE);
      return isOnlyDuplicates
        ? error.result.getWriteConcernError() !== undefined
        : codes.some((code) => typeof code === "number" && UNAVAILABLE_CODES.has(code));
    }
    // A wrapped error of the driver has no code; a refused command has.
    return typeof error.code !== "number" || UNAVAILABLE_CODES.has(error.code);
  }
  if (error instanceof MongoServerError) {
    if (error.hasErrorLabel("RetryableWriteError") || error.hasErrorLabel("RetryableReadError")) return true;
    return typeof error.code === "number" && UNAVAILABLE_CODES.has(error.code);
  }
  if (error instanceof MongoAPIError) {
    return (
      error instanceof MongoNotConnectedError ||
      error instanceof MongoTopologyClosedError ||
      error instanceof MongoClientClosedError
    );
  }
  return true;
}
