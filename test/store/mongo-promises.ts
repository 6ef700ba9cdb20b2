/** What only the MongoDB store promises: write concerns, round trips, indexes for housekeeping, several servers, outages. */
import test, { type ExecutionContext } from "ava";
import { isAppError } from "../../server/domain/error.js";
import type { MongoStore, MongoStoreOptions } from "../../server/store/mongo/mongo-store.js";
import { flakyNetwork } from "../support/flaky-network.js";
import { Commands } from "./mongo-commands.js";
import { type Databases, MONGODB_URI, mongoStore } from "./mongo-world.js";
import { ids, World } from "./world.js";

const PAGES = [50, 500] as const;
const OTHER = "session_00000000000000000000000002";

/** A database that is given back, and stores that are stopped, however the test ends. */
async function withDatabase(
  databases: Databases,
  work: (open: (options?: Partial<MongoStoreOptions>) => MongoStore) => Promise<unknown>,
): Promise<void> {
  const name = await databases.take();
  const stores: MongoStore[] = [];
  try {
    await work((options) => {
      const store = mongoStore(name, options);
      stores.push(store);
      return store;
    });
  } finally {
    for (const store of stores) await store.stop();
    await databases.giveBack(name);
  }
}

/** Registers promises that open stores of one database as they like. */
export function promiseOn(databases: Databases) {
  return (
    title: string,
    tell: (t: ExecutionContext, open: (options?: Partial<MongoStoreOptions>) => MongoStore) => Promise<unknown>,
  ): void => test(title, (t) => withDatabase(databases, (open) => tell(t, open)));
}

