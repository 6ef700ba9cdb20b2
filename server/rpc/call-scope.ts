/** What is known of a call before its handler runs; travels in Connect's context values. */
import type { IncomingHttpHeaders } from "node:http";
import { type ContextValues, createContextKey } from "@connectrpc/connect";
import { requireAdministrator } from "../auth/authorise.js";
import type { Caller, Principal } from "../auth/principal.js";
import { invalidCredentials, secretKeyRequired } from "../domain/error.js";

export interface CallScope {
  /** From `x-request-id`, or ours; in logs and in INTERNAL answers. */
  readonly requestId: string;
  /** The header `hairtrigger-client`, by which SDKs name the protocol they speak (WRK-3). */
  readonly client: string | undefined;
  /** Who calls; undefined for services that need no key. */
  readonly principal: Caller | undefined;
  /** Why the call is refused before its message is read (TRG-10: credentials come first). */
  readonly refusal: Error | undefined;
}

const NOBODY: CallScope = { requestId: "", client: undefined, principal: undefined, refusal: undefined };

export const callScopeKey = createContextKey<CallScope>(NOBODY, { description: "call scope" });

/** What handlers are given, as far as it matters here. */
interface HandlerCall {
  readonly values: ContextValues;
  readonly method: { readonly name: string };
}

/**
 * Who acts inside an environment.
 * @throws AppError INVALID_CREDENTIALS if the call has no principal: a handler must never run for nobody. SECRET_KEY_REQUIRED for the
 * administrator key, which is for keys alone (AUT-9).
 */
export function principalOf(context: HandlerCall): Principal {
  const caller = callerOf(context);
  if (caller.kind === "administrator") throw secretKeyRequired(context.method.name);
  return caller;
}

/** @throws AppError INVALID_CREDENTIALS; SCOPE_MISSING for everybody but the administrator. */
export function assertAdministrator(context: HandlerCall): void {
  requireAdministrator(callerOf(context), context.method.name);
}

function callerOf({ values }: HandlerCall): Caller {
  const { principal } = values.get(callScopeKey);
  if (principal === undefined) throw invalidCredentials();
  return principal;
}

export function clientOf(headers: IncomingHttpHeaders): string | undefined {
  return headers["hairtrigger-client"]?.toString();
}
