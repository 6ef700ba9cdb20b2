/**
 * Lets a call through if its credentials were accepted where it came in, before its body was read (TRG-10). The guard is here, behind
 * every protocol, so that no way into a handler goes around it.
 */
import type { DescService } from "@bufbuild/protobuf";
import type { Interceptor } from "@connectrpc/connect";
import { invalidCredentials } from "../../domain/error.js";
import { callScopeKey } from "../call-scope.js";

/** @param isOpen whether a service is served without a key. */
export function authenticate(isOpen: (service: DescService) => boolean): Interceptor {
  return (next) => (request) => {
    const { principal, refusal } = request.contextValues.get(callScopeKey);
    if (refusal !== undefined) throw refusal;
    if (principal === undefined && !isOpen(request.service)) throw invalidCredentials();
    return next(request);
  };
}
