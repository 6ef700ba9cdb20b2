/** Node: gRPC over HTTP/2 (cleartext for `http:`, TLS for `https:`), asynchronous scopes, the synchronous half of `node:crypto`. */
import { AsyncLocalStorage } from "node:async_hooks";
import { createHash, createHmac, hkdfSync } from "node:crypto";
import { grpcTransport } from "./grpc-transport.js";
import type { Platform } from "./platform.js";

export const platform: Platform = {
  name: "node",
  defaultBaseURL: () => "http://127.0.0.1:7470",
  createTransport: grpcTransport,
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
