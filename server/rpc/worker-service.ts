/** WorkerService: one bidirectional stream per worker process; everything about it is in `session/`. */
import type { ServiceImpl } from "@connectrpc/connect";
import type { WorkerService } from "#proto/hairtrigger/worker/v1/worker_service_pb.js";
import { requireSecretKey } from "../auth/authorise.js";
import { principalOf } from "./call-scope.js";
import { randomName } from "./random-name.js";
import type { ServiceDeps } from "./services.js";
import { SessionConnection } from "./session/connection.js";

export function createWorkerService(deps: ServiceDeps): Partial<ServiceImpl<typeof WorkerService>> {
  const { engine, clock, entropy, limits, stopping } = deps;
  /** Names this server process to workers, for their logs. */
  const serverId = randomName(entropy);
  return {
    async *openSession(requests, context) {
      const { environment } = requireSecretKey(principalOf(context), "OpenSession");
      const connection = new SessionConnection({ engine, clock, limits, environment, serverId });
      yield* connection.serve(requests, { call: context.signal, stopping });
    },
  };
}
