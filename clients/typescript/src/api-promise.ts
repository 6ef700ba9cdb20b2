/** Promises of API calls. */

/** What came with an answer, beside its data. */
export interface ApiResponse {
  readonly headers: Headers;
  readonly trailers: Headers;
}

/** An answer with what came with it. */
export interface ApiAnswer<T> {
  readonly data: T;
  readonly response: ApiResponse;
}

/** A promise of an answer's data that can also give what came with it (RES-12). */
export class ApiPromise<T> extends Promise<T> {
  readonly #answer: Promise<ApiAnswer<T>>;

  /** What `then` makes is an ordinary promise. */
  static override get [Symbol.species](): PromiseConstructor {
    return Promise;
  }

  constructor(answer: Promise<ApiAnswer<T>>) {
    super((resolve, reject) => {
      answer.then(({ data }) => resolve(data), reject);
    });
    this.#answer = answer;
  }

  /** The data, and headers and trailers of the answer. */
  withResponse(): Promise<ApiAnswer<T>> {
    this.#leaveErrorsToOthers();
    return this.#answer;
  }

  /** Headers and trailers of the answer. */
  async asResponse(): Promise<ApiResponse> {
    this.#leaveErrorsToOthers();
    return (await this.#answer).response;
  }

  /** Who asks for the response awaits that promise and not this one, whose rejection must not count as unhandled. */
  #leaveErrorsToOthers(): void {
    this.catch(() => undefined);
  }
}
