/**
 * The composition root: the only file that knows which implementations there are. An app is a value: tests build one on `:memory:`, the
 * process builds one from its settings. Constructing it does nothing; `start()` opens the store, and then, upwards, the clock, the keys, the
 * engine, the scheduler and the port; `stop()` closes them in the opposite order, the store last.
 */
import { join } from "node:path";
import type { Driver, DutyPass } from "../scheduler/driver.js";
import { Scheduler } from "../scheduler/scheduler.js";
import { createAuthentication } from "./auth/authenticate.js";
import { createKeys } from "./auth/keys.js";
import { createKeyRing } from "./auth/secret-keys.js";
import { defaultLimits, type Limits } from "./domain/limits.js";
import { type Clock, systemClock } from "./engine/clock.js";
import { createEngine } from "./engine/create-engine.js";
import type { Engine } from "./engine/engine.js";
import { type Entropy, systemEntropy } from "./engine/entropy.js";
import { createEvents, type EventSource } from "./engine/events.js";
import type { PayloadsAddress } from "./payloads/address.js";
import { openPayloads } from "./payloads/open.js";
import type { Payloads } from "./payloads/payloads.js";
import type { AllowedOrigins } from "./rpc/cors.js";
import type { Door } from "./rpc/door.js";
import type { Serving } from "./rpc/serving.js";
import { type ServerKeys, serverKeys } from "./server-keys.js";
import { localSignals } from "./signals/local.js";
import type { HintReceiver, Signals } from "./signals/signals.js";
import { createEmbeddedStore } from "./store/embedded/embedded-store.js";
import type { Store } from "./store/store.js";
import type { Logger } from "./telemetry/log.js";

export interface AppOptions {
  /** A directory, made where it is missing; `:memory:` keeps nothing. */
  readonly storeDirectory: string;
  /** `mongodb://…`: a database shared with other servers, instead of the directory. Needs a key: given, or in the database. */
  readonly mongoUrl?: string;
  /** Where large payloads and outputs are; default: GridFS of the database, else a folder of the directory, else memory. */
  readonly payloads?: PayloadsAddress;
  /** Where other servers of the database reach this one; default: derived from `listen`. */
  readonly peerAddress?: string;
  /** What clients and browsers reach, for URLs in answers. Default: where it listens. */
  readonly publicUrl?: string | undefined;
  /** False: no hints from and to other servers; the polling behind them does it alone. Default true. */
  readonly areHintsEnabled?: boolean;
  /** Port 0: any free one. */
  readonly listen: { readonly host: string; readonly port: number };
  /** Empty or undefined: the key of the first start (AUT-9); in memory: a new one. */
  readonly secretKeys?: readonly string[];
  /** Makes, lists and revokes keys by AuthService, and can do nothing else (AUT-9). Default: nobody does. */
  readonly administratorKey?: string;
  /** From where browsers may call (AUT-7). Default: from everywhere. */
  readonly allowedOrigins?: AllowedOrigins;
  /** PEM texts; default: clear text. */
  readonly tls?: { readonly cert: string; readonly key: string };
  /** What differs from the defaults. */
  readonly limits?: Partial<Limits>;
  /** Health and reflection answer without a key. Default true. */
  readonly isDiscoveryOpen?: boolean;
  /** Default: no log. */
  readonly logger?: Logger;
  /** Default: the machine's clock, above every time in the store. */
  readonly clock?: Clock;
  /** Default: the machine's. */
  readonly entropy?: Entropy;
  /** False: with a database, this server does every duty by itself instead of one server at a time, by Agenda. Default true. */
  readonly areDutiesShared?: boolean;
  /** False: nothing happens by its period; see `scheduler.ts`. Default true. */
  readonly areDutiesEnabled?: boolean;
  /** False: nothing happens at its moment. Default true. */
  readonly areNudgesEnabled?: boolean;
  /** True: `clock` is moved by hand and may leap; see `scheduler.ts`. Default false. */
  readonly isTimeMoved?: boolean;
}

/** What differs between a store of one's own and a shared one. */
export interface Parts {
  readonly store: Store;
  readonly clock: Clock;
  readonly signals: Signals;
  /** Large data in the database. */
  readonly gridfs?: () => Payloads;
  /** Takes hints of other servers. */
  readonly hints?: HintReceiver;
  /** The port, where it is listened on already. */
  readonly door?: Door;
  /** Default: plain intervals. */
  readonly createDriver?: (rows: readonly DutyPass[]) => Driver;
  /** Tells other servers where this one listens. */
  readonly join?: (listening: { readonly host: string; readonly port: number }) => Promise<void>;
}

/** What a started app consists of. */
interface Running {
  readonly store: Store;
  readonly clock: Clock;
  readonly engine: Engine;
  readonly scheduler: Scheduler;
  readonly serving: Serving;
  readonly keys: ServerKeys;
}

