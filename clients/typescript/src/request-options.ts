/** How a request is made: the last argument of every call (CFG-2). It affects the request, never the run. */

/** How a request that failed is tried again (RES-10). */
export interface RequestRetryOptions {
  /** Tries in all, the first included. Default 5. */
  readonly maxAttempts?: number;
  /** Upper bound of the first pause in milliseconds. Default 1,000. */
  readonly minTimeoutInMs?: number;
  /** Upper bound of every pause in milliseconds. Default 30,000. */
  readonly maxTimeoutInMs?: number;
  /** Growth of the upper bound. Default 1.6. */
  readonly factor?: number;
}

/** Where and as whom to call. */
export interface ClientConfig {
  /** Secret key or public token. Default: `TRIGGER_SECRET_KEY`; `HAIRTRIGGER_SECRET_KEY` wins. */
  readonly accessToken?: string;
  /** Synonym of `accessToken`, which wins. */
  readonly secretKey?: string;
  /**
   * Address of the server. Default: `TRIGGER_API_URL`; `HAIRTRIGGER_API_URL` wins; neither: `http://127.0.0.1:7470`, in a browser
   * `location.origin`.
   */
  readonly baseURL?: string;
}

export interface RequestOptions {
  readonly retry?: RequestRetryOptions;
  /** Sent with the request. Names that the protocol uses itself (`authorization`, `grpc-…`, `connect-…`) are refused. */
  readonly additionalHeaders?: Readonly<Record<string, string>>;
  /** Of the handle's token. */
  readonly publicAccessToken?: {
    /** A duration string such as `"24h"`, Unix seconds, or a `Date`. Default 1 hour. */
    readonly expirationTime?: string | number | Date;
  };
  /** Wins over `auth.withAuth`, `configure` and environment variables, member by member (CFG-3). */
  readonly clientConfig?: ClientConfig;
}
