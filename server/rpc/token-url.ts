/**
 * URLs that complete tokens without credentials (WAI-10): the URL is the secret. It ends in a MAC under the secret of the store, so nothing
 * has to be kept, and every server of the store knows its own.
 */
import { createHmac, timingSafeEqual } from "node:crypto";
import { isId } from "../domain/ids.js";

export interface TokenUrls {
  urlOf(token: { readonly environment: string; readonly id: string }): string;
  /** The token that a path completes; undefined for any other path. */
  tokenOf(path: string): { readonly environment: string; readonly tokenId: string } | undefined;
}

const PREFIX = "/waitpoints/";
/** 128 bits: nobody guesses it. */
const MAC_BYTES = 16;

/** @param baseUrl what clients and browsers reach, without a slash at the end. */
export function createTokenUrls(secret: Uint8Array, baseUrl: () => string): TokenUrls {
  const macOf = (environment: string, id: string): Buffer =>
    createHmac("sha256", secret)
      .update(JSON.stringify(["complete token", environment, id]))
      .digest()
      .subarray(0, MAC_BYTES);
  return {
    urlOf({ environment, id }) {
      const mac = macOf(environment, id).toString("base64url");
      return `${baseUrl()}${PREFIX}${encodeURIComponent(environment)}/${id}/${mac}`;
    },
    tokenOf(path) {
      if (!path.startsWith(PREFIX)) return undefined;
      const [environmentPart = "", tokenId = "", mac = "", ...rest] = path.slice(PREFIX.length).split("/");
      const environment = decoded(environmentPart);
      if (rest.length > 0 || environment === undefined || !isId("waitpoint", tokenId)) return undefined;
      const given = Buffer.from(mac, "base64url");
      const isOurs = given.length === MAC_BYTES && timingSafeEqual(given, macOf(environment, tokenId));
      return isOurs ? { environment, tokenId } : undefined;
    },
  };
}

function decoded(part: string): string | undefined {
  try {
    return decodeURIComponent(part);
  } catch {
    return undefined;
  }
}
