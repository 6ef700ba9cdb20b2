import type { PartialRetryPolicy } from "./retry.js";

/** What workers declare of a task; the latest registration wins (behaviour, section 2). */
export interface TaskDeclaration {
  readonly id: string;
  readonly description?: string;
  /** Cleaned queue name; undefined: `task/<id>`. */
  readonly queueName?: string;
  /** Base limit of the queue named above (or the task's own); undefined: the registration gives none. */
  readonly concurrencyLimit?: number;
  readonly retry?: PartialRetryPolicy;
  /** As written (TTL-1); undefined: none. */
  readonly ttl?: string;
  /** Seconds (DUR-1); undefined: none. */
  readonly maxDurationSeconds?: number;
  /** WRK-5: attempts run in child processes of the worker; undefined: in the worker process. */
  readonly isolation?: "process";
}

/** A named queue that a worker declares (QUE-2). */
export interface QueueDeclaration {
  /** Cleaned. */
  readonly name: string;
  /** Base limit; undefined: the declaration gives none. */
  readonly concurrencyLimit?: number;
}

export interface TaskRecord extends TaskDeclaration {
  readonly environment: string;
  readonly registeredAtMs: number;
}

/** Ids of registered tasks that resemble `taskId`, best first, at most `max` (TRG-6a). */
export function similarTaskIds(taskId: string, known: readonly string[], max: number): readonly string[] {
  const scored = known
    .map((id) => ({ id, distance: editDistance(taskId.toLowerCase(), id.toLowerCase()) }))
    .filter(({ id, distance }) => distance <= Math.max(2, Math.floor(Math.max(taskId.length, id.length) / 3)));
  scored.sort((a, b) => a.distance - b.distance || (a.id < b.id ? -1 : 1));
  return scored.slice(0, max).map(({ id }) => id);
}

/** Levenshtein distance over UTF-16 units, by one row; cut to 64 units, enough to tell a typo. */
export function editDistance(left: string, right: string): number {
  const a = left.slice(0, 64);
  const b = right.slice(0, 64);
  let row = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const substituted = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min((row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1, substituted));
    }
    row = next;
  }
  return row[b.length] ?? 0;
}
