/** What handlers are given, and the one place where every service is registered. */
import type { DescFile } from "@bufbuild/protobuf";
import type { ConnectRouter } from "@connectrpc/connect";
import { Health } from "#proto/grpc/health/v1/health_pb.js";
import { ServerReflection } from "#proto/grpc/reflection/v1/reflection_pb.js";
import { ServerReflection as ServerReflectionAlpha } from "#proto/grpc/reflection/v1alpha/reflection_pb.js";
import { AuthService } from "#proto/hairtrigger/v1/auth_service_pb.js";
import {
  BatchService,
  BatchTriggerRequestSchema,
  StreamBatchRequestSchema,
} from "#proto/hairtrigger/v1/batch_service_pb.js";
import { QueueService } from "#proto/hairtrigger/v1/queue_service_pb.js";
import { RunService, TriggerTaskRequestSchema } from "#proto/hairtrigger/v1/run_service_pb.js";
import { TaskService } from "#proto/hairtrigger/v1/task_service_pb.js";
import { WaitpointService } from "#proto/hairtrigger/v1/waitpoint_service_pb.js";
import { WorkerService } from "#proto/hairtrigger/worker/v1/worker_service_pb.js";
import type { Authentication } from "../auth/authenticate.js";
import type { Keys } from "../auth/keys.js";
import type { Limits } from "../domain/limits.js";
import type { Clock } from "../engine/clock.js";
import type { Engine } from "../engine/engine.js";
import type { Entropy } from "../engine/entropy.js";
import { createAuthService } from "./auth-service.js";
import { createBatchService } from "./batch-service.js";
import { createHealth } from "./health.js";
import type { PageTokens } from "./page-token.js";
import type { PayloadUrls } from "./payload-urls.js";
import { createQueueService } from "./queue-service.js";
import type { Readiness } from "./readiness.js";
import { registerReflection } from "./reflection.js";
import { createRunService } from "./run-service.js";
import { createTaskService } from "./task-service.js";
import type { TokenUrls } from "./token-url.js";
import { createWaitpointService } from "./waitpoint-service.js";
import { createWorkerService } from "./worker-service.js";

export interface ServiceDeps {
  readonly engine: Engine;
  readonly authentication: Authentication;
  readonly keys: Keys;
  readonly clock: Clock;
  readonly entropy: Entropy;
  readonly limits: Limits;
  readonly pageTokens: PageTokens;
  readonly tokenUrls: TokenUrls;
  readonly urls: PayloadUrls;
  /** Name of the payload store in force. */
  readonly driver: string;
  readonly readiness: Readiness;
  /** Aborts when the server begins to stop: streams say good-bye and end. */
  readonly stopping: AbortSignal;
}

/** Served without a key unless a setting asks for one: load balancers and grpcurl have none. */
export const DISCOVERY_SERVICES: readonly string[] = [
  Health.typeName,
  ServerReflection.typeName,
  ServerReflectionAlpha.typeName,
];

/** Messages whose handlers check their form together with the domain's rules, so that all that is wrong is told at once (ERR-1). */
export const SELF_VALIDATED: ReadonlySet<string> = new Set([
  TriggerTaskRequestSchema.typeName,
  BatchTriggerRequestSchema.typeName,
  StreamBatchRequestSchema.typeName,
]);

/** Bytes of a worker's message beside its largest output. */
const WORKER_MESSAGE_SPARE_BYTES = 16 * 1_048_576;

const PRODUCER_SERVICES = [RunService, BatchService, QueueService, WaitpointService, TaskService, AuthService] as const;

export function registerServices(router: ConnectRouter, deps: ServiceDeps): void {
  router.service(RunService, createRunService(deps));
  router.service(BatchService, createBatchService(deps));
  router.service(QueueService, createQueueService(deps));
  router.service(WaitpointService, createWaitpointService(deps));
  router.service(TaskService, createTaskService(deps));
  router.service(AuthService, createAuthService(deps));
  // Outputs travel inline on this stream, and may be larger than any request (PAY-7).
  router.service(WorkerService, createWorkerService(deps), {
    readMaxBytes: deps.limits.outputBytesMax + WORKER_MESSAGE_SPARE_BYTES,
  });
  const own = [...PRODUCER_SERVICES, WorkerService];
  const serviceNames = own.map(({ typeName }) => typeName);
  router.service(Health, createHealth({ ...deps, serviceNames }));
  const files: readonly DescFile[] = [...own.map(({ file }) => file), Health.file];
  registerReflection(router, files);
}