/** Of the directory of the store. */
const PAYLOADS_FOLDER = "payloads";

/** Random bytes of a public token's `jti`. */
const TOKEN_ID_BYTES = 16;

/** `start` was given up because the app is to stop. */
export class StoppedError extends Error {
  override readonly name = "StoppedError";
}

export function createApp(options: AppOptions): App {
  return new App(options);
}

export class App implements AsyncDisposable {
  readonly events: EventSource = createEvents();
  readonly limits: Limits;
  readonly #options: AppOptions;
  /** What has to be stopped, in the order of its start. */
  readonly #stops: (() => Promise<void> | void)[] = [];
  #starting: Promise<Running> | undefined;
  #stopping: Promise<void> | undefined;
  #running: Running | undefined;
  /** Ends a start that waits for its database. */
  #giveUp: (() => Promise<void>) | undefined;

  constructor(options: AppOptions) {
    this.#options = options;
    this.limits = { ...defaultLimits, ...options.limits };
  }

  /**
   * Resolves when calls are answered. Idempotent. Rejects, with nothing left open, when the store cannot be opened (locked by another
   * server, newer than this version, not writable) or the port is taken.
   */
  async start(): Promise<void> {
    if (this.#stopping !== undefined) throw new Error("a stopped app does not start again");
    this.#starting ??= this.#start();
    try {
      this.#running = await this.#starting;
    } catch (error) {
      const wasStopped = this.#stopping !== undefined;
      await this.stop();
      throw wasStopped ? new StoppedError("the app was stopped while it started", { cause: error }) : error;
    }
  }

  /** Finishes what is under way, then closes everything. Idempotent. */
  stop(): Promise<void> {
    this.#stopping ??= this.#stop();
    return this.#stopping;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }

  /** `http://host:port`, or `https`. */
  get url(): string {
    const { host } = this.#options.listen;
    const scheme = this.#options.tls === undefined ? "http" : "https";
    return `${scheme}://${host.includes(":") ? `[${host}]` : host}:${this.port}`;
  }

  get port(): number {
    return this.#started.serving.port;
  }

  /** A secret key, for whoever built the app. @throws Error where all keys were shown once, and are not known here. */
  get secretKey(): string {
    const { secretKey } = this.#started.keys;
    if (secretKey === undefined)
      throw new Error("the keys of this server were made at run time and shown once: set HAIRTRIGGER_KEYS");
    return secretKey;
  }

  /** Valid keys in the store: made at run time, or at the first start. */
  get storedKeyCount(): number {
    return this.#started.keys.storedCount;
  }

  /** Where the key of the first start is kept; undefined where keys were given. */
  get secretKeyPath(): string | undefined {
    return this.#started.keys.path;
  }

  get engine(): Engine {
    return this.#started.engine;
  }

  get store(): Store {
    return this.#started.store;
  }

  get clock(): Clock {
    return this.#started.clock;
  }

  get scheduler(): Scheduler {
    return this.#started.scheduler;
  }

  get #started(): Running {
    if (this.#running === undefined) throw new Error("the app is not started");
    return this.#running;
  }

  async #start(): Promise<Running> {
    const options = this.#options;
    const entropy = options.entropy ?? systemEntropy();
    // The wire is most of what has to be loaded; that goes on while the store opens.
    const [
      { store, clock, signals, gridfs, hints, createDriver, door, join: joinOthers },
      { createServing },
      { specCodec },
    ] = await Promise.all([
      options.mongoUrl === undefined ? this.#ownStore() : this.#sharedStore(options.mongoUrl, entropy),
      import("./rpc/serving.js"),
      import("./rpc/convert/spec.js"),
    ]);
    const log = await this.#log(clock);
    const serverOwn = await serverKeys({
      store,
      secretKeys: options.secretKeys ?? [],
      storeDirectory: options.mongoUrl === undefined ? options.storeDirectory : undefined,
      hasAdministrator: options.administratorKey !== undefined,
      nowMs: clock.nowMs(),
      entropy,
    });
    const keys = createKeys({
      store,
      fixed: createKeyRing(serverOwn.fixed),
      acceptsFirstStart: (options.secretKeys ?? []).length === 0,
      clock,
      randomBytes: (length) => entropy.bytes(length),
      onRevoked: ({ environment, name }) => signals.publish([{ kind: "keyRevoked", environment, keyName: name }]),
    });
    this.#stops.push(
      () => keys.stop(),
      signals.subscribe((signal) => {
        if (signal.kind === "keyRevoked") keys.forget(signal.keyName);
      }),
    );

    const payloads = await this.#payloads(clock, gridfs);

    const engine = createEngine({
      store,
      payloads,
      signals,
      clock,
      entropy,
      events: this.events,
      limits: this.limits,
      specs: specCodec,
      nudge: (duty, dueMs) => scheduler.nudge(duty, dueMs),
    });
    this.#stops.push(() => engine.stop());

    const scheduler = new Scheduler({
      clock,
      uniform: () => entropy.uniform(),
      events: this.events,
      verbs: engine.duties,
      checkWritable: () => store.checkWritable(),
      sessionMs: this.limits.sessionMs,
      pickUpMs: this.limits.pickUpMs,
      createDriver,
      areDutiesEnabled: options.areDutiesEnabled,
      areNudgesEnabled: options.areNudgesEnabled,
      isTimeMoved: options.isTimeMoved,
    });
    this.#stops.push(() => scheduler.stop());
    scheduler.start();

    const serving = createServing({
      engine,
      authentication: createAuthentication({
        ring: keys,
        nowMs: () => clock.nowMs(),
        newTokenId: () => Buffer.from(entropy.bytes(TOKEN_ID_BYTES)).toString("hex"),
        administratorKey: options.administratorKey,
      }),
      keys,
      allowedOrigins: options.allowedOrigins,
      clock,
      entropy,
      limits: this.limits,
      hints,
      checkWritable: () => store.checkWritable(),
      payloads,
      publicUrl: options.publicUrl,
      onPayloadsUnavailable: (error) => this.events.emit("payloads.unavailable", { driver: payloads.driver, error }),
      secret: await store.readSecret(),
      listen: options.listen,
      door,
      tls: options.tls,
      isDiscoveryOpen: options.isDiscoveryOpen ?? true,
      log,
    });
    this.#stops.push(() => serving.stop());
    const { port } = await serving.start();
    await joinOthers?.({ host: options.listen.host, port });
    return { store, clock, engine, scheduler, serving, keys: serverOwn };
  }

