/** WorkerService: one bidirectional stream per worker process; everything about it is in `session/`. */
import type { ServiceImpl } from "@connectrpc/connect";
import { PayloadForm } from "#proto/hairtrigger/v1/payload_pb.js";
import type { WorkerService } from "#proto/hairtrigger/worker/v1/worker_service_pb.js";
import { requireSecretKey } from "../auth/authorise.js";
import { invalidRequest } from "../domain/error.js";
import { decodeLease } from "../domain/lease.js";
import { baseOf, principalOf } from "./call-scope.js";
import { timestampOf } from "./convert/time.js";
import { randomName } from "./random-name.js";
import type { ServiceDeps } from "./services.js";
import { SessionConnection } from "./session/connection.js";

export function createWorkerService(deps: ServiceDeps): Partial<ServiceImpl<typeof WorkerService>> {
  const { engine, clock, entropy, limits, urls, stopping } = deps;
  /** Names this server process to workers, for their logs. */
  const serverId = randomName(entropy);
  return {
    async *openSession(requests, context) {
      const { environment } = requireSecretKey(principalOf(context), "OpenSession");
      const base = baseOf(context);
      const connection = new SessionConnection({ engine, clock, limits, urls, base, environment, serverId });
      yield* connection.serve(requests, { call: context.signal, stopping });
    },

    async createUploadUrl({ lease, sizeBytes, sha256, contentType }, context) {
      const { environment } = requireSecretKey(principalOf(context), "CreateUploadUrl");
      const own = decodeLease(lease);
      if (own === undefined) throw invalidRequest("lease", "The lease was not made here");
      const upload = { sizeBytes: Number(sizeBytes), sha256, contentType: contentType || "application/json" };
      const object = await engine.createUpload(environment, own, upload);
      const { url, headers, expiresAtMs } = await urls.upload(object, baseOf(context));
      return {
        url,
        headers,
        reference: { driver: deps.driver, key: object.key, sizeBytes, sha256, form: PayloadForm.JSON },
        expireTime: timestampOf(expiresAtMs),
      };
    },
  };
}
