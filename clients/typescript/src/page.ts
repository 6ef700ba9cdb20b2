/** Pages of lists (RUN-19). */
import { ApiPromise } from "./api-promise.js";

/** Cursors of the neighbouring pages; absent: there is none. */
export interface Pagination {
  readonly next?: string;
  readonly previous?: string;
}

/** One page of a list. */
export class Page<T> {
  readonly data: readonly T[];
  readonly pagination: Pagination;
  readonly #turn: TurnPage<T>;

  constructor(data: readonly T[], pagination: Pagination, turn: TurnPage<T>) {
    this.data = data;
    this.pagination = pagination;
    this.#turn = turn;
  }

  hasNextPage(): boolean {
    return this.pagination.next !== undefined;
  }

  hasPreviousPage(): boolean {
    return this.pagination.previous !== undefined;
  }

  /** @throws Error past the end. */
  async getNextPage(): Promise<Page<T>> {
    const { next } = this.pagination;
    if (next === undefined) throw new Error("No next page available");
    return this.#turn({ after: next });
  }

  /** @throws Error before the beginning. */
  async getPreviousPage(): Promise<Page<T>> {
    const { previous } = this.pagination;
    if (previous === undefined) throw new Error("No previous page available");
    return this.#turn({ before: previous });
  }

  /** This page and all after it. */
  async *iterPages(): AsyncGenerator<Page<T>, void, undefined> {
    yield this;
    let page = await pageAfter(this);
    while (page !== undefined) {
      yield page;
      page = await pageAfter(page);
    }
  }

  /** The items of this page and of all after it. */
  async *[Symbol.asyncIterator](): AsyncGenerator<T, void, undefined> {
    for await (const page of this.iterPages()) yield* page.data;
  }
}

async function pageAfter<T>(page: Page<T>): Promise<Page<T> | undefined> {
  return page.hasNextPage() ? page.getNextPage() : undefined;
}

/** Asks for another page of the same list. */
export type TurnPage<T> = (cursor: { readonly after: string } | { readonly before: string }) => Promise<Page<T>>;

/** A promise of a page; iterated without being awaited, it runs over all items of all pages. */
export class PagePromise<T> extends ApiPromise<Page<T>> implements AsyncIterable<T> {
  async *[Symbol.asyncIterator](): AsyncGenerator<T, void, undefined> {
    const { data } = await this.withResponse();
    yield* data;
  }
}
