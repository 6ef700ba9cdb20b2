/** Times and spans: Unix milliseconds ⇄ Timestamp and Duration. */
import { type Duration, durationFromMs, type Timestamp, timestampFromMs } from "@bufbuild/protobuf/wkt";

/** A time that may be absent. */
export function timestampOf(ms: number | undefined): Timestamp | undefined {
  return ms === undefined ? undefined : timestampFromMs(ms);
}

/** Fractions of a millisecond stay: who needs a whole number decides which way to round. */
export function msOfTimestamp({ seconds, nanos }: Timestamp): number {
  return Number(seconds) * 1_000 + nanos / 1_000_000;
}

export function durationOf(ms: number): Duration {
  return durationFromMs(Math.round(ms));
}

/** Fractions of a millisecond stay. */
export function msOfDuration({ seconds, nanos }: Duration): number {
  return Number(seconds) * 1_000 + nanos / 1_000_000;
}
