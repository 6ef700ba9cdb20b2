/** RunService: decode, authorise, one engine verb, encode. What later versions add answers UNIMPLEMENTED. */
import { create } from "@bufbuild/protobuf";
import type { ServiceImpl } from "@connectrpc/connect";
import {
  type ListRunsRequest,
  type RunService,
  type TriggerTaskRequest,
  type TriggerTasksResult,
  TriggerTasksResultSchema,
} from "#proto/hairtrigger/v1/run_service_pb.js";
import { grantRead, requireCancel, requireList, requireRead, requireSecretKey } from "../auth/authorise.js";
import type { Principal } from "../auth/principal.js";
import { type AppError, invalidRequest, isAppError } from "../domain/error.js";
import type { RunState } from "../domain/run.js";
import type { TriggerItem, TriggerOutcome } from "../engine/engine.js";
import { principalOf } from "./call-scope.js";
import { wireRun, wireRunListItem } from "./convert/run.js";
import { filterOf, type RunPlace, runPlaceOf } from "./convert/run-filter.js";
import { fieldsToSkip, withoutFields } from "./convert/skip-fields.js";
import { wireStatus } from "./convert/status.js";
import { triggerItemOf, triggerResponse } from "./convert/trigger.js";
import { decodeDelay } from "./convert/trigger-options.js";
import { statusOf, stoppingError } from "./error.js";
import type { ServiceDeps } from "./services.js";

