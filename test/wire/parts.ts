/** A real port with the real routes and small handlers of the real contract, for promises about the wire alone. */

import { invalidCredentials } from "../../server/domain/error.js";
import { defaultLimits } from "../../server/domain/limits.js";
import { type Listener, listen } from "../../server/rpc/listen.js";
import type { CallRecord, Fault } from "../../server/rpc/log.js";
import { createReadiness } from "../../server/rpc/readiness.js";
import { createRequestListener, type Routes } from "../../server/rpc/routes.js";

export const KEY = "tr_dev_0123456789abcdef";

export interface WirePart {
  readonly url: string;
  readonly port: number;
  readonly listener: Listener;
  readonly faults: Fault[];
  readonly calls: CallRecord[];
  setReady(isReady: boolean): void;
}

/** Listens with these services. @param change what differs from the defaults of a test. */
export async function startWire(register: Routes["register"], change: Partial<Routes> = {}): Promise<WirePart> {
  const faults: Fault[] = [];
  const calls: CallRecord[] = [];
  const readiness = createReadiness(() => Promise.resolve({ ok: true }));
  readiness.setAccepting(true);
  const onRequest = createRequestListener({
    register,
    openServices: new Set([
      "grpc.health.v1.Health",
      "grpc.reflection.v1.ServerReflection",
      "grpc.reflection.v1alpha.ServerReflection",
    ]),
    selfValidated: new Set(),
    authenticate: (header) =>
      header === `Bearer ${KEY}`
        ? Promise.resolve({ kind: "secret", environment: "dev", keyName: "0123456789abcdef" })
        : Promise.reject(invalidCredentials()),
    readiness,
    limits: defaultLimits,
    allowedOrigins: "*",
    log: { callEnded: (call) => calls.push(call), fault: (fault) => faults.push(fault) },
    ...change,
  });
  const listener = await listen({ host: "127.0.0.1", port: 0, tls: undefined, onRequest });
  return {
    url: `http://127.0.0.1:${listener.port}`,
    port: listener.port,
    listener,
    faults,
    calls,
    setReady: (isReady) => readiness.setAccepting(isReady),
  };
}
