/** The id that a worker gives its session: `session_` and 128 bits, 48 of Unix milliseconds and 80 of chance, as base32. */

/** Crockford's alphabet, without i, l, o and u. */
const ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz";
const CHARACTERS = 26;

/** @param random10 ten bytes that nobody else has. */
export function newSessionId(nowMs: number, random10: Uint8Array): string {
  let bits = BigInt(Math.floor(nowMs));
  for (const byte of random10) bits = (bits << 8n) | BigInt(byte);
  let text = "";
  for (let index = 0; index < CHARACTERS; index += 1) {
    text = ALPHABET.charAt(Number(bits & 31n)) + text;
    bits >>= 5n;
  }
  return `session_${text}`;
}