export function createRunService(deps: ServiceDeps): Partial<ServiceImpl<typeof RunService>> {
  const { engine, clock, limits } = deps;

  async function triggerOne(request: TriggerTaskRequest, environment: string): Promise<TriggerOutcome> {
    const [outcome] = await engine.trigger(environment, [triggerItemOf(request, limits, clock.nowMs())]);
    if (outcome === undefined) throw new Error("a trigger has an outcome");
    return outcome;
  }

  return {
    async triggerTask(request, context) {
      const { environment } = requireSecretKey(principalOf(context), "TriggerTask");
      const outcome = await triggerOne(request, environment);
      if (!outcome.ok) throw outcome.error;
      return triggerResponse(outcome);
    },

    async triggerTasks({ items: requests }, context) {
      const { environment } = requireSecretKey(principalOf(context), "TriggerTasks");
      const max = limits.batchItemsMax;
      if (requests.length > max) {
        const got = String(requests.length);
        throw invalidRequest("items", `One call triggers at most ${max} runs, got ${got}`, {
          got,
          allowed: `1 to ${max}`,
        });
      }
      const nowMs = clock.nowMs();
      const items = requests.map((request): TriggerItem | AppError => {
        try {
          return triggerItemOf(request, limits, nowMs);
        } catch (error) {
          if (isAppError(error)) return error;
          throw error;
        }
      });
      const asked = items.filter((item): item is TriggerItem => !isAppError(item));
      const outcomes = asked.length === 0 ? [] : await engine.trigger(environment, asked);
      let next = 0;
      return {
        results: items.map((item) => resultOf(isAppError(item) ? { ok: false, error: item } : outcomes[next++])),
      };
    },

    async retrieveRun({ runId }, context) {
      const principal = principalOf(context);
      const detail = await readable(principal, runId, () => engine.retrieveRun(principal.environment, runId));
      return { run: wireRun(detail, clock.nowMs()) };
    },

    async listRuns(request, context) {
      const { environment } = allowedToList(principalOf(context));
      const list = { environment, method: "ListRuns" };
      const place = placeOf(request, list);
      const limit = request.pageSize ?? limits.pageSizeDefault;
      const { runs, hasOlder, hasNewer } = await engine.listRuns({ environment, limit, ...place });
      const nowMs = clock.nowMs();
      const [first, last] = [runs[0], runs.at(-1)];
      const token = (to: Omit<RunPlace, "filter">): string =>
        deps.pageTokens.sign(list, { filter: place.filter, ...to });
      return {
        runs: runs.map((run) => wireRunListItem(run, nowMs)),
        nextPageToken: hasOlder && last !== undefined ? token({ after: cursorOf(last) }) : "",
        previousPageToken: hasNewer && first !== undefined ? token({ before: cursorOf(first) }) : "",
      };
    },

    async *watchRun({ runId, keepOpen, skipFields }, context) {
      const principal = principalOf(context);
      const skipped = fieldsToSkip(skipFields);
      const { environment } = principal;
      const grant = grantRead(principal, runId);
      if (grant === "dependsOnRun") await readable(principal, runId, () => engine.retrieveRun(environment, runId));
      const signal = AbortSignal.any([context.signal, deps.stopping]);
      const states = engine.watchRun({ environment, runId, stopOnCompletion: !keepOpen, signal });
      for await (const detail of states) yield { run: withoutFields(wireRun(detail, clock.nowMs()), skipped) };
      if (deps.stopping.aborted) throw stoppingError();
    },

    async cancelRun({ runId, reason }, context) {
      const principal = principalOf(context);
      requireCancel(principal, runId);
      const run = await engine.cancelRun(principal.environment, runId, reason === "" ? undefined : reason);
      return { runId: run.id, status: wireStatus(run.status) };
    },

    async rescheduleRun({ runId, delaySpec }, context) {
      const { environment } = requireSecretKey(principalOf(context), "RescheduleRun");
      const delay = decodeDelay(delaySpec);
      if (delay === undefined) throw invalidRequest("delay", "delay is required");
      const detail = await engine.rescheduleRun(environment, runId, delay);
      return { run: wireRun(detail, clock.nowMs()) };
    },

    async replayRun({ runId, requestId }, context) {
      const { environment } = requireSecretKey(principalOf(context), "ReplayRun");
      return engine.replayRun(environment, runId, given(requestId));
    },

    async addRunTags({ runId, tags, attempt }, context) {
      const { environment } = requireSecretKey(principalOf(context), "AddRunTags");
      const reference = attempt === undefined ? undefined : { sessionId: attempt.sessionId, number: attempt.attempt };
      return { tags: [...(await engine.addTags({ environment, runId, tags, attempt: reference }))] };
    },

    async resetIdempotencyKey({ taskId, idempotencyKey: key, requestId }, context) {
      const { environment } = requireSecretKey(principalOf(context), "ResetIdempotencyKey");
      return engine.resetIdempotencyKey({ environment, taskId, key, requestId: given(requestId) });
    },
  };

  /** A run that the principal may read; to a token that is about tasks, tags or batches an unknown run is a missing scope. */
  async function readable<T extends { readonly run: RunState }>(
    principal: Principal,
    runId: string,
    read: () => Promise<T>,
  ): Promise<T> {
    if (grantRead(principal, runId) === "granted") return read();
    const detail = await read().catch((error: unknown) => {
      if (isAppError(error) && error.reason === "RUN_NOT_FOUND") requireRead(principal, runId, undefined);
      throw error;
    });
    requireRead(principal, runId, detail.run);
    return detail;
  }

  /** The first page of a filter, or where a token of such a list stands. */
  function placeOf(
    { filter, pageToken }: ListRunsRequest,
    list: { readonly environment: string; readonly method: string },
  ): Pick<RunPlace, "filter"> & Partial<RunPlace> {
    if (pageToken === "") return { filter: filterOf(filter, clock.nowMs()) };
    return runPlaceOf(deps.pageTokens.open(list, pageToken));
  }
}

function allowedToList(principal: Principal): Principal {
  requireList(principal);
  return principal;
}

function cursorOf({ createdAtMs, id }: RunState) {
  return { createdAtMs, runId: id };
}

function resultOf(outcome: TriggerOutcome | undefined): TriggerTasksResult {
  if (outcome === undefined) throw new Error("a trigger has an outcome");
  return create(TriggerTasksResultSchema, {
    result: outcome.ok
      ? { case: "triggered", value: triggerResponse(outcome) }
      : { case: "error", value: statusOf(outcome.error) },
  });
}

function given(text: string): string | undefined {
  return text === "" ? undefined : text;
}
