/** Names the caller of any call, producers and workers alike, from its `authorization` header. */
import { invalidCredentials } from "../domain/error.js";
import type { Principal } from "./principal.js";
import type { TokenClaims } from "./public-tokens.js";
import { type KeyRing, keyEnvironment } from "./secret-keys.js";

export interface Authentication {
  /**
   * @param header value of `authorization`: `Bearer <secret key or public token>`.
   * @throws AppError INVALID_CREDENTIALS (missing, malformed, unknown, tampered with), TOKEN_EXPIRED.
   */
  authenticate(header: string | undefined): Promise<Principal>;
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
}

/** HTTP schemes are case-insensitive (RFC 9110); one space, as every client writes it. */
const BEARER = /^bearer ([\x21-\x7e]+)$/i;

export function createAuthentication(deps: AuthenticationDeps): Authentication {
  return {
    async authenticate(header) {
      const credential = header === undefined ? undefined : BEARER.exec(header)?.[1];
      if (credential === undefined) throw invalidCredentials();
      if (keyEnvironment(credential) === undefined) {
        // jose is loaded by the first token, not by the start of the server.
        const { verifyPublicToken } = await import("./public-tokens.js");
        return verifyPublicToken(deps.ring, credential, deps.nowMs());
      }
      const key = deps.ring.find(credential);
      if (key === undefined) throw invalidCredentials();
      return { kind: "secret", environment: key.environment, keyName: key.keyName };
    },
    async createPublicToken({ keyName, ...claims }) {
      const key = deps.ring.named(keyName);
      if (key === undefined) throw invalidCredentials();
      const { signPublicToken } = await import("./public-tokens.js");
      return signPublicToken({ key, claims, nowMs: deps.nowMs(), tokenId: deps.newTokenId() });
    },
  };
}
