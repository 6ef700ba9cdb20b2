/**
 * All secret keys of a server (AUT-9): those that it was started with, and those that are in the store, where every server of it finds
 * them. What is read there is believed for {@link BELIEVED_MS} at most, so that a revoked key is refused everywhere within 5 s though no
 * message arrives; a message makes it quicker.
 */
import { invalidRequest, keyNotFound, shown } from "../domain/error.js";
import type { SecretKeyRecord } from "../domain/secret-key.js";
import type { Store } from "../store/store.js";
import {
  type FixedKeys,
  isKey,
  KEY_RANDOM_BYTES,
  type KeyRing,
  type KnownKey,
  keyEnvironment,
  knownKey,
  nameOf,
  newSecretKey,
} from "./secret-keys.js";

/** From this age on a key is read again, while callers are served by what is known. */
const REFRESHED_MS = 1_000;
/** From this age on callers wait for the store; well below the 5 s of AUT-9, so that the reading has its time too. */
const BELIEVED_MS = 3_000;
/** Pause between two looks at the keys of open streams. */
const HELD_PERIOD_MS = 2_000;
/** Keys in memory; more than an installation has in use. */
const KNOWN_MAX = 10_000;

/** AUT-1. */
const NAME = /^[0-9a-f]{16}$/;

/** A key as its administrator sees it. */
export interface KeyView {
  readonly name: string;
  readonly environment: string;
  readonly description: string;
  readonly origin: SecretKeyRecord["origin"] | "configured";
  readonly createdAtMs: number | undefined;
  readonly revokedAtMs: number | undefined;
}

export interface Keys extends KeyRing {
  /**
   * Makes a key; the answer is the only place where it is.
   * @throws AppError INVALID_REQUEST for what is no slug of an environment.
   */
  create(params: {
    readonly environment: string;
    readonly description: string;
  }): Promise<{ readonly key: KeyView; readonly secretKey: string }>;
  /** By environment and age; configured ones first. @param environment undefined: all. */
  list(environment: string | undefined): Promise<readonly KeyView[]>;
  /** @throws AppError KEY_NOT_FOUND; INVALID_REQUEST for a configured one. */
  revoke(name: string): Promise<KeyView>;
  /** Another server says that this key has changed. */
  forget(name: string): void;
  /** Calls back, once, when the key is revoked. @returns ends it. */
  hold(name: string, onRevoked: () => void): () => void;
  /** Ends timers. Idempotent. */
  stop(): void;
}

export interface KeysDeps {
  readonly store: Pick<Store, "createSecretKey" | "listSecretKeys" | "readSecretKey" | "revokeSecretKey">;
  /** Given when the server was started: valid for as long as it runs. */
  readonly fixed: FixedKeys;
  /** The key of the first start is accepted: no keys were configured. */
  readonly acceptsFirstStart: boolean;
  readonly clock: {
    nowMs(): number;
    setTimer(delayMs: number, callback: () => void): { cancel(): void };
  };
  readonly randomBytes: (length: number) => Uint8Array;
  /** After the commit: for the other servers. */
  readonly onRevoked: (key: KeyView) => void;
}

/** What was read of a key that is valid. */
interface Known {
  readonly key: KnownKey;
  /** When the reading began. */
  readonly readAtMs: number;
}

/** What a store keeps of a new key. */
export function secretKeyRecord(
  secretKey: string,
  more: Pick<SecretKeyRecord, "description" | "origin" | "createdAtMs">,
): SecretKeyRecord {
  const { environment, keyName: name, digest, signingKey } = knownKey(secretKey);
  return { name, environment, digest: hexOf(digest), signingKey: hexOf(signingKey), ...more, revokedAtMs: undefined };
}

