/** TaskService: what is registered and who is connected; both are few and paged here. */
import type { HandlerContext, ServiceImpl } from "@connectrpc/connect";
import type { TaskService } from "#proto/hairtrigger/v1/task_service_pb.js";
import { requireSecretKey } from "../auth/authorise.js";
import { taskNotFound } from "../domain/error.js";
import { principalOf } from "./call-scope.js";
import { wireTask, wireWorker } from "./convert/task.js";
import { pageOf } from "./page-of.js";
import type { ServiceDeps } from "./services.js";

export function createTaskService({ engine, clock, limits, pageTokens }: ServiceDeps): ServiceImpl<typeof TaskService> {
  return {
    async listTasks(request, context) {
      const environment = caller(context, "ListTasks");
      const [tasks, workers] = await Promise.all([engine.listTasks(environment), engine.listWorkers(environment)]);
      const list = { environment, method: "ListTasks" };
      const { items, ...tokens } = pageOf({ all: tasks, idOf: ({ id }) => id, request, list, pageTokens, limits });
      return { tasks: items.map((task) => wireTask(task, workers)), ...tokens };
    },
    async retrieveTask({ taskId }, context) {
      const environment = caller(context, "RetrieveTask");
      const [tasks, workers] = await Promise.all([engine.listTasks(environment), engine.listWorkers(environment)]);
      const task = tasks.find(({ id }) => id === taskId);
      if (task === undefined) throw taskNotFound(taskId);
      return { task: wireTask(task, workers) };
    },
    async listWorkers(request, context) {
      const environment = caller(context, "ListWorkers");
      const all = (await engine.listWorkers(environment))
        .filter(({ taskIds }) => request.taskId === "" || taskIds.includes(request.taskId))
        .toSorted((a, b) => a.connectedAtMs - b.connectedAtMs || (a.id < b.id ? -1 : 1));
      const list = { environment, method: `ListWorkers ${request.taskId}` };
      const { items, ...tokens } = pageOf({ all, idOf: ({ id }) => id, request, list, pageTokens, limits });
      const nowMs = clock.nowMs();
      return { workers: items.map((session) => wireWorker(session, limits, nowMs)), ...tokens };
    },
  };
}

function caller(context: HandlerContext, verb: string): string {
  return requireSecretKey(principalOf(context), verb).environment;
}
