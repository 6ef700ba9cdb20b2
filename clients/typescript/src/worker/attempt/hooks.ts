/**
 * What users hang around an attempt (HOK-1…8, RTY-8), in calling order. Hooks of the worker configuration come before a task's own, except
 * that a task's own `catchError` is asked first.
 */
import type { AnyTaskHooks, CompleteResult, HookParams, HookSet } from "../../task-hooks.js";
import { AttemptError } from "./attempt-failure.js";

/** What a task or a worker configuration gives, whatever it returns. */
type AnyHookSet = AnyTaskHooks & Pick<HookSet, "onCancel" | "catchError" | "handleError">;

/** The functions of one kind, in calling order; most tasks have none. */
export interface HookPlan {
  readonly onStart: readonly NonNullable<AnyHookSet["onStart"]>[];
  readonly onStartAttempt: readonly NonNullable<AnyHookSet["onStartAttempt"]>[];
  readonly onSuccess: readonly NonNullable<AnyHookSet["onSuccess"]>[];
  readonly onFailure: readonly NonNullable<AnyHookSet["onFailure"]>[];
  readonly onComplete: readonly NonNullable<AnyHookSet["onComplete"]>[];
  readonly onCancel: readonly NonNullable<AnyHookSet["onCancel"]>[];
  readonly onWait: readonly NonNullable<AnyHookSet["onWait"]>[];
  readonly onResume: readonly NonNullable<AnyHookSet["onResume"]>[];
  readonly cleanup: readonly NonNullable<AnyHookSet["cleanup"]>[];
  readonly middleware: readonly NonNullable<AnyHookSet["middleware"]>[];
  readonly catchError: readonly NonNullable<AnyHookSet["catchError"]>[];
}

/** @param global of the process and of the worker configuration, in order of registration. */
export function hookPlan(own: AnyHookSet, global: readonly HookSet[]): HookPlan {
  const sets: readonly AnyHookSet[] = [...global, own];
  const pick = <K extends keyof AnyHookSet>(name: K): readonly NonNullable<AnyHookSet[K]>[] =>
    sets.flatMap((set) => set[name] ?? []);
  return {
    onStart: pick("onStart"),
    onStartAttempt: pick("onStartAttempt"),
    onSuccess: pick("onSuccess"),
    onFailure: pick("onFailure"),
    onComplete: pick("onComplete"),
    onCancel: pick("onCancel"),
    onWait: pick("onWait"),
    onResume: pick("onResume"),
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

async function settle(promise: Promise<unknown>): Promise<CompleteResult> {
  try {
    return { ok: true, data: await promise };
  } catch (error) {
    return { ok: false, error };
  }
}

function textOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
