/**
 * Spec bytes without decoding them: which fields there are, by their tags and lengths alone. A payload of 10 MB is taken out of its spec,
 * and a reference looked for in each assignment, at the cost of a few bytes read and no text made.
 */

/** Wire types of Protobuf. */
const VARINT = 0;
const FIXED_64 = 1;
const LENGTH_DELIMITED = 2;
const FIXED_32 = 5;

export interface WireField {
  readonly number: number;
  /** Where the tag begins. */
  readonly from: number;
  /** Where the value begins; of a length-delimited one, after its length. */
  readonly valueFrom: number;
  readonly to: number;
}

/** The fields of a message in the order of the bytes. @throws RangeError for bytes that are no message. */
export function* wireFields(bytes: Uint8Array): Generator<WireField, void, undefined> {
  let at = 0;
  const varint = (): number => {
    let value = 0;
    for (let scale = 1; ; scale *= 128) {
      const byte = bytes[at];
      if (byte === undefined || scale > 2 ** 63) throw new RangeError("a message ends within a number");
      at += 1;
      value += (byte & 127) * scale;
      if (byte < 128) return value;
    }
  };
  while (at < bytes.length) {
    const from = at;
    const tag = varint();
    const wireType = tag % 8;
    let valueFrom = at;
    switch (wireType) {
      case VARINT:
        varint();
        break;
      case FIXED_64:
        at += 8;
        break;
      case FIXED_32:
        at += 4;
        break;
      case LENGTH_DELIMITED: {
        const length = varint();
        valueFrom = at;
        at += length;
        break;
      }
      default:
        throw new RangeError(`a message has a field of wire type ${wireType}`);
    }
    if (at > bytes.length) throw new RangeError("a message ends within a field");
    yield { number: Math.floor(tag / 8), from, valueFrom, to: at };
  }
}

/** The message without some of its fields. */
export function withoutFields(bytes: Uint8Array, numbers: readonly number[]): Uint8Array {
  const kept = [...wireFields(bytes)].filter(({ number }) => !numbers.includes(number));
  return Buffer.concat(kept.map(({ from, to }) => bytes.subarray(from, to)));
}

/** The last value of a field, as a reader of the message would merge it where only the last one counts. */
export function lastValue(bytes: Uint8Array, wanted: number): Uint8Array | undefined {
  let found: WireField | undefined;
  for (const field of wireFields(bytes)) if (field.number === wanted) found = field;
  return found === undefined ? undefined : bytes.subarray(found.valueFrom, found.to);
}
