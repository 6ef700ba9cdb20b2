/** QueueService: all with the secret key (AUT-5). */
import type { HandlerContext, ServiceImpl } from "@connectrpc/connect";
import type { QueueService } from "#proto/hairtrigger/v1/queue_service_pb.js";
import { requireSecretKey } from "../auth/authorise.js";
import type { SecretPrincipal } from "../auth/principal.js";
import { principalOf } from "./call-scope.js";
import { selectorOf, wireQueue } from "./convert/queue.js";
import type { ServiceDeps } from "./services.js";

export function createQueueService({ engine, limits }: ServiceDeps): ServiceImpl<typeof QueueService> {
  return {
    async listQueues(request, context) {
      const { environment } = caller(context, "ListQueues");
      const page = request.page ?? 1;
      const perPage = request.perPage ?? limits.pageSizeDefault;
      const { queues, count } = await engine.listQueues(environment, page, perPage);
      const totalPages = Math.max(1, Math.ceil(count / perPage));
      return { queues: queues.map(wireQueue), currentPage: page, totalPages, count };
    },
    async retrieveQueue({ queue }, context) {
      const { environment } = caller(context, "RetrieveQueue");
      return { queue: wireQueue(await engine.retrieveQueue(environment, selectorOf(queue))) };
    },
    async pauseQueue({ queue }, context) {
      const { environment } = caller(context, "PauseQueue");
      return { queue: wireQueue(await engine.pauseQueue(environment, selectorOf(queue))) };
    },
    async resumeQueue({ queue }, context) {
      const { environment } = caller(context, "ResumeQueue");
      return { queue: wireQueue(await engine.resumeQueue(environment, selectorOf(queue))) };
    },
    async overrideConcurrencyLimit({ queue, concurrencyLimit }, context) {
      const { environment, keyName } = caller(context, "OverrideConcurrencyLimit");
      // The structural rules require it; without one the domain would refuse NaN.
      const limit = concurrencyLimit ?? Number.NaN;
      return {
        queue: wireQueue(await engine.overrideConcurrencyLimit(environment, selectorOf(queue), limit, keyName)),
      };
    },
    async resetConcurrencyLimit({ queue }, context) {
      const { environment } = caller(context, "ResetConcurrencyLimit");
      return { queue: wireQueue(await engine.resetConcurrencyLimit(environment, selectorOf(queue))) };
    },
  };
}

function caller(context: HandlerContext, verb: string): SecretPrincipal {
  return requireSecretKey(principalOf(context), verb);
}
