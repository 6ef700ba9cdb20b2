/** What workers declare of their tasks, and the queues that these declarations make (QUE-1, QUE-2). */
import { queueNameForTask } from "../../domain/queue.js";
import type { QueueDeclaration, TaskDeclaration, TaskRecord } from "../../domain/task.js";
import type { RegisterTasks } from "../store.js";
import type { Context } from "./context.js";
import { numberAt, optionalTextAt, textAt } from "./database.js";

export function registerTasks(context: Context, { environment, tasks, queues, nowMs }: RegisterTasks): void {
  context.sees(nowMs);
  context.flush();
  const env = context.names.environment(environment);
  for (const task of tasks) {
    registerTask(context, { env, task, nowMs });
    // A queue exists from its first registration on (QUE-33), a task's own as well as a named one.
    context.queues.ensure(environment, env, queueNameForTask(task.id), undefined);
    if (task.queueName !== undefined || task.concurrencyLimit !== undefined) {
      const name = task.queueName ?? queueNameForTask(task.id);
      declareQueue(context, { environment, env, queue: { name, concurrencyLimit: task.concurrencyLimit } });
    }
  }
  for (const queue of queues) declareQueue(context, { environment, env, queue });
}

function registerTask(
  context: Context,
  { env, task, nowMs }: { readonly env: number; readonly task: TaskDeclaration; readonly nowMs: number },
): void {
  const id = context.names.task(env, task.id);
  const declaration = JSON.stringify(task);
  const known = context.db.get("SELECT declaration FROM tasks WHERE id = ?", id);
  if (known !== undefined && optionalTextAt(known, 0) === declaration) return;
  context.db.run("UPDATE tasks SET declaration = ?, registered_ms = ? WHERE id = ?", declaration, nowMs, id);
}

/** QUE-15: the last writer's limit wins, and an equal value is not written again. Without a limit the queue keeps its own. */
function declareQueue(
  context: Context,
  declared: { readonly environment: string; readonly env: number; readonly queue: QueueDeclaration },
): void {
  const { environment, env } = declared;
  const { name, concurrencyLimit } = declared.queue;
  const queue = context.queues.ensure(environment, env, name, concurrencyLimit);
  if (!queue.isDeclared) context.queues.setDeclared(queue.id);
  if (concurrencyLimit !== undefined && concurrencyLimit !== queue.baseLimit) {
    context.queues.setBaseLimit(queue.id, concurrencyLimit);
  }
}

export function listTasks(context: Context, { environment }: { readonly environment: string }): readonly TaskRecord[] {
  const env = context.names.findEnvironment(environment);
  if (env === undefined) return [];
  const rows = context.db.all(
    "SELECT declaration, registered_ms FROM tasks WHERE env = ? AND declaration IS NOT NULL ORDER BY name",
    env,
  );
  return rows.map((row) => {
    const declaration: TaskDeclaration = JSON.parse(textAt(row, 0));
    return { ...declaration, environment, registeredAtMs: numberAt(row, 1) };
  });
}
