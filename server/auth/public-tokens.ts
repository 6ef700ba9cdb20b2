/**
 * Public tokens (AUT-1): JWTs that the SDK signs without a request, with the key derived from its secret key, and that the server checks
 * without a look-up. What fails in a token is told apart only where it helps its holder: expired, or not valid.
 */
import { errors, jwtVerify, SignJWT } from "jose";
import { invalidCredentials, tokenExpired } from "../domain/error.js";
import type { PublicPrincipal } from "./principal.js";
import { parseScope, type Scope, scopeText } from "./scopes.js";
import type { KeyRing, KnownKey } from "./secret-keys.js";

/** Issuer and audience of AUT-1. */
const PARTY = "hairtrigger";
const ALGORITHM = "HS256";

/** A refusal of section 21 must not say which part was wrong; these two say what to do. */
const ONE_TIME = "One-time tokens are not served by this version of the server";
const FIXED_OPTIONS = "Tokens with fixed options are not served by this version of the server";

/**
 * Whom a token stands for.
 * @param nowMs Unix milliseconds; decides whether the token has expired.
 * @throws AppError TOKEN_EXPIRED; INVALID_CREDENTIALS for any other fault, also for tokens that ask for what this version cannot enforce
 * (one use, AUT-3; fixed options, AUT-8): to serve them without that would grant more than their maker meant to.
 */
export async function verifyPublicToken(ring: KeyRing, token: string, nowMs: number): Promise<PublicPrincipal> {
  let signer: KnownKey | undefined;
  let claims: Readonly<Record<string, unknown>>;
  try {
    const verified = await jwtVerify(
      token,
      ({ kid }) => {
        signer = kid === undefined ? undefined : ring.named(kid);
        if (signer === undefined) throw new errors.JOSEError("unknown kid");
        return signer.signingKey;
      },
      {
        algorithms: [ALGORITHM],
        issuer: PARTY,
        audience: PARTY,
        requiredClaims: ["sub", "exp", "iat", "jti"],
        currentDate: new Date(nowMs),
      },
    );
    claims = verified.payload;
  } catch (error) {
    throw error instanceof errors.JWTExpired ? tokenExpired() : invalidCredentials();
  }
  const { sub, jti, pub, scopes, otu, options } = claims;
  if (signer === undefined || sub !== signer.environment || pub !== true || typeof jti !== "string") {
    throw invalidCredentials();
  }
  if (otu !== undefined && otu !== false) throw invalidCredentials(ONE_TIME);
  if (options !== undefined) throw invalidCredentials(FIXED_OPTIONS);
  return { kind: "public", environment: signer.environment, scopes: readScopes(scopes), tokenId: jti };
}

function readScopes(claim: unknown): readonly Scope[] {
  if (!Array.isArray(claim)) return [];
  return claim.flatMap((text: unknown) => (typeof text === "string" ? (parseScope(text) ?? []) : []));
}

export interface NewPublicToken {
  readonly key: KnownKey;
  readonly scopes: readonly Scope[];
  readonly nowMs: number;
  /** Unix milliseconds; the claim is in seconds, rounded down. */
  readonly expiresAtMs: number;
  /** `jti`: unique among the tokens of the key. */
  readonly tokenId: string;
}

/** Signs a token for clients that cannot do it themselves (`AuthService.CreatePublicToken`). */
export async function signPublicToken(params: NewPublicToken): Promise<string> {
  return new SignJWT({ pub: true, scopes: params.scopes.map(scopeText) })
    .setProtectedHeader({ alg: ALGORITHM, kid: params.key.keyName, typ: "JWT" })
    .setIssuer(PARTY)
    .setAudience(PARTY)
    .setSubject(params.key.environment)
    .setJti(params.tokenId)
    .setIssuedAt(Math.floor(params.nowMs / 1_000))
    .setExpirationTime(Math.floor(params.expiresAtMs / 1_000))
    .sign(params.key.signingKey);
}
