/**
 * Reports of workers: one flush is one store call (a second for the few that need another decision), one instruction per report. A report
 * of an old fence changes nothing (RUN-8); a repeat of the last applied one gets the present instruction again.
 */
import { type Failure, failureOutcome } from "../../domain/failure.js";
import type { Fail, RunChange } from "../../domain/run-change.js";
import type { RunEvent } from "../../domain/run-machine.js";
import { type WaitTarget, waitTarget } from "../../domain/wait.js";
import type { ChangeResult } from "../../store/store.js";
import type { EngineDeps, Instruction, LargeOutput, Report } from "../engine.js";
import { announce } from "../moved.js";
import { instructionFor } from "./instruction.js";
import { settleOutputs } from "./outputs.js";

interface Reporter {
  readonly environment: string;
  readonly sessionId: string;
}

export async function applyReports(
  deps: EngineDeps,
  reporter: Reporter,
  received: readonly Report[],
): Promise<readonly Instruction[]> {
  const { store, clock } = deps;
  const reports = await settleOutputs(deps, reporter.environment, received);
  const nowMs = clock.nowMs();
  const targets = await resolveTargets(deps, reporter.environment, reports);
  const changes = reports.map((report) => changeFor(deps, reporter, { report, targets }, nowMs));
  const asked = changes.filter((change) => change !== undefined);
  const results = new Map<RunChange, ChangeResult>();
  const answers = asked.length === 0 ? [] : await store.changeRuns(asked);
  asked.forEach((change, index) => {
    const answer = answers[index];
    if (answer !== undefined) results.set(change, answer);
  });
  const decided = await decideAgain(deps, reporter, reports, changes, results);
  return Promise.all(
    reports.map(async (report, index) => {
      const change = decided[index];
      const result = change === undefined ? undefined : results.get(change);
      if (change !== undefined && result?.kind === "applied") return applied(deps, change, result, report, nowMs);
      await endCode(deps, reporter, report);
      if (result === undefined) return { kind: "finished" } as const;
      const instruction = instructionFor(result.run, { lease: report.lease, sessionId: reporter.sessionId }, nowMs);
      // Nothing is left to abort where the report says that the code has ended.
      return instruction.kind === "cancel" && endsCode(report) ? ({ kind: "finished" } as const) : instruction;
    }),
  );
}

/** A worker names a waitpoint by its id alone; one that is an instant is recorded with its time, so that readers see it. */
async function resolveTargets(
  { store }: EngineDeps,
  environment: string,
  reports: readonly Report[],
): Promise<ReadonlyMap<Report, WaitTarget>> {
  const named = reports.flatMap((report) =>
    report.kind === "waiting" && report.target.kind === "token"
      ? [{ report, environment, waitpointId: report.target.waitpointId }]
      : [],
  );
  const waitpoints = named.length === 0 ? [] : await store.readWaitpoints(named);
  const targets = new Map<Report, WaitTarget>();
  named.forEach(({ report, waitpointId }, index) => {
    const waitpoint = waitpoints[index];
    if (waitpoint?.kind === "time") targets.set(report, { kind: "time", waitpointId, untilMs: waitpoint.timeoutAtMs });
  });
  return targets;
}

/** The change that a report asks for; undefined for `ended`, which is about code and not about the run. */
function changeFor(
  deps: EngineDeps,
  reporter: Reporter,
  { report, targets }: { readonly report: Report; readonly targets: ReadonlyMap<Report, WaitTarget> },
  nowMs: number,
): RunChange | undefined {
  const base = { ...reporter, runId: report.lease.runId, fence: report.lease.fence, nowMs };
  switch (report.kind) {
    case "started":
      return { ...base, event: "confirm" };
    case "completed":
      return { ...base, event: "complete", output: report.output, ...objectsOf(report.large) };
    case "failed": {
      const { failure, retryDelayMs: delayMs } = report;
      if (delayMs === undefined || !failureOutcome(failure).isRetried) return failChange(base, report);
      if (delayMs < deps.limits.shortRetryMs) return { ...base, event: "retrySoon", failure, delayMs };
      return { ...base, event: "retryLater", failure, delayMs };
    }
    case "waiting":
      return { ...base, event: "wait", waitingFor: waitTarget(targets.get(report) ?? report.target) };
    case "timedOut":
      return { ...base, event: "timeOut", codeEnded: false };
    case "interrupted":
      return {
        ...base,
        event: "interrupt",
        codeEnded: report.codeEnded,
        interruptionsMax: deps.limits.interruptionsMax,
      };
    case "ended":
      return undefined;
  }
}

