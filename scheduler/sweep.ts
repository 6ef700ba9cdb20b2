/**
 * One bounded pass of a duty (the idea of Redis's active expire cycle): page after page while pages come back full, until the time budget
 * is used up. What is left is for the next pass, which comes soon; the cursor is the record itself, since a handled row no longer matches.
 */
import type { Duty } from "./duties.js";

export interface Swept {
  readonly count: number;
  /** The last page was full: there is probably more. */
  readonly isMore: boolean;
}

/** A pass ends after this many pages even if no time seems to pass. */
const PAGES_MAX = 1_000;

/** @param verb handles at most `limit` records and returns how many. What it throws ends the pass. */
export async function sweep(params: {
  readonly duty: Duty;
  readonly verb: (limit: number) => Promise<number>;
  readonly nowMs: () => number;
  readonly isStopping: () => boolean;
  /** Awaited between pages; what it throws ends the pass. */
  readonly touch?: () => Promise<void>;
}): Promise<Swept> {
  const { duty, verb, nowMs, isStopping, touch } = params;
  const endMs = nowMs() + duty.budgetMs;
  let count = 0;
  for (let pages = 1; ; pages += 1) {
    const handled = await verb(duty.page);
    count += handled;
    if (handled < duty.page) return { count, isMore: false };
    if (nowMs() >= endMs || pages === PAGES_MAX || isStopping()) return { count, isMore: true };
    await touch?.();
  }
}
