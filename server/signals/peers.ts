/**
 * Signals between the servers of one store (design 12). Servers enter their address into the store, look there for each other, and send
 * each other what they publish, in small signed messages over the port that serves everything else. What is lost, by a dead server, a
 * closed port or a full line, is made good by the polling of those who listen; so nothing here is repeated, stored or waited for.
 *
 * Rejected: change streams (absent on many deployments, seconds of delay under load), a broker (one more thing to run), a document per
 * hint (a write and a poll for what is told in a millisecond).
 */
import type { Clock, Timer } from "../engine/clock.js";
import type { SharedStore } from "../store/store.js";
import { hintKey, openMessage, signatureOf } from "./hint.js";
import { createPeerLine, type PeerLine } from "./peer-line.js";
import type { HintReceiver, Signal, Signals } from "./signals.js";

/** Pause between two signs of life, each a write and a read. */
const ANNOUNCE_MS = 2_000;
/** Servers that gave none for this long get nothing more. */
const ALIVE_MS = 10_000;
/** Distinct tasks, runs and sessions are hinted at to so many servers at most. */
const PEERS_MAX = 100;

export interface PeersDeps {
  /** Inside this process. */
  readonly local: Signals;
  readonly directory: SharedStore;
  readonly clock: Clock;
  readonly serverId: string;
  /** Of the store. */
  readonly secret: Uint8Array;
  /** The directory cannot be written or read. */
  readonly onError: (error: unknown) => void;
}

interface Peer {
  readonly address: string;
  readonly line: PeerLine;
  lastSeenMs: number;
}

export class PeerSignals implements Signals, HintReceiver {
  readonly #deps: PeersDeps;
  readonly #key: Buffer;
  readonly #peers = new Map<string, Peer>();
  #address: string | undefined;
  #timer: Timer | undefined;
  #announcing: Promise<void> | undefined;
  #isStopped = false;

  constructor(deps: PeersDeps) {
    this.#deps = deps;
    this.#key = hintKey(deps.secret);
  }

  publish(signals: readonly Signal[]): void {
    this.#deps.local.publish(signals);
    for (const { line } of this.#peers.values()) line.send(signals);
  }

  subscribe(listener: (signal: Signal) => void): () => void {
    return this.#deps.local.subscribe(listener);
  }

  /** Servers that hints are sent to now. */
  get peerCount(): number {
    return this.#peers.size;
  }

  /** @param address where others reach this server. Resolves after the first look for others, which may have failed. */
  async start(address: string): Promise<void> {
    if (this.#address !== undefined || this.#isStopped) return;
    this.#address = address;
    await this.#turn();
  }

  receive(body: Uint8Array, signature: string | undefined): boolean {
    const nowMs = this.#deps.clock.nowMs();
    const message = openMessage({ key: this.#key, body, signature, nowMs });
    if (message === undefined) return false;
    const { id, address } = message.from;
    if (!this.#isStopped && this.#address !== undefined) this.#know(id, address, nowMs);
    this.#deps.local.publish(message.signals);
    return true;
  }

  /** Idempotent. */
  async stop(): Promise<void> {
    if (this.#isStopped) return;
    this.#isStopped = true;
    this.#timer?.cancel();
    await this.#announcing;
    for (const { line } of this.#peers.values()) line.stop();
    this.#peers.clear();
    if (this.#address === undefined) return;
    await this.#deps.directory.removeServer(this.#deps.serverId).catch(this.#deps.onError);
  }

  async #turn(): Promise<void> {
    this.#announcing = this.#announce().catch(this.#deps.onError);
    await this.#announcing;
    if (this.#isStopped) return;
    this.#timer = this.#deps.clock.setTimer(ANNOUNCE_MS, () => void this.#turn());
  }

  async #announce(): Promise<void> {
    const { clock, directory, serverId: id } = this.#deps;
    const nowMs = clock.nowMs();
    await directory.announceServer({ id, address: this.#address ?? "", lastSeenMs: nowMs });
    const servers = await directory.listServers(nowMs - ALIVE_MS);
    for (const server of servers) this.#know(server.id, server.address, server.lastSeenMs);
    for (const [peerId, { line, lastSeenMs }] of this.#peers) {
      if (lastSeenMs >= nowMs - ALIVE_MS) continue;
      line.stop();
      this.#peers.delete(peerId);
    }
  }

  #know(id: string, address: string, seenMs: number): void {
    if (id === this.#deps.serverId || this.#isStopped) return;
    const known = this.#peers.get(id);
    if (known !== undefined && known.address === address) {
      known.lastSeenMs = Math.max(known.lastSeenMs, seenMs);
      return;
    }
    known?.line.stop();
    if (known === undefined && this.#peers.size >= PEERS_MAX) return;
    if (!URL.canParse(address)) return;
    const { clock } = this.#deps;
    const line = createPeerLine({ address, clock, seal: (signals) => this.#seal(signals) });
    this.#peers.set(id, { address, line, lastSeenMs: seenMs });
    line.greet();
  }

  #seal(signals: readonly Signal[]): { readonly body: string; readonly signature: string } {
    const from = { id: this.#deps.serverId, address: this.#address };
    const body = JSON.stringify({ from, atMs: this.#deps.clock.nowMs(), signals });
    return { body, signature: signatureOf(this.#key, body) };
  }
}
