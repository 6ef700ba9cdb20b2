/** The public face of the worker (WRK-1…3). */

import { create } from "@bufbuild/protobuf";
import type { Interceptor } from "@connectrpc/connect";
import { callSettings, withAuth } from "../configuration.js";
import { callError } from "../convert/error.js";
import { ApiError } from "../errors.js";
import { type Hello, HelloSchema } from "../gen/hairtrigger/worker/v1/worker_pb.js";
import type { RetryOptions } from "../retry-options.js";
import { retryPolicyMistake } from "../retry-policy.js";
import { collectTasks, type TaskSource } from "../task.js";
import type { HookSet } from "../task-hooks.js";
import { callHeaders } from "../transport.js";
import { PROTOCOL_VERSION } from "../version.js";
import { attemptStarter, type ExecutorParams } from "./attempt/executor.js";
import { largeValues } from "./attempt/large-values.js";
import { type TaskPlan, taskPlan } from "./attempt/task-plan.js";
import { systemClock, type WorkerClock } from "./clock.js";
import { taskDeclaration, workerIdentity } from "./declarations.js";
import { isolate } from "./isolation/isolate.js";
import { type TaskProcesses, taskProcesses } from "./isolation/processes.js";
import { serveAttempts } from "./isolation/task-process.js";
import { stopOnSignals } from "./process-signals.js";
import { Session } from "./session/session.js";
import { newSessionId } from "./session/session-id.js";
import { grpcStreams, type OpenStream } from "./session/session-stream.js";
import { takeRunErrors } from "./uncaught.js";
import { consoleLog, type WorkerLog } from "./worker-log.js";

export interface WorkerOptions {
  /** Task objects, or module namespaces (`import * as tasks from "./tasks.js"`), of which every exported task is taken. */
  readonly tasks: readonly TaskSource[];
  /** Runs executed at once. An integer from 1. Default 10. */
  readonly concurrency?: number;
  /** For tasks that leave members open. Default: RTY-1. */
  readonly retry?: RetryOptions;
  /** For tasks without one: longest wait before the first start, a duration string or whole seconds. Default: none. */
  readonly ttl?: string | number;
  /** For tasks without one: longest active time of an attempt in seconds, at least 5. Default: none. */
  readonly maxDuration?: number;
  /** Called for every run, before the task's own (HOK-2). */
  readonly hooks?: HookSet;
  /** Milliseconds that a stopping worker lets runs finish (RUN-7). Default 25,000. */
  readonly gracePeriodMs?: number;
  /** Stop on SIGTERM and SIGINT, then end the process (WRK-2). Default true. */
  readonly handleSignals?: boolean;
  /** Secret key. Default: `configure`, then `TRIGGER_SECRET_KEY`. What the tasks themselves call goes to the same server. */
  readonly accessToken?: string;
  /** Address of the server. Default: `configure`, then `TRIGGER_API_URL`, then `http://127.0.0.1:7470`. */
  readonly baseURL?: string;
}

export interface Worker {
  /** Id of its session, as in `runs.retrieve(id).workerId`. It changes if the session lapses in a long outage. */
  readonly id: string;
  /** Resolved: `startWorker` gives the worker away only when it is registered. */
  readonly ready: Promise<void>;
  /**
   * Takes nothing new, lets runs finish within the grace period, gives the rest back uncounted (RUN-7). Resolves with `closed`. Idempotent.
   */
  stop(): Promise<void>;
  /** Resolves when the worker has ended. */
  readonly closed: Promise<void>;
}

/** What tests put in place of the world. */
export interface WorkerWorld {
  readonly clock: WorkerClock;
  readonly log: WorkerLog;
  readonly openStream?: OpenStream;
  /** The clock is moved by hand and may leap: nobody looks at it from time to time. Default false. */
  readonly isTimeMoved?: boolean;
  /** Where isolated tasks run. Default: in this process, like others. */
  readonly processes?: TaskProcesses;
}

const CONCURRENCY_DEFAULT = 10;
const GRACE_PERIOD_DEFAULT_MS = 25_000;
/** The server's bound for one worker's places; far above what one event loop can serve. */
const CONCURRENCY_MAX = 100_000;

/**
 * Connects this process to the server and executes runs of these tasks until it is stopped.
 *
 * ```ts
 * const worker = await startWorker({ tasks: [resize, sendEmail], concurrency: 50 });
 * ```
 * Resolves when the worker is registered. A server that cannot be reached is tried for ever, with a warning every 10 s.
 * @throws TypeError for malformed options or tasks; Error naming the id for two tasks of one id.
 * @throws ApiClientMissingError without credentials; AuthenticationError for a key that the server does not know; another ApiError if the
 * server refuses the declarations.
 */
export function startWorker(options: WorkerOptions): Promise<Worker> {
  return startWorkerIn({ clock: systemClock(), log: consoleLog, processes: taskProcesses() }, options);
}