export function mongoPromises(databases: Databases): void {
  const promise = promiseOn(databases);

  promise(
    "DB: TTL indexes for keys, remembered answers and removed runs, and no unique index but _id",
    async (t, open) => {
      const store = open();
      await store.start();
      const indexes = async (collection: string) => store.database.collection(collection).listIndexes().toArray();
      for (const [collection, field] of [
        ["keys", "expireAt"],
        ["requests", "expireAt"],
        ["runs", "purgeAt"],
      ] as const) {
        const ttl = (await indexes(collection)).filter(({ expireAfterSeconds }) => expireAfterSeconds === 0);
        t.deepEqual(
          ttl.map(({ key }) => key),
          [{ [field]: 1 }],
        );
      }
      for (const { collectionName } of await store.database.collections()) {
        t.deepEqual(
          (await indexes(collectionName)).filter(({ unique }) => unique === true),
          [],
        );
      }
    },
  );

  promise(
    "every write is acknowledged by a majority and its journal, every read sees what a majority has",
    async (t, open) => {
      const store = open();
      await store.start();
      const commands = new Commands(store);
      const world = new World(store);
      await everyVerb(world);
      t.true(commands.writes.length > 40 && commands.reads.length > 40);
      for (const { writeConcern } of commands.writes) t.deepEqual(writeConcern, { w: "majority", j: true });
      for (const { readConcern } of commands.reads) t.is(readConcern?.level, "majority");
    },
  );

  promise("the number of round trips does not grow with the number of runs", async (t, open) => {
    // As in production: settings are read at most once a second.
    const store = open({ settingsCacheMs: 60_000 });
    await store.start();
    const commands = new Commands(store);
    const world = new World(store);
    await world.open();
    await world.trigger();
    await world.trigger({ queue: "limited", queueLimit: 1_000 });
    await world.claim(10);
    const counts: Record<string, number[]> = {};
    const count = async (title: string, work: () => Promise<unknown>): Promise<void> => {
      counts[title] = [...(counts[title] ?? []), await commands.count(work)];
    };
    for (const size of PAGES) {
      for (const [title, options] of [
        ["plain", {}],
        ["limited", { queue: "limited" }],
        ["limited, by 50 keys", { queue: "limited" }],
      ] as const) {
        const items = Array.from({ length: size }, (_, index) =>
          world.item({ ...options, concurrencyKey: title.includes("keys") ? `k${index % 50}` : undefined }),
        );
        await count(`insert, ${title}`, () => world.store.insertRuns(items));
        let claimed: Awaited<ReturnType<World["claim"]>> = [];
        await count(`claim, ${title}`, async () => {
          claimed = await world.claim(size);
        });
        t.is(claimed.length, size);
        await count(`complete, ${title}`, () => {
          const changes = claimed.map((run) =>
            world.changeOf(run.run.id, { event: "complete", ...world.lease(run), output: undefined }),
          );
          return world.store.changeRuns(changes);
        });
      }
      const keyed = Array.from({ length: size }, (_, index) => world.item({ key: world.key(`${size}-${index}`) }));
      await count("insert, with keys", () => world.store.insertRuns(keyed));
      await count("hit, with keys", () => world.store.insertRuns(keyed.map(({ run }) => world.item({ key: run.key }))));
      await count("cancel", () =>
        world.store.changeRuns(keyed.map(({ run }) => world.changeOf(run.id, { event: "cancel", reason: "" }))),
      );
    }
    for (const [title, [few = 0, many = 0]] of Object.entries(counts)) {
      t.log(`${title}: ${few} round trips for ${PAGES[0]} runs, ${many} for ${PAGES[1]}`);
      t.true(many <= few, title);
    }
  });

  promise(
    "QUE-6, QUE-16: four servers on one database never exceed a limit, and start every run once",
    async (t, open) => {
      const stores = Array.from({ length: 4 }, () => open());
      for (const store of stores) await store.start();
      const worlds = stores.map((store) => new World(store));
      const [first] = worlds;
      if (first === undefined) return t.fail();
      const limited = [];
      for (const concurrencyKey of ["a", "b", "c"]) {
        limited.push(...(await first.triggerMany(20, { queue: "q", queueLimit: 2, concurrencyKey })));
      }
      const free = await first.triggerMany(60);
      const executing = new Map<string, number>();
      const started: string[] = [];
      let most = 0;
      const work = async (world: World, sessionId: string): Promise<void> => {
        await world.open({ id: sessionId });
        for (let idle = 0; idle < 5 && started.length < limited.length + free.length; ) {
          const claimed = await world.claim(5, { sessionId });
          idle = claimed.length === 0 ? idle + 1 : 0;
          for (const { run } of claimed) {
            started.push(run.id);
            if (run.queue !== "q") continue;
            const count = (executing.get(run.concurrencyKey ?? "") ?? 0) + 1;
            executing.set(run.concurrencyKey ?? "", count);
            most = Math.max(most, count);
          }
          for (const { run } of claimed) {
            if (run.queue === "q")
              executing.set(run.concurrencyKey ?? "", (executing.get(run.concurrencyKey ?? "") ?? 0) - 1);
          }
          const lease = (run: { readonly fence: number }) => ({ fence: run.fence, sessionId });
          const changes = claimed.map(({ run }) =>
            world.changeOf(run.id, { event: "complete", ...lease(run), output: undefined }),
          );
          const results = await world.store.changeRuns(changes);
          t.true(results.every(({ kind }) => kind === "applied"));
        }
      };
      await Promise.all(worlds.map((world, index) => work(world, `${OTHER.slice(0, -1)}${index + 3}`)));
      // What the last losers of races left waiting.
      await work(first, OTHER);
      t.deepEqual(started.toSorted(), [...limited, ...free].toSorted());
      t.true(most <= 2 && most > 0);
      t.like(await first.queue("q"), { running: 0, queued: 0 });
      t.deepEqual(await holders(stores[0]), []);
    },
  );

  promise("IDM-12: four servers create one run for one key, whatever they race for", async (t, open) => {
    const stores = Array.from({ length: 4 }, () => open());
    for (const store of stores) await store.start();
    const worlds = stores.map((store) => new World(store));
    const keys = Array.from({ length: 10 }, (_, index) => `k${index}`);
    const results = await Promise.all(
      worlds.flatMap((world) =>
        [0, 1].map(() => world.store.insertRuns(keys.map((key) => world.item({ key: world.key(key) })))),
      ),
    );
    t.is(results.flat().filter(({ kind }) => kind === "created").length, keys.length);
    t.is((await worlds[0]?.list())?.length, keys.length);
  });

  promise("a database that cannot be reached at start is waited for, and told once per 10 s", async (t, open) => {
    const network = await flakyNetwork(MONGODB_URI ?? "");
    network.cut();
    const url = `${network.url.replace("http:", "mongodb:")}/?directConnection=true&serverSelectionTimeoutMS=1000`;
    const told: string[] = [];
    const { store, starting } = await new Promise<{ readonly store: MongoStore; readonly starting: Promise<unknown> }>(
      (resolve) => {
        const opened = open({
          url,
          log: (message) => {
            told.push(message);
            resolve({ store: opened, starting: start });
          },
        });
        const start = opened.start();
      },
    );
    t.like(await store.checkWritable(), { ok: false });
    network.heal();
    await starting;
    t.is(told.length, 1);
    t.regex(told[0] ?? "", /cannot be reached/);
    t.deepEqual(await store.checkWritable(), { ok: true });
    await store.stop();
    await network.stop();
  });

  promise("a database that goes away while its indexes are made is waited for", async (t, open) => {
    const network = await flakyNetwork(MONGODB_URI ?? "");
    const url = `${network.url.replace("http:", "mongodb:")}/?directConnection=true&serverSelectionTimeoutMS=1000`;
    const told: string[] = [];
    const store = open({
      url,
      log: (message) => {
        told.push(message);
        network.heal();
      },
    });
    let cuts = 0;
    store.driver.on("commandStarted", ({ commandName }: { readonly commandName: string }) => {
      if (commandName !== "createIndexes" || cuts > 0) return;
      cuts += 1;
      network.cut();
    });
    await store.start();
    t.is(cuts, 1);
    t.is(told.length, 1);
    t.deepEqual(await store.checkWritable(), { ok: true });
    t.true((await store.database.collection("runs").listIndexes().toArray()).length > 10);
    await store.stop();
    await network.stop();
  });

  promise(
    "an outage is UNAVAILABLE with a time to try again, nothing is half acknowledged, and it ends by itself",
    async (t, open) => {
      const network = await flakyNetwork(MONGODB_URI ?? "");
      const url = `${network.url.replace("http:", "mongodb:")}/?directConnection=true&serverSelectionTimeoutMS=1000`;
      const store = open({ url });
      await store.start();
      const world = new World(store);
      const item = world.item({ requestHash: "ab".repeat(32) });
      network.cut();
      const error = await t.throwsAsync(store.insertRuns([item]));
      t.true(isAppError(error) && error.reason === "STORE_UNAVAILABLE" && error.retryAfterMs !== undefined);
      t.is((await store.checkWritable()).ok, false);
      network.heal();
      const [result] = await store.insertRuns([item]);
      t.true(result?.kind === "created" || (result?.kind === "repeat" && !result.isCached));
      t.deepEqual(await world.list(), [item.run.id]);
      await store.stop();
      await network.stop();
    },
  );

  promise("the store's time is the database's, and never runs backwards", async (t, open) => {
    const store = open();
    const { lastTimeMs } = await store.start();
    const answer = await store.database.command({ hello: 1 });
    const now = store.databaseMs();
    t.true(now >= lastTimeMs);
    // The same machine, so the two clocks differ by the way of one answer.
    t.true(Math.abs(now - answer.localTime.getTime()) < 5_000);
    t.true(Math.abs(store.clockOffsetMs() + performance.now() - answer.localTime.getTime()) < 5_000);
  });
}

