/**
 * THE TABLE: every way in which a run moves. The guards of both stores, the diagram in docs/lifecycle.md and the tests derive from it;
 * nothing else in the code compares or assigns statuses.
 *
 * A *place* is a status, with QUEUED split by what the run waits for: a due time (parked), a worker with a free place (waiting),
 * or the one worker that holds its continuation (bound).
 */
import type { FinalStatus, RunStatus } from "./run-status.js";

export type LivePlace = "DELAYED" | "QUEUED_PARKED" | "QUEUED_WAITING" | "QUEUED_BOUND" | "EXECUTING" | "WAITING";
export type RunPlace = LivePlace | FinalStatus;

/** What a QUEUED run waits for; undefined in every other status. */
export type Readiness = "parked" | "waiting" | "bound";

interface Transition {
  /** Legal places before the event; empty where the event creates the run. */
  readonly from: readonly LivePlace[];
  readonly to: readonly RunPlace[];
  /** Who asks for it. */
  readonly by: "producer" | "worker" | "clock" | "worker or clock" | "producer or clock";
  /** What the guard demands beside the place. */
  readonly when: string;
}

const HELD_BY_WORKER = ["EXECUTING", "WAITING", "QUEUED_BOUND"] as const satisfies readonly LivePlace[];

export const RUN_MACHINE = {
  trigger: { from: [], to: ["QUEUED_WAITING", "DELAYED"], by: "producer", when: "no run holds the key" },
  due: { from: ["DELAYED", "QUEUED_PARKED"], to: ["QUEUED_WAITING"], by: "clock", when: "due time reached" },
  reschedule: { from: ["DELAYED"], to: ["DELAYED"], by: "producer", when: "not yet due" },
  push: { from: ["DELAYED"], to: ["DELAYED"], by: "producer", when: "same debounce key, not yet due" },
  claim: { from: ["QUEUED_WAITING"], to: ["EXECUTING"], by: "worker", when: "slot free, place free" },
  confirm: { from: ["EXECUTING"], to: ["EXECUTING"], by: "worker", when: "fence matches" },
  release: {
    from: ["EXECUTING"],
    to: ["QUEUED_WAITING", "QUEUED_BOUND", "SYSTEM_FAILURE"],
    by: "clock",
    when: "pick-up never confirmed; the fifth in a row fails",
  },
  retrySoon: { from: ["EXECUTING"], to: ["EXECUTING"], by: "worker", when: "attempt left, pause below 30 s" },
  retryLater: { from: HELD_BY_WORKER, to: ["QUEUED_PARKED"], by: "worker", when: "attempt left, longer pause" },
  wait: { from: ["EXECUTING"], to: ["WAITING"], by: "worker", when: "fence matches" },
  wake: { from: ["WAITING"], to: ["QUEUED_BOUND"], by: "worker or clock", when: "what it waits for is final" },
  resume: { from: ["QUEUED_BOUND"], to: ["EXECUTING"], by: "worker", when: "slot free, place free, same worker" },
  interrupt: {
    from: HELD_BY_WORKER,
    to: ["QUEUED_WAITING", "CRASHED"],
    by: "worker",
    when: "orderly stop; the 20th in a row crashes",
  },
  lose: {
    from: HELD_BY_WORKER,
    to: ["QUEUED_PARKED", "QUEUED_WAITING", "CRASHED"],
    by: "clock",
    when: "session lapsed",
  },
  complete: { from: HELD_BY_WORKER, to: ["COMPLETED"], by: "worker", when: "fence matches" },
  fail: {
    from: HELD_BY_WORKER,
    to: ["FAILED", "CRASHED", "SYSTEM_FAILURE"],
    by: "worker",
    when: "fence matches, no retry",
  },
  timeOut: { from: HELD_BY_WORKER, to: ["TIMED_OUT"], by: "worker or clock", when: "active longer than maxDuration" },
  cancel: {
    from: ["DELAYED", "QUEUED_PARKED", "QUEUED_WAITING", "QUEUED_BOUND", "EXECUTING", "WAITING"],
    to: ["CANCELED"],
    by: "producer or clock",
    when: "any live run",
  },
  expire: { from: ["QUEUED_WAITING"], to: ["EXPIRED"], by: "clock", when: "ttl passed, never started" },
} as const satisfies Record<string, Transition>;

export type RunEvent = keyof typeof RUN_MACHINE;

function isRunEvent(text: string): text is RunEvent {
  return Object.hasOwn(RUN_MACHINE, text);
}

/** All events, in the order of the table. */
export const RUN_EVENTS: readonly RunEvent[] = Object.keys(RUN_MACHINE).filter(isRunEvent);

/** Whether `event` may happen to a run in `place`. */
export function isLegal(event: RunEvent, place: RunPlace): boolean {
  const from: readonly RunPlace[] = RUN_MACHINE[event].from;
  return from.includes(place);
}

/** The place of a run; the inverse of {@link statusOfPlace}. */
export function placeOf(run: { readonly status: RunStatus; readonly readiness: Readiness | undefined }): RunPlace {
  if (run.status !== "QUEUED") return run.status;
  switch (run.readiness) {
    case "parked":
      return "QUEUED_PARKED";
    case "bound":
      return "QUEUED_BOUND";
    case "waiting":
    case undefined:
      return "QUEUED_WAITING";
  }
}

export function statusOfPlace(place: RunPlace): { status: RunStatus; readiness: Readiness | undefined } {
  switch (place) {
    case "QUEUED_PARKED":
      return { status: "QUEUED", readiness: "parked" };
    case "QUEUED_WAITING":
      return { status: "QUEUED", readiness: "waiting" };
    case "QUEUED_BOUND":
      return { status: "QUEUED", readiness: "bound" };
    default:
      return { status: place, readiness: undefined };
  }
}
