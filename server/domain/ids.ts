/**
 * Ids: a prefix that names the kind, and 128 bits as 26 lower-case base32 characters.
 *
 * The bits are 48 of Unix milliseconds and 80 of randomness, most significant first, so that ids sort by time as
 * bytes and as text alike. With a request id, the id is a pure function of it (REQ-1): a repeated request finds its
 * own object without an extra record. Ids made from a hash alone carry no time.
 *
 * The alphabet is Crockford's, without i, l, o, u. Decoding is strict (lower case, no aliases): one object has one
 * spelling.
 */
import { hash } from "node:crypto";

const PREFIXES = ["run", "batch", "waitpoint", "session", "queue"] as const;

/** What an id can name; the text of an id is this, an underscore and 26 characters. */
export type IdPrefix = (typeof PREFIXES)[number];

const ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz";
const ID_BYTES = 16;
const TIME_BYTES = 6;
const RANDOM_BYTES = ID_BYTES - TIME_BYTES;
/** The first byte takes two characters, every five bytes after it eight. */
const TEXT_LENGTH = 26;
/** 48 bits of milliseconds, the year 10889. */
const TIME_MS_MAX = 2 ** 48 - 1;

/** Two characters for each 10 bits: ids are made and read for every run, and a pair halves the work. */
const PAIRS: readonly string[] = Array.from(
  { length: 1_024 },
  (_, value) => `${ALPHABET.charAt(value >> 5)}${ALPHABET.charAt(value & 31)}`,
);

function pair(value: number): string {
  return PAIRS[value & 1_023] ?? "";
}

/** Character code → value, 255 for a character that is none of ours. */
const VALUES: Uint8Array = new Uint8Array(128).fill(255);
for (let value = 0; value < ALPHABET.length; value += 1) {
  VALUES[ALPHABET.charCodeAt(value)] = value;
}

/**
 * The text of an id.
 * @throws RangeError unless there are exactly 16 bytes; a bug of ours, not a caller's mistake.
 */
export function encodeId<P extends IdPrefix>(prefix: P, bytes: Uint8Array): `${P}_${string}` {
  if (bytes.length !== ID_BYTES) {
    throw new RangeError(`an id has ${ID_BYTES} bytes, got ${bytes.length}`);
  }
  const byte = (index: number): number => bytes[index] ?? 0;
  let text = pair(byte(0));
  for (let at = 1; at < ID_BYTES; at += 5) {
    const [a, b, c, d, e] = [byte(at), byte(at + 1), byte(at + 2), byte(at + 3), byte(at + 4)];
    text += pair((a << 2) | (b >> 6)) + pair((b << 4) | (c >> 4)) + pair((c << 6) | (d >> 2)) + pair((d << 8) | e);
  }
  return `${prefix}_${text}`;
}

/** The 16 bytes of an id, or undefined for a text that is no id of this kind. */
export function decodeId(prefix: IdPrefix, text: string): Uint8Array | undefined {
  return text.startsWith(prefix) && text[prefix.length] === "_" ? decodeText(text, prefix.length + 1) : undefined;
}

function decodeText(text: string, start: number): Uint8Array | undefined {
  if (text.length !== start + TEXT_LENGTH) {
    return undefined;
  }
  const value = (index: number): number => VALUES[text.charCodeAt(start + index)] ?? 255;
  const bytes = new Uint8Array(ID_BYTES);
  const high = value(0);
  let seen = value(1);
  bytes[0] = (high << 5) | seen;
  for (let at = 1, index = 2; at < ID_BYTES; at += 5, index += 8) {
    const [a, b, c, d] = [value(index), value(index + 1), value(index + 2), value(index + 3)];
    const [e, f, g, h] = [value(index + 4), value(index + 5), value(index + 6), value(index + 7)];
    bytes[at] = (a << 3) | (b >> 2);
    bytes[at + 1] = (b << 6) | (c << 1) | (d >> 4);
    bytes[at + 2] = (d << 4) | (e >> 1);
    bytes[at + 3] = (e << 7) | (f << 2) | (g >> 3);
    bytes[at + 4] = (g << 5) | h;
    seen |= a | b | c | d | e | f | g | h;
  }
  // 26 characters hold 130 bits: the two highest are always 0.
  return high > 7 || seen > 31 ? undefined : bytes;
}

/** Whether a text is an id of this kind. */
export function isId(prefix: IdPrefix, text: string): boolean {
  return decodeId(prefix, text) !== undefined;
}

/**
 * A fresh id.
 * @param nowMs Unix milliseconds, 0 to 2^48 − 1.
 * @param random10 10 random bytes.
 */
