/** What is known of a call before its handler runs; travels in Connect's context values. */
import type { IncomingHttpHeaders } from "node:http";
import { type ContextValues, createContextKey } from "@connectrpc/connect";
import type { Principal } from "../auth/principal.js";
import { invalidCredentials } from "../domain/error.js";

export interface CallScope {
  /** From `x-request-id`, or ours; in logs and in INTERNAL answers. */
  readonly requestId: string;
  /** The header `hairtrigger-client`, by which SDKs name the protocol they speak (WRK-3). */
  readonly client: string | undefined;
  /** Who calls; undefined for services that need no key. */
  readonly principal: Principal | undefined;
  /** Why the call is refused before its message is read (TRG-10: credentials come first). */
  readonly refusal: Error | undefined;
}

const NOBODY: CallScope = { requestId: "", client: undefined, principal: undefined, refusal: undefined };

export const callScopeKey = createContextKey<CallScope>(NOBODY, { description: "call scope" });

/** @throws AppError INVALID_CREDENTIALS if the call has no principal: a handler must never run for nobody. */
export function principalOf(context: { readonly values: ContextValues }): Principal {
  const { principal } = context.values.get(callScopeKey);
  if (principal === undefined) throw invalidCredentials();
  return principal;
}

export function clientOf(headers: IncomingHttpHeaders): string | undefined {
  return headers["hairtrigger-client"]?.toString();
}
