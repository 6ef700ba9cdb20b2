/** Statuses and other closed words of a run: the domain's names ⇄ the wire's enums. */
import {
  TriggerFunction as WireFunction,
  AttemptOutcome as WireOutcome,
  RunStatus as WireStatus,
} from "#proto/hairtrigger/v1/run_pb.js";
import { IdempotencyKeyScope as WireScope } from "#proto/hairtrigger/v1/trigger_options_pb.js";
import type { AttemptOutcome, KeyScope, TriggerFunction } from "../../domain/run.js";
import { RUN_STATUSES, type RunStatus } from "../../domain/run-status.js";

const STATUSES = {
  DELAYED: WireStatus.DELAYED,
  QUEUED: WireStatus.QUEUED,
  EXECUTING: WireStatus.EXECUTING,
  WAITING: WireStatus.WAITING,
  COMPLETED: WireStatus.COMPLETED,
  CANCELED: WireStatus.CANCELED,
  FAILED: WireStatus.FAILED,
  CRASHED: WireStatus.CRASHED,
  SYSTEM_FAILURE: WireStatus.SYSTEM_FAILURE,
  EXPIRED: WireStatus.EXPIRED,
  TIMED_OUT: WireStatus.TIMED_OUT,
} as const satisfies Readonly<Record<RunStatus, WireStatus>>;

export function wireStatus(status: RunStatus): WireStatus {
  return STATUSES[status];
}

/** Undefined for UNSPECIFIED and for numbers that no status has. */
export function statusOfWire(status: WireStatus): RunStatus | undefined {
  return RUN_STATUSES.find((name) => STATUSES[name] === status);
}

/** As readers see it where it is no known status: the name, else the number. */
export function wireStatusText(status: number): string {
  return WireStatus[status] ?? String(status);
}

const FUNCTIONS = {
  trigger: WireFunction.TRIGGER,
  triggerAndWait: WireFunction.TRIGGER_AND_WAIT,
  batchTrigger: WireFunction.BATCH_TRIGGER,
  batchTriggerAndWait: WireFunction.BATCH_TRIGGER_AND_WAIT,
} as const satisfies Readonly<Record<TriggerFunction, WireFunction>>;

export function wireFunction(name: TriggerFunction): WireFunction {
  return FUNCTIONS[name];
}

/** UNSPECIFIED is read as `trigger`; the structural rules have refused unknown numbers. */
export function functionOfWire(value: WireFunction): TriggerFunction {
  switch (value) {
    case WireFunction.TRIGGER_AND_WAIT:
      return "triggerAndWait";
    case WireFunction.BATCH_TRIGGER:
      return "batchTrigger";
    case WireFunction.BATCH_TRIGGER_AND_WAIT:
      return "batchTriggerAndWait";
    default:
      return "trigger";
  }
}

const SCOPES = {
  run: WireScope.RUN,
  attempt: WireScope.ATTEMPT,
  global: WireScope.GLOBAL,
} as const satisfies Readonly<Record<KeyScope, WireScope>>;

export function wireScope(scope: KeyScope | undefined): WireScope {
  return scope === undefined ? WireScope.UNSPECIFIED : SCOPES[scope];
}

/** Undefined: not given. */
export function scopeOfWire(scope: WireScope): KeyScope | undefined {
  switch (scope) {
    case WireScope.RUN:
      return "run";
    case WireScope.ATTEMPT:
      return "attempt";
    case WireScope.GLOBAL:
      return "global";
    default:
      return undefined;
  }
}

const OUTCOMES = {
  COMPLETED: WireOutcome.COMPLETED,
  FAILED: WireOutcome.FAILED,
  CRASHED: WireOutcome.CRASHED,
  TIMED_OUT: WireOutcome.TIMED_OUT,
  CANCELED: WireOutcome.CANCELED,
  INTERRUPTED: WireOutcome.INTERRUPTED,
} as const satisfies Readonly<Record<AttemptOutcome, WireOutcome>>;

export function wireOutcome(outcome: AttemptOutcome): WireOutcome {
  return OUTCOMES[outcome];
}