export function newId<P extends IdPrefix>(prefix: P, nowMs: number, random10: Uint8Array): `${P}_${string}` {
  if (random10.length !== RANDOM_BYTES) {
    throw new RangeError(`an id takes ${RANDOM_BYTES} random bytes, got ${random10.length}`);
  }
  const bytes = new Uint8Array(ID_BYTES);
  writeTime(bytes, nowMs);
  bytes.set(random10, TIME_BYTES);
  return encodeId(prefix, bytes);
}

/**
 * The id that a request gives to the object it creates: the milliseconds of a UUIDv7 and 80 bits of hash, or 128 bits
 * of hash for any other text. The same arguments give the same id in every process.
 * @param family verbs that share their memory of requests, such as `trigger` for TriggerTask and TriggerTasks.
 * @param index position of the item in the request.
 */
export function derivedId<P extends IdPrefix>(
  prefix: P,
  environment: string,
  family: string,
  requestId: string,
  index = 0,
): `${P}_${string}` {
  const bytes = hashBytes([environment, family, requestId, index]);
  const timeMs = uuidTimeMs(requestId);
  if (timeMs !== undefined) {
    writeTime(bytes, timeMs);
  }
  return encodeId(prefix, bytes);
}

/** Bytes of a batch run's id that number it. */
const INDEX_BYTES = 4;

/**
 * The id of a run that a batch creates: as {@link derivedId}, but its last 32 bits are the index, so that runs of one instant, which ties of
 * the order put in the order of their ids, start in the order of their items.
 */
export function batchRunId(environment: string, requestId: string, index: number): `run_${string}` {
  const bytes = hashBytes([environment, "batch", requestId, "runs"]);
  const timeMs = uuidTimeMs(requestId);
  if (timeMs !== undefined) {
    writeTime(bytes, timeMs);
  }
  new DataView(bytes.buffer, bytes.byteOffset).setUint32(ID_BYTES - INDEX_BYTES, index);
  return encodeId("run", bytes);
}

/** The id of a queue: a pure function of its name, so that naming one creates none. */
export function queueId(environment: string, name: string): `queue_${string}` {
  return encodeId("queue", hashBytes([environment, "queue", name]));
}

/**
 * The Unix milliseconds at the front of an id, or undefined for a text that is no id. Meaningless for ids made from a
 * hash alone; a hint for people and for sorting, never a decision.
 */
export function idTimeMs(id: string): number | undefined {
  const prefix = PREFIXES.find((candidate) => id.startsWith(`${candidate}_`));
  const bytes = prefix === undefined ? undefined : decodeId(prefix, id);
  if (bytes === undefined) {
    return undefined;
  }
  let timeMs = 0;
  for (const byte of bytes.subarray(0, TIME_BYTES)) {
    timeMs = timeMs * 256 + byte;
  }
  return timeMs;
}

function writeTime(bytes: Uint8Array, timeMs: number): void {
  if (!Number.isInteger(timeMs) || timeMs < 0 || timeMs > TIME_MS_MAX) {
    throw new RangeError(`the time of an id is 0 to 2^48 - 1 whole milliseconds, got ${timeMs}`);
  }
  let rest = timeMs;
  for (let at = TIME_BYTES - 1; at >= 0; at -= 1) {
    bytes[at] = rest % 256;
    rest = Math.floor(rest / 256);
  }
}

/** RFC 9562: version 7 has its Unix milliseconds in the first 48 bits. */
const UUID_V7 = /^([0-9a-f]{8})-([0-9a-f]{4})-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/i;

function uuidTimeMs(text: string): number | undefined {
  const match = UUID_V7.exec(text);
  return match === null ? undefined : Number.parseInt(`${match[1]}${match[2]}`, 16);
}

/**
 * A UUIDv7: the request id of a call that came without one, so that the ids derived from it carry their time.
 * @param random10 10 random bytes.
 */
export function newUuid(nowMs: number, random10: Uint8Array): string {
  const bytes = new Uint8Array(ID_BYTES);
  writeTime(bytes, nowMs);
  bytes.set(random10, TIME_BYTES);
  bytes[6] = 0x70 | ((bytes[6] ?? 0) & 0x0f);
  bytes[8] = 0x80 | ((bytes[8] ?? 0) & 0x3f);
  const hex = Buffer.from(bytes).toString("hex");
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join("-");
}

/**
 * JSON of an array keeps its parts apart, whatever they contain. Hashing in one call takes a third of what a Hash object does. The bytes are
 * copied, as those of a Buffer lie in a pool that others write to.
 */
function hashBytes(parts: readonly (string | number)[]): Uint8Array {
  return new Uint8Array(Buffer.from(hash("sha256", JSON.stringify(parts), "hex").slice(0, ID_BYTES * 2), "hex"));
}
