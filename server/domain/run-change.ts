/**
 * Every change of an existing run, as data: which event of the run machine, the guard it carries, and what it brings. Engine verbs build
 * them, stores carry them out: read the run, ask {@link applyChange} (run-apply.ts), write the answer guarded by the run's version. So
 * both stores run one machine.
 */
import type { Failure } from "./failure.js";
import type { RetryPolicy } from "./retry.js";
import type { AttemptSummary, RunState } from "./run.js";

interface Change<Event extends string> {
  readonly event: Event;
  readonly environment: string;
  readonly runId: string;
  readonly nowMs: number;
}

/** A change that a worker reports; `fence` is that of its lease (RUN-8). */
interface Report<Event extends string> extends Change<Event> {
  readonly fence: number;
  /** The reporting session; a lease of another session is stale. */
  readonly sessionId: string;
}

/** The attempt of a run in a worker: what a call from inside a run is bound to. */
export interface AttemptRef {
  readonly sessionId: string;
  readonly number: number;
}

export interface Due extends Change<"due"> {}

export interface Reschedule extends Change<"reschedule"> {
  /** Not in the past; equal to `nowMs` means due at once (RUN-14). */
  readonly dueMs: number;
}

/** Taken by a session with a free place; also resumes a bound run of that session. The slot is the store's to check. */
export interface Claim extends Change<"claim"> {
  readonly sessionId: string;
  readonly pickUpDeadlineMs: number;
  /** From the worker's registration, where the trigger gives none (TRG-6). */
  readonly maxDurationSeconds: number | undefined;
  readonly policyMaxAttempts: number;
}

export interface Confirm extends Report<"confirm"> {}

/** The pick-up was never confirmed (RUN-6). */
export interface Release extends Change<"release"> {
  readonly fence: number;
  /** Whether the return counts towards the five: the worker sent something after the assignment. */
  readonly counts: boolean;
  readonly pickUpFailuresMax: number;
  /** Without waiting for the pick-up deadline: a new hello of the session does not list the run. */
  readonly force: boolean;
}

export interface Complete extends Report<"complete"> {
  /** Encoded hairtrigger.v1.Payload; undefined: the output was `undefined` (RES-8). */
  readonly output: Uint8Array | undefined;
  /** Objects of the payload store that the output names. */
  readonly objectKeys?: readonly string[];
}

/** The attempt failed for good. */
export interface Fail extends Report<"fail"> {
  readonly failure: Failure;
  readonly status: "FAILED" | "CRASHED" | "SYSTEM_FAILURE";
}

/** The attempt failed and the same worker tries again after a short pause, keeping the slot (RTY-5). */
export interface RetrySoon extends Report<"retrySoon"> {
  readonly failure: Failure;
  readonly delayMs: number;
}

/** The attempt failed and any worker may try again after a longer pause (RTY-5). */
export interface RetryLater extends Report<"retryLater"> {
  readonly failure: Failure;
  readonly delayMs: number;
}

export interface Wait extends Report<"wait"> {
  /** As {@link waitTarget} (wait.ts) writes it. */
  readonly waitingFor: string;
}

export interface Wake extends Change<"wake"> {
  /** Guard: what the run waits for. */
  readonly waitingFor: string;
}

/** maxDuration is used up, found by the worker (with its fence) or by the `overrun` duty (guard: the deadline). */
export interface TimeOut extends Change<"timeOut"> {
  readonly fence: number | undefined;
  readonly sessionId: string | undefined;
  /** The worker says that no code of the run goes on. */
  readonly codeEnded: boolean;
}

export interface Interrupt extends Report<"interrupt"> {
  readonly codeEnded: boolean;
  readonly interruptionsMax: number;
}

/** The session of the run has lapsed, or its new hello does not list the run. */
export interface Lose extends Change<"lose"> {
  readonly sessionId: string;
  /** The registered policy of the task (design 8). */
  readonly policy: RetryPolicy;
  /** Uniform in [0, 1): the jitter of the back-off. */
  readonly random: number;
}

export interface Cancel extends Change<"cancel"> {
  readonly reason: string;
}

export interface Expire extends Change<"expire"> {}

/** Some run is about to wait for this one, which it did not make: it is to be woken at the end (IDM-15). */
export interface Await extends Change<"await"> {}

/** Adds tags (TAG-2). */
export interface AddTags extends Change<"addTags"> {
  /** Asked from inside the run: refused as stale once that attempt is over (RUN-8). */
  readonly attempt: AttemptRef | undefined;
  readonly tags: readonly string[];
  readonly tagsMax: number;
}

/** A follow-up is done: clears bits of `todo`, unless the run changed meanwhile. */
export interface Settle extends Change<"settle"> {
  readonly bits: number;
  readonly version: number;
}

export type RunChange =
  | Due
  | Reschedule
  | Claim
  | Confirm
  | Release
  | Complete
  | Fail
  | RetrySoon
  | RetryLater
  | Wait
  | Wake
  | TimeOut
  | Interrupt
  | Lose
  | Cancel
  | Expire
  | Await
  | AddTags
  | Settle;

// ── what comes of it ──────────────────────────────────────────────────────────────────────────────────────────────────────────────

/** What becomes of the slot that the run held; `linger`: code may still run, so it is kept for a while (QUE-4). */
export type SlotEffect = "keep" | "free" | "linger";

export interface Applied {
  readonly next: RunState;
  readonly slot: SlotEffect;
  /** Ended by this change; appended to the run's summaries. */
  readonly attempt?: AttemptSummary;
  readonly output?: Uint8Array;
  readonly failure?: Failure;
}

/**
 * Why a change does not apply. `stale`: old fence or other session. `repeat`: this very report was applied before.
 * `illegal`: not in the table for the present place. `notYet`: the guard's time has not come. `overLimit`: it would exceed a limit.
 * `unchanged`: nothing to do, which is no failure.
 */
export type Refusal = "stale" | "repeat" | "illegal" | "notYet" | "overLimit" | "unchanged";

export type ApplyResult = Applied | { readonly refused: Refusal };

export function isRefused(result: ApplyResult): result is { readonly refused: Refusal } {
  return "refused" in result;
}
