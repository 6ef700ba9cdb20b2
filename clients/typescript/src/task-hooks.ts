/** What can be hung around the attempts of a task (HOK-1…8). Hooks of the worker configuration are called before a task's own. */
import type { RetryOptions } from "./retry-options.js";
import type { TaskRunContext, WaitDescription } from "./task-context.js";

/** What every hook is told (HOK-8). */
export interface HookParams<TPayload = unknown> {
  readonly payload: TPayload;
  readonly ctx: TaskRunContext;
  readonly signal: AbortSignal;
  /** Id of the task. */
  readonly task: string;
}

/** How a run ended, for `onComplete` (HOK-4). */
export type CompleteResult<TOutput = unknown> =
  | { readonly ok: true; readonly data: TOutput }
  | { readonly ok: false; readonly error: unknown };

export interface TaskHooks<TPayload, TOutput> {
  /** Before the first attempt. A throw fails the attempt. */
  readonly onStart?: (params: HookParams<TPayload>) => void | Promise<void>;
  /** Before every attempt. A throw fails the attempt. */
  readonly onStartAttempt?: (params: HookParams<TPayload>) => void | Promise<void>;
  /** After the run function returned. A throw is logged and changes nothing, here and below. */
  readonly onSuccess?: (params: HookParams<TPayload> & { readonly output: TOutput }) => void | Promise<void>;
  /** Once, after the last attempt failed (RTY-15); not for cancelled or timed-out runs. */
  readonly onFailure?: (params: HookParams<TPayload> & { readonly error: unknown }) => void | Promise<void>;
  /** Once, after `onSuccess` or `onFailure`. */
  readonly onComplete?: (
    params: HookParams<TPayload> & { readonly result: CompleteResult<TOutput> },
  ) => void | Promise<void>;
  /** Before the run waits (WAI-5), however short; not where there is nothing to wait for. */
  readonly onWait?: (params: HookParams<TPayload> & { readonly wait: WaitDescription }) => void | Promise<void>;
  /** After a wait, before the code goes on. */
  readonly onResume?: (params: HookParams<TPayload> & { readonly wait: WaitDescription }) => void | Promise<void>;
  /** After every attempt, failed ones too; not after a cancel or a time-out. */
  readonly cleanup?: (params: HookParams<TPayload>) => void | Promise<void>;
  /** Around `onStart`, `onStartAttempt` and the run function. It has to call `next()`, which rejects with the attempt's error. */
  readonly middleware?: (
    params: HookParams<TPayload> & { readonly next: () => Promise<unknown> },
  ) => void | Promise<void>;
}

/** What `catchError` is told about the attempt that failed (RTY-8). */
export interface FailedAttempt {
  readonly error: unknown;
  /** The policy in force, every member set. */
  readonly retry: Required<RetryOptions>;
  /** When the next attempt would start; undefined on the last attempt. */
  readonly retryAt: Date | undefined;
  readonly retryDelayInMs: number | undefined;
}

/** Hooks for every run of a worker, or of a process (HOK-2). */
export interface HookSet extends TaskHooks<unknown, unknown> {
  /** When a run is cancelled while its code is active (CAN-3). */
  readonly onCancel?: (params: HookParams & { readonly runPromise: Promise<unknown> }) => unknown;
  /** Asked after each failed attempt, if the task's own had no answer, whether and when there is another (RTY-8). */
  readonly catchError?: (params: HookParams & FailedAttempt) => unknown;
  /** Alias of `catchError`, which wins. */
  readonly handleError?: (params: HookParams & FailedAttempt) => unknown;
}

/** The hooks of a task whose types are behind it. */
export interface AnyTaskHooks {
  onStart?(params: HookParams): unknown;
  onStartAttempt?(params: HookParams): unknown;
  onSuccess?(params: HookParams & { readonly output: unknown }): unknown;
  onFailure?(params: HookParams & { readonly error: unknown }): unknown;
  onComplete?(params: HookParams & { readonly result: CompleteResult }): unknown;
  onWait?(params: HookParams & { readonly wait: WaitDescription }): unknown;
  onResume?(params: HookParams & { readonly wait: WaitDescription }): unknown;
  cleanup?(params: HookParams): unknown;
  middleware?(params: HookParams & { readonly next: () => Promise<unknown> }): unknown;
}

/** Where payload and output lose their types: methods compare their parameters in both directions, and whoever calls has decoded what came. */
export function untypedHooks<TPayload, TOutput>(hooks: TaskHooks<TPayload, TOutput>): AnyTaskHooks {
  const { onStart, onStartAttempt, onSuccess, onFailure, onComplete, onWait, onResume, cleanup, middleware } = hooks;
  return { onStart, onStartAttempt, onSuccess, onFailure, onComplete, onWait, onResume, cleanup, middleware };
}
