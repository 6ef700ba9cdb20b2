/** The test's clock as the worker of the SDK sees one, so that server and worker live in one time. */
import { randomBytes } from "node:crypto";
import type { WorkerClock } from "@hairtrigger/sdk/testing";
import type { MovedClock } from "./moved-clock.js";

/** @param random uniform in [0, 1); by default always in the middle. */
export function workerClock(clock: MovedClock, random: () => number = () => 0.5): WorkerClock {
  return {
    monotonicMs: () => clock.nowMs(),
    nowMs: () => clock.nowMs(),
    random,
    randomBytes: (length) => new Uint8Array(randomBytes(length)),
    setTimer: (delayMs, callback) => clock.setTimer(delayMs, callback),
  };
}
