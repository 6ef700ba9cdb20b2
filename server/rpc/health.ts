/** `grpc.health.v1`: what load balancers and orchestrators ask. Overall health is the empty name; every service shares it. */
import type { HandlerContext, ServiceImpl } from "@connectrpc/connect";
import { type Health, HealthCheckResponse_ServingStatus as ServingStatus } from "#proto/grpc/health/v1/health_pb.js";
import type { Clock } from "../engine/clock.js";
import { unknownServiceError } from "./error.js";
import type { Readiness } from "./readiness.js";

/** How often a watcher's answer is looked at anew. */
const WATCH_MS = 1_000;

export interface HealthDeps {
  readonly readiness: Readiness;
  readonly clock: Clock;
  /** Full names of all services of this server. */
  readonly serviceNames: readonly string[];
  /** Aborts when the server stops: watchers learn NOT_SERVING and are let go. */
  readonly stopping: AbortSignal;
}

export function createHealth(deps: HealthDeps): ServiceImpl<typeof Health> {
  const known = new Set(["", ...deps.serviceNames]);

  async function statusOf(service: string): Promise<ServingStatus> {
    if (!known.has(service)) return ServingStatus.SERVICE_UNKNOWN;
    return (await deps.readiness.check()).ok ? ServingStatus.SERVING : ServingStatus.NOT_SERVING;
  }

  return {
    async check({ service }) {
      if (!known.has(service)) throw unknownServiceError(service);
      return { status: await statusOf(service) };
    },
    async list() {
      const status = await statusOf("");
      return { statuses: Object.fromEntries([...known].map((service) => [service, { status }])) };
    },
    async *watch({ service }, context: HandlerContext) {
      const end = AbortSignal.any([context.signal, deps.stopping]);
      let last: ServingStatus | undefined;
      for (;;) {
        const status = await statusOf(service);
        if (status !== last) yield { status };
        last = status;
        if (end.aborted) return;
        await pause(deps.clock, WATCH_MS, end);
      }
    },
  };
}

/** Resolves after `ms`, or at once when the signal aborts. */
function pause(clock: Clock, ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      timer.cancel();
      signal.removeEventListener("abort", done);
      resolve();
    };
    const timer = clock.setTimer(ms, done);
    signal.addEventListener("abort", done, { once: true });
    if (signal.aborted) done();
  });
}
