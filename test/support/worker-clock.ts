/** The test's clock as the worker of the SDK sees one, so that server and worker live in one time. */
import { randomBytes } from "node:crypto";
import type { WorkerClock } from "#sdk/worker/clock.js";
import type { FakeClock } from "./clock.js";

/** @param random uniform in [0, 1); by default always in the middle. */
export function workerClock(clock: FakeClock, random: () => number = () => 0.5): WorkerClock {
  return {
    monotonicMs: () => clock.nowMs(),
    nowMs: () => clock.nowMs(),
    random,
    randomBytes: (length) => new Uint8Array(randomBytes(length)),
    setTimer: (delayMs, callback) => clock.setTimer(delayMs, callback),
  };
}