/** {@link startWorker} in a world of one's own. */
export async function startWorkerIn(world: WorkerWorld, options: WorkerOptions): Promise<Worker> {
  checkOptions(options);
  const { clock, log } = world;
  const definitions = collectTasks(options.tasks);
  const { accessToken, baseURL } = callSettings({
    clientConfig: { accessToken: options.accessToken, baseURL: options.baseURL },
  });
  const defaults = {
    retry: options.retry,
    ttl: options.ttl,
    maxDuration: options.maxDuration,
    hooks: options.hooks === undefined ? [] : [options.hooks],
  };
  const plans = new Map<string, TaskPlan>();
  for (const definition of definitions.values()) {
    checkRetry(`task "${definition.id}"`, definition.retry);
    plans.set(definition.id, taskPlan(definition, defaults));
  }
  const { processes } = world;
  const executor = {
    plans,
    clock,
    log,
    large: largeValues({ baseURL, accessToken, clock }),
    metadataHere: new WeakMap(),
    withCredentials: inTaskCredentials(options),
  };
  if (processes?.role === "executor") return serveAttempts({ ...executor, workerPid: processes.workerPid });
  if (processes?.role === "bystander") return bystander();
  const told: Pick<ExecutorParams, "facts" | "metadataWriter" | "logLine"> = {
    facts: () => session.facts,
    metadataWriter: (runId, attempt, onSettled) => session.metadataWriter(runId, attempt, onSettled),
    logLine: (runId, attempt, line) => session.addLog(runId, attempt, line),
  };
  const isolation = isolate({ ...told, inline: attemptStarter({ ...executor, ...told }), plans, clock, processes });
  const session: Session = new Session({
    baseUrl: baseURL,
    openStream: world.openStream ?? grpcStreams(baseURL, [credentials(accessToken)]),
    clock,
    log,
    isTimeMoved: world.isTimeMoved ?? false,
    concurrency: options.concurrency ?? CONCURRENCY_DEFAULT,
    gracePeriodMs: options.gracePeriodMs ?? GRACE_PERIOD_DEFAULT_MS,
    sessionId: newSessionId(clock.nowMs(), clock.randomBytes(10)),
    declaration: declaration([...definitions.values()].map((definition) => taskDeclaration(definition, defaults))),
    start: isolation.start,
    isFinal: (error) => isFinal(callError(error, baseURL)),
  });
  return open(session, { options, log, baseURL, closeProcesses: () => isolation.close() });
}

/** Another worker of a program that was started again for one of them: here it has nothing to do. */
function bystander(): Worker {
  const closed = new Promise<void>(() => undefined);
  return { id: "", ready: Promise.resolve(), stop: () => Promise.resolve(), closed };
}

interface OpenParams {
  readonly options: WorkerOptions;
  readonly log: WorkerLog;
  readonly baseURL: string;
  readonly closeProcesses: () => Promise<void>;
}

async function open(session: Session, { options, log, baseURL, closeProcesses }: OpenParams): Promise<Worker> {
  const releaseUncaught = takeRunErrors(log);
  const stop = async (): Promise<void> => {
    await session.stop();
    await closed;
  };
  const releaseSignals = (options.handleSignals ?? true) ? stopOnSignals({ stop }, log) : () => undefined;
  const closed = (async () => {
    await session.closed;
    await closeProcesses();
    releaseUncaught();
    releaseSignals();
  })();
  try {
    await session.start();
  } catch (error) {
    await closed;
    throw error instanceof Error && error.name !== "ConnectError" ? error : callError(error, baseURL);
  }
  return {
    get id() {
      return session.facts.sessionId;
    },
    ready: Promise.resolve(),
    stop: () => {
      void session.stop();
      return closed;
    },
    closed,
  };
}

function declaration(tasks: Hello["tasks"]): Pick<Hello, "identity" | "protocolVersion" | "tasks" | "queues"> {
  return create(HelloSchema, { identity: workerIdentity(), protocolVersion: PROTOCOL_VERSION, tasks });
}

function credentials(accessToken: string): Interceptor {
  const headers = callHeaders(accessToken);
  return (next) => (request) => {
    for (const [name, value] of Object.entries(headers)) request.header.set(name, value);
    return next(request);
  };
}

/** Calls made by tasks go where the worker's own do, also where only `startWorker` was told the key. */
function inTaskCredentials({ accessToken, baseURL }: WorkerOptions): (fn: () => void) => void {
  if (accessToken === undefined && baseURL === undefined) return (fn) => fn();
  return (fn) => withAuth({ accessToken, baseURL }, fn);
}

/** Refusals of the first connection that waiting cannot heal. */
function isFinal(error: Error): boolean {
  if (!(error instanceof ApiError)) return false;
  switch (error.code) {
    case "unauthenticated":
    case "permission_denied":
    case "invalid_argument":
    case "failed_precondition":
    case "out_of_range":
    case "unimplemented":
    case "not_found":
      return true;
    default:
      return false;
  }
}

function checkOptions(options: WorkerOptions): void {
  const { concurrency, gracePeriodMs, tasks } = options;
  if (!Array.isArray(tasks) || tasks.length === 0) {
    throw new TypeError("startWorker needs tasks: an array of tasks or of modules that export them");
  }
  if (
    concurrency !== undefined &&
    !(Number.isInteger(concurrency) && concurrency >= 1 && concurrency <= CONCURRENCY_MAX)
  ) {
    throw new TypeError(`concurrency must be an integer from 1 to ${CONCURRENCY_MAX}, got ${concurrency}`);
  }
  if (gracePeriodMs !== undefined && !(Number.isFinite(gracePeriodMs) && gracePeriodMs >= 0)) {
    throw new TypeError(`gracePeriodMs must be a number of milliseconds from 0, got ${gracePeriodMs}`);
  }
  checkRetry("startWorker", options.retry);
}

function checkRetry(where: string, retry: RetryOptions | undefined): void {
  const mistake = retry === undefined ? undefined : retryPolicyMistake(retry);
  if (mistake !== undefined) throw new TypeError(`${where}: ${mistake}`);
}
