/** Who is calling, as the handlers and the rules of who may call what see it. A principal never holds a key or a token. */
import type { Scope } from "./scopes.js";

export type Principal = SecretPrincipal | PublicPrincipal;

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
  /** `jti` of the token. */
  readonly tokenId: string;
}
