/**
 * The event map: what the engine tells telemetry. Closed and typed; subscribers (log, metrics, traces) cannot break a run. An event is
 * emitted after its commit.
 */
import type { RunEvent } from "../domain/run-machine.js";
import type { RunStatus } from "../domain/run-status.js";

export interface EventMap {
  "run.triggered": {
    readonly environment: string;
    readonly runId: string;
    readonly taskId: string;
    readonly isCached: boolean;
  };
  "run.moved": {
    readonly environment: string;
    readonly runId: string;
    readonly taskId: string;
    readonly event: RunEvent;
    readonly status: RunStatus;
    readonly attempt: number;
  };
  "session.opened": {
    readonly environment: string;
    readonly sessionId: string;
    readonly taskCount: number;
    readonly isReconnect: boolean;
  };
  "session.closed": {
    readonly environment: string;
    readonly sessionId: string;
    readonly reason: "left" | "disconnected" | "superseded";
  };
  "session.lapsed": { readonly environment: string; readonly sessionId: string; readonly runsLost: number };
  "duty.done": { readonly duty: string; readonly count: number };
  "duty.failed": { readonly duty: string; readonly error: unknown };
  "store.unavailable": { readonly error: unknown };
  /** A try to reach the payload store failed; others may follow (PAY-10). */
  "payloads.unavailable": { readonly driver: string; readonly error: unknown };
}

export type EventName = keyof EventMap;

export interface EventSink {
  emit<Name extends EventName>(name: Name, event: EventMap[Name]): void;
}

export interface EventSource extends EventSink {
  /** Returns the function that ends the subscription. What a subscriber throws is dropped. */
  on<Name extends EventName>(name: Name, subscriber: (event: EventMap[Name]) => void): () => void;
}

type Subscribers = { readonly [Name in EventName]: Set<(event: EventMap[Name]) => void> };

export function createEvents(): EventSource {
  const subscribers: Subscribers = {
    "run.triggered": new Set(),
    "run.moved": new Set(),
    "session.opened": new Set(),
    "session.closed": new Set(),
    "session.lapsed": new Set(),
    "duty.done": new Set(),
    "duty.failed": new Set(),
    "store.unavailable": new Set(),
    "payloads.unavailable": new Set(),
  };
  return {
    emit<Name extends EventName>(name: Name, event: EventMap[Name]) {
      subscribers[name].forEach((subscriber) => {
        try {
          subscriber(event);
        } catch {
          // Telemetry must not break a run; a subscriber that throws has nowhere better to say it.
        }
      });
    },
    on<Name extends EventName>(name: Name, subscriber: (event: EventMap[Name]) => void) {
      const set: Subscribers[Name] = subscribers[name];
      set.add(subscriber);
      return () => set.delete(subscriber);
    },
  };
}
