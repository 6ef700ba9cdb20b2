/** Outermost: whatever is thrown inside leaves with a code, a reason and details; what nobody foresaw leaves as INTERNAL and is logged whole. */
import type { Interceptor } from "@connectrpc/connect";
import { callScopeKey } from "../call-scope.js";
import { faultError, wireErrorOf } from "../error.js";
import type { RpcLog } from "../log.js";
import { methodPath } from "../method-path.js";

/** @param bytesMax the transport limit that calls through here are under (PAY-12). */
export function refuse(log: RpcLog, bytesMax: number): Interceptor {
  return (next) => async (request) => {
    const toWire = (thrown: unknown): Error => {
      const error = wireErrorOf(thrown, bytesMax);
      if (error !== undefined) return error;
      const { requestId } = request.contextValues.get(callScopeKey);
      log.fault({ requestId, method: methodPath(request.method), error: thrown });
      return faultError(requestId);
    };
    try {
      const response = await next(request);
      return response.stream ? { ...response, message: guarded(response.message, toWire) } : response;
    } catch (thrown) {
      throw toWire(thrown);
    }
  };
}

async function* guarded<T>(messages: AsyncIterable<T>, toWire: (thrown: unknown) => Error): AsyncIterable<T> {
  try {
    yield* messages;
  } catch (thrown) {
    throw toWire(thrown);
  }
}
