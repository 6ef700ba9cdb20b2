/** Builds the app for tests: in memory, on any free port, by a clock that the test moves unless it asks for the real one. */
import { EventEmitter } from "node:events";
import { type App, type AppOptions, createApp } from "../../server/app.js";
import { createLogger } from "../../server/telemetry/log.js";
import { FAKE_START_MS, FakeClock } from "./clock.js";

export interface TestApp extends AsyncDisposable {
  readonly app: App;
  readonly url: string;
  /** Secret key of environment `dev`. */
  readonly key: string;
  /** Secret key of environment `prod`. */
  readonly prodKey: string;
  /** What the SDK's `configure` and `clientConfig` take. */
  readonly sdk: { readonly accessToken: string; readonly baseURL: string };
  /** The clock of the app; with `isRealTime` it stands still and moves nothing. */
  readonly clock: FakeClock;
  /** Resolves when nothing is under way that was begun; at once where answers come within a turn of the event loop. */
  settled(): Promise<void>;
  /** Plays time; after every instant waits for what the scheduler began. */
  advance(ms: number): Promise<void>;
  /** Lines of the log, as objects, from level `info` on. A test of bad input asserts that none has level `error`. */
  readonly log: readonly LogLine[];
  stop(): Promise<void>;
}

export interface LogLine {
  readonly level: string;
  readonly msg: string;
  readonly [field: string]: unknown;
}

export type TestAppOptions = Partial<AppOptions> & {
  /** Uses the machine's clock. Default false. */
  readonly isRealTime?: boolean;
};

export const DEV_KEY = "tr_dev_0123456789abcdefghij";
export const PROD_KEY = "tr_prod_0123456789abcdefghij";

/** With HAIRTRIGGER_TEST_STORE=mongodb, what would be in memory is in a database of the server at MONGODB_URI. */
const databases = process.env.HAIRTRIGGER_TEST_STORE === "mongodb" ? await import("./mongo.js") : undefined;

/**
 * A started app. End it with `t.teardown(() => testApp.stop())`.
 * @example const { sdk, advance } = await startTestApp();
 */
export async function startTestApp(options: TestAppOptions = {}): Promise<TestApp> {
  const { isRealTime = false, ...appOptions } = options;
  const log: LogLine[] = [];
  const isInMemory = [undefined, ":memory:"].includes(options.storeDirectory) && options.mongoUrl === undefined;
  const database = isInMemory ? await databases?.borrowDatabase() : undefined;
  // A database removes what has expired by its own clock.
  const startMs = database === undefined ? FAKE_START_MS : Date.now();
  const clock: FakeClock = new FakeClock(startMs, () => settled(app));
  const app: App = createApp({
    storeDirectory: ":memory:",
    listen: { host: "127.0.0.1", port: 0 },
    secretKeys: [DEV_KEY, PROD_KEY],
    logger: createLogger("info", { write: (line: string) => void log.push(JSON.parse(line)) }),
    ...(isRealTime ? {} : { clock }),
    // Agenda lives in real time, and one server has nobody to tell.
    ...(database === undefined ? {} : { mongoUrl: database.url, areDutiesShared: isRealTime, areHintsEnabled: false }),
    ...appOptions,
  });
  try {
    await app.start();
  } catch (error) {
    await database?.giveBack();
    throw error;
  }
  operationsOf(app);
  let stopping: Promise<void> | undefined;
  const stop = (): Promise<void> => {
    stopping ??= (async () => {
      try {
        await app.stop();
      } finally {
        await database?.giveBack();
      }
    })();
    return stopping;
  };
  return {
    app,
    url: app.url,
    key: app.secretKey,
    prodKey: PROD_KEY,
    sdk: { accessToken: app.secretKey, baseURL: app.url },
    clock,
    settled: async () => (database === undefined ? undefined : settled(app)),
    advance: (ms) => clock.advance(ms),
    log,
    stop,
    [Symbol.asyncDispose]: stop,
  };
}

/** Turns of the event loop: enough for an answer in memory, and what it signals, to get as far as a socket. */
const TURNS = 4;
/** The same with a database between: calls lead to operations, and these to calls. */
const TURNS_WITH_DATABASE = 20;

async function settled(app: App): Promise<void> {
  const operations = operationsOf(app);
  const turns = operations === undefined ? TURNS : TURNS_WITH_DATABASE;
  for (let turn = 0; turn < turns; turn += 1) {
    await app.scheduler.idle();
    await new Promise<void>((resolve) => setImmediate(resolve));
    // What a database is asked takes its time, and leads to more.
    if (operations !== undefined && operations.size > 0) turn = -1;
  }
}

const operationsByDriver = new WeakMap<EventEmitter, Set<number>>();

/** Operations of the app's database that are under way; undefined where it has none. */
function operationsOf({ store }: App): ReadonlySet<number> | undefined {
  if (!("driver" in store) || !(store.driver instanceof EventEmitter)) return undefined;
  const { driver } = store;
  const known = operationsByDriver.get(driver);
  if (known !== undefined) return known;
  const operations = new Set<number>();
  operationsByDriver.set(driver, operations);
  driver.on("commandStarted", ({ requestId }: { readonly requestId: number }) => operations.add(requestId));
  for (const ended of ["commandSucceeded", "commandFailed"]) {
    driver.on(ended, ({ requestId }: { readonly requestId: number }) => operations.delete(requestId));
  }
  return operations;
}
