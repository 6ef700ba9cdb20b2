/** The public API of an app in memory, for tests of promises: clients, the words that tests use most, and workers that do as they are told. */
import { fromJsonString } from "@bufbuild/protobuf";
import { durationMs, type Timestamp, timestampMs } from "@bufbuild/protobuf/wkt";
import { type Client, Code, ConnectError, createClient, type Transport } from "@connectrpc/connect";
import { createGrpcTransport, Http2SessionManager } from "@connectrpc/connect-node";
import type { ExecutionContext } from "ava";
import { BadRequestSchema, ErrorInfoSchema, RetryInfoSchema } from "#proto/google/rpc/error_details_pb.js";
import { AuthService } from "#proto/hairtrigger/v1/auth_service_pb.js";
import { BatchStatus } from "#proto/hairtrigger/v1/batch_pb.js";
import {
  BatchService,
  BatchTriggerRequestSchema,
  type BatchTriggerResponse,
} from "#proto/hairtrigger/v1/batch_service_pb.js";
import { type Queue, QueueType } from "#proto/hairtrigger/v1/queue_pb.js";
import { QueueService } from "#proto/hairtrigger/v1/queue_service_pb.js";
import { type Run, RunStatus } from "#proto/hairtrigger/v1/run_pb.js";
import {
  RunService,
  TriggerTaskRequestSchema,
  type TriggerTaskResponse,
} from "#proto/hairtrigger/v1/run_service_pb.js";
import { TaskService } from "#proto/hairtrigger/v1/task_service_pb.js";
import { WaitpointService } from "#proto/hairtrigger/v1/waitpoint_service_pb.js";
import { WorkerService } from "#proto/hairtrigger/worker/v1/worker_service_pb.js";
import { startTestApp, type TestApp, type TestAppOptions } from "./harness.js";
import { WireWorker, type WireWorkerOptions } from "./wire-worker.js";

/** JSON as tests write it: members that are undefined are left out. */
export type Json = null | string | number | boolean | readonly Json[] | JsonObject;
export interface JsonObject {
  readonly [name: string]: Json | undefined;
}

export type StatusName = keyof typeof RunStatus;

/** Clients that speak gRPC with one credential. */
export interface Clients {
  readonly runs: Client<typeof RunService>;
  readonly batches: Client<typeof BatchService>;
  readonly queues: Client<typeof QueueService>;
  readonly tasks: Client<typeof TaskService>;
  readonly auth: Client<typeof AuthService>;
  readonly waitpoints: Client<typeof WaitpointService>;
  readonly workers: Client<typeof WorkerService>;
}

export interface TestApi extends Clients {
  readonly server: TestApp;
  /** The same service with another credential. */
  as(credential: string): Clients;
  /** @param request the rest of a TriggerTaskRequest in its JSON form, as at a shell. */
  trigger(taskId: string, request?: JsonObject): Promise<TriggerTaskResponse>;
  /** The id of a run triggered with these options. */
  triggered(taskId: string, options?: JsonObject): Promise<string>;
  /** @param request the rest of a BatchTriggerRequest in its JSON form. */
  batch(items: readonly JsonObject[], request?: JsonObject): Promise<BatchTriggerResponse>;
  batchStatus(batchId: string): Promise<keyof typeof BatchStatus>;
  run(runId: string): Promise<Run>;
  status(runId: string): Promise<StatusName>;
  /** Number of all runs of the environment, whatever their status (100 at most). */
  count(): Promise<number>;
  /** A queue by full name. */
  queue(name: string): Promise<Queue>;
  /** @param as whose worker; default: that of the other calls. */
  worker(options: WireWorkerOptions, as?: Clients): Promise<WireWorker>;
  nowMs(): number;
  /** Plays time. */
  advance(ms: number): Promise<void>;
  /** Plays time in which these workers send their heartbeats. */
  pass(ms: number, ...workers: readonly WireWorker[]): Promise<void>;
}

/** Pause between heartbeats of {@link TestApi.pass}: below the 12 s after which a worker counts as silent. */
const BEAT_MS = 5_000;

