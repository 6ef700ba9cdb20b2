/** Which runs a list shows (RUN-17). */
import type { RunStatus } from "./run-status.js";

/** Filters are combined by "and", the values of one filter by "or"; without any, all runs. */
export interface RunFilter {
  readonly status?: RunStatus | readonly RunStatus[];
  readonly taskIdentifier?: string | readonly string[];
  /** Runs with any of these tags (TAG-6). */
  readonly tag?: string | readonly string[];
  /** Full names such as `"task/resize"` or `"emails"`, or type and name. */
  readonly queue?: QueueReference | readonly QueueReference[];
  /** Created at this time or later: a `Date` or Unix milliseconds. */
  readonly from?: Date | number;
  /** Created before this time. */
  readonly to?: Date | number;
  /** Created within this span up to now: a duration string such as `"7d"`, or milliseconds. */
  readonly period?: string | number;
  /** Only tests, or only others. Default: both. */
  readonly isTest?: boolean;
  /** Created by this batch. */
  readonly batch?: string;
}

/** A queue in a filter. */
export type QueueReference = string | { readonly type: "task" | "custom"; readonly name: string };

export interface ListRunsOptions extends RunFilter {
  /** Runs on a page, 1 to 100. Default 25. */
  readonly limit?: number;
  /** A cursor of an earlier page (`pagination.next`): the page of older runs after it, with that list's filter. */
  readonly after?: string;
  /** A cursor of an earlier page (`pagination.previous`): the page of newer runs before it. */
  readonly before?: string;
}
