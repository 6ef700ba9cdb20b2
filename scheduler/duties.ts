/**
 * THE TABLE of all that happens by itself. Each row is an engine verb of the same name, called in bounded passes (`sweep.ts`) by a driver
 * (`interval.ts`). Every verb guards its writes by the time it was given, so that a pass too many, or two at once, is harmless; a pass
 * too few delays and never corrupts (design 13). Precision does not come from short periods but from nudges (`nudges.ts`).
 */
import type { DutyName } from "../server/engine/engine.js";

export interface Duty {
  /** Also the name of the engine's verb. */
  readonly name: DutyName;
  /** Pause between passes; a tenth of it is jitter. */
  readonly periodMs: number;
  /** Records that one call of the verb may take, so that callers' writes get in between. */
  readonly page: number;
  /** A pass that finds full pages goes on for this long, then leaves the store to others for as long. */
  readonly budgetMs: number;
}

export const DUTIES: readonly Duty[] = [
  /** Delays and parked retries. Nudged for near times; the period is for far ones and those before a restart (DLY-11). */
  { name: "due", periodMs: 500, page: 500, budgetMs: 200 },
  /** TTL-10: within 1 s after the deadline. */
  { name: "expire", periodMs: 500, page: 500, budgetMs: 200 },
  /** RUN-6: a session lapses 30 s after its last heartbeat; a second more is small against that. Waits for RUN-7 (`steadiness.ts`). */
  { name: "lose", periodMs: 1_000, page: 100, budgetMs: 200 },
  /** RUN-6: the pick-up window is 10 s. */
  { name: "release", periodMs: 1_000, page: 500, budgetMs: 200 },
  /** DUR-6: at most 2 s after the limit, also when the worker is stuck; the worker has first say, its report needs the rest. */
  { name: "overrun", periodMs: 500, page: 200, budgetMs: 200 },
  /** WAI-1, WAI-8: instants and tokens. Nudged as `due` is. */
  { name: "timeout", periodMs: 500, page: 500, budgetMs: 200 },
  /** Only what a crash left undone (design 5); in a healthy server there is nothing to find. */
  { name: "settle", periodMs: 5_000, page: 200, budgetMs: 200 },
  /** BAT-18: batches whose caller is gone; one that was opened by an attempt that is over is sealed at once. */
  { name: "seal", periodMs: 1_000, page: 100, budgetMs: 100 },
  /** QUE-4: code that never reported its end holds its slot for 30 s. */
  { name: "ended", periodMs: 1_000, page: 500, budgetMs: 200 },
  /** RUN-9 counts in days. Small steps, because a removal is the heaviest write there is. */
  { name: "purge", periodMs: 60_000, page: 200, budgetMs: 50 },
  /** PAY-11: what nobody names is a day old before it goes, so there is no hurry; a page is one request to the payload store. */
  { name: "orphans", periodMs: 60_000, page: 500, budgetMs: 100 },
];
