/** RunService: decode, authorise, one engine verb, encode. What later versions add answers UNIMPLEMENTED. */
import { create } from "@bufbuild/protobuf";
import type { ServiceImpl } from "@connectrpc/connect";
import { MetadataTarget } from "#proto/hairtrigger/v1/run_pb.js";
import {
  type ListRunsRequest,
  type RunService,
  type TriggerTaskRequest,
  type TriggerTaskResponse,
  type TriggerTasksResult,
  TriggerTasksResultSchema,
} from "#proto/hairtrigger/v1/run_service_pb.js";
import {
  grantRead,
  mayRead,
  requireAnyList,
  requireAnyTrigger,
  requireCancel,
  requireList,
  requireRead,
  requireSecretKey,
  requireWatch,
} from "../auth/authorise.js";
import type { Principal } from "../auth/principal.js";
import { type AppError, invalidRequest, isAppError } from "../domain/error.js";
import type { RunState } from "../domain/run.js";
import type { RelatedRun, RunDetail, TriggerItem, TriggerOutcome } from "../engine/engine.js";
import { baseOf, principalOf } from "./call-scope.js";
import { bulkAnswer, bulkParams } from "./convert/bulk.js";
import { operationsOfWire, wireChunk } from "./convert/metadata.js";
import { wireRun, wireRunListItem } from "./convert/run.js";
import { createdFromOf, filterOf, type RunPlace, runPlaceOf } from "./convert/run-filter.js";
import { fieldsToSkip, withoutFields } from "./convert/skip-fields.js";
import { wireStatus } from "./convert/status.js";
import { triggerItemOf, triggerResponse } from "./convert/trigger.js";
import { decodeDelay } from "./convert/trigger-options.js";
import { statusOf, stoppingError } from "./error.js";
import type { ServiceDeps } from "./services.js";
import { type TriggerAccess, triggerAccess } from "./trigger-access.js";

