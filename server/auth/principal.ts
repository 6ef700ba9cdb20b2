/** Who is calling, as the handlers and the rules of who may call what see it. A principal never holds a key or a token. */
import type { Scope } from "./scopes.js";

/** Code points of the subject of a token (AUT-8). */
export const SUBJECT_LENGTH_MAX = 256;

/** Who may act inside an environment. */
export type Principal = SecretPrincipal | PublicPrincipal;

/** Anybody with a credential. */
export type Caller = Principal | Administrator;

/** The holder of HAIRTRIGGER_ADMIN_KEY: makes and revokes keys, and can do nothing else (AUT-9). */
export interface Administrator {
  readonly kind: "administrator";
}

/** The holder of a secret key: everything in its environment. */
export interface SecretPrincipal {
  readonly kind: "secret";
  readonly environment: string;
  /** First 16 hex characters of the key's SHA-256 (`kid` of AUT-1): names the key to people without giving it away. */
  readonly keyName: string;
}

/** The holder of a public token: what its scopes say, in the environment of the key that signed it. */
export interface PublicPrincipal {
  readonly kind: "public";
  readonly environment: string;
  readonly scopes: readonly Scope[];
  /** `jti` of the token: unique among those of its key. */
  readonly tokenId: string;
  /** Names the secret key that signed it. */
  readonly keyName: string;
  /** Unix milliseconds. */
  readonly expiresAtMs: number;
  /** Whose it is; undefined: nobody's but its own (AUT-8). */
  readonly subject: string | undefined;
  /** It triggers once (AUT-3). */
  readonly isOneTime: boolean;
  /** Options that every trigger with it gets: a hairtrigger.v1.TriggerOptions in its JSON form (AUT-8). */
  readonly options: Readonly<Record<string, unknown>> | undefined;
}
