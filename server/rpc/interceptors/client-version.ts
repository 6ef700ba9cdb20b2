/** WRK-3: SDKs name their protocol version in the header `hairtrigger-client`. */
import type { Interceptor } from "@connectrpc/connect";
import { callScopeKey } from "../call-scope.js";
import { requireServedHeader } from "../protocol-version.js";

export const clientVersion: Interceptor = (next) => (request) => {
  requireServedHeader(request.contextValues.get(callScopeKey).client);
  return next(request);
};
