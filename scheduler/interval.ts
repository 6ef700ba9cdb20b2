/** The driver of the embedded server: a timer per duty. */
import type { Clock, Timer } from "../server/engine/clock.js";
import type { Driver, DutyPass } from "./driver.js";

/** Part of a period that is random, so that duties do not march in step. */
const JITTER = 0.1;

/** The first passes are spread over this, or over the period where it is shorter. */
const FIRST_MS = 500;

export interface IntervalParams extends DutyPass {
  readonly clock: Clock;
  /** Uniform in [0, 1). */
  readonly uniform: () => number;
}

/** Runs a duty's passes, each a period after the end of the one before; soon, where that one left work. */
export function createInterval({ clock, uniform, duty, pass }: IntervalParams): Driver {
  let timer: Timer | undefined;
  let isStopped = false;
  const arm = (delayMs: number): void => {
    if (!isStopped) timer = clock.setTimer(delayMs, () => void turn());
  };
  const turn = async (): Promise<void> => {
    const { isMore } = await pass();
    arm(isMore ? duty.budgetMs : duty.periodMs * (1 - JITTER * uniform()));
  };
  return {
    start: () => arm(uniform() * Math.min(FIRST_MS, duty.periodMs)),
    stop() {
      isStopped = true;
      timer?.cancel();
    },
  };
}
