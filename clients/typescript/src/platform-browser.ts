/** Browsers and other places with `fetch` and Web Crypto only: the Connect protocol, no asynchronous scopes. */
import { createConnectTransport } from "@connectrpc/connect-web";
import type { Platform } from "./platform.js";

export const platform: Platform = {
  name: "browser",
  defaultBaseURL,
  createTransport: (baseURL) => createConnectTransport({ baseUrl: baseURL, useBinaryFormat: true, useHttpGet: false }),
  // `fetch` rejects with a TypeError, whatever kept it from an answer.
  isUnreachable: (cause) => cause instanceof TypeError,
  createScope: () => ({
    get: () => undefined,
    run() {
      // Carrying the value over the first await would hand one caller's credentials to another.
      throw new Error("Browsers cannot scope credentials to a call; pass requestOptions.clientConfig instead");
    },
  }),
  async sha256Hex(text) {
    const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text));
    return Array.from(new Uint8Array(digest), (byte) => byte.toString(16).padStart(2, "0")).join("");
  },
  async deriveKey(secret, info, bytes) {
    const encoder = new TextEncoder();
    const key = await crypto.subtle.importKey("raw", encoder.encode(secret), "HKDF", false, ["deriveBits"]);
    const bits = await crypto.subtle.deriveBits(
      { name: "HKDF", hash: "SHA-256", salt: new Uint8Array(0), info: encoder.encode(info) },
      key,
      bytes * 8,
    );
    return new Uint8Array(bits);
  },
  signHs256: undefined,
};

/** Web workers have a location too; where there is none, such as in an edge runtime, the address has to be given. */
function defaultBaseURL(): string {
  const location: unknown = Reflect.get(globalThis, "location");
  if (typeof location === "object" && location !== null && "origin" in location) return String(location.origin);
  throw new Error("No address of the server: call configure({ baseURL })");
}
