/**
 * What several processes did, in one order: a file to which each appends a line at the moment it does something. Appending is atomic, so the
 * order of the lines is the order of the events, whatever the clocks say, and a killed process has written all that it did.
 */
import {
  appendFileSync,
  closeSync,
  type FSWatcher,
  fstatSync,
  openSync,
  readSync,
  watch,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";

export interface Entry {
  /** Name of the process. */
  readonly who: string;
  readonly what:
    | "ready"
    /** Code of a run begins and ends; `isAborted`: its signal had been aborted. */
    | "start"
    | "end"
    /** A trigger was acknowledged. */
    | "ack"
    /** A call failed for good. */
    | "refused"
    /** The process has ended, and its code with it. */
    | "gone"
    /** From here on at most `limit` may execute. */
    | "limit";
  /** Unix milliseconds with a fraction. */
  readonly atMs: number;
  readonly runId?: string;
  readonly attempt?: number;
  /** Tells runs apart in the words of the test: the number in the payload. */
  readonly number?: number;
  readonly limit?: number;
  readonly isCached?: boolean;
  readonly isAborted?: boolean;
  readonly reason?: string;
}

export function nowMs(): number {
  return performance.timeOrigin + performance.now();
}

/** Writes one line to the ledger at `path`. */
export function appendEntry(path: string, entry: Omit<Entry, "atMs">): void {
  appendFileSync(path, `${JSON.stringify({ ...entry, atMs: nowMs() })}\n`);
}

/** Beyond this a wait has failed: everything in these tests happens within seconds. */
const PATIENCE_MS = 60_000;

interface Waiter {
  readonly isSeen: () => boolean;
  readonly resolve: () => void;
}

export class Ledger {
  readonly path: string;
  readonly #entries: Entry[] = [];
  readonly #counts = new Map<Entry["what"], number>();
  readonly #waiters = new Set<Waiter>();
  readonly #watcher: FSWatcher;
  readonly #file: number;
  #offset = 0;
  #rest = "";

  constructor(directory: string) {
    this.path = join(directory, "ledger");
    writeFileSync(this.path, "");
    this.#file = openSync(this.path, "r");
    this.#watcher = watch(this.path, () => this.#read());
  }

  get entries(): readonly Entry[] {
    this.#read();
    return this.#entries;
  }

  count(what: Entry["what"]): number {
    return this.#counts.get(what) ?? 0;
  }

  of(what: Entry["what"], match: Partial<Entry> = {}): readonly Entry[] {
    const wanted = Object.entries(match);
    return this.entries.filter(
      (entry) => entry.what === what && wanted.every(([name, value]) => Reflect.get(entry, name) === value),
    );
  }

  append(entry: Omit<Entry, "atMs">): void {
    appendEntry(this.path, entry);
  }

  /** Resolves as soon as `isSeen` holds. @throws Error with the last entries where it does not within a minute. */
  async until(what: string, isSeen: () => boolean): Promise<void> {
    this.#read();
    if (isSeen()) return;
    await new Promise<void>((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#waiters.delete(waiter);
        const last = this.#entries.slice(-20).map((entry) => JSON.stringify(entry));
        reject(new Error(`not seen within ${PATIENCE_MS / 1_000} s: ${what}. The last entries:\n${last.join("\n")}`));
      }, PATIENCE_MS);
      const waiter: Waiter = {
        isSeen,
        resolve: () => {
          clearTimeout(timer);
          this.#waiters.delete(waiter);
          resolve();
        },
      };
      this.#waiters.add(waiter);
    });
  }

  /** The first such entry, now or later. */
  async first(what: Entry["what"], match: Partial<Entry> = {}): Promise<Entry> {
    let found: Entry | undefined;
    await this.until(`${what} ${JSON.stringify(match)}`, () => {
      [found] = this.of(what, match);
      return found !== undefined;
    });
    if (found === undefined) throw new Error("unreachable: it was seen");
    return found;
  }

  close(): void {
    this.#watcher.close();
    closeSync(this.#file);
  }

  #read(): void {
    const length = fstatSync(this.#file).size - this.#offset;
    if (length <= 0) return;
    const bytes = Buffer.alloc(length);
    this.#offset += readSync(this.#file, bytes, 0, length, this.#offset);
    const lines = (this.#rest + bytes.toString("utf8")).split("\n");
    this.#rest = lines.pop() ?? "";
    for (const line of lines) {
      const entry: Entry = JSON.parse(line);
      this.#entries.push(entry);
      this.#counts.set(entry.what, this.count(entry.what) + 1);
    }
    for (const waiter of this.#waiters) if (waiter.isSeen()) waiter.resolve();
  }
}
