/**
 * What the worker has to report. A report is kept until it is answered, over any number of connections; it is said once on each, and not
 * while a hello that names its lease is unanswered.
 */
import type { Held } from "./execution.js";
import type { Report, ReportEntry } from "./report.js";

export class ReportQueue {
  /** Runs with a report to say, oldest first; one whose report was settled meanwhile stays until it is passed over. */
  #queue: Held[] = [];
  #unanswered = 0;

  /** Reports that were made and not answered. */
  get unanswered(): number {
    return this.#unanswered;
  }

  /** True: there is nothing to say. False: there may be. */
  get isEmpty(): boolean {
    return this.#queue.length === 0;
  }

  /** A new connection: nothing has been said yet, and nothing is queued. */
  clear(): void {
    for (const run of this.#queue) run.isQueued = false;
    this.#queue = [];
  }

  report(run: Held, report: Report): void {
    if (run.report === undefined) this.#unanswered += 1;
    run.report = report;
    this.enqueue(run);
  }

  /** The run's report is to be said, again if it was. */
  enqueue(run: Held): void {
    if (run.isQueued || run.isListed) return;
    run.isQueued = true;
    this.#queue.push(run);
  }

  /** The run's report was answered, or has no meaning any more. */
  settle(run: Held): void {
    if (run.report === undefined) return;
    run.report = undefined;
    run.isQueued = false;
    this.#unanswered -= 1;
  }

  /** Another report takes the place of one that was not answered. */
  overtake(run: Held): void {
    const isAnswerToCome = run.report?.kind === "started" || run.report?.kind === "waiting";
    if (isAnswerToCome && !run.isQueued && !run.isListed) run.isStartStale = true;
    this.settle(run);
  }

  /** Reports that have not been said on this connection, oldest first, while `fits` says so; at least one. */
  take(fits: (entry: ReportEntry) => boolean): readonly ReportEntry[] {
    const taken: ReportEntry[] = [];
    let index = 0;
    for (; index < this.#queue.length; index += 1) {
      const run = this.#queue[index];
      if (run?.report === undefined || !run.isQueued) continue;
      const entry = { lease: run.lease, report: run.report };
      if (!fits(entry) && taken.length > 0) break;
      run.isQueued = false;
      run.isConfirmed = true;
      taken.push(entry);
    }
    this.#queue = index >= this.#queue.length ? [] : this.#queue.slice(index);
    return taken;
  }
}