function objectsOf(large: LargeOutput | undefined): { readonly objectKeys?: readonly string[] } {
  return large?.kind === "uploaded" ? { objectKeys: [large.reference.key] } : {};
}

/** A retry without an attempt left fails for good (the server caps what the worker decides); one from a wait goes through the queue. */
async function decideAgain(
  deps: EngineDeps,
  reporter: Reporter,
  reports: readonly Report[],
  changes: readonly (RunChange | undefined)[],
  results: Map<RunChange, ChangeResult>,
): Promise<readonly (RunChange | undefined)[]> {
  const decided = [...changes];
  for (;;) {
    const again: { readonly index: number; readonly change: RunChange }[] = [];
    decided.forEach((change, index) => {
      const report = reports[index];
      const result = change === undefined ? undefined : results.get(change);
      if (change === undefined || report?.kind !== "failed" || result?.kind !== "refused") return;
      const next = otherDecision(reporter, report, change, result.refusal);
      if (next !== undefined) again.push({ index, change: next });
    });
    if (again.length === 0) return decided;
    const answers = await deps.store.changeRuns(again.map(({ change }) => change));
    again.forEach(({ index, change }, position) => {
      const answer = answers[position];
      if (answer !== undefined) results.set(change, answer);
      decided[index] = change;
    });
  }
}

/** Each step leads closer to `fail`, so the loop above ends after two. */
function otherDecision(
  reporter: Reporter,
  report: Extract<Report, { kind: "failed" }>,
  change: RunChange,
  refusal: string,
): RunChange | undefined {
  if (change.event !== "retrySoon" && change.event !== "retryLater") return undefined;
  const { failure, delayMs, fence, runId, nowMs } = change;
  const base = { ...reporter, runId, fence, nowMs };
  if (refusal === "overLimit") return failChange(base, report);
  if (refusal === "illegal" && change.event === "retrySoon") return { ...base, event: "retryLater", failure, delayMs };
  return undefined;
}

function failChange(
  base: Pick<Fail, "environment" | "sessionId" | "runId" | "fence" | "nowMs">,
  report: Extract<Report, { kind: "failed" }>,
): Fail {
  return { ...base, event: "fail", failure: report.failure, status: statusOf(report.failure) };
}

/** §12.3: the final status that a failure means when no attempt is left; what else a row says belongs to other events. */
function statusOf(failure: Failure): Fail["status"] {
  const { status } = failureOutcome(failure);
  return status === "CRASHED" || status === "SYSTEM_FAILURE" ? status : "FAILED";
}

function applied(
  deps: EngineDeps,
  change: RunChange,
  result: Extract<ChangeResult, { kind: "applied" }>,
  report: Report,
  nowMs: number,
): Instruction {
  announce(deps, eventOf(change.event), result);
  const { run } = result;
  switch (change.event) {
    case "confirm":
      return { kind: "goOn" };
    case "wait":
      deps.wakes.waiting(run);
      return { kind: "keepWaiting" };
    case "retrySoon":
      if (run.deadlineMs !== undefined) deps.nudge("overrun", run.deadlineMs);
      return {
        kind: "retry",
        lease: { runId: run.id, fence: run.fence },
        attempt: run.attempt,
        delayMs: (run.retryAtMs ?? nowMs) - nowMs,
      };
    case "retryLater":
      if (run.dueMs !== undefined) deps.nudge("due", run.dueMs);
      return { kind: "released" };
    case "interrupt":
      return { kind: run.finishedAtMs === undefined ? "released" : "finished" };
    default:
      return report.kind === "timedOut" ? { kind: "goOn" } : { kind: "finished" };
  }
}

/** @throws Error for a change that no report asks for. */
function eventOf(event: RunChange["event"]): RunEvent {
  if (event === "addTags" || event === "settle" || event === "await") throw new Error(`no report asks for ${event}`);
  return event;
}

/** What was reported about code that the record no longer waits for: its slot, if it still lingers, is free now (QUE-4). */
async function endCode(deps: EngineDeps, { environment }: Reporter, report: Report): Promise<void> {
  if (!endsCode(report)) return;
  const { runId, fence } = report.lease;
  const freed = await deps.store.endLingering({ kind: "run", environment, runId, fence });
  if (freed > 0) deps.signals.publish([{ kind: "claimable", environment, taskId: undefined }]);
}

/** Whether a report says that no code of its run goes on. */
function endsCode(report: Report): boolean {
  switch (report.kind) {
    case "started":
    case "waiting":
    case "timedOut":
      return false;
    case "interrupted":
      return report.codeEnded;
    case "completed":
    case "failed":
    case "ended":
      return true;
  }
}
