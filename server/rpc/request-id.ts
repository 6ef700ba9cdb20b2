/** The name of a call in logs and in INTERNAL answers. */
import type { IncomingHttpHeaders } from "node:http";
import type { Entropy } from "../engine/entropy.js";
import { randomName } from "./random-name.js";

/** What a caller may choose as request id; anything else is replaced. */
const REQUEST_ID = /^[\x21-\x7e]{1,128}$/;

/** The caller's, if its `x-request-id` can be one; otherwise a new one. */
export function requestIdOf(headers: IncomingHttpHeaders, entropy: Entropy): string {
  const given = headers["x-request-id"];
  return typeof given === "string" && REQUEST_ID.test(given) ? given : randomName(entropy);
}
