/**
 * The connection of a session to a server, one after the other for as long as the worker lives.
 *
 *   idle ──start──▶ opening ──welcome──▶ open ──close()──▶ closing ──▶ closed
 *                     │  ▲                │                   ▲
 *          error, end,│  │pause over      │error, end,        │ (from anywhere)
 *          no welcome ▼  │                ▼reconnect()        │
 *                    pausing ◀────────────┘───────────────────┘
 *
 * - At most one stream exists at any time. A stream that is given up is destroyed with its TCP connection before the next is opened, and
 *   whatever it still delivers is ignored: every callback carries the stream it belongs to.
 * - The connection epoch rises with every stream, so that a server ends the older one of two.
 * - Messages are pulled: the transport asks for the next one when the last is handed over. `flush()` wakes the pull; what comes together
 *   until then, in the same turn or while a message is on its way, is one message.
 * - Pauses between connections grow from 50 ms to 3 s, with jitter, and start again at 50 ms after a welcome that held for a while.
 * - Nothing ends this but `close()`: whether an error is final for the caller of `startWorker` is decided by who listens to `failed`.
 */
import type { OpenSessionRequest, OpenSessionResponse } from "../../gen/hairtrigger/worker/v1/worker_service_pb.js";
import type { WorkerClock, WorkerTimer } from "../clock.js";
import type { OpenStream, SessionStream } from "./session-stream.js";

/** What the connection asks of the worker. None of these may throw. */
export interface ConnectionHost {
  /** The first message of a connection. */
  hello(epoch: number): OpenSessionRequest;
  /** The next message after the welcome; undefined: there is nothing to say. */
  nextMessage(): OpenSessionRequest | undefined;
  received(message: OpenSessionResponse): void;
  /** The stream is gone; everything unacknowledged has to be said again on the next one. `error` undefined: ended in order. */
  disconnected(error: unknown): void;
}

interface Stream {
  readonly epoch: number;
  readonly helloSentMs: number;
  isWelcome: boolean;
  /** Nothing more is to be sent. */
  isHalfClosed: boolean;
  /** Given up: whatever it still does is ignored. */
  isGone: boolean;
  wake: (() => void) | undefined;
  transport: SessionStream | undefined;
}

type State =
  | { readonly kind: "idle" }
  | { readonly kind: "pausing"; readonly timer: WorkerTimer }
  | { readonly kind: "connected"; readonly stream: Stream }
  | { readonly kind: "closing"; readonly stream: Stream; readonly timer: WorkerTimer }
  | { readonly kind: "closed" };

const PAUSE_MIN_MS = 50;
const PAUSE_MAX_MS = 3_000;
/** A connection that held this long starts the pauses anew. */
const STEADY_MS = 5_000;
/** How long a half-closed stream may wait for the server's end. */
const CLOSE_MS = 2_000;

export class Connection {
  readonly #open: OpenStream;
  readonly #clock: WorkerClock;
  readonly #host: ConnectionHost;
  #state: State = { kind: "idle" };
  #epoch = 0;
  #failures = 0;
  #closed: (() => void) | undefined;

  constructor(open: OpenStream, clock: WorkerClock, host: ConnectionHost) {
    this.#open = open;
    this.#clock = clock;
    this.#host = host;
  }

  /** When the hello of the present connection was sent; undefined between connections. */
  get helloSentMs(): number | undefined {
    return this.#state.kind === "connected" ? this.#state.stream.helloSentMs : undefined;
  }

  get isWelcome(): boolean {
    return this.#state.kind === "connected" && this.#state.stream.isWelcome;
  }

  /** Connections in a row that were given up before they held for a while. */
  get failures(): number {
    return this.#failures;
  }

  start(): void {
    if (this.#state.kind === "idle") this.#connect();
  }

  /** There is something to say: ask `nextMessage` as soon as the transport can take it. */
  flush(): void {
    if (this.#state.kind !== "connected") return;
    const { stream } = this.#state;
    const wake = stream.wake;
    stream.wake = undefined;
    wake?.();
  }

  /** Gives the present connection up and makes another. */
  reconnect(reason: Error): void {
    if (this.#state.kind === "connected") this.#lose(this.#state.stream, reason);
  }

  /** Sends what is left, closes, and resolves when the server has ended its side, or after 2 s. Idempotent. */
  close(): Promise<void> {
    return new Promise((resolve) => {
      const before = this.#closed;
      this.#closed = () => {
        before?.();
        resolve();
      };
      switch (this.#state.kind) {
        case "closed":
          this.#finish();
          break;
        case "closing":
          break;
        case "idle":
          this.#finish();
          break;
        case "pausing":
          this.#state.timer.cancel();
          this.#finish();
          break;
        case "connected": {
          const { stream } = this.#state;
          stream.isHalfClosed = true;
          const timer = this.#clock.setTimer(CLOSE_MS, () => this.#finish());
          this.#state = { kind: "closing", stream, timer };
          stream.wake?.();
        }
      }
    });
  }

  #finish(): void {
    if (this.#state.kind === "closing") {
      this.#state.timer.cancel();
      this.#state.stream.isGone = true;
      this.#state.stream.transport?.destroy();
    }
    this.#state = { kind: "closed" };
    this.#closed?.();
    this.#closed = undefined;
  }

  #connect(): void {
    this.#epoch += 1;
    const stream: Stream = {
      epoch: this.#epoch,
      helloSentMs: this.#clock.monotonicMs(),
      isWelcome: false,
      isHalfClosed: false,
      isGone: false,
      wake: undefined,
      transport: undefined,
    };
    this.#state = { kind: "connected", stream };
    void this.#read(stream);
  }

  async #read(stream: Stream): Promise<void> {
    try {
      stream.transport = this.#open(this.#outgoing(stream));
      for await (const message of stream.transport.responses) {
        if (stream.isGone) return;
        if (message.welcome !== undefined) stream.isWelcome = true;
        this.#host.received(message);
        this.flush();
      }
      this.#lose(stream, undefined);
    } catch (error) {
      this.#lose(stream, error);
    }
  }

  async *#outgoing(stream: Stream): AsyncGenerator<OpenSessionRequest> {
    yield this.#host.hello(stream.epoch);
    for (;;) {
      if (stream.isGone) return;
      const message = stream.isWelcome ? this.#host.nextMessage() : undefined;
      if (message !== undefined) yield message;
      else if (stream.isHalfClosed) return;
      else {
        await new Promise<void>((resolve) => {
          stream.wake = resolve;
        });
      }
    }
  }

  #lose(stream: Stream, error: unknown): void {
    if (stream.isGone) return;
    stream.isGone = true;
    // The pull may be waiting for something to say; it has to end with its stream.
    stream.wake?.();
    stream.transport?.destroy();
    if (this.#state.kind === "closing") {
      this.#finish();
      return;
    }
    const wasSteady = stream.isWelcome && this.#clock.monotonicMs() - stream.helloSentMs >= STEADY_MS;
    this.#failures = wasSteady ? 0 : this.#failures + 1;
    const ceilingMs = Math.min(PAUSE_MAX_MS, PAUSE_MIN_MS * 2 ** Math.min(this.#failures, 10));
    const pauseMs = wasSteady ? 0 : ceilingMs * (0.5 + this.#clock.random() / 2);
    const timer = this.#clock.setTimer(pauseMs, () => this.#connect());
    this.#state = { kind: "pausing", timer };
    this.#host.disconnected(error);
  }
}
