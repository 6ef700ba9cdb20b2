/** The clock that our tests move: the one of the test kit. */
import { MovedClock } from "../../clients/testing/moved-clock.js";

/** Where a fake clock starts unless told otherwise: a round date that no test depends on. */
export const FAKE_START_MS = Date.UTC(2026, 0, 1);

export class FakeClock extends MovedClock {
  constructor(startMs: number = FAKE_START_MS, settle?: () => Promise<void>) {
    super(startMs, settle);
  }
}
