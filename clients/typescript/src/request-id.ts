/** Names of calls (REQ-1): UUIDv7, RFC 9562, so that the runs they make are ordered by time. */
import type { Clock } from "./clock.js";

/** A new request id: 48 bits of Unix milliseconds and 74 random bits. */
export function newRequestId(clock: Pick<Clock, "nowMs" | "randomBytes">): string {
  const time = Math.max(0, Math.floor(clock.nowMs())).toString(16).padStart(12, "0").slice(-12);
  const bytes = clock.randomBytes(10);
  bytes[0] = 0x70 | ((bytes[0] ?? 0) & 0x0f);
  bytes[2] = 0x80 | ((bytes[2] ?? 0) & 0x3f);
  let random = "";
  for (const byte of bytes) random += HEX[byte];
  return `${time.slice(0, 8)}-${time.slice(8)}-${random.slice(0, 4)}-${random.slice(4, 8)}-${random.slice(8)}`;
}

const HEX: readonly string[] = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, "0"));
