/**
 * What workers have declared, as the verbs need it: by task id, at most a second old (design 7: settings are cached for at most 1 s), and
 * exact for what was registered through this server.
 */
import { type PartialRetryPolicy, type RetryPolicy, resolveRetryPolicy } from "../domain/retry.js";
import type { QueueDeclaration, TaskDeclaration, TaskRecord } from "../domain/task.js";
import type { EngineDeps } from "./engine.js";

export interface TaskRegistry {
  read(environment: string): Promise<ReadonlyMap<string, TaskRecord>>;
  register(
    environment: string,
    declared: { readonly tasks: readonly TaskDeclaration[]; readonly queues: readonly QueueDeclaration[] },
  ): Promise<void>;
}

const CACHE_MS = 1_000;

export function createTaskRegistry({ store, clock }: Pick<EngineDeps, "store" | "clock">): TaskRegistry {
  const cache = new Map<string, { readonly atMs: number; readonly tasks: Promise<ReadonlyMap<string, TaskRecord>> }>();

  async function load(environment: string): Promise<ReadonlyMap<string, TaskRecord>> {
    const tasks = await store.listTasks({ environment });
    return new Map(tasks.map((task) => [task.id, task]));
  }

  return {
    read(environment) {
      const nowMs = clock.nowMs();
      const known = cache.get(environment);
      if (known !== undefined && nowMs - known.atMs < CACHE_MS) return known.tasks;
      const tasks = load(environment);
      cache.set(environment, { atMs: nowMs, tasks });
      // A failed read is not remembered.
      tasks.catch(() => cache.delete(environment));
      return tasks;
    },
    async register(environment, { tasks, queues }) {
      await store.registerTasks({ environment, tasks, queues, nowMs: clock.nowMs() });
      cache.delete(environment);
    },
  };
}

/** The policy of a registered task, with the defaults of RTY-1 where it, or the registration, is missing. */
export function registeredPolicy(task: { readonly retry?: PartialRetryPolicy } | undefined): RetryPolicy {
  return resolveRetryPolicy(task?.retry);
}
