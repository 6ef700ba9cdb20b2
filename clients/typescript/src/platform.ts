/**
 * What differs between Node and browsers. The package's `imports` map chooses the implementation (`#platform`), so that a browser bundle holds
 * neither Node code nor Node's transport, and a server none for browsers.
 */
import type { Transport } from "@connectrpc/connect";

/** A value that holds for one call tree, asynchronous parts included. */
export interface Scope<T> {
  /** The innermost value, or undefined outside any. */
  get(): T | undefined;
  /**
   * Runs `fn` under a value.
   * @throws Error in browsers, which cannot tell asynchronous call trees apart.
   */
  run<R>(value: T, fn: () => R): R;
}

export interface Platform {
  readonly name: "node" | "browser";
  /** Address of the server where nothing else says it (CFG-1). */
  defaultBaseURL(): string;
  /** A connection to a server. Connects at the first call. */
  createTransport(baseURL: string): Transport;
  /** Whether a failed call failed because there was no connection, where the transport's code does not say so. */
  isUnreachable(cause: unknown): boolean;
  createScope<T>(): Scope<T>;
  /** SHA-256 of the UTF-8 of a text, as 64 lower-case hex characters. */
  sha256Hex(text: string): string | Promise<string>;
  /** HKDF-SHA-256 with empty salt. */
  deriveKey(secret: string, info: string, bytes: number): Uint8Array | Promise<Uint8Array>;
  /**
   * A compact JWS of these JSON texts by HMAC-SHA-256, on platforms that can make it without waiting. A handle token comes with every trigger:
   * this takes 8 µs, jose by Web Crypto 35–60 µs on the same machine.
   */
  readonly signHs256: ((key: Uint8Array, header: string, claims: string) => string) | undefined;
}
