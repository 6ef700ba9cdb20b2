/** Databases of a MongoDB server for tests of apps: few of them and used in turn, since making one with its indexes takes a second. */
import test, { type ExecutionContext } from "ava";
import { MongoClient } from "mongodb";
import { testIf } from "./available.js";

/** Where the server is; undefined: tests that need one are skipped. */
export const MONGODB_URI = process.env.MONGODB_URI;

/** Declares a test that needs a MongoDB server. */
export const mongoTest = testIf(MONGODB_URI !== undefined, "MONGODB_URI is not set");

/** Databases in use at one time; AVA starts all tests of a file together. */
const AT_ONCE = 3;

interface Pool {
  readonly client: MongoClient;
  readonly free: string[];
  readonly names: string[];
  readonly waiting: ((name: string) => void)[];
}

let pool: Pool | undefined;

function openPool(uri: string): Pool {
  const client = new MongoClient(uri);
  const names = Array.from({ length: AT_ONCE }, (_, index) => `hairtrigger_app_${process.pid}_${index}`);
  const opened: Pool = { client, free: [...names], names, waiting: [] };
  test.after.always("databases are dropped", async () => {
    for (const name of names) await client.db(name).dropDatabase();
    await client.close();
  });
  return opened;
}

if (MONGODB_URI !== undefined) pool = openPool(MONGODB_URI);

/** The URL of an empty database that nobody else uses until the test has ended, and all that was started after this call with it. */
export async function takeDatabase(t: ExecutionContext): Promise<string> {
  const database = await borrowDatabase();
  t.teardown(() => database.giveBack());
  return database.url;
}

export interface Borrowed {
  readonly url: string;
  giveBack(): Promise<void>;
}

/** The same, to be given back by the caller. */
export async function borrowDatabase(): Promise<Borrowed> {
  if (pool === undefined || MONGODB_URI === undefined) throw new Error("MONGODB_URI is not set");
  const { client, free, waiting } = pool;
  const name = free.pop() ?? (await new Promise<string>((resolve) => waiting.push(resolve)));
  const url = new URL(MONGODB_URI);
  url.pathname = `/${name}`;
  return {
    url: url.href,
    async giveBack() {
      const db = client.db(name);
      for (const { collectionName } of await db.collections()) await db.collection(collectionName).deleteMany({});
      const next = waiting.shift();
      if (next === undefined) free.push(name);
      else next(name);
    },
  };
}
