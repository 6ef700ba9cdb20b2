/**
 * The log: JSON lines on stderr, by pino. It subscribes to engine events and cannot break a run. Events are chosen field by field, so that no
 * key, token, payload or output can get into a line; what an error says about itself is ours or the store's.
 */
import { type DestinationStream, destination, type Logger, pino, stdSerializers, stdTimeFunctions } from "pino";
import type { EventSource } from "../engine/events.js";

export type { Logger } from "pino";

/** A duty that fails does so at every period; the log says it once and then in this pace, with the number left out. */
const REPEAT_MS = 10_000;

/** @param to default: stderr, written synchronously, so that the last words before an exit are not lost. */
export function createLogger(level: string, to: DestinationStream = destination({ fd: 2, sync: true })): Logger {
  return pino(
    {
      level,
      base: undefined,
      formatters: { level: (label) => ({ level: label }) },
      timestamp: stdTimeFunctions.isoTime,
      serializers: { error: stdSerializers.errWithCause },
    },
    to,
  );
}

/** Writes engine events to the log until the returned function is called. */
export function logEvents(events: EventSource, log: Logger, nowMs: () => number): () => void {
  const paced = pacer(nowMs);
  const subscriptions = [
    events.on("run.triggered", ({ environment, runId, taskId, isCached }) =>
      log.debug({ environment, runId, taskId, isCached }, "run triggered"),
    ),
    events.on("run.moved", ({ environment, runId, taskId, event, status, attempt }) =>
      log.debug({ environment, runId, taskId, event, status, attempt }, "run moved"),
    ),
    events.on("session.opened", ({ environment, sessionId, taskCount, isReconnect }) =>
      log.info(
        { environment, sessionId, taskCount, isReconnect },
        isReconnect ? "worker came back" : "worker connected",
      ),
    ),
    events.on("session.closed", ({ environment, sessionId, reason }) =>
      log.info({ environment, sessionId, reason }, "worker connection ended"),
    ),
    events.on("session.lapsed", ({ environment, sessionId, runsLost }) =>
      log.warn({ environment, sessionId, runsLost }, "worker lost: no heartbeat in time"),
    ),
    events.on("duty.done", ({ duty, count }) => log.debug({ duty, count }, "duty done")),
    events.on("duty.failed", ({ duty, error }) =>
      paced(duty, (leftOut) => log.error({ duty, error, leftOut }, "duty failed, it is tried again")),
    ),
    events.on("store.unavailable", ({ error }) =>
      paced("store", (leftOut) => log.error({ error, leftOut }, "the store cannot be written")),
    ),
    events.on("payloads.unavailable", ({ driver, error }) =>
      paced("payloads", (leftOut) => log.warn({ driver, error, leftOut }, "the payload store cannot be reached")),
    ),
  ];
  return () => {
    for (const end of subscriptions) end();
  };
}

/** Lets one line per key through in {@link REPEAT_MS}, and says how many it left out before. */
function pacer(nowMs: () => number): (key: string, write: (leftOut: number | undefined) => void) => void {
  const states = new Map<string, { untilMs: number; leftOut: number }>();
  return (key, write) => {
    const state = states.get(key);
    if (state !== undefined && nowMs() < state.untilMs) {
      state.leftOut += 1;
      return;
    }
    states.set(key, { untilMs: nowMs() + REPEAT_MS, leftOut: 0 });
    write(state === undefined || state.leftOut === 0 ? undefined : state.leftOut);
  };
}

/** One call that has ended, as serving tells it; structurally the record of `rpc/log.ts`, which this side does not know. */
export interface CallLine {
  readonly requestId: string;
  readonly method: string;
  readonly protocol: string;
  readonly code: string;
  readonly durationMs: number;
}

/** What serving tells: calls at debug level whatever their code, since a refusal is the caller's mistake; faults at error level. */
export function logCalls(log: Logger): {
  callEnded(call: CallLine): void;
  fault(fault: { readonly requestId: string; readonly method: string; readonly error: unknown }): void;
} {
  return {
    callEnded: ({ requestId, method, protocol, code, durationMs }) =>
      log.debug({ requestId, method, protocol, code, durationMs }, "call ended"),
    fault: ({ requestId, method, error }) => log.error({ requestId, method, error }, "internal error"),
  };
}
