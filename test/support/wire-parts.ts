/** A real port with the real routes and small handlers of the real contract: for promises about the wire alone, with answers that a test chooses. */
import type { ExecutionContext } from "ava";
import { invalidCredentials } from "../../server/domain/error.js";
import { defaultLimits } from "../../server/domain/limits.js";
import { systemClock } from "../../server/engine/clock.js";
import { systemEntropy } from "../../server/engine/entropy.js";
import { prepareValidation } from "../../server/rpc/interceptors/validate.js";
import { type Listener, listen, type RequestListener } from "../../server/rpc/listen.js";
import type { CallRecord, Fault } from "../../server/rpc/log.js";
import { createReadiness } from "../../server/rpc/readiness.js";
import { createListeners, type Routes } from "../../server/rpc/routes.js";

// What tests of the wire need of the inside.
export { storeUnavailable } from "../../server/domain/error.js";
export { encodeGrpcMessage } from "../../server/rpc/grpc-message.js";

export const WIRE_KEY = "tr_dev_0123456789abcdef";

export interface Wire {
  readonly url: string;
  readonly listener: Listener;
  readonly faults: readonly Fault[];
  readonly calls: readonly CallRecord[];
  /** Requests that did not take the lean path, by URL. */
  readonly requests: readonly string[];
}

/** Listens with these services until the test ends. @param change what differs from the defaults of a test. */
export async function startWire(
  t: ExecutionContext,
  register: Routes["register"],
  change: Partial<Routes> & { readonly tls?: { readonly cert: string; readonly key: string } } = {},
): Promise<Wire> {
  const faults: Fault[] = [];
  const calls: CallRecord[] = [];
  const requests: string[] = [];
  const readiness = createReadiness(() => Promise.resolve({ ok: true }));
  readiness.setAccepting(true);
  const { tls, ...routes } = change;
  const listeners = createListeners({
    register,
    openServices: new Set(),
    selfValidated: new Set(),
    authenticate: (header) =>
      header === `Bearer ${WIRE_KEY}`
        ? Promise.resolve({ kind: "secret", environment: "dev", keyName: "0123456789abcdef" })
        : Promise.reject(invalidCredentials()),
    readiness,
    limits: defaultLimits,
    allowedOrigins: "*",
    hints: undefined,
    log: { callEnded: (call) => calls.push(call), fault: (fault) => faults.push(fault) },
    clock: systemClock(),
    entropy: systemEntropy(),
    ...routes,
  });
  const onRequest: RequestListener = (request, response) => {
    requests.push(request.url ?? "");
    listeners.onRequest(request, response);
  };
  await prepareValidation();
  const listener = await listen({ host: "127.0.0.1", port: 0, tls, ...listeners, onRequest });
  t.teardown(async () => {
    const drained = listener.drain();
    listener.destroy();
    await drained;
  });
  const scheme = tls === undefined ? "http" : "https";
  return { url: `${scheme}://127.0.0.1:${listener.port}`, listener, faults, calls, requests };
}
