/**
 * Who may call what (AUT-5). A secret key may do everything in its environment; a public token what its scopes say, and a missing scope is
 * told whether or not the object exists. Without I/O: what has to be read first is said by the answer.
 */
import { administratorRequired, scopeMissing, secretKeyRequired } from "../domain/error.js";
import type { Caller, Principal, SecretPrincipal } from "./principal.js";
import { isGranted, type Scope } from "./scopes.js";

/** @throws AppError SECRET_KEY_REQUIRED. @param verb name of the method, for the refusal. */
export function requireSecretKey(principal: Principal, verb: string): SecretPrincipal {
  if (principal.kind !== "secret") throw secretKeyRequired(verb);
  return principal;
}

/** @throws AppError SCOPE_MISSING. @param verb name of the method, for the refusal. */
export function requireAdministrator(caller: Caller, verb: string): void {
  if (caller.kind !== "administrator") throw administratorRequired(verb);
}

/** What a token's scopes may be about, of one run. */
export interface ReadableRun {
  readonly id: string;
  readonly taskId: string;
  readonly tags: readonly string[];
  readonly batchId: string | undefined;
}

/** `granted`: whatever the run is. `dependsOnRun`: ask {@link requireRead} once it is read; an unknown run is then no reader's. */
export type RunReadGrant = "granted" | "dependsOnRun";

/** @throws AppError SCOPE_MISSING if no scope could allow it. */
export function grantRead(principal: Principal, runId: string): RunReadGrant {
  if (principal.kind === "secret" || isGranted(principal.scopes, { action: "read", resource: "runs", id: runId })) {
    return "granted";
  }
  if (principal.scopes.some(readsByKind)) return "dependsOnRun";
  throw scopeMissing(`read:runs:${runId}`);
}

/** @throws AppError SCOPE_MISSING; also for a run that does not exist. */
export function requireRead(principal: Principal, runId: string, run: ReadableRun | undefined): void {
  if (principal.kind === "secret") return;
  const { scopes } = principal;
  const isReadable =
    isGranted(scopes, { action: "read", resource: "runs", id: runId }) ||
    (run !== undefined &&
      (mayRead(principal, run) || run.tags.some((id) => isGranted(scopes, { action: "read", resource: "tags", id }))));
  if (!isReadable) throw scopeMissing(`read:runs:${runId}`);
}

/** Which runs a list is about; as in the filters of lists and subscriptions. */
export interface ListedRuns {
  readonly taskIds?: readonly string[];
  /** Runs with any of them. */
  readonly tags?: readonly string[];
  readonly batchId?: string;
}

/**
 * A token for one run cannot list; one for tasks, tags or a batch lists their runs, where the filter names no others.
 * @throws AppError SCOPE_MISSING.
 */
export function requireList(principal: Principal, { taskIds = [], tags = [], batchId }: ListedRuns): void {
  if (principal.kind === "secret" || isGranted(principal.scopes, { action: "read", resource: "runs" })) return;
  const areAll = (resource: "tasks" | "tags", ids: readonly string[]): boolean =>
    ids.length > 0 && ids.every((id) => isGranted(principal.scopes, { action: "read", resource, id }));
  if (areAll("tasks", taskIds) || areAll("tags", tags)) return;
  if (batchId !== undefined && isGranted(principal.scopes, { action: "read", resource: "batch", id: batchId })) return;
  throw scopeMissing("read:runs");
}

/**
 * Runs that have all of these tags are among those of each, so a token for one of them may watch.
 * @throws AppError SCOPE_MISSING.
 */
export function requireWatch(principal: Principal, { tags = [], batchId }: Omit<ListedRuns, "taskIds">): void {
  if (principal.kind === "secret") return;
  const readable = tags.find((id) => isGranted(principal.scopes, { action: "read", resource: "tags", id }));
  requireList(principal, { tags: readable === undefined ? tags : [readable], batchId });
}

/** A token that could list nothing is refused before the request is looked at. @throws AppError SCOPE_MISSING. */
export function requireAnyList(principal: Principal): void {
  if (principal.kind === "secret" || isGranted(principal.scopes, { action: "read", resource: "runs" })) return;
  if (!principal.scopes.some(readsByKind)) throw scopeMissing("read:runs");
}

/** Whether a run may be shown beside one that the principal reads. */
export function mayRead(principal: Principal, run: Omit<ReadableRun, "tags">): boolean {
  if (principal.kind === "secret") return true;
  const { scopes } = principal;
  return (
    isGranted(scopes, { action: "read", resource: "runs", id: run.id }) ||
    isGranted(scopes, { action: "read", resource: "tasks", id: run.taskId }) ||
    (run.batchId !== undefined && isGranted(scopes, { action: "read", resource: "batch", id: run.batchId }))
  );
}

/** A batch and its runs (TRG-3). @throws AppError SCOPE_MISSING. */
export function requireReadBatch(principal: Principal, batchId: string): void {
  if (principal.kind === "secret") return;
  const { scopes } = principal;
  const isReadable =
    isGranted(scopes, { action: "read", resource: "batch", id: batchId }) ||
    isGranted(scopes, { action: "read", resource: "runs" });
  if (!isReadable) throw scopeMissing(`read:batch:${batchId}`);
}

/** @throws AppError SCOPE_MISSING. */
export function requireCancel(principal: Principal, runId: string): void {
  if (principal.kind === "secret") return;
  if (isGranted(principal.scopes, { action: "write", resource: "runs", id: runId })) return;
  throw scopeMissing(`write:runs:${runId}`);
}

/** WAI-12. @throws AppError SCOPE_MISSING, whether or not there is such a token. */
export function requireComplete(principal: Principal, tokenId: string): void {
  if (principal.kind === "secret") return;
  if (isGranted(principal.scopes, { action: "write", resource: "waitpoints", id: tokenId })) return;
  throw scopeMissing(`write:waitpoints:${tokenId}`);
}

/** Actions of tokens that trigger; each is a scope of its own. */
export type TriggerAction = "trigger" | "batchTrigger";

/** @throws AppError SCOPE_MISSING, whether or not anything ever registered the task. */
export function requireTrigger(principal: Principal, action: TriggerAction, taskId: string): void {
  if (principal.kind === "secret" || isGranted(principal.scopes, { action, resource: "tasks", id: taskId })) return;
  throw scopeMissing(`${action}:tasks:${taskId}`);
}

/** A token for nothing of the kind is refused before the request is looked at. @throws AppError SCOPE_MISSING. */
export function requireAnyTrigger(principal: Principal, actionWanted: TriggerAction): void {
  if (principal.kind === "secret" || principal.scopes.some(({ action }) => action === actionWanted)) return;
  throw scopeMissing(`${actionWanted}:tasks`);
}

function readsByKind({ action, resource }: Scope): boolean {
  return action === "read" && resource !== "runs";
}
