/** The way to one other server: a kept connection, one message under way, what comes meanwhile merged into the next. */
import { Agent as HttpAgent, request as httpRequest } from "node:http";
import { Agent as HttpsAgent, request as httpsRequest } from "node:https";
import type { Clock, Timer } from "../engine/clock.js";
import { signalKey } from "./hint.js";
import type { Signal } from "./signals.js";

/** Signals of one millisecond travel together. */
const GATHER_MS = 1;
/** Signals of one message; a page of a few hundred KB. */
const PAGE = 2_000;
/** Signals that wait for a slow server; beyond it new ones are dropped, which the polling behind them makes good. */
const PENDING_MAX = 20_000;
/** A message without an answer for this long is given up. */
const TIMEOUT_MS = 2_000;
/** After a failure nothing is sent for this long. */
const PAUSE_MS = 250;

export interface PeerLine {
  send(signals: readonly Signal[]): void;
  /** Sends a message even if there is nothing to say: so that the other knows us. */
  greet(): void;
  stop(): void;
}

export interface PeerLineParams {
  readonly address: string;
  readonly clock: Clock;
  /** Makes a signed message. */
  readonly seal: (signals: readonly Signal[]) => { readonly body: string; readonly signature: string };
}

export const HINTS_PATH = "/hints";
export const SIGNATURE_HEADER = "x-hairtrigger-signature";

export function createPeerLine({ address, clock, seal }: PeerLineParams): PeerLine {
  const url = new URL(HINTS_PATH, address);
  const isTls = url.protocol === "https:";
  const options = { keepAlive: true, maxSockets: 1, scheduling: "lifo" } as const;
  const agent = isTls ? new HttpsAgent(options) : new HttpAgent(options);
  const pending = new Map<string, Signal>();
  let timer: Timer | undefined;
  let isBusy = false;
  let isStopped = false;

  const arm = (delayMs: number): void => {
    if (isBusy || isStopped || timer !== undefined) return;
    timer = clock.setTimer(delayMs, () => {
      timer = undefined;
      post();
    });
  };

  function post(): void {
    const page: Signal[] = [];
    for (const [key, signal] of pending) {
      if (page.length >= PAGE) break;
      pending.delete(key);
      page.push(signal);
    }
    isBusy = true;
    let isOver = false;
    const ended = (isDelivered: boolean): void => {
      if (isOver) return;
      isOver = true;
      isBusy = false;
      if (pending.size > 0) arm(isDelivered ? GATHER_MS : PAUSE_MS);
    };
    const { body, signature } = seal(page);
    const headers = {
      "content-type": "application/json",
      "content-length": Buffer.byteLength(body),
      [SIGNATURE_HEADER]: signature,
    };
    const call = (isTls ? httpsRequest : httpRequest)(url, { method: "POST", agent, headers, timeout: TIMEOUT_MS });
    // Does not keep the process alive; stopping closes it anyway.
    call.once("socket", (socket) => socket.unref());
    call.once("timeout", () => call.destroy());
    call.once("error", () => ended(false));
    call.once("response", (response) => {
      response.on("error", () => {});
      response.resume();
      response.once("close", () => ended(response.statusCode === 204));
    });
    call.end(body);
  }

  return {
    send(signals) {
      for (const signal of signals) {
        const key = signalKey(signal);
        if (pending.size >= PENDING_MAX && !pending.has(key)) continue;
        pending.set(key, signal);
      }
      if (pending.size > 0) arm(GATHER_MS);
    },
    greet: () => arm(0),
    stop() {
      isStopped = true;
      timer?.cancel();
      pending.clear();
      agent.destroy();
    },
  };
}
