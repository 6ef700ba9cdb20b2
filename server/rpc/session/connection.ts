/**
 * One connection of a worker session (design 8): hello first, then both sides send whenever they have something.
 *
 * States: greeting (until the first hello is answered) → open → ending (nothing more is read; what is unsent goes out) → ended. A newer
 * connection of the session, a lapse, the end of the server, a broken rule or an unreachable store move it to ending; so does the worker
 * by ending its half.
 *
 * The reader handles a message at a time and never waits for a commit: reports queue up behind the one that is under way. It does wait
 * when the worker does not read our answers, or reports faster than the store can take.
 */
import type { Heartbeat, Hello } from "#proto/hairtrigger/worker/v1/worker_pb.js";
import type { OpenSessionRequest, OpenSessionResponse } from "#proto/hairtrigger/worker/v1/worker_service_pb.js";
import { invalidRequest, isAppError } from "../../domain/error.js";
import { decodeLease, type Lease } from "../../domain/lease.js";
import type { Limits } from "../../domain/limits.js";
import type { Clock, Timer } from "../../engine/clock.js";
import type { Engine, OpenedSession, SessionSink } from "../../engine/engine.js";
import { logLineOfWire } from "../convert/log-line.js";
import { metadataReportOf } from "../convert/metadata.js";
import { decodeSpec, specReference } from "../convert/spec.js";
import {
  assignmentOf,
  cancelOf,
  heldInstructionOf,
  lostOf,
  openSessionOf,
  reportsOf,
  resumeOf,
  welcomeOf,
} from "../convert/worker.js";
import { errorOf, stoppingError } from "../error.js";
import type { PayloadUrls } from "../payload-urls.js";
import { requireServed } from "../protocol-version.js";
import { Logs } from "./logs.js";
import { type MetadataLane, metadataLane } from "./metadata.js";
import { Outbox } from "./outbox.js";
import { type ReportLane, reportLane } from "./reports.js";

export interface ConnectionDeps {
  readonly engine: Engine;
  readonly clock: Clock;
  readonly limits: Limits;
  readonly urls: PayloadUrls;
  /** Address of this server as the worker knows it. */
  readonly base: string;
  readonly environment: string;
  readonly serverId: string;
}

/** A server that cannot write for this long lets its workers go elsewhere (design 8). */
const UNWRITABLE_MS = 10_000;

export class SessionConnection {
  readonly #deps: ConnectionDeps;
  readonly #outbox = new Outbox();
  readonly #reports: ReportLane;
  readonly #metadata: MetadataLane;
  readonly #logs = new Logs();
  #session: OpenedSession | undefined;
  #hasLeft = false;
  #isDraining = false;
  #lastMessageMs: number;
  #lastKeptMs: number;
  #silenceTimer: Timer | undefined;

