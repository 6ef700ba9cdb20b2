/** Reaching the payload store: how often, and what it is called when it was in vain (PAY-10). */
import { payloadStoreUnavailable } from "../domain/error.js";
import { ContentMismatchError } from "../payloads/payloads.js";
import type { Clock } from "./clock.js";
import type { EngineDeps } from "./engine.js";

/** PAY-10: five tries, 0.5 to 5 s apart; together they end well before a call's deadline of 30 s. */
const PAUSES_MS = [500, 1_000, 2_000, 4_000] as const;

/**
 * @param pausesMs between tries; one try more than these.
 * @throws AppError PAYLOAD_STORE_UNAVAILABLE
 */
export async function withTries<T>(
  { payloads, clock, events }: Pick<EngineDeps, "payloads" | "clock" | "events">,
  work: () => Promise<T>,
  pausesMs: readonly number[] = PAUSES_MS,
): Promise<T> {
  for (let tried = 0; ; tried += 1) {
    try {
      return await work();
    } catch (error) {
      // Bytes that are not what they were said to be stay so.
      if (error instanceof ContentMismatchError) throw error;
      events.emit("payloads.unavailable", { driver: payloads.driver, error });
      const pauseMs = pausesMs[tried];
      if (pauseMs === undefined) throw payloadStoreUnavailable(error);
      await sleep(clock, pauseMs);
    }
  }
}

function sleep(clock: Clock, delayMs: number): Promise<void> {
  return new Promise((resolve) => {
    clock.setTimer(delayMs, resolve);
  });
}
