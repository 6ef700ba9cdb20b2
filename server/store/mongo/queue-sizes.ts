/**
 * How many runs wait in a queue, for the check of its size at an insert (QUE-10). Counting costs as much as the queue is long, so where the
 * limit is far away a count is used for a second; nearby every insert counts.
 */
import type { MachineClock } from "./context.js";

/** More than all servers of an installation store in {@link KEPT_MS}. */
const FAR = 50_000;
const KEPT_MS = 1_000;
/** Queues that are remembered. */
const KNOWN_MAX = 10_000;

interface Known {
  readonly atMs: number;
  size: number;
}

/** Of one server; what it stores itself is added at once. Keys are `environment|queue`. */
export class QueueSizes {
  readonly #clock: MachineClock;
  readonly #known = new Map<string, Known>();

  constructor(clock: MachineClock) {
    this.#clock = clock;
  }

  /** The size, if it may be relied on: it was read lately, and is far from the limit. */
  far(key: string, sizeMax: number): number | undefined {
    const known = this.#known.get(key);
    if (known === undefined || this.#clock.nowMs() - known.atMs > KEPT_MS) return undefined;
    return sizeMax - known.size >= FAR ? known.size : undefined;
  }

  learn(key: string, size: number): void {
    if (this.#known.size >= KNOWN_MAX) this.#known.clear();
    this.#known.set(key, { atMs: this.#clock.nowMs(), size });
  }

  grew(key: string): void {
    const known = this.#known.get(key);
    if (known !== undefined) known.size += 1;
  }
}
