/** Secret keys as stores keep them: enough to recognise a key and to check what it signed, never the key (AUT-1, AUT-9). */

export type KeyOrigin = "created" | "firstStart";

export interface SecretKeyRecord {
  /** First 16 hex characters of the key's SHA-256: names it to people, and in tokens (`kid`). */
  readonly name: string;
  readonly environment: string;
  /** Hex SHA-256 of the key. */
  readonly digest: string;
  /** Hex of the key that is derived from it and signs public tokens. */
  readonly signingKey: string;
  /** What its creator wrote down; empty: nothing. */
  readonly description: string;
  readonly origin: KeyOrigin;
  readonly createdAtMs: number;
  /** Undefined: valid. */
  readonly revokedAtMs: number | undefined;
}