/** A started app and its clients, all ended with the test. Whatever callers do, nothing may be logged as an error of the server. */
export async function startApi(t: ExecutionContext, options: TestAppOptions = {}): Promise<TestApi> {
  const server = await startTestApp(options);
  const manager = new Http2SessionManager(server.url);
  const opened: WireWorker[] = [];
  t.teardown(async () => {
    for (const worker of opened) worker.disconnect();
    manager.abort();
    await server.stop();
    const faults = server.log.filter(({ level }) => level === "error" || level === "fatal");
    for (const fault of faults) t.log("the server logged", fault);
    if (faults.length > 0) throw new Error("the server logged errors");
  });
  const as = (credential: string): Clients => clientsOf(server.url, manager, credential);
  const clients = as(server.key);
  const { runs, queues } = clients;

  const api: TestApi = {
    ...clients,
    server,
    as,
    trigger: (taskId, request = {}) =>
      runs.triggerTask(fromJsonString(TriggerTaskRequestSchema, JSON.stringify({ taskId, ...request }))),
    async triggered(taskId, triggerOptions = {}) {
      const { runId } = await api.trigger(taskId, { options: triggerOptions });
      await server.settled();
      return runId;
    },
    async batch(items, request = {}) {
      const response = await clients.batches.batchTrigger(
        fromJsonString(BatchTriggerRequestSchema, JSON.stringify({ items, ...request })),
      );
      await server.settled();
      return response;
    },
    async batchStatus(batchId) {
      await server.settled();
      const { batch } = await clients.batches.retrieveBatch({ batchId });
      return batchStatusName(required(batch).status);
    },
    run: async (runId) => required((await runs.retrieveRun({ runId })).run),
    async status(runId) {
      await server.settled();
      return statusName((await api.run(runId)).status);
    },
    count: async () => (await runs.listRuns({ pageSize: 100 })).runs.length,
    async queue(name) {
      await server.settled();
      return required((await queues.retrieveQueue({ queue: selector(name) })).queue);
    },
    async worker(workerOptions, { workers } = clients) {
      const worker = new WireWorker(workers, { settled: () => server.settled(), ...workerOptions });
      opened.push(worker);
      await worker.open();
      return worker;
    },
    nowMs: () => server.clock.nowMs(),
    advance: (ms) => server.advance(ms),
    async pass(ms, ...workers) {
      for (let leftMs = ms; leftMs > 0; leftMs -= BEAT_MS) {
        await server.advance(Math.min(leftMs, BEAT_MS));
        await Promise.all(workers.map((worker) => worker.heartbeat()));
      }
    },
  };
  return api;
}

/** Clients of a server with this credential. */
export function clientsOf(url: string, sessionManager: Http2SessionManager, credential: string): Clients {
  const transport: Transport = createGrpcTransport({
    baseUrl: url,
    sessionManager,
    interceptors: [
      (next) => (request) => {
        request.header.set("authorization", `Bearer ${credential}`);
        return next(request);
      },
    ],
  });
  return {
    runs: createClient(RunService, transport),
    batches: createClient(BatchService, transport),
    queues: createClient(QueueService, transport),
    tasks: createClient(TaskService, transport),
    auth: createClient(AuthService, transport),
    waitpoints: createClient(WaitpointService, transport),
    workers: createClient(WorkerService, transport),
  };
}

export function statusName(status: RunStatus): StatusName {
  const names = Object.keys(RunStatus).filter((name): name is StatusName => name in RunStatus);
  const name = names.find((candidate) => RunStatus[candidate] === status);
  if (name === undefined) throw new Error(`status ${status} has no name`);
  return name;
}

function batchStatusName(status: BatchStatus): keyof typeof BatchStatus {
  const names = Object.keys(BatchStatus).filter((name): name is keyof typeof BatchStatus => name in BatchStatus);
  return required(names.find((candidate) => BatchStatus[candidate] === status));
}

/** Unix milliseconds of a time that may be unset. */
export function timeMs(time: Timestamp | undefined): number | undefined {
  return time === undefined ? undefined : timestampMs(time);
}

/** A queue as callers name it, from its full name. */
export function selector(name: string) {
  const isTask = name.startsWith("task/");
  const typedName = isTask
    ? { type: QueueType.TASK, name: name.slice("task/".length) }
    : { type: QueueType.CUSTOM, name };
  return { selector: { case: "typedName", value: typedName } } as const;
}

/** A refusal, as its details tell it. */
export interface Refusal {
  /** Canonical name, such as `INVALID_ARGUMENT`. */
  readonly code: string;
  readonly reason: string;
  readonly domain: string;
  readonly message: string;
  readonly metadata: Readonly<Record<string, string>>;
  /** Of BadRequest; empty without one. */
  readonly violations: readonly { readonly field: string; readonly reason: string; readonly text: string }[];
  /** Of RetryInfo; undefined without one. */
  readonly retryAfterMs: number | undefined;
}

/** What a call was refused with; a call that succeeds is an error of the test. */
export async function refusal(call: Promise<unknown>): Promise<Refusal> {
  try {
    await call;
  } catch (error) {
    return refusalOf(ConnectError.from(error));
  }
  throw new Error("the call was not refused");
}

export function refusalOf(error: ConnectError): Refusal {
  const [info] = error.findDetails(ErrorInfoSchema);
  const [badRequest] = error.findDetails(BadRequestSchema);
  const [retry] = error.findDetails(RetryInfoSchema);
  return {
    code: (Code[error.code] ?? "").replace(/(?<=[a-z])[A-Z]/g, "_$&").toUpperCase(),
    reason: info?.reason ?? "",
    domain: info?.domain ?? "",
    message: error.rawMessage,
    metadata: info?.metadata ?? {},
    violations: (badRequest?.fieldViolations ?? []).map(({ field, reason, description }) => ({
      field,
      reason,
      text: description,
    })),
    retryAfterMs: retry?.retryDelay === undefined ? undefined : durationMs(retry.retryDelay),
  };
}

function required<T>(value: T | undefined): T {
  if (value === undefined) throw new Error("the answer lacks what it promises");
  return value;
}
