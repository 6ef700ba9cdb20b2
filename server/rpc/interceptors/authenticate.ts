/**
 * Lets a call through if its credentials were accepted where it came in, before its body was read (TRG-10). The guard is here, behind
 * every protocol, so that no way into a handler goes around it. A stream ends with its credential: a revoked key leaves nothing open (AUT-9).
 */
import type { DescService } from "@bufbuild/protobuf";
import type { Interceptor } from "@connectrpc/connect";
import type { Caller } from "../../auth/principal.js";
import { invalidCredentials } from "../../domain/error.js";
import { callScopeKey } from "../call-scope.js";

/** Calls back when the credential is no longer good. @returns ends it. */
export type HoldCredential = (caller: Caller, onRevoked: () => void) => () => void;

/** @param isOpen whether a service is served without a key. */
export function authenticate(isOpen: (service: DescService) => boolean, hold?: HoldCredential): Interceptor {
  return (next) => (request) => {
    const { principal, refusal } = request.contextValues.get(callScopeKey);
    if (refusal !== undefined) throw refusal;
    if (principal === undefined && !isOpen(request.service)) throw invalidCredentials();
    if (!request.stream || principal === undefined || hold === undefined) return next(request);
    return next(request).then((response) =>
      response.stream
        ? { ...response, message: whileHeld(response.message, (onRevoked) => hold(principal, onRevoked)) }
        : response,
    );
  };
}

async function* whileHeld<T>(
  messages: AsyncIterable<T>,
  hold: (onRevoked: () => void) => () => void,
): AsyncIterable<T> {
  let isOver = false;
  let end: (() => void) | undefined;
  const revoked = new Promise<"revoked">((resolve) => {
    end = hold(() => resolve("revoked"));
  });
  const source = messages[Symbol.asyncIterator]();
  try {
    for (;;) {
      const result = await Promise.race([source.next(), revoked]);
      if (result === "revoked") throw invalidCredentials();
      if (result.done === true) {
        isOver = true;
        return;
      }
      yield result.value;
    }
  } finally {
    end?.();
    // Not waited for: it may stand at something that ends with the call.
    if (!isOver) void source.return?.().catch(() => undefined);
  }
}