export function createKeys(deps: KeysDeps): Keys {
  const { store, fixed, clock } = deps;
  const known = new Map<string, Known>();
  const reading = new Map<string, Promise<KnownKey | undefined>>();
  const isAccepted = ({ origin }: SecretKeyRecord): boolean => origin === "created" || deps.acceptsFirstStart;

  /** Callers who ask for one key at the same time share a reading. */
  function read(name: string): Promise<KnownKey | undefined> {
    const under = reading.get(name);
    if (under !== undefined) return under;
    const readAtMs = clock.nowMs();
    const begun = store.readSecretKey(name).then((record) => {
      const isValid = record !== undefined && record.revokedAtMs === undefined && isAccepted(record);
      const key = isValid ? keyOf(record) : undefined;
      // A reading that began before the key changed is answered to those who waited, and not kept.
      if (reading.get(name) === begun) keep(name, key, readAtMs);
      return key;
    });
    reading.set(name, begun);
    const ended = (): void => {
      if (reading.get(name) === begun) reading.delete(name);
    };
    void begun.then(ended, ended);
    return begun;
  }

  /** What nobody has is not kept: whoever guesses must not fill the memory, and a new key is to work at once. */
  function keep(name: string, key: KnownKey | undefined, readAtMs: number): void {
    if (known.size >= KNOWN_MAX) known.clear();
    if (key === undefined) known.delete(name);
    else known.set(name, { key, readAtMs });
  }

  function forget(name: string): void {
    known.delete(name);
    reading.delete(name);
  }

  function named(name: string): KnownKey | undefined | Promise<KnownKey | undefined> {
    const configured = fixed.named(name);
    if (configured !== undefined) return configured;
    // What no key can be called needs no look.
    if (!NAME.test(name)) return undefined;
    const found = known.get(name);
    const ageMs = found === undefined ? BELIEVED_MS : clock.nowMs() - found.readAtMs;
    if (found === undefined || ageMs >= BELIEVED_MS) return read(name);
    // Should it fail, the next caller tries again, and from some age on waits for it.
    if (ageMs >= REFRESHED_MS) void read(name).catch(() => undefined);
    return found.key;
  }

  const holds = createHolds(async (name) => (await read(name)) !== undefined, clock);

  return {
    named,
    async find(secretKey) {
      const name = nameOf(secretKey);
      const key = await named(name);
      return key !== undefined && isKey(key, secretKey) ? key : undefined;
    },
    async create({ environment, description }) {
      const secretKey = madeKey(environment, deps.randomBytes(KEY_RANDOM_BYTES));
      const record = secretKeyRecord(secretKey, { description, origin: "created", createdAtMs: clock.nowMs() });
      await store.createSecretKey(record);
      return { key: viewOf(record), secretKey };
    },
    async list(environment) {
      const configured = fixed.all.map(
        (key): KeyView => ({ ...CONFIGURED, name: key.keyName, environment: key.environment }),
      );
      const stored = (await store.listSecretKeys()).filter(isAccepted).map(viewOf);
      return [...configured, ...stored].filter((key) => environment === undefined || key.environment === environment);
    },
    async revoke(name) {
      if (fixed.named(name) !== undefined) {
        throw invalidRequest("keyId", `Key ${name} is in HAIRTRIGGER_KEYS, and is revoked by removing it there`);
      }
      const record = await store.revokeSecretKey({ name, nowMs: clock.nowMs() });
      if (record === undefined || !isAccepted(record)) throw keyNotFound(name);
      const key = viewOf(record);
      forget(name);
      deps.onRevoked(key);
      await holds.look(name);
      return key;
    },
    forget(name) {
      forget(name);
      void holds.look(name);
    },
    hold: (name, onRevoked) => (fixed.named(name) === undefined ? holds.add(name, onRevoked) : () => undefined),
    stop: () => holds.stop(),
  };
}

const CONFIGURED = { description: "", origin: "configured", createdAtMs: undefined, revokedAtMs: undefined } as const;

interface Holds {
  add(name: string, onRevoked: () => void): () => void;
  /** Looks now whether the key is valid. */
  look(name: string): Promise<void>;
  stop(): void;
}

/** Who wants to know when a key is revoked. Looks at each key, not at each stream, and only while there is one. */
function createHolds(isValid: (name: string) => Promise<boolean>, clock: KeysDeps["clock"]): Holds {
  const held = new Map<string, Set<() => void>>();
  let timer: { cancel(): void } | undefined;
  let isStopped = false;

  async function look(name: string): Promise<void> {
    // Where the store cannot be read, nothing is known, and the next look comes.
    if (!held.has(name) || (await isValid(name).catch(() => true))) return;
    const callbacks = held.get(name) ?? [];
    held.delete(name);
    for (const callback of callbacks) callback();
  }

  function arm(): void {
    if (timer !== undefined || isStopped || held.size === 0) return;
    timer = clock.setTimer(HELD_PERIOD_MS, () => {
      void Promise.all([...held.keys()].map(look)).finally(() => {
        timer = undefined;
        arm();
      });
    });
  }

  return {
    look,
    add(name, onRevoked) {
      const callbacks = held.get(name) ?? new Set();
      held.set(name, callbacks.add(onRevoked));
      arm();
      return () => {
        callbacks.delete(onRevoked);
        if (callbacks.size > 0 || held.get(name) !== callbacks) return;
        held.delete(name);
        if (held.size > 0) return;
        timer?.cancel();
        timer = undefined;
      };
    },
    stop() {
      isStopped = true;
      timer?.cancel();
      held.clear();
    },
  };
}

function madeKey(environment: string, random: Uint8Array): string {
  const secretKey = `tr_${environment}_`;
  if (keyEnvironment(`${secretKey}${"0".repeat(16)}`) !== environment) {
    const allowed = "1 to 63 lower-case letters, digits and hyphens, no hyphen at either end";
    throw invalidRequest("environment", `environment must be ${allowed}, got ${shown(environment)}`, {
      got: shown(environment),
      allowed,
    });
  }
  return newSecretKey(environment, random);
}

function viewOf({ name, environment, description, origin, createdAtMs, revokedAtMs }: SecretKeyRecord): KeyView {
  return { name, environment, description, origin, createdAtMs, revokedAtMs };
}

function keyOf({ name, environment, digest, signingKey }: SecretKeyRecord): KnownKey {
  return { keyName: name, environment, digest: bytesOf(digest), signingKey: bytesOf(signingKey) };
}

function hexOf(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("hex");
}

function bytesOf(hex: string): Uint8Array {
  return new Uint8Array(Buffer.from(hex, "hex"));
}