  async #ownStore(): Promise<Parts> {
    const store = createEmbeddedStore({ directory: this.#options.storeDirectory });
    this.#stops.push(() => store.stop());
    const { lastTimeMs } = await store.start();
    return { store, clock: this.#options.clock ?? systemClock(lastTimeMs), signals: localSignals() };
  }

  /** A payload store that is away keeps no server from starting: small payloads need none, and it may come back. */
  async #payloads(clock: Clock, gridfs: (() => Payloads) | undefined): Promise<Payloads> {
    const payloads = await openPayloads(this.#payloadsAddress, { nowMs: () => clock.nowMs(), gridfs });
    this.#stops.push(() => payloads.stop());
    const { driver } = payloads;
    await payloads.start().catch((error: unknown) => this.events.emit("payloads.unavailable", { driver, error }));
    return payloads;
  }

  get #payloadsAddress(): PayloadsAddress {
    const { payloads, mongoUrl, storeDirectory } = this.#options;
    if (payloads !== undefined) return payloads;
    if (mongoUrl !== undefined) return { kind: "gridfs" };
    if (storeDirectory === ":memory:") return { kind: "memory" };
    return { kind: "file", directory: join(storeDirectory, PAYLOADS_FOLDER) };
  }

  async #sharedStore(url: string, entropy: Entropy): Promise<Parts> {
    const { logger, clock, listen, peerAddress, areHintsEnabled = true, areDutiesShared = true, tls } = this.#options;
    const { createDoor } = await import("./rpc/door.js");
    const door = await createDoor({ ...listen, tls, reason: "the server waits for its database" });
    this.#stops.push(() => door.close());
    const { openOnMongo } = await import("./app-mongo.js");
    const parts = await openOnMongo({
      url,
      entropy,
      clock,
      peerAddress,
      areHintsEnabled,
      areDutiesShared,
      isTls: tls !== undefined,
      events: this.events,
      // The log of events begins later; what keeps the start waiting has to be told now.
      onWaiting: (message) => logger?.warn(message),
      onStop: (stop) => {
        this.#giveUp ??= stop;
        this.#stops.push(stop);
      },
    });
    this.#giveUp = undefined;
    return { ...parts, door };
  }

  async #stop(): Promise<void> {
    await this.#giveUp?.();
    await this.#starting?.catch(() => undefined);
    const failures: unknown[] = [];
    for (const stop of this.#stops.toReversed()) {
      try {
        await stop();
      } catch (error) {
        // The rest has to be closed all the same.
        failures.push(error);
      }
    }
    if (failures.length > 0) throw new AggregateError(failures, "the app did not stop cleanly");
  }

  async #log(clock: Clock) {
    const { logger } = this.#options;
    if (logger === undefined) return undefined;
    const { logCalls, logEvents } = await import("./telemetry/log.js");
    this.#stops.push(logEvents(this.events, logger, () => clock.nowMs()));
    return logCalls(logger);
  }
}
