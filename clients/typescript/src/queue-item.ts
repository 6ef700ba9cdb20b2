/** Queues as the SDK shows them (QUE-30). */

/** `task`: the own queue of one task, named by its id · `custom`: a named queue that tasks share. */
export type QueueType = "task" | "custom";

/** A queue by its id, or by type and name. */
export type QueueSelector = string | { readonly type: QueueType; readonly name: string };

/** A queue with its figures at the time of the answer. */
export interface QueueItem {
  /** `queue_` and 26 lower-case base32 characters. */
  readonly id: string;
  /** Without `task/`. */
  readonly name: string;
  readonly type: QueueType;
  /** Runs that count against the limit. */
  readonly running: number;
  readonly queued: number;
  readonly paused: boolean;
  /** In force, per concurrency key; null: unlimited. */
  readonly concurrencyLimit: number | null;
  readonly concurrency: {
    /** The override if there is one, else the base. */
    readonly current: number | null;
    /** By registration or trigger. */
    readonly base: number | null;
    readonly override: number | null;
    readonly overriddenAt: Date | null;
    /** Name of the secret key that overrode it. */
    readonly overriddenBy: string | null;
  };
  /** Ids of tasks with QUEUED runs here that no connected worker serves. */
  readonly unservedTasks: readonly string[];
}
