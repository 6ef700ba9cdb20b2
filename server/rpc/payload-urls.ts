/**
 * Short-lived URLs of objects (PAY-4, PAY-5): the payload store's own where it serves them, otherwise paths of this server, signed with
 * the secret of the store, so that any server of it serves them and nobody else makes them. What a URL is good for is all in it: one
 * method, one object, one media type, until when, and of an upload how many bytes; the digest is part of the object's key.
 */
import { createHmac, timingSafeEqual } from "node:crypto";
import type { Run } from "#proto/hairtrigger/v1/run_pb.js";
import { mediaType } from "../domain/payload.js";
import type { ObjectReference } from "../domain/payload-object.js";
import type { Clock } from "../engine/clock.js";
import type { NewObject, Payloads } from "../payloads/payloads.js";
import { referenceOfWire } from "./convert/reference.js";

/** PAY-4. */
export const URL_VALID_MS = 300_000;

export const PAYLOADS_PATH = "/payloads/";

export interface UploadUrl {
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly expiresAtMs: number;
}

export interface PayloadUrls {
  /**
   * A URL whose GET gives the object; empty where it is in another store than the one in force.
   * @param base address of this server as the caller knows it, for URLs of our own.
   */
  download(reference: ObjectReference, contentType: string, base: string): Promise<string>;
  upload(object: NewObject, base: string): Promise<UploadUrl>;
  /** Fills in the URLs of a run; changes `run`, which is the caller's own. */
  fill(run: Run, base: string): Promise<Run>;
  /** What a path of ours is good for; why it is good for nothing otherwise. */
  open(
    method: "GET" | "PUT",
    path: string,
    query: URLSearchParams,
  ): OpenedUrl | { readonly refusal: "forged" | "expired" };
}

export interface OpenedUrl {
  readonly key: string;
  readonly contentType: string;
  /** Of an upload. */
  readonly sizeBytes: number;
}

export interface PayloadUrlsDeps {
  readonly payloads: Payloads;
  readonly clock: Clock;
  /** Of the store, 32 bytes. */
  readonly secret: Uint8Array;
  /** Where clients reach the server; undefined: where they reached it. */
  readonly publicUrl: string | undefined;
}

export function createPayloadUrls({ payloads, clock, secret, publicUrl }: PayloadUrlsDeps): PayloadUrls {
  const macOf = (method: string, key: string, { expires, type, size }: SignedParts): Buffer =>
    createHmac("sha256", secret)
      .update(JSON.stringify(["payload", method, key, expires, type, size]))
      .digest();

  function own(method: string, key: string, parts: SignedParts, base: string): string {
    const query = new URLSearchParams({
      expires: parts.expires,
      type: parts.type,
      ...(parts.size === "" ? {} : { size: parts.size }),
      signature: macOf(method, key, parts).toString("base64url"),
    });
    return `${publicUrl ?? base}${PAYLOADS_PATH}${key}?${query.toString()}`;
  }

  async function download(reference: ObjectReference, contentType: string, base: string): Promise<string> {
    if (reference.driver !== payloads.driver) return "";
    const type = mediaType(reference.form, contentType);
    if (payloads.presigner !== undefined) return payloads.presigner.download(reference.key, type, URL_VALID_MS);
    return own("GET", reference.key, { expires: String(clock.nowMs() + URL_VALID_MS), type, size: "" }, base);
  }

  return {
    download,
    async upload(object, base) {
      const expiresAtMs = clock.nowMs() + URL_VALID_MS;
      if (payloads.presigner !== undefined) {
        return { ...(await payloads.presigner.upload(object, URL_VALID_MS)), expiresAtMs };
      }
      const { key, sizeBytes, contentType } = object;
      const parts = { expires: String(expiresAtMs), type: contentType, size: String(sizeBytes) };
      return { url: own("PUT", key, parts, base), headers: { "content-type": contentType }, expiresAtMs };
    },
    async fill(run, base) {
      const { payload, output } = run;
      if (payload?.data.case === "reference") {
        run.payloadPresignedUrl = await download(referenceOfWire(payload.data.value), payload.contentType, base);
      }
      if (output?.data.case === "reference") {
        run.outputPresignedUrl = await download(referenceOfWire(output.data.value), output.contentType, base);
      }
      return run;
    },
    open(method, path, query) {
      const key = path.slice(PAYLOADS_PATH.length);
      const parts = {
        expires: query.get("expires") ?? "",
        type: query.get("type") ?? "",
        size: query.get("size") ?? "",
      };
      const given = Buffer.from(query.get("signature") ?? "", "base64url");
      const mac = macOf(method, key, parts);
      if (given.length !== mac.length || !timingSafeEqual(given, mac)) return { refusal: "forged" };
      if (Number(parts.expires) < clock.nowMs()) return { refusal: "expired" };
      return { key, contentType: parts.type, sizeBytes: Number(parts.size) };
    },
  };
}

interface SignedParts {
  /** Unix milliseconds. */
  readonly expires: string;
  /** Media type. */
  readonly type: string;
  /** Bytes of an upload; empty for a download. */
  readonly size: string;
}
