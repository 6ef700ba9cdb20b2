/** One line on the terminal for what a person follows while developing: a run begins, is tried again, ends. */
import { durationText, paint, paintStatus, print } from "./output.js";

interface RunLine {
  readonly runId: string;
  readonly taskId: string;
}

export interface RunMove extends RunLine {
  /** Name of the step in docs/lifecycle.md. */
  readonly event: string;
  readonly status: string;
  readonly attempt: number;
}

/** Steps of which people want to read while the run goes on, in their words. */
const STEPS: Readonly<Record<string, string>> = {
  retrySoon: "failed, trying again",
  retryLater: "failed, trying again later",
  interrupt: "interrupted, queued again",
  lose: "lost its worker, queued again",
  release: "not picked up, queued again",
  reschedule: "rescheduled",
};

const FINAL = new Set(["COMPLETED", "CANCELED", "FAILED", "CRASHED", "SYSTEM_FAILURE", "EXPIRED", "TIMED_OUT"]);

/** Runs whose start is remembered, the latest; of an older one the duration is not told. */
const REMEMBERED_MAX = 10_000;

export interface RunLines {
  triggered(run: RunLine & { readonly isCached: boolean }): void;
  moved(move: RunMove): void;
}

export function createRunLines(nowMs: () => number, write: (line: string) => void = print): RunLines {
  const startedMs = new Map<string, number>();
  const line = (run: RunLine, text: string): void => {
    const time = new Date(nowMs()).toTimeString().slice(0, 8);
    write(`${paint("gray", time)}  ${paint("bold", run.taskId)}  ${paint("gray", run.runId)}  ${text}`);
  };
  return {
    triggered(run) {
      line(run, run.isCached ? "triggered again, same key" : "triggered");
    },
    moved(move) {
      if (move.event === "claim") remember(startedMs, move.runId, nowMs());
      if (FINAL.has(move.status)) {
        const since = startedMs.get(move.runId);
        startedMs.delete(move.runId);
        const duration = since === undefined ? "" : ` in ${durationText(nowMs() - since)}`;
        const attempts = move.attempt > 1 ? ` (attempt ${move.attempt})` : "";
        line(move, `${paintStatus(move.status)}${duration}${attempts}`);
      } else {
        const step = STEPS[move.event];
        if (step !== undefined) line(move, paint("yellow", step));
      }
    },
  };
}

function remember(startedMs: Map<string, number>, runId: string, nowMs: number): void {
  if (startedMs.has(runId)) return;
  startedMs.set(runId, nowMs);
  if (startedMs.size <= REMEMBERED_MAX) return;
  for (const oldest of startedMs.keys()) {
    startedMs.delete(oldest);
    return;
  }
}
