/** Makes idempotency keys, and frees them (section 8). */
import { platform } from "#platform";
import type { ApiPromise } from "./api-promise.js";
import { call } from "./call.js";
import { systemClock } from "./clock.js";
import { badRequest } from "./errors.js";
import { type IdempotencyKey, type IdempotencyKeyScope, keyMaterial, newIdempotencyKey } from "./idempotency-key.js";
import { newRequestId } from "./request-id.js";
import type { RequestOptions } from "./request-options.js";
import { currentRun } from "./run-context.js";
import type { TaskRunContext } from "./task-context.js";

/** Code points of material (IDM-1). */
const MATERIAL_MAX = 2_048;

const FINISHED_HASH = /^[0-9a-f]{64}$/;

/** What a key is hashed together with: nothing, the run, or the run and its attempt (IDM-2). */
type Within = readonly [] | readonly [runId: string] | readonly [runId: string, attempt: number];

/** A key as requests carry it. */
export interface WireKey {
  /** A finished hash, or material of global scope. */
  readonly key: string;
  /** As the user wrote it; undefined: the key itself. */
  readonly text: string | undefined;
  /** Undefined: global for material, unknown for a bare hash. */
  readonly scope: IdempotencyKeyScope | undefined;
}

export interface CreateKeyOptions {
  /**
   * What the key is unique within: `run` (default) the run that triggers, over all its attempts; `attempt` one attempt of it; `global`
   * nothing. Outside a task every scope is `global`.
   */
  readonly scope?: IdempotencyKeyScope;
}

/**
 * Makes a key of a string, or of an array whose parts stay apart: `["a", "b"]`, `"a-b"` and `["a-b"]` are three keys. Makes no request.
 * An empty string or array makes an empty key, which is no key.
 * @throws BadRequestError INVALID_IDEMPOTENCY_KEY above 2,048 characters.
 */
async function create(material: string | readonly string[], options: CreateKeyOptions = {}): Promise<IdempotencyKey> {
  const run = currentRun();
  const scope = run === undefined ? "global" : (options.scope ?? "run");
  return createWithin(material, scope, run === undefined ? [] : within(scope, run.ctx.run.id, run.ctx.attempt.number));
}

function within(scope: IdempotencyKeyScope, runId: string, attempt: number): Within {
  switch (scope) {
    case "global":
      return [];
    case "run":
      return [runId];
    case "attempt":
      return [runId, attempt];
  }
}

async function createWithin(
  material: string | readonly string[],
  scope: IdempotencyKeyScope,
  around: Within,
): Promise<IdempotencyKey> {
  const text = typeof material === "string" ? material : material.join("-");
  if (material.length === 0) return newIdempotencyKey("", { text: "", scope });
  checkLength(material);
  const hash = await platform.sha256Hex(JSON.stringify([material, ...around]));
  return newIdempotencyKey(hash, { text, scope });
}

function checkLength(material: string | readonly string[]): void {
  let length = 0;
  for (const part of typeof material === "string" ? [material] : material) {
    if (typeof part !== "string") throw new TypeError(`An idempotency key is made of strings, got ${typeof part}`);
    for (const _ of part) length += 1;
  }
  if (length <= MATERIAL_MAX) return;
  throw badRequest("INVALID_IDEMPOTENCY_KEY", `idempotencyKey must be ${MATERIAL_MAX} characters or less`, {
    got: String(length),
    allowed: String(MATERIAL_MAX),
  });
}

/** The key of a trigger as it travels; undefined for none (IDM-5 to IDM-8). */
export async function wireKey(
  option: string | readonly string[] | IdempotencyKey | undefined | null,
  run: { readonly ctx: TaskRunContext } | undefined,
): Promise<WireKey | undefined> {
  if (option === undefined || option === null) return undefined;
  if (typeof option === "string" && (run === undefined || FINISHED_HASH.test(option))) {
    // The server hashes material of global scope itself, and judges its length.
    return option === "" ? undefined : { key: option, text: undefined, scope: undefined };
  }
  return createdWireKey(typeof option === "string" || isParts(option) ? await create(option) : option);
}

function isParts(option: readonly string[] | IdempotencyKey): option is readonly string[] {
  return Array.isArray(option);
}

function createdWireKey(key: IdempotencyKey): WireKey | undefined {
  const material = keyMaterial(key);
  if (material === undefined) {
    throw new TypeError("idempotencyKey must be a string, an array of strings, or made by idempotencyKeys.create()");
  }
  const hash = key.toString();
  return hash === "" ? undefined : { key: hash, text: material.text, scope: material.scope };
}

export interface ResetKeyOptions extends CreateKeyOptions {
  /** The run inside which the key was made. Default inside a task: this run. */
  readonly parentRunId?: string;
  /** Its attempt. Default inside a task: this attempt. */
  readonly attemptNumber?: number;
}

/**
 * Takes a key away from the run that holds it, which is otherwise unaffected; the next trigger with the key makes a new run.
 * @param key a created key, a finished hash, or raw material with its scope.
 * @returns the run that held the key.
 * @throws Error without a request, if outside a task the scope needs `parentRunId` or `attemptNumber` and it is missing (IDM-29).
 * @throws NotFoundError IDEMPOTENCY_KEY_NOT_FOUND.
 */
function reset(
  taskIdentifier: string,
  key: string | readonly string[] | IdempotencyKey,
  options: ResetKeyOptions = {},
  requestOptions?: RequestOptions,
): ApiPromise<{ readonly id: string }> {
  return call(
    requestOptions,
    async () => ({
      taskId: taskIdentifier,
      idempotencyKey: await resetHash(key, options),
      requestId: newRequestId(systemClock),
    }),
    async ({ runs }, request, callOptions) => ({ id: (await runs.resetIdempotencyKey(request, callOptions)).runId }),
  );
}

async function resetHash(key: string | readonly string[] | IdempotencyKey, options: ResetKeyOptions): Promise<string> {
  if (typeof key === "string" ? FINISHED_HASH.test(key) : !isParts(key)) return key.toString();
  const run = currentRun();
  const scope = options.scope ?? (run === undefined ? "global" : "run");
  const around = resetWithin(scope, {
    parentRunId: options.parentRunId ?? run?.ctx.run.id,
    attemptNumber: options.attemptNumber ?? run?.ctx.attempt.number,
  });
  const made = await createWithin(typeof key === "string" || isParts(key) ? key : key.toString(), scope, around);
  return made.toString();
}

function resetWithin(
  scope: IdempotencyKeyScope,
  given: Pick<ResetKeyOptions, "parentRunId" | "attemptNumber">,
): Within {
  const { parentRunId, attemptNumber } = given;
  if (scope === "global") return [];
  if (parentRunId === undefined) throw missing(scope, "parentRunId");
  if (scope === "run") return [parentRunId];
  if (attemptNumber === undefined) throw missing(scope, "attemptNumber");
  return [parentRunId, attemptNumber];
}

function missing(scope: IdempotencyKeyScope, option: string): Error {
  return new Error(`idempotencyKeys.reset with scope "${scope}" needs ${option} outside of a task`);
}

/** Keys that name business actions: `create` makes one, `reset` frees one. */
export const idempotencyKeys = { create, reset } as const;
