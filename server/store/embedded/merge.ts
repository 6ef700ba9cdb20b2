/**
 * Merging of ordered streams by a heap, each read page by page from a query. What is merged is what claims and lists look at, so its cost
 * is theirs: as many rows as are taken, and a first page of every stream.
 */

/** Entries are ordered by (order, id); ids are compared byte by byte. */
export interface Ordered {
  readonly order: number;
  readonly id: Uint8Array;
}

export interface Source<T extends Ordered> {
  readonly firstPage: number;
  /** The first entry, where it is known already; then the first page is read behind it. */
  readonly first?: T;
  /** The next entries behind `after`, in order; fewer than `count` only at the end. */
  readonly read: (after: T | undefined, count: number) => readonly T[];
}

export interface MergeOptions {
  readonly isDescending: boolean;
  /** No page is longer. */
  readonly pageMax: number;
}

interface Stream<T extends Ordered> {
  readonly source: Source<T>;
  readonly page: number;
  readonly entries: readonly T[];
  readonly index: number;
}

/** Streams by their next entry. */
export class Merge<T extends Ordered> {
  readonly #heap: Stream<T>[] = [];
  readonly #options: MergeOptions;

  constructor(options: MergeOptions) {
    this.#options = options;
  }

  add(source: Source<T>): void {
    if (source.first !== undefined) {
      this.#push({ source, page: 1, entries: [source.first], index: 0 });
      return;
    }
    const page = Math.min(source.firstPage, this.#options.pageMax);
    this.#push({ source, page, entries: source.read(undefined, page), index: 0 });
  }

  /** The next entry of all streams; undefined at their end. */
  next(): T | undefined {
    const stream = this.#pop();
    const entry = stream?.entries[stream.index];
    if (stream !== undefined && entry !== undefined) this.#advance(stream, entry);
    return entry;
  }

  #advance(stream: Stream<T>, last: T): void {
    const { source, page, entries } = stream;
    const index = stream.index + 1;
    if (index < entries.length) this.#push({ ...stream, index });
    else if (entries.length === page) {
      const longer = Math.min(Math.max(page * 2, source.firstPage), this.#options.pageMax);
      this.#push({ source, page: longer, entries: source.read(last, longer), index: 0 });
    }
  }

  /** Ended streams leave the heap. */
  #push(stream: Stream<T>): void {
    if (stream.entries[stream.index] === undefined) return;
    const heap = this.#heap;
    let at = heap.push(stream) - 1;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!this.#isBefore(at, parent)) return;
      this.#swap(at, parent);
      at = parent;
    }
  }

  #pop(): Stream<T> | undefined {
    const heap = this.#heap;
    const first = heap[0];
    const last = heap.pop();
    if (first === undefined || last === undefined || heap.length === 0) return first;
    heap[0] = last;
    for (let at = 0; ; ) {
      const left = 2 * at + 1;
      const nearer = this.#isBefore(left + 1, left) ? left + 1 : left;
      if (!this.#isBefore(nearer, at)) return first;
      this.#swap(at, nearer);
      at = nearer;
    }
  }

  #swap(a: number, b: number): void {
    const [left, right] = [this.#heap[a], this.#heap[b]];
    if (left === undefined || right === undefined) return;
    this.#heap[a] = right;
    this.#heap[b] = left;
  }

  #isBefore(a: number, b: number): boolean {
    const left = this.#entry(a);
    const right = this.#entry(b);
    if (left === undefined || right === undefined) return left !== undefined;
    const difference = left.order - right.order || Buffer.compare(left.id, right.id);
    return this.#options.isDescending ? difference > 0 : difference < 0;
  }

  #entry(at: number): T | undefined {
    const stream = this.#heap[at];
    return stream?.entries[stream.index];
  }
}
