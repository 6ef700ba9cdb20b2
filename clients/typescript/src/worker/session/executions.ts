/**
 * The runs that a worker holds, each as a small state machine. Everything that happens to a run comes through here: messages of the server,
 * the end of its code, the clock. It decides what is reported and whether the run takes a place; what a flush looks like, and the
 * connection it goes over, are others' business.
 *
 *   assign ──▶ confirming ──go on──▶ running ──outcome──▶ reporting ──finished, released──▶ (gone)
 *     └─────(unlimited queue)────────▶ ▲  │                   │
 *                                      │  │                   └─retry─▶ pausing ──pause over──▶ running
 *                                      ├──┼───────────────────────────────┘
 *          resuming ──go on, or at once┘  ├──wait──▶ waiting ──code ended──▶ reporting
 *              ▲                          │             │
 *              └──────────resume──────────┼─────────────┘
 *              cancel, time-out, interruption, fence, lost lease
 *                                         ▼
 *                                     lingering ──code ended, or 30 s──▶ `ended` reported, if the lease is still held ──▶ (gone)
 *
 * Invariants:
 * - At most one report of a run is unacknowledged, and it is kept until it is answered, over any number of connections.
 * - A run takes a place from its assignment to its outcome, through short retry pauses (RTY-5), and while its code lingers, 30 s at most
 *   (CAN-3). Waiting for an acknowledgement takes none, nor does waiting for another run: its continuation is a closure in memory.
 * - No code of an attempt begins, and none goes on after a wait, before the server's word: the assignment or the resume, or the answer to
 *   `started` (limited queues).
 * - A lease is held as held-leases.ts says; only messages of the server change that set.
 */
import { create } from "@bufbuild/protobuf";
import type { WaitingFor } from "../../gen/hairtrigger/v1/run_pb.js";
import { type Assignment, AssignmentSchema } from "../../gen/hairtrigger/worker/v1/worker_pb.js";
import type { Deadlines } from "../deadlines.js";
import {
  type Execution,
  type Held,
  isUnconfirmed,
  newHeld,
  type OnResume,
  type Phase,
  type StartAttempt,
} from "./execution.js";
import { HeldLeases, leaseKey } from "./held-leases.js";
import type { AttemptOutcome, Instruction, Report, ReportEntry, ResumeOrder } from "./report.js";
import { ReportQueue } from "./report-queue.js";

export interface ExecutionsParams {
  readonly deadlines: Deadlines;
  readonly monotonicMs: () => number;
  readonly start: StartAttempt;
  /** A report of the run is about to be queued. */
  readonly reporting: (runId: string) => void;
  /** The run is someone else's: nothing more is to be said for it. */
  readonly gone: (runId: string) => void;
  /** Something has to be said, or the number of free places has changed. */
  readonly changed: () => void;
}

/** Limits that the server tells in its welcome; these hold until then. */
export interface ExecutionLimits {
  /** How long lingering code takes a place. Default 30 s. */
  readonly cancelGraceMs: number;
  /** A retry pause below this is spent here. Default 30 s. */
  readonly shortRetryMs: number;
}

/** Until a server says otherwise (CAN-3). */
export const CANCEL_GRACE_DEFAULT_MS = 30_000;

export class Executions {
  limits: ExecutionLimits = { cancelGraceMs: CANCEL_GRACE_DEFAULT_MS, shortRetryMs: 30_000 };
  readonly held = new HeldLeases();
  readonly #params: ExecutionsParams;
  readonly #runs = new Map<string, Held>();
  readonly #reports = new ReportQueue();
  #places = 0;
  #stopReason: Error | undefined;

  constructor(params: ExecutionsParams) {
    this.#params = params;
  }

  /** Places that are taken. */
  get places(): number {
    return this.#places;
  }

  /** Reports that were made and not answered. */
  get unanswered(): number {
    return this.#reports.unanswered;
  }

  get hasReports(): boolean {
    return !this.#reports.isEmpty;
  }