export function createRunService(deps: ServiceDeps): Partial<ServiceImpl<typeof RunService>> {
  const { engine, clock, limits, urls } = deps;

  function accessOf(principal: Principal): TriggerAccess {
    requireAnyTrigger(principal, "trigger");
    return triggerAccess(principal, "trigger", { authentication: deps.authentication, nowMs: clock.nowMs() });
  }

  function itemOf(request: TriggerTaskRequest, access: TriggerAccess): TriggerItem {
    const options = access.allow(request);
    const inForce = options === request.options ? request : { ...request, options };
    return { ...triggerItemOf(inForce, limits, clock.nowMs()), caller: access.caller };
  }

  async function answerOf(outcome: TriggerOutcome | undefined, access: TriggerAccess): Promise<TriggerTaskResponse> {
    if (outcome === undefined) throw new Error("a trigger has an outcome");
    if (!outcome.ok) throw outcome.error;
    return triggerResponse(outcome, await access.readToken({ action: "read", resource: "runs", id: outcome.runId }));
  }

  return {
    async triggerTask(request, context) {
      const access = accessOf(principalOf(context));
      const [outcome] = await engine.trigger(access.environment, [itemOf(request, access)]);
      return answerOf(outcome, access);
    },

    async triggerTasks({ items: requests }, context) {
      const access = accessOf(principalOf(context));
      const max = limits.batchItemsMax;
      if (requests.length > max) {
        const got = String(requests.length);
        throw invalidRequest("items", `One call triggers at most ${max} runs, got ${got}`, {
          got,
          allowed: `1 to ${max}`,
        });
      }
      const items = requests.map((request): TriggerItem | AppError => {
        try {
          return itemOf(request, access);
        } catch (error) {
          if (isAppError(error)) return error;
          throw error;
        }
      });
      const asked = items.filter((item): item is TriggerItem => !isAppError(item));
      const outcomes = asked.length === 0 ? [] : await engine.trigger(access.environment, asked);
      let next = 0;
      const results = items.map((item) =>
        resultOf(isAppError(item) ? Promise.reject(item) : answerOf(outcomes[next++], access)),
      );
      return { results: await Promise.all(results) };
    },

    async retrieveRun({ runId }, context) {
      const principal = principalOf(context);
      const detail = await readable(principal, runId, () => engine.retrieveRun(principal.environment, runId));
      return { run: await urls.fill(wireRun(shownTo(principal, detail), clock.nowMs()), baseOf(context)) };
    },

    async listRuns(request, context) {
      const principal = principalOf(context);
      requireAnyList(principal);
      const { environment } = principal;
      const list = { environment, method: "ListRuns" };
      const place = placeOf(request, list);
      // Of a page token the filter that is in it.
      requireList(principal, place.filter);
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

    async *watchRun({ runId, keepOpen, skipFields, withStreams, afterChunk }, context) {
      const principal = principalOf(context);
      const skipped = fieldsToSkip(skipFields);
      const { environment } = principal;
      const grant = grantRead(principal, runId);
      if (grant === "dependsOnRun") await readable(principal, runId, () => engine.retrieveRun(environment, runId));
      const signal = AbortSignal.any([context.signal, deps.stopping]);
      const watched = { environment, runId, stopOnCompletion: !keepOpen, signal };
      const news = withStreams
        ? engine.watchRunWithStreams({ ...watched, afterChunk: Number(afterChunk) })
        : engine.watchRun(watched);
      for await (const item of news) {
        if (!("run" in item)) {
          yield { chunks: item.map(wireChunk) };
          continue;
        }
        const run = await urls.fill(wireRun(shownTo(principal, item), clock.nowMs()), baseOf(context));
        yield { run: withoutFields(run, skipped) };
      }
      if (deps.stopping.aborted) throw stoppingError();
    },

    async *watchRuns(request, context) {
      const principal = principalOf(context);
      const { tags, batchId, skipFields } = request;
      requireWatch(principal, { tags, batchId: given(batchId) });
      const skipped = fieldsToSkip(skipFields);
      const nowMs = clock.nowMs();
      const states = engine.watchRuns({
        environment: principal.environment,
        watched: batchId === "" ? { kind: "tags", tags: [...new Set(tags)] } : { kind: "batch", batchId },
        createdFromMs: createdFromOf(request.createdAfterSpec, nowMs),
        signal: AbortSignal.any([context.signal, deps.stopping]),
      });
      for await (const detail of states) {
        const run = await urls.fill(wireRun(shownTo(principal, detail), clock.nowMs()), baseOf(context));
        yield { run: withoutFields(run, skipped) };
      }
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
      return { run: await urls.fill(wireRun(detail, clock.nowMs()), baseOf(context)) };
    },

    async replayRun({ runId, requestId }, context) {
      const { environment } = requireSecretKey(principalOf(context), "ReplayRun");
      return engine.replayRun(environment, runId, given(requestId));
    },

    async bulkCancelRuns(request, context) {
      const { environment } = requireSecretKey(principalOf(context), "BulkCancelRuns");
      const bulk = bulkContext(environment, "BulkCancelRuns");
      return bulkAnswer(await engine.bulkCancel({ ...bulkParams(request, bulk), reason: given(request.reason) }), bulk);
    },

    async bulkReplayRuns(request, context) {
      const { environment } = requireSecretKey(principalOf(context), "BulkReplayRuns");
      const bulk = bulkContext(environment, "BulkReplayRuns");
      const requestId = given(request.requestId);
      return bulkAnswer(await engine.bulkReplay({ ...bulkParams(request, bulk), requestId }), bulk);
    },

    async updateRunMetadata({ runId, operations, writer, firstSequence, requestId }, context) {
      const { environment } = requireSecretKey(principalOf(context), "UpdateRunMetadata");
      const foreign = operations.findIndex(({ target }) => target > MetadataTarget.SELF);
      if (foreign >= 0) {
        throw invalidRequest(`operations[${foreign}].target`, "From outside only the run itself can be changed");
      }
      const metadataJson = await engine.updateMetadata({
        environment,
        runId,
        operations: operationsOfWire(operations),
        writer: given(writer),
        firstSequence: firstSequence === 0n ? undefined : Number(firstSequence),
        requestId: given(requestId),
      });
      return { metadataJson };
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

  function bulkContext(environment: string, method: string) {
    return { list: { environment, method }, pageTokens: deps.pageTokens, nowMs: clock.nowMs() };
  }

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

/** Without relatives that are none of the principal's business. */
function shownTo(principal: Principal, detail: RunDetail): RunDetail {
  if (principal.kind === "secret") return detail;
  const shown = (related: RelatedRun | undefined): RelatedRun | undefined =>
    related !== undefined && mayRead(principal, { ...related, id: related.runId }) ? related : undefined;
  return {
    ...detail,
    root: shown(detail.root),
    parent: shown(detail.parent),
    children: detail.children.filter((child) => shown(child) !== undefined),
  };
}

function cursorOf({ createdAtMs, id }: RunState) {
  return { createdAtMs, runId: id };
}

async function resultOf(answer: Promise<TriggerTaskResponse>): Promise<TriggerTasksResult> {
  try {
    return create(TriggerTasksResultSchema, { result: { case: "triggered", value: await answer } });
  } catch (error) {
    if (!isAppError(error)) throw error;
    return create(TriggerTasksResultSchema, { result: { case: "error", value: statusOf(error) } });
  }
}

function given(text: string): string | undefined {
  return text === "" ? undefined : text;
}
