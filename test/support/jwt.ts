/** Tokens made by the letter of AUT-1 with Node's own primitives, not by the code under test; also such as no honest client makes. */
import { createHash, createHmac, hkdfSync } from "node:crypto";

export interface JwtParams {
  readonly secretKey: string;
  /** Beside the ordinary ones, or in their place; undefined leaves one out. */
  readonly claims?: Readonly<Record<string, unknown>>;
  readonly header?: Readonly<Record<string, unknown>>;
}

/** @param nowMs Unix milliseconds; the token lives for a minute from then. */
export function jwt({ secretKey, claims = {}, header = {} }: JwtParams, nowMs: number): string {
  const kid = createHash("sha256").update(secretKey).digest("hex").slice(0, 16);
  const seconds = Math.floor(nowMs / 1_000);
  const ordinary = {
    iss: "hairtrigger",
    aud: "hairtrigger",
    sub: secretKey.split("_")[1],
    pub: true,
    scopes: [],
    iat: seconds,
    exp: seconds + 60,
    jti: "j1",
  };
  const signed = `${part({ alg: "HS256", kid, ...header })}.${part({ ...ordinary, ...claims })}`;
  const signingKey = Buffer.from(hkdfSync("sha256", secretKey, "", "hairtrigger public token v1", 32));
  return `${signed}.${createHmac("sha256", signingKey).update(signed).digest("base64url")}`;
}

/** One part of a token. */
export function part(value: object): string {
  return Buffer.from(JSON.stringify(value)).toString("base64url");
}
