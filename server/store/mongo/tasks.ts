/** What workers declare of their tasks, and the queues that these declarations make (QUE-1, QUE-2). */
import { queueNameForTask } from "../../domain/queue.js";
import type { TaskDeclaration, TaskRecord } from "../../domain/task.js";
import type { RegisterTasks } from "../store.js";
import { filterOf, type Identified } from "./client.js";
import type { Context } from "./context.js";
import { declareQueues, ensureQueues, type NamedQueue } from "./queues.js";

/** `_id`: environment and task. */
export interface TaskDoc extends Identified {
  readonly environment: string;
  readonly taskId: string;
  /** JSON of a TaskDeclaration: read back as it was declared. */
  readonly declaration: string;
  readonly registeredAtMs: number;
}

export async function registerTasks(context: Context, params: RegisterTasks): Promise<void> {
  const { environment, tasks, queues, nowMs } = params;
  const docs = tasks.map(
    (task): TaskDoc => ({
      _id: `${environment}|${task.id}`,
      environment,
      taskId: task.id,
      declaration: JSON.stringify(task),
      registeredAtMs: nowMs,
    }),
  );
  const known = await context.tasks.findByIds(docs.map(({ _id }) => _id));
  const last = new Map(docs.map((doc) => [doc._id, doc]));
  await context.tasks.bulk(
    [...last.values()]
      .filter(({ _id, declaration }) => known.get(_id)?.declaration !== declaration)
      .map(({ _id, ...fields }) => ({ updateOne: { filter: { _id }, update: { $set: fields }, upsert: true } })),
  );
  const named = (name: string, queueLimit: number | undefined): NamedQueue => ({
    environment,
    name,
    queueLimit,
    nowMs,
  });
  const declared = [
    ...tasks
      .filter(({ queueName, concurrencyLimit }) => queueName !== undefined || concurrencyLimit !== undefined)
      .map(({ id, queueName, concurrencyLimit }) => named(queueName ?? queueNameForTask(id), concurrencyLimit)),
    ...queues.map(({ name, concurrencyLimit }) => named(name, concurrencyLimit)),
  ];
  // A queue exists from its first registration on (QUE-33), a task's own as well as a named one.
  const all = [...tasks.map(({ id }) => named(queueNameForTask(id), undefined)), ...declared];
  await ensureQueues(
    context,
    all.map((queue) => ({ ...queue, queueLimit: undefined })),
  );
  await declareQueues(context, lastOfEach(declared));
}

/** QUE-15: the last writer's limit wins; without a limit the queue keeps its own. */
function lastOfEach(queues: readonly NamedQueue[]): readonly NamedQueue[] {
  const last = new Map<string, NamedQueue>();
  for (const queue of queues) {
    const queueLimit = queue.queueLimit ?? last.get(queue.name)?.queueLimit;
    last.set(queue.name, { ...queue, queueLimit });
  }
  return [...last.values()];
}

export async function listTasks(
  context: Context,
  { environment }: { readonly environment: string },
): Promise<readonly TaskRecord[]> {
  const docs = await context.tasks.find(filterOf<TaskDoc>({ environment }), { sort: { taskId: 1 } });
  return docs.map(({ declaration, registeredAtMs }) => {
    const task: TaskDeclaration = JSON.parse(declaration);
    return { ...task, environment, registeredAtMs };
  });
}
