/** Node: gRPC over HTTP/2 (cleartext for `http:`, TLS for `https:`), asynchronous scopes, the synchronous half of `node:crypto`. */
import { AsyncLocalStorage } from "node:async_hooks";
import { createHash, createHmac, hkdfSync } from "node:crypto";
import { createGrpcTransport } from "@connectrpc/connect-node";
import type { Platform } from "./platform.js";

/** A silent connection with open streams is probed, so that a subscription over a dead one ends within a minute. */
const PING_INTERVAL_MS = 30_000;
/** Megabytes of a connection's buffers: several payloads of the largest size (PAY-6) may be on their way at once. */
const SESSION_MEMORY_MB = 64;

export const platform: Platform = {
  name: "node",
  defaultBaseURL: () => "http://127.0.0.1:7470",
  createTransport: (baseURL) =>
    createGrpcTransport({
      baseUrl: baseURL,
      pingIntervalMs: PING_INTERVAL_MS,
      nodeOptions: { maxSessionMemory: SESSION_MEMORY_MB },
      // The server compresses nothing by default; not offering it keeps requests small.
      acceptCompression: [],
    }),
  // A server that says good-bye has not looked at the calls that crossed it on the way; the transport takes their end for a broken protocol.
  isUnreachable: (cause) => cause instanceof Error && cause.message.includes("NGHTTP2_REFUSED_STREAM"),
  createScope<T>() {
    const storage = new AsyncLocalStorage<T>();
    return { get: () => storage.getStore(), run: <R>(value: T, fn: () => R): R => storage.run(value, fn) };
  },
  sha256Hex: (text) => createHash("sha256").update(text).digest("hex"),
  deriveKey: (secret, info, bytes) => new Uint8Array(hkdfSync("sha256", secret, "", info, bytes)),
  signHs256(key, header, claims) {
    const signed = `${base64Url(header)}.${base64Url(claims)}`;
    return `${signed}.${createHmac("sha256", key).update(signed).digest("base64url")}`;
  },
};

function base64Url(text: string): string {
  return Buffer.from(text).toString("base64url");
}
