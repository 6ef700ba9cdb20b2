/**
 * THE PORT of the payload store: where payloads and outputs above the inline limit are, as objects that are written once and never
 * changed (design 15). A run names its objects; which are named is the business of the records, not of this store.
 *
 * Common to all verbs: they reject with whatever the driver threw when the store cannot be reached; the caller tries again (PAY-10) and
 * turns it into PAYLOAD_STORE_UNAVAILABLE. All are safe to repeat.
 */
export interface Payloads {
  /** Part of every reference: `file`, `gridfs`, `s3`, or `memory`. An object is only looked for where it was put. */
  readonly driver: string;
  /** Opens what is needed. Rejects if nothing can be written at present, which is a warning: later writes may succeed. */
  start(): Promise<void>;
  /** Idempotent. */
  stop(): Promise<void>;

  /**
   * Writes an object, whole or not at all; durable when it resolves. Of two writers under one key either may win: they have the same
   * digest.
   * @throws ContentMismatchError if the bytes are not those that were announced; nothing is left then.
   */
  write(object: NewObject, body: ObjectBody): Promise<void>;
  /** The bytes of an object; undefined if there is none. The body must be read to its end, or its iterator returned. */
  read(key: string): Promise<AsyncIterable<Uint8Array> | undefined>;
  /** Bytes of an object; undefined if there is none. */
  sizeOf(key: string): Promise<number | undefined>;
  /** The same bytes under another key, as durable as a write. False if there is no such object. */
  copy(from: string, to: string): Promise<boolean>;
  /** Those that do not exist are ignored. */
  remove(keys: readonly string[]): Promise<void>;
  /** A page of objects in the driver's own order, which stays the same; `next` undefined: the end. */
  list(page: { readonly after: string | undefined; readonly limit: number }): Promise<ObjectPage>;
  /** Removes what interrupted writes before this time have left beside objects. @returns how many were removed. */
  removeRemains(beforeMs: number, limit: number): Promise<number>;

  /** Present where the store itself serves signed URLs; otherwise the server gives its own. */
  readonly presigner?: Presigner;
}

export type ObjectBody = Uint8Array | AsyncIterable<Uint8Array>;

export interface NewObject {
  readonly key: string;
  readonly sizeBytes: number;
  /** 32 bytes. */
  readonly sha256: Uint8Array;
  readonly contentType: string;
}

export interface ObjectPage {
  readonly objects: readonly { readonly key: string; readonly writtenAtMs: number }[];
  readonly next: string | undefined;
}

export interface Presigner {
  /** A URL whose GET gives the object with this media type. */
  download(key: string, contentType: string, validMs: number): Promise<string>;
  /** A URL for one PUT of these bytes, and the headers that it must have. */
  upload(
    object: NewObject,
    validMs: number,
  ): Promise<{ readonly url: string; readonly headers: Readonly<Record<string, string>> }>;
}

/** What was sent is not what was announced. */
export class ContentMismatchError extends Error {
  override readonly name = "ContentMismatchError";
}