  /** Runs whose outcome is open: what a stopping worker waits for. Lingering code is not waited for. */
  get open(): number {
    let open = 0;
    for (const run of this.#runs.values()) if (run.phase.kind !== "lingering" || run.report !== undefined) open += 1;
    return open;
  }

  /** Those of them that do more than wait. */
  get busy(): number {
    let busy = 0;
    for (const run of this.#runs.values()) {
      const isIdle = run.report === undefined && (run.phase.kind === "waiting" || run.phase.kind === "lingering");
      if (!isIdle) busy += 1;
    }
    return busy;
  }

  /** Runs with code under way, for warnings. */
  *executing(): Generator<Execution> {
    for (const run of this.#runs.values()) if (run.codeRuns && run.phase.kind !== "waiting") yield run;
  }

  // ── messages of the server ─────────────────────────────────────────────────────────────────────────────────────────────────────

  assign(assignment: Assignment): void {
    this.held.add(assignment.lease);
    const run = newHeld(assignment, this.#params.monotonicMs());
    this.#runs.set(run.key, run);
    this.#takePlace(run, true);
    if (this.#stopReason !== undefined) this.#interrupt(run, this.#stopReason);
    else if (assignment.confirmFirst) this.#report(run, { kind: "started" });
    else this.#start(run);
  }

  /** A waiting run goes on. What is not held any more, and what comes too late for a stopping worker, goes back. */
  resume(waitingLease: Uint8Array, order: ResumeOrder): void {
    const run = this.#runs.get(leaseKey(waitingLease));
    if (run !== undefined) {
      const answered = run.report;
      this.#reports.settle(run);
      this.#resume(run, order, answered);
      return;
    }
    this.held.remove(waitingLease);
    this.held.add(order.lease);
    const { lease, runId } = order;
    const gone = newHeld(create(AssignmentSchema, { lease, runId }), this.#params.monotonicMs());
    gone.phase = { kind: "lingering", grace: undefined };
    this.#runs.set(gone.key, gone);
    this.#report(gone, { kind: "interrupted", codeRunsOn: false });
  }

  cancel(lease: Uint8Array, runId: string, reason: string): void {
    const run = this.#runs.get(leaseKey(lease)) ?? this.#byRunId(runId);
    if (run !== undefined) this.#cancel(run, reason);
  }

  /** The lease is no longer valid: nothing is to be reported. */
  lost(lease: Uint8Array): void {
    this.held.remove(lease);
    const run = this.#runs.get(leaseKey(lease));
    if (run === undefined) return;
    this.#reports.settle(run);
    this.#params.gone(run.runId);
    this.#linger(run, leaseLost());
    run.isFenced = false;
    run.isListed = false;
    run.owesEnded = false;
    if (!run.codeRuns) this.#drop(run);
  }

  /** The answer to the unacknowledged report of a lease. */
  answer(lease: Uint8Array, instruction: Instruction): void {
    const run = this.#runs.get(leaseKey(lease));
    if (run === undefined) {
      // Nobody here waits for it, but the set of held leases follows the server's words.
      if (takesLease(instruction)) this.held.remove(lease);
    } else if (run.isStartStale && instruction.kind !== "lost") run.isStartStale = false;
    else this.#follow(run, instruction);
  }

  /** The answer to a lease that the hello named. */
  answerHeld(lease: Uint8Array, instruction: Instruction): void {
    const run = this.#runs.get(leaseKey(lease));
    if (run === undefined) {
      if (takesLease(instruction)) this.held.remove(lease);
      return;
    }
    const wasFenced = run.isFenced;
    run.isListed = false;
    run.isFenced = false;
    const isKnownEnd = instruction.kind === "cancel" && run.phase.kind === "lingering" && !wasFenced;
    if (instruction.kind === "resume" && wasFenced) {
      // Given up before it was given back: the new lease is, too.
      this.#rename(run, instruction.lease);
      this.#interrupt(run, fenced());
    } else if (instruction.kind !== "goOn" && instruction.kind !== "keepWaiting" && !isKnownEnd)
      this.#follow(run, instruction);
    else if (wasFenced) this.#interrupt(run, fenced());
    else if (run.report !== undefined) this.#reports.enqueue(run);
    else if (run.phase.kind === "lingering" && !run.codeRuns) this.#report(run, { kind: "ended" });
  }

  #follow(run: Held, instruction: Instruction): void {
    const answered = run.report;
    this.#reports.settle(run);
    switch (instruction.kind) {
      case "goOn":
        if (answered?.kind === "started" && run.phase.kind === "confirming") this.#start(run);
        else if (answered?.kind === "started" && run.phase.kind === "resuming") this.#goOn(run, run.phase);
        else if (run.phase.kind === "lingering" && !run.codeRuns) this.#report(run, { kind: "ended" });
        return;
      case "keepWaiting":
        // An outcome that met the run on its way out of the wait is reported when that has arrived here.
        if (answered?.kind === "completed" || answered?.kind === "failed") run.outcome = answered;
        else if (run.phase.kind === "waiting" && run.outcome !== undefined) this.#outcome(run, run.outcome);
        return;
      case "retry":
        this.#rename(run, instruction.lease);
        this.#pause(run, instruction.attempt, instruction.delayMs);
        return;
      case "resume":
        this.#resume(run, instruction, answered);
        return;
      case "cancel":
        this.#cancel(run, instruction.reason);
        return;
      case "finished":
      case "released":
        this.#over(run, answered);
        return;
      case "lost":
        this.lost(run.lease);
    }
  }

  /** The server took the lease. */
  #over(run: Held, answered: Report | undefined): void {
    this.held.remove(run.lease);
    if (answered?.kind === "ended" || run.phase.kind === "reporting") {
      this.#drop(run);
      return;
    }
    if (run.phase.kind !== "lingering") {
      // It ended there without us, by its deadline for example.
      this.#linger(run, leaseLost());
      run.owesEnded = run.codeRuns;
    }
    if (run.codeRuns) return;
    if (run.owesEnded) this.#report(run, { kind: "ended" });
    else this.#drop(run);
  }

  // ── connections ────────────────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Every lease for a hello; what it names is not reported about until it is answered. */
  list(): readonly { readonly lease: Uint8Array; readonly isFenced: boolean; readonly codeRuns: boolean }[] {
    this.#reports.clear();
    for (const run of this.#runs.values()) {
      run.isListed = this.held.has(run.key);
      run.isStartStale = false;
      if (run.isFenced) run.owesEnded = run.codeRuns;
      // What the server no longer counts as held needs no answer first.
      if (!run.isListed && run.report !== undefined) this.#reports.enqueue(run);
    }
    return [...this.held.values()].map((lease) => {
      const run = this.#runs.get(leaseKey(lease));
      return { lease, isFenced: run?.isFenced ?? true, codeRuns: run?.codeRuns ?? false };
    });
  }

  /** RUN-6: no heartbeat was acknowledged for too long. Outcomes that are known already are still reported; the server judges them. */
  fence(): void {
    for (const run of this.#runs.values()) {
      if (run.phase.kind === "reporting" || run.phase.kind === "lingering") continue;
      this.#reports.settle(run);
      this.#linger(run, fenced());
      run.isFenced = true;
    }
  }

  /** RUN-7: the grace period of a stopping worker is over. What is assigned from now on goes straight back. */
  interruptAll(reason: Error): void {
    this.#stopReason = reason;
    for (const run of this.#runs.values()) {
      if (run.phase.kind !== "reporting" && run.phase.kind !== "lingering") this.#interrupt(run, reason);
    }
  }

  /** Reports that have not been said on this connection, oldest first, while `fits` says so; at least one. */
  takeReports(fits: (entry: ReportEntry) => boolean): readonly ReportEntry[] {
    return this.#reports.take(fits);
  }

  /** Whether a pick-up of that age waits for a heartbeat to confirm it. */
  hasUnconfirmed(assignedUntilMs: number): boolean {
    for (const run of this.#runs.values()) if (isUnconfirmed(run, assignedUntilMs)) return true;
    return false;
  }

  /** Leases whose pick-up nothing has confirmed yet, taken at or before `assignedUntilMs`; they count as confirmed from now on. */
  takeUnconfirmed(assignedUntilMs: number): readonly Uint8Array[] {
    const leases: Uint8Array[] = [];
    for (const run of this.#runs.values()) {
      if (!isUnconfirmed(run, assignedUntilMs)) continue;
      run.isConfirmed = true;
      leases.push(run.lease);
    }
    return leases;
  }

  /** The connection is gone: what it carried may not have arrived. */
  forgetSent(): void {
    for (const run of this.#runs.values()) {
      if (run.phase.kind === "running" && !run.assignment.confirmFirst) run.isConfirmed = false;
    }
  }

  // ── transitions ────────────────────────────────────────────────────────────────────────────────────────────────────────────────

  #start(run: Held): void {
    run.starts += 1;
    const { starts } = run;
    run.codeRuns = true;
    // The code begins before `start` returns, and may make calls for its run at once.
    let isStarting = true;
    const started = this.#params.start({
      assignment: run.assignment,
      attempt: run.attempt,
      activeBeforeMs: run.activeBeforeMs,
      lease: () => (run.starts === starts && (isStarting || hasCode(run)) ? run.lease : undefined),
      rejoinAttempt: run.rejoinAttempt,
      wait: (waitingFor, onResume) => {
        if (run.starts === starts) this.#wait(run, waitingFor, onResume);
      },
      tagsChanged: (tags) => {
        run.assignment.tags = [...tags];
      },
      onOutcome: (outcome) => {
        if (run.starts === starts && hasCode(run)) this.#outcome(run, outcome);
      },
      onEnded: () => {
        if (run.starts === starts) this.#codeEnded(run);
      },
    });
    const { attempt, maxDurationMs } = started;
    const limit =
      maxDurationMs === undefined
        ? undefined
        : this.#params.deadlines.set(maxDurationMs, () => this.#timeOut(run, starts));
    run.maxDurationMs = maxDurationMs;
    run.phase = { kind: "running", attempt, limit, leftMs: maxDurationMs, sinceMs: this.#params.monotonicMs() };
    isStarting = false;
  }

  #outcome(run: Held, outcome: AttemptOutcome): void {
    const { phase } = run;
    if (phase.kind === "running") {
      phase.limit?.drop();
      run.activeBeforeMs += this.#params.monotonicMs() - phase.sinceMs;
    } else if (run.report !== undefined) {
      // The server has to learn of the wait, or of its end, first.
      run.outcome = outcome;
      return;
    }
    run.outcome = undefined;
    run.phase = { kind: "reporting" };
    if (phase.kind === "waiting" || phase.kind === "resuming") {
      this.#takePlace(run, false);
      this.#report(run, outcome);
      return;
    }
    // A short pause is spent here, so its place is not offered to others in between.
    const keepsPlace =
      outcome.kind === "failed" &&
      outcome.retryDelayMs !== undefined &&
      outcome.retryDelayMs < this.limits.shortRetryMs;
    if (!keepsPlace) this.#takePlace(run, false);
    this.#report(run, outcome);
  }

  #wait(run: Held, waitingFor: WaitingFor, onResume: OnResume): void {
    const { phase } = run;
    if (phase.kind !== "running") return;
    const activeMs = this.#params.monotonicMs() - phase.sinceMs;
    phase.limit?.drop();
    run.activeBeforeMs += activeMs;
    const leftMs = phase.leftMs === undefined ? undefined : Math.max(0, phase.leftMs - activeMs);
    run.phase = { kind: "waiting", attempt: phase.attempt, onResume, leftMs };
    this.#takePlace(run, false);
    this.#report(run, { kind: "waiting", waitingFor });
  }

