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
  /** Address of this server as the caller knows it: `http://host:port`. */
  readonly base: string;
  /** Who calls; undefined for services that need no key. */
  readonly principal: Caller | undefined;
  /** Why the call is refused before its message is read (TRG-10: credentials come first). */
  readonly refusal: Error | undefined;
}

const NOBODY: CallScope = { requestId: "", client: undefined, base: "", principal: undefined, refusal: undefined };

export const callScopeKey = createContextKey<CallScope>(NOBODY, { description: "call scope" });

/** Address of this server as the caller knows it, for URLs in answers. */
export function baseOf(context: { readonly values: ContextValues }): string {
  return context.values.get(callScopeKey).base;
}

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

/** What a host in a header may look like; it goes back to the caller alone, but into a URL. */
const HOST = /^[\w.-]+(?::\d{1,5})?$|^\[[0-9a-fA-F:.]+\](?::\d{1,5})?$/;

/** By which name the caller reached this server; where a proxy changes that, the operator says it (HAIRTRIGGER_PUBLIC_URL). */
export function baseUrlOf(scheme: "http" | "https" = "http", headers: IncomingHttpHeaders = {}): string {
  const named = headers[":authority"] ?? headers.host;
  // HTTP/1.0 names none, and what is no host is nobody's way here.
  return `${scheme}://${typeof named === "string" && HOST.test(named) ? named : "localhost"}`;
}
