/**
 * Public tokens (AUT-1): JWTs that the SDK signs without a request, with the key derived from its secret key, and that the server checks
 * without a look-up. What fails in a token is told apart only where it helps its holder: expired, or not valid.
 */
import { errors, jwtVerify, SignJWT } from "jose";
import { invalidCredentials, isAppError, tokenExpired } from "../domain/error.js";
import { isLonger } from "../domain/text.js";
import { type PublicPrincipal, SUBJECT_LENGTH_MAX } from "./principal.js";
import { parseScope, type Scope, scopeText } from "./scopes.js";
import type { KeyRing, KnownKey } from "./secret-keys.js";

/** Issuer and audience of AUT-1. */
const PARTY = "hairtrigger";
const ALGORITHM = "HS256";

/**
 * Whom a token stands for.
 * @param nowMs Unix milliseconds; decides whether the token has expired.
 * @throws AppError TOKEN_EXPIRED; INVALID_CREDENTIALS for any other fault, which is not told (section 21); also for claims of one use, a
 * subject or options that cannot be read: to serve a token without them would grant more than its maker meant to.
 */
export async function verifyPublicToken(ring: KeyRing, token: string, nowMs: number): Promise<PublicPrincipal> {
  let signer: KnownKey | undefined;
  let claims: Readonly<Record<string, unknown>>;
  try {
    const verified = await jwtVerify(
      token,
      async ({ kid }) => {
        signer = kid === undefined ? undefined : await ring.named(kid);
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
    // Nobody can tell whether the token is good.
    if (isAppError(error)) throw error;
    throw error instanceof errors.JWTExpired ? tokenExpired() : invalidCredentials();
  }
  const { sub, jti, exp, pub, scopes, otu = false, subject, options } = claims;
  if (
    signer === undefined ||
    sub !== signer.environment ||
    pub !== true ||
    typeof jti !== "string" ||
    typeof exp !== "number" ||
    typeof otu !== "boolean" ||
    !(subject === undefined || isSubject(subject)) ||
    !(options === undefined || isRecord(options))
  ) {
    throw invalidCredentials();
  }
  return {
    kind: "public",
    environment: signer.environment,
    scopes: readScopes(scopes),
    tokenId: jti,
    keyName: signer.keyName,
    expiresAtMs: exp * 1_000,
    subject,
    isOneTime: otu,
    options,
  };
}

function isSubject(value: unknown): value is string {
  return typeof value === "string" && value !== "" && !isLonger(value, SUBJECT_LENGTH_MAX);
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function readScopes(claim: unknown): readonly Scope[] {
  if (!Array.isArray(claim)) return [];
  return claim.flatMap((text: unknown) => (typeof text === "string" ? (parseScope(text) ?? []) : []));
}

/** What a token says beside who made it. */
export interface TokenClaims {
  readonly scopes: readonly Scope[];
  /** Unix milliseconds; the claim is in seconds, rounded down. */
  readonly expiresAtMs: number;
  readonly isOneTime?: boolean;
  readonly subject?: string;
  /** JSON form of a hairtrigger.v1.TriggerOptions. */
  readonly options?: Readonly<Record<string, unknown>>;
}

export interface NewPublicToken {
  readonly key: KnownKey;
  readonly claims: TokenClaims;
  readonly nowMs: number;
  /** `jti`: unique among the tokens of the key. */
  readonly tokenId: string;
}

/** Signs a token for clients that cannot do it themselves (`AuthService.CreatePublicToken`). */
export async function signPublicToken(params: NewPublicToken): Promise<string> {
  const { scopes, expiresAtMs, isOneTime = false, subject, options } = params.claims;
  return new SignJWT({
    pub: true,
    scopes: scopes.map(scopeText),
    ...(isOneTime ? { otu: true } : {}),
    ...(subject === undefined ? {} : { subject }),
    ...(options === undefined ? {} : { options }),
  })
    .setProtectedHeader({ alg: ALGORITHM, kid: params.key.keyName, typ: "JWT" })
    .setIssuer(PARTY)
    .setAudience(PARTY)
    .setSubject(params.key.environment)
    .setJti(params.tokenId)
    .setIssuedAt(Math.floor(params.nowMs / 1_000))
    .setExpirationTime(Math.floor(expiresAtMs / 1_000))
    .sign(params.key.signingKey);
}