  /** @param answered what was said under the lease of the wait, and has this for an answer. */
  #resume(run: Held, { lease, confirmFirst, outcome }: ResumeOrder, answered: Report | undefined): void {
    const { phase } = run;
    const isEnd = answered?.kind === "completed" || answered?.kind === "failed";
    const ended = run.outcome ?? (isEnd ? answered : undefined);
    this.#rename(run, lease);
    if (ended !== undefined) {
      run.outcome = undefined;
      run.phase = { kind: "reporting" };
      this.#report(run, ended);
      return;
    }
    if (phase.kind !== "waiting" || this.#stopReason !== undefined) {
      this.#interrupt(run, this.#stopReason ?? leaseLost());
      return;
    }
    this.#takePlace(run, true);
    run.isConfirmed = false;
    run.assignedAtMs = this.#params.monotonicMs();
    run.phase = { ...phase, kind: "resuming", outcome };
    if (confirmFirst) this.#report(run, { kind: "started" });
    else this.#goOn(run, run.phase);
  }

  #goOn(run: Held, { attempt, onResume, leftMs, outcome }: Extract<Phase, { readonly kind: "resuming" }>): void {
    const { starts } = run;
    const limit =
      leftMs === undefined ? undefined : this.#params.deadlines.set(leftMs, () => this.#timeOut(run, starts));
    run.phase = { kind: "running", attempt, limit, leftMs, sinceMs: this.#params.monotonicMs() };
    if (run.outcome === undefined) onResume(outcome);
    else this.#outcome(run, run.outcome);
  }

  #pause(run: Held, attempt: number, delayMs: number): void {
    run.attempt = attempt;
    run.rejoinAttempt = attempt;
    run.isConfirmed = true;
    // Code that an uncaught error went ahead of is not of the coming attempt.
    run.codeRuns = false;
    this.#takePlace(run, true);
    if (this.#stopReason !== undefined) {
      this.#interrupt(run, this.#stopReason);
      return;
    }
    const until = this.#params.deadlines.set(delayMs, () => this.#start(run));
    run.phase = { kind: "pausing", until };
  }

  #timeOut(run: Held, starts: number): void {
    if (run.starts !== starts || run.phase.kind !== "running") return;
    const maxSeconds = (run.maxDurationMs ?? 0) / 1_000;
    this.#linger(run, new Error(`Run exceeded its maximum duration of ${maxSeconds} seconds`));
    run.owesEnded = true;
    this.#report(run, { kind: "timedOut" });
  }

  #interrupt(run: Held, reason: Error): void {
    this.#reports.overtake(run);
    this.#linger(run, reason);
    run.owesEnded = run.codeRuns;
    this.#report(run, { kind: "interrupted", codeRunsOn: run.codeRuns });
  }

  #cancel(run: Held, reason: string): void {
    const { phase } = run;
    // The code of a reporting run has ended, unless an uncaught error went ahead of it; its report will be refused.
    if (phase.kind === "reporting" && run.report !== undefined && !run.isQueued) return;
    if (phase.kind === "lingering" && !run.isFenced) {
      run.owesEnded = true;
      if (!run.codeRuns && run.report === undefined) this.#report(run, { kind: "ended" });
      return;
    }
    run.isFenced = false;
    run.owesEnded = true;
    this.#reports.overtake(run);
    if (phase.kind === "running") this.#lingerAs(run, () => phase.attempt.cancel(reason));
    else this.#linger(run, abortError(reason));
    if (!run.codeRuns) this.#report(run, { kind: "ended" });
  }

  #linger(run: Held, reason: Error): void {
    const { phase } = run;
    this.#lingerAs(run, () => {
      if ("attempt" in phase) phase.attempt.abort(reason);
    });
  }

  /** The run is over for this worker, except that its code may go on: it keeps its place for as long as that, 30 s at most. */
  #lingerAs(run: Held, stop: () => void): void {
    const { phase } = run;
    if (phase.kind === "lingering") return;
    run.outcome = undefined;
    // A continuation that is dropped has ended.
    if (phase.kind === "waiting" || phase.kind === "resuming") run.codeRuns = false;
    if (phase.kind === "running") phase.limit?.drop();
    if (phase.kind === "pausing") phase.until.drop();
    const grace = run.codeRuns
      ? this.#params.deadlines.set(this.limits.cancelGraceMs, () => this.#graceOver(run))
      : undefined;
    run.phase = { kind: "lingering", grace };
    this.#takePlace(run, run.codeRuns);
    // Last, because the code may end within the call.
    stop();
  }

  #codeEnded(run: Held): void {
    run.codeRuns = false;
    if (run.phase.kind !== "lingering") return;
    run.phase.grace?.drop();
    this.#takePlace(run, false);
    this.#oweEnded(run);
  }

  /** Its slot is free at the server by now as well; the place is given back, and the run forgotten. */
  #graceOver(run: Held): void {
    this.#takePlace(run, false);
    this.#oweEnded(run);
  }

  #oweEnded(run: Held): void {
    // An unanswered report or hello comes first; whoever follows its answer looks at `owesEnded` again.
    if (run.report !== undefined || run.isListed || run.isFenced || this.#runs.get(run.key) !== run) return;
    if (run.owesEnded) this.#report(run, { kind: "ended" });
    else this.#drop(run);
  }

  #rename(run: Held, lease: Uint8Array): void {
    this.held.remove(run.lease);
    this.held.add(lease);
    this.#runs.delete(run.key);
    run.lease = lease;
    // An answer that is still to come is for the lease before.
    run.isStartStale = false;
    run.key = leaseKey(lease);
    this.#runs.set(run.key, run);
  }

  #drop(run: Held): void {
    if (run.phase.kind === "lingering") run.phase.grace?.drop();
    this.#reports.settle(run);
    this.#takePlace(run, false);
    if (this.#runs.get(run.key) === run) this.#runs.delete(run.key);
    this.#params.changed();
  }

  #report(run: Held, report: Report): void {
    this.#params.reporting(run.runId);
    this.#reports.report(run, report);
    this.#params.changed();
  }

  #takePlace(run: Held, takes: boolean): void {
    if (run.takesPlace === takes) return;
    run.takesPlace = takes;
    this.#places += takes ? 1 : -1;
    if (!takes) this.#params.changed();
  }

  #byRunId(runId: string): Held | undefined {
    let newest: Held | undefined;
    for (const run of this.#runs.values()) if (run.runId === runId) newest = run;
    return newest;
  }
}

/** Code of the run is under way, or blocked. */
function hasCode({ phase }: Held): boolean {
  return phase.kind === "running" || phase.kind === "waiting" || phase.kind === "resuming";
}

function takesLease(instruction: Instruction): boolean {
  return instruction.kind !== "goOn" && instruction.kind !== "keepWaiting" && instruction.kind !== "cancel";
}

function leaseLost(): Error {
  return abortError("The run was given to another worker");
}

function fenced(): Error {
  return abortError("The worker has been out of touch with the server for too long; the run will be executed again");
}

function abortError(message: string): Error {
  const error = new Error(message);
  error.name = "AbortError";
  return error;
}