async function everyVerb(world: World): Promise<void> {
  const { store } = world;
  const request = { hash: "cd".repeat(32), expiresAtMs: world.nowMs + 1_000 };
  await store.readSecret();
  await store.checkWritable();
  await world.register({ id: "job", queueName: "q", concurrencyLimit: 2 });
  await world.open();
  await world.triggerMany(4, { queue: "q", tags: ["t"] });
  await world.trigger({ key: world.key("k"), requestHash: request.hash });
  await world.insert({ key: world.key("k"), requestHash: "ef".repeat(32) });
  const [one, two, three] = await world.claim(3);
  if (one === undefined || two === undefined || three === undefined) throw new Error("three runs can start");
  const line = { timeMs: 1, level: "info", attempt: 1, message: "m", fieldsJson: undefined } as const;
  await store.appendLogs([{ environment: "dev", runId: one.run.id, lines: [line], linesMax: 1, bytesMax: 99 }]);
  await world.complete(one);
  await world.apply(two.run.id, { event: "cancel", reason: "" });
  await store.endLingering({ kind: "run", environment: "dev", runId: two.run.id, fence: 1 });
  await world.apply(three.run.id, { event: "wait", ...world.lease(three), waitingFor: "w" });
  await world.apply(three.run.id, { event: "wake", waitingFor: "w" });
  await world.override("q", 1);
  await world.override("q", 3);
  await world.override("task/job", 1);
  await world.setPaused("q", true);
  await store.resetKey({
    environment: "dev",
    recordHash: world.key("k").recordHash,
    request: undefined,
    nowMs: world.nowMs,
  });
  await world.detail(one.run.id);
  await world.list({ tags: ["t"] });
  await store.listQueues({ environment: "dev", page: 1, perPage: 10 });
  await store.listTasks({ environment: "dev" });
  await store.keepSessions([{ environment: "dev", sessionId: ids([one]).join(), connectionEpoch: 1, untilMs: 1 }]);
  await store.lapseSessions({ nowMs: world.nowMs + 60_000, limit: 10 });
  await store.repair({ nowMs: world.nowMs + 60_000, limit: 10 });
  await store.purge({ nowMs: world.nowMs + 1e12, finishedRunsKeptMs: 1, limit: 10 });
  await store.closeSession({ environment: "dev", sessionId: OTHER });
}

/** Holders of all slots. */
export async function holders(store: ReturnType<typeof mongoStore> | undefined): Promise<readonly unknown[]> {
  const docs = (await store?.database.collection("slots").find().toArray()) ?? [];
  return docs.flatMap((doc): readonly unknown[] => (Array.isArray(doc.holders) ? doc.holders : []));
}
