/** Keeps a worker alive through long synchronous work (CFG-5). */
import { systemClock } from "./clock.js";

export const heartbeats = {
  /** Resolves after a turn of the event loop, so that a long synchronous loop that awaits it now and then lets heartbeats out. */
  yield: (): Promise<void> => systemClock.yieldTurn(),
} as const;
