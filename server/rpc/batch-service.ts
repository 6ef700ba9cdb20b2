/** BatchService: decode, authorise, one engine verb, encode. */
import type { ServiceImpl } from "@connectrpc/connect";
import type { BatchService } from "#proto/hairtrigger/v1/batch_service_pb.js";
import { requireReadBatch, requireSecretKey } from "../auth/authorise.js";
import { invalidPage } from "../domain/error.js";
import { principalOf } from "./call-scope.js";
import { batchParamsOf, batchTriggerResponse, wireBatch, wireBatchResult } from "./convert/batch.js";
import type { ServiceDeps } from "./services.js";

export function createBatchService(deps: ServiceDeps): Partial<ServiceImpl<typeof BatchService>> {
  const { engine, clock, limits, pageTokens } = deps;
  return {
    async batchTrigger(request, context) {
      const { environment } = requireSecretKey(principalOf(context), "BatchTrigger");
      return batchTriggerResponse(await engine.triggerBatch(batchParamsOf(environment, request, limits)));
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
