/**
 * Page tokens: where a list goes on, opaque to callers. Signed with a secret of the store, for one method of one environment, and with the
 * filter inside, so that a token that is forged, changed, or used for another list is a clean error (RUN-20).
 */
import { createHmac, timingSafeEqual } from "node:crypto";
import { invalidPage } from "../domain/error.js";
import { parseJson } from "../domain/json.js";

export interface PageTokens {
  /** @param place JSON of where to go on, and what the list is about. */
  sign(list: ListName, place: object): string;
  /** What {@link sign} was given. @throws AppError INVALID_PAGE. */
  open(list: ListName, token: string): unknown;
}

/** The list that a token belongs to. */
export interface ListName {
  readonly environment: string;
  readonly method: string;
}

/** 128 bits: nobody guesses it, and tokens stay short. */
const MAC_BYTES = 16;

/** @param secret of the store, the same on all servers. */
export function createPageTokens(secret: Uint8Array): PageTokens {
  const macOf = ({ environment, method }: ListName, body: Buffer): Buffer =>
    createHmac("sha256", secret)
      .update(JSON.stringify(["page", environment, method]))
      .update(body)
      .digest()
      .subarray(0, MAC_BYTES);
  return {
    sign(list, place) {
      const body = Buffer.from(JSON.stringify(place));
      return Buffer.concat([macOf(list, body), body]).toString("base64url");
    },
    open(list, token) {
      const bytes = Buffer.from(token, "base64url");
      const [mac, body] = [bytes.subarray(0, MAC_BYTES), bytes.subarray(MAC_BYTES)];
      const isOurs = mac.length === MAC_BYTES && timingSafeEqual(mac, macOf(list, body));
      if (!isOurs) throw invalidPage("pageToken", "The page token was not made here for this list");
      return parseJson(body.toString());
    },
  };
}
