/**
 * What users hang around an attempt (HOK-1…8, RTY-8), in calling order. Hooks of the worker configuration come before a task's own, except
 * that a task's own `catchError` is asked first.
 */
import type { TaskRunContext } from "../run-context.js";
import { AttemptError } from "./attempt-failure.js";
import type { CatchErrorInput } from "./retry-decision.js";

/** What every hook is told (HOK-8). */
export interface HookParams {
  readonly payload: unknown;
  readonly ctx: TaskRunContext;
  readonly signal: AbortSignal;
  /** Id of the task. */
  readonly task: string;
}

export type AttemptResult =
  | { readonly ok: true; readonly data: unknown }
  | { readonly ok: false; readonly error: unknown };

/** The hooks of one place: a task, or the worker configuration. */
export interface HookSet {
  /** Before the first attempt; a throw fails the attempt. */
  readonly onStart?: (params: HookParams) => unknown;
  /** Before every attempt; a throw fails the attempt. */
  readonly onStartAttempt?: (params: HookParams) => unknown;
  /** After the run function returned. */
  readonly onSuccess?: (params: HookParams & { readonly output: unknown }) => unknown;
  /** Once, after the last attempt failed (RTY-15). */
  readonly onFailure?: (params: HookParams & { readonly error: unknown }) => unknown;
  /** Once, after `onSuccess` or `onFailure`. */
  readonly onComplete?: (params: HookParams & { readonly result: AttemptResult }) => unknown;
  /** When the run is cancelled while its code is active (CAN-3). */
  readonly onCancel?: (params: HookParams & { readonly runPromise: Promise<unknown> }) => unknown;
  /** After every attempt that was not cancelled or timed out. */
  readonly cleanup?: (params: HookParams) => unknown;
  /** Around `onStart`, `onStartAttempt` and the run function; has to call `next()`. */
  readonly middleware?: (params: HookParams & { readonly next: () => Promise<unknown> }) => unknown;
  /** Asked after each failed attempt whether and when there is another. */
  readonly catchError?: (params: HookParams & CatchErrorInput) => unknown;
  /** Alias of `catchError`, which wins. */
  readonly handleError?: (params: HookParams & CatchErrorInput) => unknown;
}

/** The functions of one kind, in calling order; most tasks have none. */
export interface HookPlan {
  readonly onStart: readonly NonNullable<HookSet["onStart"]>[];
  readonly onStartAttempt: readonly NonNullable<HookSet["onStartAttempt"]>[];
  readonly onSuccess: readonly NonNullable<HookSet["onSuccess"]>[];
  readonly onFailure: readonly NonNullable<HookSet["onFailure"]>[];
  readonly onComplete: readonly NonNullable<HookSet["onComplete"]>[];
  readonly onCancel: readonly NonNullable<HookSet["onCancel"]>[];
  readonly cleanup: readonly NonNullable<HookSet["cleanup"]>[];
  readonly middleware: readonly NonNullable<HookSet["middleware"]>[];
  readonly catchError: readonly NonNullable<HookSet["catchError"]>[];
}

/** @param global of the worker configuration, in order of registration. */
export function hookPlan(own: HookSet, global: readonly HookSet[]): HookPlan {
  const sets = [...global, own];
  const pick = <K extends keyof HookSet>(name: K): readonly NonNullable<HookSet[K]>[] =>
    sets.flatMap((set) => set[name] ?? []);
  return {
    onStart: pick("onStart"),
    onStartAttempt: pick("onStartAttempt"),
    onSuccess: pick("onSuccess"),
    onFailure: pick("onFailure"),
    onComplete: pick("onComplete"),
    onCancel: pick("onCancel"),
    cleanup: pick("cleanup"),
    middleware: pick("middleware"),
    catchError: [own, ...global].flatMap((set) => set.catchError ?? set.handleError ?? []),
  };
}

/** Calls hooks one after the other; a throw is logged and changes nothing (HOK-3). */
export async function callHooks<P>(
  hooks: readonly ((params: P) => unknown)[],
  params: P,
  onThrow: (error: unknown) => void,
): Promise<void> {
  for (const hook of hooks) {
    try {
      await hook(params);
    } catch (error) {
      onThrow(error);
    }
  }
}

/**
 * Runs `inner` inside the middleware. The outcome is that of `inner`, whatever the middleware does after it has called `next()`.
 * @throws AttemptError TASK_MIDDLEWARE_ERROR if a middleware throws before `next()` or never calls it.
 * @param onThrow told what a middleware threw afterwards.
 */
export async function runInside(
  layers: HookPlan["middleware"],
  params: HookParams,
  inner: () => Promise<unknown>,
  onThrow: (error: unknown) => void,
): Promise<unknown> {
  let innerRun: Promise<unknown> | undefined;
  const enter = async (index: number): Promise<unknown> => {
    const layer = layers[index];
    if (layer === undefined) {
      innerRun ??= inner();
      return innerRun;
    }
    let deeper: Promise<unknown> | undefined;
    const next = (): Promise<unknown> => {
      deeper ??= enter(index + 1);
      return deeper;
    };
    let thrown: { readonly error: unknown } | undefined;
    try {
      await layer({ ...params, next });
    } catch (error) {
      thrown = { error };
    }
    if (deeper === undefined) {
      const why = thrown === undefined ? "it never called next()" : textOf(thrown.error);
      throw new AttemptError("TASK_MIDDLEWARE_ERROR", `Middleware failed: ${why}`, { cause: thrown?.error });
    }
    const result = await settle(deeper);
    if (thrown !== undefined && (result.ok || result.error !== thrown.error)) onThrow(thrown.error);
    if (result.ok) return result.data;
    throw result.error;
  };
  return enter(0);
}

async function settle(promise: Promise<unknown>): Promise<AttemptResult> {
  try {
    return { ok: true, data: await promise };
  } catch (error) {
    return { ok: false, error };
  }
}

function textOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
