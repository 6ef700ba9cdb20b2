/**
 * The one place where a session looks at the time: heartbeats, the reconnect, the fence (fence.ts), confirmations of pick-ups, and event loops that
 * were blocked. One timer stands at the next of these, a second ahead at most.
 */
import type { WorkerClock, WorkerTimer } from "../clock.js";
import { DEFAULT_FENCE_PERIODS, type FencePeriods, type FenceState, fenceAction, nextCheckMs } from "./fence.js";

export interface PulseParams {
  readonly clock: WorkerClock;
  /** The present connection; `helloSentMs` undefined: there is none. */
  readonly connection: {
    readonly helloSentMs: number | undefined;
    readonly isWelcome: boolean;
    readonly failures: number;
  };
  /** The clock may leap: a look from time to time would be repeated for all that it leaps over. */
  readonly isTimeMoved: boolean;
  /** Whether a pick-up of that age waits to be confirmed. */
  readonly hasUnconfirmed: (assignedUntilMs: number) => boolean;
  readonly onBeat: () => void;
  readonly onReconnect: (silentMs: number) => void;
  readonly onFence: (silentMs: number) => void;
  readonly onBlocked: (blockedMs: number) => void;
}

/** Longest time between two looks; also how late a blocked event loop is noticed. */
const LOOK_MAX_MS = 1_000;
/** WRK-4. */
const BLOCKED_MS = 5_000;
/** Share of the pick-up window after which a heartbeat confirms what nothing has confirmed yet (RUN-6). */
const CONFIRM_SHARE = 0.3;
const PICK_UP_DEFAULT_MS = 10_000;

export class Pulse {
  readonly #params: PulseParams;
  #periods: FencePeriods = DEFAULT_FENCE_PERIODS;
  #confirmMs = PICK_UP_DEFAULT_MS * CONFIRM_SHARE;
  #ackedSentMs: number | undefined;
  #beatMs = 0;
  #isFenced = false;
  #timer: WorkerTimer | undefined;
  #dueMs: number | undefined;
  #isStopped = false;

  constructor(params: PulseParams) {
    this.#params = params;
  }

  start(): void {
    this.#schedule();
  }

  stop(): void {
    this.#isStopped = true;
    this.#timer?.cancel();
  }

  /** What the server asks for. */
  follow(periods: FencePeriods, pickUpMs: number | undefined): void {
    // A stream that was silent long enough to fence is no good, whatever the server thinks of reconnecting.
    this.#periods = { ...periods, reconnectMs: Math.min(periods.reconnectMs, periods.selfFenceMs) };
    this.#confirmMs = (pickUpMs ?? PICK_UP_DEFAULT_MS) * CONFIRM_SHARE;
  }

  /** A server has acknowledged what was sent then. */
  heard(sentMs: number): void {
    this.#ackedSentMs = Math.max(this.#ackedSentMs ?? sentMs, sentMs);
    this.#isFenced = false;
    this.#schedule();
  }

  /** A connection has come or gone. */
  connectionChanged(): void {
    this.#schedule();
  }

  /**
   * Asked before anything is said: after a blocked loop or a suspended machine, nothing may be said in the name of runs that others may hold
   * by now.
   */
  fenceIfDue(): void {
    const { clock, onFence } = this.#params;
    if (fenceAction(this.#periods, this.#state(), clock.monotonicMs()) !== "fence") return;
    this.#isFenced = true;
    onFence(this.#periods.selfFenceMs);
  }

  #look(): void {
    const { clock, connection, hasUnconfirmed, onReconnect, onBlocked } = this.#params;
    const nowMs = clock.monotonicMs();
    const lateMs = nowMs - (this.#dueMs ?? nowMs);
    if (lateMs > BLOCKED_MS) onBlocked(lateMs);
    this.fenceIfDue();
    switch (fenceAction(this.#periods, this.#state(), nowMs)) {
      case "reconnect":
        onReconnect(this.#periods.reconnectMs);
        break;
      case "beat":
        this.#beat(nowMs);
        break;
      case "fence":
      case "none":
        if (connection.isWelcome && hasUnconfirmed(nowMs - this.#confirmMs)) this.#beat(nowMs);
    }
    this.#schedule();
  }

  #beat(nowMs: number): void {
    // Counted from the wish: a connection that takes nothing must not be asked again and again.
    this.#beatMs = nowMs;
    this.#params.onBeat();
  }

  #schedule(): void {
    if (this.#isStopped) return;
    this.#timer?.cancel();
    const { clock, isTimeMoved } = this.#params;
    const nowMs = clock.monotonicMs();
    const nextMs = nextCheckMs(this.#periods, this.#state(), nowMs);
    if (isTimeMoved && nextMs === undefined) return;
    const delayMs = isTimeMoved ? (nextMs ?? LOOK_MAX_MS) : Math.min(LOOK_MAX_MS, nextMs ?? LOOK_MAX_MS);
    this.#dueMs = nowMs + delayMs;
    this.#timer = clock.setTimer(delayMs, () => this.#look());
  }

  #state(): FenceState {
    const { helloSentMs, isWelcome, failures } = this.#params.connection;
    return {
      ackedSentMs: this.#ackedSentMs,
      isFenced: this.#isFenced,
      unansweredHellos: failures,
      connection:
        helloSentMs === undefined
          ? undefined
          : { helloSentMs, beatSentMs: Math.max(this.#beatMs, helloSentMs), isWelcome },
    };
  }
}
