/** BatchService: decode, authorise, one engine verb, encode. */
import type { ServiceImpl } from "@connectrpc/connect";
import type { BatchService } from "#proto/hairtrigger/v1/batch_service_pb.js";
import { requireAnyTrigger, requireReadBatch } from "../auth/authorise.js";
import { invalidPage } from "../domain/error.js";
import { principalOf } from "./call-scope.js";
import { batchParamsOf, batchTriggerResponse, wireBatch, wireBatchResult } from "./convert/batch.js";
import type { ServiceDeps } from "./services.js";
import { streamBatch } from "./stream-batch.js";
import { triggerAccess } from "./trigger-access.js";

export function createBatchService(deps: ServiceDeps): Partial<ServiceImpl<typeof BatchService>> {
  const { engine, authentication, clock, limits, pageTokens } = deps;
  return {
    async batchTrigger(request, context) {
      const principal = principalOf(context);
      requireAnyTrigger(principal, "batchTrigger");
      const access = triggerAccess(principal, "batchTrigger", { authentication, nowMs: clock.nowMs() });
      // Every task before anything else, so that nothing is created for some (AUT-4).
      const { parentRunId } = request;
      const items = request.items.map((item) => {
        const options = access.allow({ ...item, parentRunId });
        return options === item.options ? item : { ...item, options };
      });
      const params = batchParamsOf(access.environment, { ...request, items }, limits);
      const triggered = await engine.triggerBatch({ ...params, caller: access.caller });
      const token = await access.readToken({ action: "read", resource: "batch", id: triggered.batch.id });
      return batchTriggerResponse(triggered, token);
    },

    async streamBatch(requests, context) {
      const principal = principalOf(context);
      requireAnyTrigger(principal, "batchTrigger");
      const access = triggerAccess(principal, "batchTrigger", { authentication, nowMs: clock.nowMs() });
      return streamBatch(deps, access, requests);
    },

    async retrieveBatch({ batchId }, context) {
      const principal = principalOf(context);
      requireReadBatch(principal, batchId);
      return { batch: wireBatch(await engine.retrieveBatch(principal.environment, batchId), clock.nowMs()) };
    },

    async listBatchResults({ batchId, pageSize, pageToken }, context) {
      const principal = principalOf(context);
      requireReadBatch(principal, batchId);
      const { environment } = principal;
      const list = { environment, method: `ListBatchResults ${batchId}` };
      const fromIndex = pageToken === "" ? 0 : positionOf(pageTokens.open(list, pageToken));
      const limit = pageSize ?? limits.pageSizeMax;
      const { results, hasMore } = await engine.listBatchResults({ environment, batchId, fromIndex, limit });
      const token = (from: number): string => pageTokens.sign(list, { from });
      return {
        results: results.map(wireBatchResult),
        nextPageToken: hasMore ? token(fromIndex + results.length) : "",
        previousPageToken: fromIndex > 0 ? token(Math.max(0, fromIndex - limit)) : "",
      };
    },
  };
}

function positionOf(place: unknown): number {
  if (typeof place === "object" && place !== null && "from" in place && typeof place.from === "number") {
    return place.from;
  }
  throw invalidPage("pageToken", "The page token was not made here for this list");
}
