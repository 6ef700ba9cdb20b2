/** What makes the duties' periods pass: plain intervals (`interval.ts`) for one server, Agenda (`agenda.ts`) for several. */
import type { Duty } from "./duties.js";
import type { Swept } from "./sweep.js";

export interface Driver {
  start(): void;
  /** Begins no further pass. A pass under way is awaited by the scheduler, and what a driver does after it by the promise. */
  stop(): void | Promise<void>;
}

/** Called between the pages of a pass; renews whatever says that this server does the duty. What it throws ends the pass. */
export type Touch = () => Promise<void>;

export interface DutyPass {
  readonly duty: Duty;
  /** One pass; must not reject. */
  readonly pass: (touch?: Touch) => Promise<Swept>;
}
