/** Public tokens, signed here with a key derived from the secret key: making one needs no request (AUT-1). */
import { platform } from "#platform";

/** AUT-1. */
const SIGNING_INFO = "hairtrigger public token v1";
const SIGNING_KEY_BYTES = 32;
const PARTY = "hairtrigger";

export interface TokenClaims {
  /** As in AUT-2, such as `read:runs:<id>`. */
  readonly scopes: readonly string[];
  readonly issuedAtMs: number;
  readonly expiresAtMs: number;
  /** Unique among the tokens of the key. */
  readonly tokenId: string;
  /** AUT-3. Default false. */
  readonly isOneTime?: boolean;
  /** AUT-8. */
  readonly subject?: string;
  /** AUT-8: a hairtrigger.v1.TriggerOptions in its JSON form. */
  readonly options?: unknown;
}

/** Signs public tokens with one secret key. */
export interface TokenSigner {
  sign(claims: TokenClaims): string | Promise<string>;
}

/** Secret keys that one process signs with: usually one. */
const SIGNERS_MAX = 64;

const signers = new Map<string, Promise<TokenSigner>>();

/** Whether a credential is a secret key, as opposed to a public token. */
export function isSecretKey(accessToken: string): boolean {
  return SECRET_KEY.test(accessToken);
}

const SECRET_KEY = /^tr_(.+)_[^_]+$/;

/** The signer of a secret key; deriving costs only once. */
export function tokenSigner(secretKey: string): Promise<TokenSigner> {
  const known = signers.get(secretKey);
  if (known !== undefined) return known;
  for (const oldest of signers.keys()) {
    if (signers.size < SIGNERS_MAX) break;
    signers.delete(oldest);
  }
  const made = newSigner(secretKey);
  signers.set(secretKey, made);
  return made;
}

async function newSigner(secretKey: string): Promise<TokenSigner> {
  const [key, digest] = await Promise.all([
    platform.deriveKey(secretKey, SIGNING_INFO, SIGNING_KEY_BYTES),
    platform.sha256Hex(secretKey),
  ]);
  const environment = SECRET_KEY.exec(secretKey)?.[1] ?? "";
  const header = { alg: "HS256", kid: digest.slice(0, 16), typ: "JWT" };
  const { signHs256 } = platform;
  if (signHs256 === undefined) return { sign: (claims) => signWithJose(key, header, claimSet(environment, claims)) };
  const headerText = JSON.stringify(header);
  return { sign: (claims) => signHs256(key, headerText, JSON.stringify(claimSet(environment, claims))) };
}

function claimSet(environment: string, claims: TokenClaims) {
  return {
    iss: PARTY,
    aud: PARTY,
    sub: environment,
    pub: true,
    scopes: [...claims.scopes],
    iat: Math.floor(claims.issuedAtMs / 1_000),
    exp: Math.floor(claims.expiresAtMs / 1_000),
    jti: claims.tokenId,
    ...(claims.isOneTime === true ? { otu: true } : {}),
    ...(claims.subject === undefined ? {} : { subject: claims.subject }),
    ...(claims.options === undefined ? {} : { options: claims.options }),
  };
}

async function signWithJose(
  key: Uint8Array,
  header: { alg: string },
  claims: ReturnType<typeof claimSet>,
): Promise<string> {
  const { SignJWT } = await import("jose");
  return new SignJWT(claims).setProtectedHeader(header).sign(key);
}
