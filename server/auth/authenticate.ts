/** Names the caller of any call, producers and workers alike, from its `authorization` header. */
import { createHash, timingSafeEqual } from "node:crypto";
import { invalidCredentials } from "../domain/error.js";
import type { Caller } from "./principal.js";
import type { TokenClaims } from "./public-tokens.js";
import { type KeyRing, keyEnvironment } from "./secret-keys.js";

export interface Authentication {
  /**
   * @param header value of `authorization`: `Bearer <secret key or public token>`.
   * @throws AppError INVALID_CREDENTIALS (missing, malformed, unknown, tampered with), TOKEN_EXPIRED.
   */
  authenticate(header: string | undefined): Promise<Caller>;
  /**
   * A public token in the name of the secret key that asks, or that signed the token of who asks.
   * @throws AppError INVALID_CREDENTIALS when the key is no longer known.
   */
  createPublicToken(params: TokenClaims & { readonly keyName: string }): Promise<string>;
}

/** Life of a token whose maker says nothing (section 20.1). */
export const TOKEN_LIFE_DEFAULT_MS = 15 * 60_000;

export interface AuthenticationDeps {
  readonly ring: KeyRing;
  readonly nowMs: () => number;
  /** A unique `jti`. */
  readonly newTokenId: () => string;
  /** HAIRTRIGGER_ADMIN_KEY; undefined: nobody administers keys by calls. */
  readonly administratorKey?: string;
}

/** Compares in constant time, whatever the lengths. */
function sameAs(secret: string): (text: string) => boolean {
  const digestOf = (text: string): Buffer => createHash("sha256").update(text).digest();
  const digest = digestOf(secret);
  return (text) => timingSafeEqual(digest, digestOf(text));
}

/** HTTP schemes are case-insensitive (RFC 9110); one space, as every client writes it. */
const BEARER = /^bearer ([\x21-\x7e]+)$/i;

export function createAuthentication(deps: AuthenticationDeps): Authentication {
  const isAdministrator = deps.administratorKey === undefined ? undefined : sameAs(deps.administratorKey);
  return {
    async authenticate(header) {
      const credential = header === undefined ? undefined : BEARER.exec(header)?.[1];
      if (credential === undefined) throw invalidCredentials();
      if (isAdministrator?.(credential) === true) return { kind: "administrator" };
      if (keyEnvironment(credential) === undefined) {
        // jose is loaded by the first token, not by the start of the server.
        const { verifyPublicToken } = await import("./public-tokens.js");
        return verifyPublicToken(deps.ring, credential, deps.nowMs());
      }
      const key = await deps.ring.find(credential);
      if (key === undefined) throw invalidCredentials();
      return { kind: "secret", environment: key.environment, keyName: key.keyName };
    },
    async createPublicToken({ keyName, ...claims }) {
      const key = await deps.ring.named(keyName);
      if (key === undefined) throw invalidCredentials();
      const { signPublicToken } = await import("./public-tokens.js");
      return signPublicToken({ key, claims, nowMs: deps.nowMs(), tokenId: deps.newTokenId() });
    },
  };
}
