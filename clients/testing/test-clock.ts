/** The clock of a test kit, for people. */
import { parseDuration } from "../../server/domain/duration.js";
import type { MovedClock } from "./moved-clock.js";

export interface TestClock {
  /** The time that server, workers and `ctx` see. */
  now(): Date;
  /**
   * Plays time: everything that falls due within it happens at its own moment and in its order, and what follows from it as well. Months
   * take as long as seconds.
   * @param span milliseconds, or a duration such as `"1h"` or `"2d12h"`.
   * @throws TypeError for anything else.
   */
  advance(span: number | string): Promise<void>;
}

export function testClock(clock: MovedClock): TestClock {
  return {
    now: () => new Date(clock.nowMs()),
    async advance(span) {
      await clock.advance(spanMs(span));
    },
  };
}

function spanMs(span: number | string): number {
  const ms = typeof span === "string" ? parseDuration(span) : span;
  if (ms === undefined || !Number.isFinite(ms) || ms < 0) {
    throw new TypeError(
      `advance takes milliseconds from 0, or a duration such as "1h" or "2d12h", got ${JSON.stringify(span)}`,
    );
  }
  return Math.ceil(ms);
}
