/** TaskService: what is registered and who is connected; both are few and paged here. */
import type { HandlerContext, ServiceImpl } from "@connectrpc/connect";
import type { TaskService } from "#proto/hairtrigger/v1/task_service_pb.js";
import { requireSecretKey } from "../auth/authorise.js";
import { invalidPage, taskNotFound } from "../domain/error.js";
import type { Limits } from "../domain/limits.js";
import { principalOf } from "./call-scope.js";
import { wireTask, wireWorker } from "./convert/task.js";
import type { PageTokens } from "./page-token.js";
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

interface PageParams<T> {
  readonly all: readonly T[];
  readonly idOf: (item: T) => string;
  readonly request: { readonly pageSize?: number; readonly pageToken: string };
  readonly list: { readonly environment: string; readonly method: string };
  readonly pageTokens: PageTokens;
  readonly limits: Limits;
}

/** A page of a list that is small enough to be read whole. A token names the item that its page begins with. */
function pageOf<T>({ all, idOf, request, list, pageTokens, limits }: PageParams<T>): {
  readonly items: readonly T[];
  readonly nextPageToken: string;
  readonly previousPageToken: string;
} {
  const size = request.pageSize ?? limits.pageSizeDefault;
  if (size < 1 || size > limits.pageSizeMax) {
    const allowed = `1 to ${limits.pageSizeMax}`;
    throw invalidPage("pageSize", `Page size must be ${allowed}, got ${size}`, { got: String(size), allowed });
  }
  const first = request.pageToken === "" ? undefined : firstOf(pageTokens.open(list, request.pageToken));
  // An item that has gone since: the list begins again.
  const from =
    first === undefined
      ? 0
      : Math.max(
          0,
          all.findIndex((item) => idOf(item) === first),
        );
  const tokenAt = (index: number): string => {
    const item = all[index];
    return item === undefined ? "" : pageTokens.sign(list, { first: idOf(item) });
  };
  return {
    items: all.slice(from, from + size),
    nextPageToken: tokenAt(from + size),
    previousPageToken: from === 0 ? "" : tokenAt(Math.max(0, from - size)),
  };
}

function firstOf(place: unknown): unknown {
  return typeof place === "object" && place !== null && "first" in place ? place.first : undefined;
}
