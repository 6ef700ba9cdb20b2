/**
 * Settings of queues, as claims and placements use them: of an environment, all queues that are limited, paused or in change; what is not
 * among them has no limit. Read at most once per cache time, so a change by another server is seen within it (design 7).
 */
import { effectiveLimit } from "../../domain/queue.js";
import { filterOf, type Identified, type Table } from "./client.js";
import type { MachineClock } from "./context.js";
import { queueIdOf } from "./run-doc.js";

/** `_id`: the public id of the queue, a hash of environment and name. */
export interface QueueDoc extends Identified {
  readonly environment: string;
  readonly name: string;
  /** Rises with every change. */
  readonly v: number;
  readonly declared: boolean;
  readonly paused: boolean;
  readonly base?: number;
  readonly override?: { readonly limit: number; readonly atMs: number; readonly by: string };
  /** Limited, paused or in change: in the index that settings are read by. */
  readonly special?: true;
  /** Holders are being entered for runs that started under no limit; nothing of the queue is claimed meanwhile. */
  readonly entering?: true;
  /** Since when page by page work, or a last pass, is owed. */
  readonly owes?: number;
}

export interface QueueSettings {
  readonly limit: number | undefined;
  readonly isBlocked: boolean;
  readonly version: number;
}

export interface Snapshot {
  /** By the machine's clock; nothing is claimed by it later. */
  readonly expiresAtMs: number;
  of(queue: string): QueueSettings;
  /** Names of queues that nothing may start in. */
  readonly blocked: readonly string[];
}

const PLAIN: QueueSettings = { limit: undefined, isBlocked: false, version: 0 };

export function limitOf(doc: Pick<QueueDoc, "base" | "override">): number | undefined {
  return effectiveLimit({ baseLimit: doc.base, overrideLimit: doc.override?.limit });
}

/** Names kept in memory before they are looked up again: more than an installation has queues. */
const NAMES_MAX = 20_000;

export class Settings {
  readonly #queues: Table<QueueDoc>;
  readonly #clock: MachineClock;
  readonly #cacheMs: number;
  readonly #snapshots = new Map<string, Promise<Snapshot>>();
  /** Ids of queues that are known to exist; queues are never removed. */
  readonly #known = new Set<string>();

  constructor(queues: Table<QueueDoc>, clock: MachineClock, cacheMs: number) {
    this.#queues = queues;
    this.#clock = clock;
    this.#cacheMs = cacheMs;
  }

  /** After this long every server acts on a change: claims check their settings' age before they write, and a write takes its time. */
  get spreadMs(): number {
    return this.#cacheMs * 1.25;
  }

  async read(environment: string): Promise<Snapshot> {
    const known = await this.#snapshots.get(environment)?.catch(() => undefined);
    if (known !== undefined && this.isFresh(known)) return known;
    const read = this.#read(environment);
    this.#snapshots.set(environment, read);
    return read;
  }

  isFresh(snapshot: Snapshot): boolean {
    return this.#clock.nowMs() < snapshot.expiresAtMs;
  }

  forget(environment: string): void {
    this.#snapshots.delete(environment);
  }

  exists(environment: string, name: string): boolean {
    return this.#known.has(queueIdOf(environment, name));
  }

  learn(ids: Iterable<string>): void {
    if (this.#known.size > NAMES_MAX) this.#known.clear();
    for (const id of ids) this.#known.add(id);
  }

  async #read(environment: string): Promise<Snapshot> {
    const expiresAtMs = this.#clock.nowMs() + this.#cacheMs;
    const docs = await this.#queues.find(filterOf<QueueDoc>({ environment, special: true }));
    const special = new Map(
      docs.map((doc) => [
        doc.name,
        { limit: limitOf(doc), isBlocked: doc.paused || doc.entering === true, version: doc.v },
      ]),
    );
    const blocked = docs.filter((doc) => doc.paused || doc.entering === true).map(({ name }) => name);
    return { expiresAtMs, blocked, of: (queue) => special.get(queue) ?? PLAIN };
  }
}
