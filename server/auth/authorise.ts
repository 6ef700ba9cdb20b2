/**
 * Who may call what (AUT-5). A secret key may do everything in its environment; a public token what its scopes say, and a missing scope is
 * told whether or not the object exists. Without I/O: what has to be read first is said by the answer.
 */
import { scopeMissing, secretKeyRequired } from "../domain/error.js";
import type { Principal, SecretPrincipal } from "./principal.js";
import { isGranted, type Scope } from "./scopes.js";

/** @throws AppError SECRET_KEY_REQUIRED. @param verb name of the method, for the refusal. */
export function requireSecretKey(principal: Principal, verb: string): SecretPrincipal {
  if (principal.kind !== "secret") throw secretKeyRequired(verb);
  return principal;
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
      (isGranted(scopes, { action: "read", resource: "tasks", id: run.taskId }) ||
        run.tags.some((id) => isGranted(scopes, { action: "read", resource: "tags", id })) ||
        (run.batchId !== undefined && isGranted(scopes, { action: "read", resource: "batch", id: run.batchId }))));
  if (!isReadable) throw scopeMissing(`read:runs:${runId}`);
}

/** A token for one run cannot list. @throws AppError SCOPE_MISSING. */
export function requireList(principal: Principal): void {
  if (principal.kind === "secret" || isGranted(principal.scopes, { action: "read", resource: "runs" })) return;
  throw scopeMissing("read:runs");
}

/** @throws AppError SCOPE_MISSING. */
export function requireCancel(principal: Principal, runId: string): void {
  if (principal.kind === "secret") return;
  if (isGranted(principal.scopes, { action: "write", resource: "runs", id: runId })) return;
  throw scopeMissing(`write:runs:${runId}`);
}

function readsByKind({ action, resource }: Scope): boolean {
  return action === "read" && resource !== "runs";
}
