/**
 * Serving: the port and all that answers on it. Stopping: not ready any more → no new connections, GOAWAY → streams end with a good-bye,
 * unary calls finish → what is left after the grace period is cut.
 */
import type { Authentication } from "../auth/authenticate.js";
import type { Keys } from "../auth/keys.js";
import type { Limits } from "../domain/limits.js";
import type { Clock, Timer } from "../engine/clock.js";
import type { Engine } from "../engine/engine.js";
import type { Entropy } from "../engine/entropy.js";
import type { Payloads } from "../payloads/payloads.js";
import type { HintReceiver } from "../signals/signals.js";
import type { AllowedOrigins } from "./cors.js";
import type { Door } from "./door.js";
import { prepareValidation } from "./interceptors/validate.js";
import { type Listener, listen } from "./listen.js";
import type { RpcLog } from "./log.js";
import { createPageTokens } from "./page-token.js";
import { createPayloadUrls } from "./payload-urls.js";
import { createReadiness, type ReadinessResult } from "./readiness.js";
import { createListeners } from "./routes.js";
import { DISCOVERY_SERVICES, registerServices, SELF_VALIDATED, type ServiceDeps } from "./services.js";
import { createTokenUrls } from "./token-url.js";

export interface ServingDeps {
  readonly engine: Engine;
  readonly authentication: Authentication;
  readonly keys: Keys;
  readonly clock: Clock;
  readonly entropy: Entropy;
  readonly limits: Limits;
  /** Takes hints of other servers; default: there are none. */
  readonly hints?: HintReceiver;
  /** Whether the store takes writes, for readiness. */
  readonly checkWritable: () => Promise<ReadinessResult>;
  readonly payloads: Payloads;
  /** Told of the payload store being away. */
  readonly onPayloadsUnavailable: (error: unknown) => void;
  /** Of the store, 32 bytes: signs page tokens and URLs. */
  readonly secret: Uint8Array;
  /** Port 0: any free one. */
  readonly listen: { readonly host: string; readonly port: number };
  /** The port, where it is listened on already. */
  readonly door?: Door;
  /** PEM texts; default: clear text. */
  readonly tls?: { readonly cert: string; readonly key: string };
  /** What clients and browsers reach, without a slash at the end, for URLs in answers. Default: where it listens. */
  readonly publicUrl?: string | undefined;
  /** Health and reflection answer without a key. */
  readonly isDiscoveryOpen: boolean;
  /** Default: every origin (AUT-7). */
  readonly allowedOrigins?: AllowedOrigins;
  /** Default: nothing is told. */
  readonly log?: RpcLog;
}

export interface Serving {
  /** The port that is listened on. @throws Error before `start`. */
  readonly port: number;
  /** Resolves when calls are answered. @throws the error of `listen`, such as EADDRINUSE. */
  start(): Promise<{ readonly url: string; readonly port: number }>;
  /** Idempotent. */
  stop(): Promise<void>;
}

/** How long calls and streams may take to end when the server stops; well below what orchestrators grant (30 s). */
const STOP_GRACE_MS = 10_000;

const SILENT: RpcLog = { callEnded: () => {}, fault: () => {} };

export function createServing(deps: ServingDeps): Serving {
  const readiness = createReadiness(deps.checkWritable);
  const stopping = new AbortController();
  const log = deps.log ?? SILENT;
  let listener: Listener | undefined;
  let stopped: Promise<void> | undefined;

  async function start(): Promise<{ readonly url: string; readonly port: number }> {
    const tokenUrls = createTokenUrls(deps.secret, () => deps.publicUrl ?? address());
    const { payloads, clock, secret, publicUrl } = deps;
    const urls = createPayloadUrls({ payloads, clock, secret, publicUrl });
    const services: ServiceDeps = {
      engine: deps.engine,
      authentication: deps.authentication,
      keys: deps.keys,
      clock: deps.clock,
      entropy: deps.entropy,
      limits: deps.limits,
      pageTokens: createPageTokens(deps.secret),
      tokenUrls,
      urls,
      driver: payloads.driver,
      readiness,
      stopping: stopping.signal,
    };
    const listeners = createListeners({
      register: (router) => registerServices(router, services),
      openServices: new Set(deps.isDiscoveryOpen ? DISCOVERY_SERVICES : []),
      selfValidated: SELF_VALIDATED,
      authenticate: (header) => deps.authentication.authenticate(header),
      holdCredential: (caller, onRevoked) =>
        caller.kind === "administrator" ? () => undefined : deps.keys.hold(caller.keyName, onRevoked),
      readiness,
      objects: { payloads, urls, onUnavailable: deps.onPayloadsUnavailable },
      scheme: deps.tls === undefined ? "http" : "https",
      hints: deps.hints,
      tokenCompletion: {
        engine: deps.engine,
        urls: tokenUrls,
        limits: deps.limits,
        fault: (error) => log.fault({ requestId: "", method: "CompleteToken", error }),
      },
      limits: deps.limits,
      allowedOrigins: deps.allowedOrigins ?? "*",
      log,
      clock: deps.clock,
      entropy: deps.entropy,
    });
    const { host, port } = deps.listen;
    deps.door?.open(listeners);
    listener = deps.door?.listener ?? (await listen({ host, port, tls: deps.tls, ...listeners }));
    readiness.setAccepting(true);
    void prepareValidation();
    return { url: address(), port: listener.port };
  }

  /** Where it listens. @throws Error before that. */
  function address(): string {
    if (listener === undefined) throw new Error("serving is not started");
    const { host } = deps.listen;
    const scheme = deps.tls === undefined ? "http" : "https";
    return `${scheme}://${host.includes(":") ? `[${host}]` : host}:${listener.port}`;
  }

  async function stop(): Promise<void> {
    readiness.setAccepting(false);
    if (listener === undefined) return;
    const drained = listener.drain();
    stopping.abort();
    let timer: Timer | undefined;
    const graceOver = new Promise<void>((resolve) => {
      timer = deps.clock.setTimer(STOP_GRACE_MS, resolve);
    });
    await Promise.race([drained, graceOver]);
    timer?.cancel();
    listener.destroy();
    await drained;
  }

  return {
    get port() {
      if (listener === undefined) throw new Error("serving is not started");
      return listener.port;
    },
    start,
    stop() {
      stopped ??= stop();
      return stopped;
    },
  };
}