  constructor(deps: ConnectionDeps) {
    this.#deps = deps;
    this.#lastMessageMs = deps.clock.nowMs();
    this.#lastKeptMs = this.#lastMessageMs;
    const onError = (thrown: unknown): void => this.#outbox.end({ error: errorOf(thrown) });
    this.#metadata = metadataLane({ onAnswers: (answers) => this.#outbox.answerMetadata(answers), onError });
    this.#reports = reportLane({
      // A run is not over before its last changes of metadata.
      before: () => this.#metadata.settled(),
      onAnswers: (answers) => this.#outbox.answer(answers),
      onError,
    });
  }

  /** Everything that is said to the worker, until the connection ends. @param signal the call is over, whoever ended it. */
  async *serve(
    requests: AsyncIterable<OpenSessionRequest>,
    signals: { readonly call: AbortSignal; readonly stopping: AbortSignal },
  ): AsyncGenerator<OpenSessionResponse, void, undefined> {
    const onCallOver = (): void => this.#outbox.end({ error: undefined });
    const onStopping = (): void => void this.#stop();
    signals.call.addEventListener("abort", onCallOver, { once: true });
    signals.stopping.addEventListener("abort", onStopping, { once: true });
    if (signals.stopping.aborted) onStopping();
    this.#watchSilence();
    const reading = this.#read(requests);
    try {
      for await (const message of this.#outbox.messages()) yield await this.#withUrls(message);
    } finally {
      signals.call.removeEventListener("abort", onCallOver);
      signals.stopping.removeEventListener("abort", onStopping);
      this.#silenceTimer?.cancel();
      this.#outbox.end({ error: undefined });
      await this.#session?.close(this.#hasLeft ? "left" : "disconnected").catch(() => {});
      // Ends with the call: the framework ends the requests when the answers have ended.
      void reading;
    }
  }

  /** URLs are made when a message goes out: they are short-lived, and making one may take a moment, which nothing may overtake. */
  async #withUrls(message: OpenSessionResponse): Promise<OpenSessionResponse> {
    const { urls, base } = this.#deps;
    for (const assignment of message.assignments) {
      const reference = specReference(assignment.spec);
      if (reference === undefined) continue;
      const { payload } = decodeSpec(assignment.spec);
      assignment.payloadPresignedUrl = await urls.download(reference, payload?.contentType ?? "", base);
    }
    return message;
  }

  async #read(requests: AsyncIterable<OpenSessionRequest>): Promise<void> {
    try {
      for await (const message of requests) {
        if (this.#outbox.isEnded) return;
        await this.#handle(message);
        await this.#reports.room();
        await this.#metadata.room();
        await this.#outbox.room();
      }
      // The worker has said all; it gets the answers to that.
      await this.#metadata.settled();
      await this.#reports.settled();
      this.#hasLeft = this.#isDraining;
      this.#outbox.end({ error: undefined });
    } catch (thrown) {
      this.#outbox.end({ error: errorOf(thrown) });
    }
  }

  async #handle(message: OpenSessionRequest): Promise<void> {
    this.#lastMessageMs = this.#deps.clock.nowMs();
    if (message.hello !== undefined) await this.#greet(message.hello);
    const session = this.#session;
    if (session === undefined) throw invalidRequest("hello", "The first message of a connection is a hello");
    session.noteMessage();
    if (message.draining) {
      this.#isDraining = true;
      session.setPlaces(0);
    }
    if (message.credit !== undefined && !this.#isDraining) {
      const { freePlaces, receivedSequence } = message.credit;
      session.setPlaces(this.#outbox.places(freePlaces, Number(receivedSequence)));
    }
    if (message.heartbeat !== undefined) this.#beat(session, message.heartbeat);
    this.#metadata.add(session, message.metadata.map(metadataReportOf));
    this.#reports.add(session, reportsOf(message, this.#deps.limits));
    const nowMs = this.#deps.clock.nowMs();
    this.#logs.add(
      session,
      message.logs.map(({ runId, lines }) => ({ runId, lines: lines.map((line) => logLineOfWire(line, nowMs)) })),
    );
  }

  /** Enters the session; also again on the same stream, after a resync. */
  async #greet(hello: Hello): Promise<void> {
    const { engine, environment, limits, serverId } = this.#deps;
    requireServed(hello.protocolVersion);
    const open = openSessionOf(hello, environment, limits);
    await this.#reports.settled();
    await this.#session?.close("disconnected");
    const session = await engine.openSession(open, this.#sink());
    this.#lastKeptMs = this.#deps.clock.nowMs();
    const held = hello.held.map(({ lease }, index) =>
      heldInstructionOf(lease, session.instructions[index] ?? { kind: "lost" }),
    );
    this.#outbox.greet(
      welcomeOf({ open, limits, serverId }),
      held,
      hello.held.map(({ lease }) => lease),
    );
    this.#session = session;
  }

  #sink(): SessionSink {
    return {
      assign: (runs) =>
        this.#outbox.assign(
          runs.filter(({ isResume }) => !isResume).map(assignmentOf),
          runs.filter(({ isResume }) => isResume).map(resumeOf),
        ),
      cancel: (runs) => this.#outbox.cancel(runs.map(cancelOf)),
      lost: (leases) => this.#outbox.lose(leases.map(lostOf)),
      // A worker that has another connection, or whose session is gone, begins anew: no error to tell.
      end: (reason) => this.#outbox.end({ error: reason === "stopping" ? stoppingError() : undefined }),
    };
  }

  /** Keeps the session; acknowledged when that is in the record. */
  #beat(session: OpenedSession, heartbeat: Heartbeat): void {
    const { number, receivedSequence, heldCount, heldChecksum, startedLeases } = heartbeat;
    if (!this.#outbox.held.matches(Number(receivedSequence), heldCount, heldChecksum)) this.#outbox.resync();
    const confirmed = startedLeases.flatMap((lease) => decodeLease(lease) ?? []);
    void this.#keep(session, number, confirmed);
  }

  async #keep(session: OpenedSession, number: bigint, confirmed: readonly Lease[]): Promise<void> {
    try {
      const isKept = await session.heartbeat(confirmed);
      this.#lastKeptMs = this.#deps.clock.nowMs();
      if (isKept) this.#outbox.beat(number);
      else this.#outbox.end({ error: undefined });
    } catch (thrown) {
      const isLong = this.#deps.clock.nowMs() - this.#lastKeptMs >= UNWRITABLE_MS;
      if (isLong || !isAppError(thrown)) this.#outbox.end({ error: errorOf(thrown) });
    }
  }

  /** A connection on which nothing comes any more ends; its session lapses by itself if the worker does not come back. */
  #watchSilence(): void {
    const { clock, limits } = this.#deps;
    const leftMs = this.#lastMessageMs + limits.sessionMs - clock.nowMs();
    if (leftMs <= 0) return this.#outbox.end({ error: undefined });
    this.#silenceTimer = clock.setTimer(leftMs, () => this.#watchSilence());
  }

  /** The server stops: reports that are here already get their answers, then the worker is sent elsewhere. */
  async #stop(): Promise<void> {
    this.#outbox.drain();
    this.#session?.setPlaces(0);
    await this.#metadata.settled();
    await this.#reports.settled();
    this.#outbox.end({ error: stoppingError() });
  }
}
