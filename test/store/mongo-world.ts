/** Stores on a MongoDB server for tests. */
import { randomFillSync } from "node:crypto";
import { MongoClient } from "mongodb";
import { createMongoStore, type MongoStore, type MongoStoreOptions } from "../../server/store/mongo/mongo-store.js";

/** Where the server is; undefined: the tests of this store are skipped. */
export const MONGODB_URI = process.env.MONGODB_URI;

/** Short, so that changes of limits, which wait for it, do not make the tests long. */
const SETTINGS_CACHE_MS = 20;

const clock: MongoStoreOptions["clock"] = {
  nowMs: () => performance.now(),
  setTimer(delayMs, callback) {
    const timer = setTimeout(callback, delayMs);
    return { cancel: () => clearTimeout(timer) };
  },
};

/** A store that is not started. */
export function mongoStore(database: string, options: Partial<MongoStoreOptions> = {}): MongoStore {
  return createMongoStore({
    url: MONGODB_URI ?? "",
    database,
    clock,
    entropy: { bytes: (length) => randomFillSync(new Uint8Array(length)) },
    settingsCacheMs: SETTINGS_CACHE_MS,
    ...options,
  });
}

/** Databases in use at one time; AVA starts all tests of a file together. */
const AT_ONCE = 4;

/**
 * Databases for tests, few of them and used in turn: making one with all its indexes takes longer than most tests. One that is given back
 * is emptied.
 */
export class Databases {
  readonly #client = new MongoClient(MONGODB_URI ?? "");
  readonly #free: string[];
  readonly #names: readonly string[];
  readonly #waiting: ((name: string) => void)[] = [];

  constructor(purpose: string) {
    this.#names = Array.from({ length: AT_ONCE }, (_, index) => `hairtrigger_${purpose}_${process.pid}_${index}`);
    this.#free = [...this.#names];
  }

  async take(): Promise<string> {
    return this.#free.pop() ?? new Promise((resolve) => this.#waiting.push(resolve));
  }

  async giveBack(name: string): Promise<void> {
    const db = this.#client.db(name);
    for (const { collectionName } of await db.collections()) await db.collection(collectionName).deleteMany({});
    const next = this.#waiting.shift();
    if (next === undefined) this.#free.push(name);
    else next(name);
  }

  async drop(): Promise<void> {
    for (const name of this.#names) await this.#client.db(name).dropDatabase();
    await this.#client.close();
  }
}
