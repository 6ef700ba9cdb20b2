/**
 * A worker's session: what it says to servers and what it makes of their answers. It owns the connection; the runs are in
 * executions.ts, the time is in pulse.ts.
 *
 *   starting ──welcome──▶ serving ──stop()──▶ draining ──nothing open, or grace over──▶ interrupting ──▶ closed
 *
 * - One message holds everything that is pending (design 8). Credit is an absolute number and is said when it differs from what the server
 *   believes, which is what was said last minus what it has assigned since.
 * - Time is looked at in pulse.ts, and the fence also before every message.
 */
import { create } from "@bufbuild/protobuf";
import { type Hello, HelloSchema, type Welcome } from "../../gen/hairtrigger/worker/v1/worker_pb.js";
import {
  type OpenSessionRequest,
  OpenSessionRequestSchema,
  type OpenSessionResponse,
} from "../../gen/hairtrigger/worker/v1/worker_service_pb.js";
import type { LogRecord } from "../../run-context.js";
import type { WorkerClock } from "../clock.js";
import { createDeadlines, type Deadlines } from "../deadlines.js";
import type { WorkerLog } from "../worker-log.js";
import { Connection, type ConnectionHost } from "./connection.js";
import type { StartAttempt } from "./execution.js";
import { CANCEL_GRACE_DEFAULT_MS, Executions } from "./executions.js";
import type { SessionFacts } from "./facts.js";
import { DEFAULT_FENCE_PERIODS } from "./fence.js";
import { LogBuffer } from "./log-buffer.js";
import { addReport, instructionOf, msOf, reportBytes, resumeOrder } from "./messages.js";
import { MetadataLedger, type MetadataWriter, type OnSettled } from "./metadata-ledger.js";
import { Pulse } from "./pulse.js";
import type { OpenStream } from "./session-stream.js";

export interface SessionParams {
  readonly baseUrl: string;
  readonly openStream: OpenStream;
  readonly clock: WorkerClock;
  readonly log: WorkerLog;
  readonly isTimeMoved: boolean;
  readonly concurrency: number;
  readonly gracePeriodMs: number;
  readonly sessionId: string;
  /** Identity, tasks and queues; what changes from connection to connection is filled in here. */
  readonly declaration: Pick<Hello, "identity" | "protocolVersion" | "tasks" | "queues">;
  readonly start: StartAttempt;
  /** Whether a refusal of the first connection is final: the key or the declaration is wrong, waiting does not help (WRK-1). */
  readonly isFinal: (error: unknown) => boolean;
}

/** WRK-1: pause between warnings about a server that cannot be reached. */
const WARNING_PAUSE_MS = 10_000;
/** Bytes of reports in one message, well below what servers accept (PAY-12); a single larger output goes alone. */
const FLUSH_BYTES = 4 * 1_024 * 1_024;
/** Reports without an answer beyond which no more runs are taken, so that a server that cannot write does not fill our memory. */
const UNANSWERED_MAX = 10_000;
/** How long a stopping worker waits for the answers to its last reports. */
const LAST_WORDS_MS = 5_000;

type Life = "new" | "starting" | "serving" | "draining" | "interrupting" | "closed";

export class Session implements ConnectionHost {
  readonly #deadlines: Deadlines;
  readonly #params: SessionParams;
  readonly #executions: Executions;
  readonly #connection: Connection;
  readonly #pulse: Pulse;
  readonly #logs = new LogBuffer();
  readonly #metadata: MetadataLedger;
  readonly #beats = new Map<bigint, number>();
  #life: Life = "new";
  #facts: SessionFacts;
  #beatNumber = 0n;
  #wantsBeat = false;
  #wantsHello = false;
  #epoch = 0;
  #receivedSequence = 0n;
  #creditAtServer: number | undefined;
  #saidDraining = false;
  #warnedMs = Number.NEGATIVE_INFINITY;
  #settleStart: { readonly resolve: () => void; readonly reject: (error: unknown) => void } | undefined;
  #settleClosed: () => void = () => undefined;
  readonly closed: Promise<void>;

  constructor(params: SessionParams) {
    this.#params = params;
    this.#facts = {
      sessionId: params.sessionId,
      environment: "",
      outputBytesMax: Number.POSITIVE_INFINITY,
      inlineBytesMax: Number.POSITIVE_INFINITY,
      metadataBytesMax: Number.POSITIVE_INFINITY,
      cancelGraceMs: CANCEL_GRACE_DEFAULT_MS,
    };
    this.#deadlines = createDeadlines(params.clock);
    this.#metadata = new MetadataLedger(this.#deadlines, () => this.#connection.flush());
    this.#executions = new Executions({
      deadlines: this.#deadlines,
      monotonicMs: () => params.clock.monotonicMs(),
      start: params.start,
      reporting: (runId) => this.#metadata.reporting(runId),
      gone: (runId) => this.#metadata.drop(runId),
      changed: () => this.#changed(),
    });
    this.#connection = new Connection(params.openStream, params.clock, this);
    this.#pulse = new Pulse({
      clock: params.clock,
      connection: this.#connection,
      isTimeMoved: params.isTimeMoved,
      hasUnconfirmed: (assignedUntilMs) => this.#executions.hasUnconfirmed(assignedUntilMs),
      onBeat: () => {
        this.#wantsBeat = true;
        this.#connection.flush();
      },
      onReconnect: (silentMs) =>
        this.#connection.reconnect(new Error(`no answer for ${Math.round(silentMs / 1_000)} s`)),
      onFence: (silentMs) => this.#fence(silentMs),
      onBlocked: (blockedMs) => this.#warnBlocked(blockedMs),
    });
    this.closed = new Promise((resolve) => {
      this.#settleClosed = resolve;
    });
  }

  get facts(): SessionFacts {
    return this.#facts;
  }

  /** Takes a line for a run's log; it goes with the next message. */
  addLog(runId: string, attempt: number, line: LogRecord): void {
    this.#logs.add(runId, attempt, line);
    this.#connection.flush();
  }

  /** For the changes of metadata that one execution of a run makes. */
  metadataWriter(runId: string, attempt: number, onSettled: OnSettled): MetadataWriter {
    return this.#metadata.writer(runId, attempt, onSettled);
  }

  /** Resolves when a server has registered the worker; rejects for what waiting cannot heal, and when stopped before. */
  start(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#settleStart = { resolve, reject };
      this.#life = "starting";
      this.#connection.start();
      this.#pulse.start();
    });
  }

  /** RUN-7. Idempotent; resolves when the worker holds nothing any more and the connection is closed. */
  stop(): Promise<void> {
    if (this.#life === "new" || this.#life === "starting") {
      this.#settleStart?.reject(new Error("The worker was stopped before it was registered"));
      this.#settleStart = undefined;
      void this.#close();
    } else if (this.#life === "serving") {
      this.#life = "draining";
      this.#deadlines.set(this.#params.gracePeriodMs, () => this.#interrupt());
      this.#changed();
    }
    return this.closed;
  }

  // ── the connection's questions ─────────────────────────────────────────────────────────────────────────────────────────────────

  hello(epoch: number): OpenSessionRequest {
    this.#epoch = epoch;
    this.#receivedSequence = 0n;
    this.#creditAtServer = undefined;
    this.#saidDraining = false;
    this.#beatNumber = 0n;
    this.#beats.clear();
    this.#wantsBeat = false;
    this.#wantsHello = false;
    this.#executions.forgetSent();
    this.#metadata.forgetSaid();
    return create(OpenSessionRequestSchema, { hello: this.#hello() });
  }

  nextMessage(): OpenSessionRequest | undefined {
    this.#pulse.fenceIfDue();
    const message = create(OpenSessionRequestSchema);
    let isEmpty = true;
    if (this.#wantsHello) {
      this.#wantsHello = false;
      message.hello = this.#hello();
      isEmpty = false;
    }
    const freePlaces = this.#freePlaces();
    if (freePlaces !== this.#creditAtServer) {
      this.#creditAtServer = freePlaces;
      message.credit = {
        $typeName: "hairtrigger.worker.v1.Credit",
        freePlaces,
        receivedSequence: this.#receivedSequence,
      };
      isEmpty = false;
    }
    if (this.#wantsBeat) {
      this.#addBeat(message);
      isEmpty = false;
    }
    if (this.#metadata.isDue) {
      message.metadata = this.#metadata.take(FLUSH_BYTES);
      isEmpty = false;
    }
    // No report overtakes the changes that its run made before.
    if (this.#executions.hasReports && !this.#metadata.isDue) {
      let bytes = 0;
      const reports = this.#executions.takeReports((entry) => {
        bytes += reportBytes(entry);
        return bytes <= FLUSH_BYTES;
      });
      for (const entry of reports) addReport(message, entry);
      isEmpty &&= reports.length === 0;
    }
    if (!this.#logs.isEmpty) {
      message.logs = this.#logs.take();
      isEmpty = false;
    }
    if (this.#isStopping && !this.#saidDraining) {
      this.#saidDraining = true;
      message.draining = true;
      isEmpty = false;
    }
    return isEmpty ? undefined : message;
  }

  received(message: OpenSessionResponse): void {
    if (message.welcome !== undefined) this.#welcome(message.welcome);
    for (const assignment of message.assignments) {
      if (this.#creditAtServer !== undefined) this.#creditAtServer -= 1;
      this.#executions.assign(assignment);
    }
    for (const resume of message.resumes) {
      if (this.#creditAtServer !== undefined) this.#creditAtServer -= 1;
      this.#executions.resume(resume.waitingLease, resumeOrder(resume));
    }
    for (const { lease, runId, reason } of message.cancels) this.#executions.cancel(lease, runId, reason);
    // Before the answers to reports: the next attempt begins with what came of them.
    for (const answer of message.metadataAcknowledgements) this.#metadata.acknowledged(answer);
    for (const answer of message.acknowledgements) {
      const instruction = instructionOf(answer);
      if (instruction !== undefined) this.#executions.answer(answer.lease, instruction);
    }
    for (const { lease } of message.lost) this.#executions.lost(lease);
    if (message.heartbeatAck !== undefined) this.#acknowledged(message.heartbeatAck.number);
    for (const answer of message.held) {
      const instruction = instructionOf(answer);
      if (instruction !== undefined) this.#executions.answerHeld(answer.lease, instruction);
    }
    this.#receivedSequence = message.sequence;
    if (message.resync) this.#wantsHello = true;
    if (message.drain !== undefined) this.#connection.reconnect(new Error("The server is about to stop"));
    this.#afterChange();
  }

  disconnected(error: unknown): void {
    if (this.#life === "starting" && this.#params.isFinal(error)) {
      this.#settleStart?.reject(error);
      this.#settleStart = undefined;
      void this.#close();
      return;
    }
    const nowMs = this.#params.clock.monotonicMs();
    if (nowMs - this.#warnedMs >= WARNING_PAUSE_MS && this.#life !== "closed") {
      this.#warnedMs = nowMs;
      const reason = error instanceof Error ? error.message : "the server ended the connection";
      this.#params.log.warn(`No connection to ${this.#params.baseUrl} (${reason}); trying again`);
    }
    this.#pulse.connectionChanged();
  }

  #hello(): Hello {
    const held = this.#executions.list().map(({ lease, isFenced, codeRuns }) => ({
      $typeName: "hairtrigger.worker.v1.HeldLease" as const,
      lease,
      interrupted: isFenced,
      codeRunsOn: isFenced && codeRuns,
    }));
    const { declaration, concurrency } = this.#params;
    return create(HelloSchema, {
      ...declaration,
      sessionId: this.#facts.sessionId,
      connectionEpoch: this.#epoch,
      concurrency,
      held,
    });
  }

  #welcome(welcome: Welcome): void {
    const { sessionId, environment, heartbeatInterval, reconnectAfter, fenceAfter, pickUpTimeout } = welcome;
    const cancelGraceMs = msOf(welcome.cancelGrace) ?? this.#facts.cancelGraceMs;
    this.#facts = {
      sessionId,
      environment,
      outputBytesMax: Number(welcome.outputBytesMax),
      inlineBytesMax: Number(welcome.inlineBytesMax),
      metadataBytesMax: Number(welcome.metadataBytesMax) || Number.POSITIVE_INFINITY,
      cancelGraceMs,
    };
    const periods = {
      heartbeatMs: msOf(heartbeatInterval) ?? DEFAULT_FENCE_PERIODS.heartbeatMs,
      reconnectMs: msOf(reconnectAfter) ?? DEFAULT_FENCE_PERIODS.reconnectMs,
      selfFenceMs: msOf(fenceAfter) ?? DEFAULT_FENCE_PERIODS.selfFenceMs,
    };
    this.#pulse.follow(periods, msOf(pickUpTimeout));
    this.#executions.limits = {
      cancelGraceMs,
      shortRetryMs: msOf(welcome.shortRetryLimit) ?? this.#executions.limits.shortRetryMs,
    };
    this.#pulse.heard(this.#connection.helloSentMs ?? this.#params.clock.monotonicMs());
    if (this.#life === "starting") {
      this.#life = "serving";
      this.#settleStart?.resolve();
      this.#settleStart = undefined;
    }
  }

  // ── signs of life ──────────────────────────────────────────────────────────────────────────────────────────────────────────────

  #fence(silentMs: number): void {
    this.#params.log.warn(`No server has answered for ${Math.round(silentMs / 1_000)} s; giving up what runs`);
    this.#executions.fence();
  }

  #addBeat(message: OpenSessionRequest): void {
    this.#wantsBeat = false;
    this.#beatNumber += 1n;
    const nowMs = this.#params.clock.monotonicMs();
    this.#beats.set(this.#beatNumber, nowMs);
    message.heartbeat = {
      $typeName: "hairtrigger.worker.v1.Heartbeat",
      number: this.#beatNumber,
      receivedSequence: this.#receivedSequence,
      heldCount: this.#executions.held.size,
      heldChecksum: this.#executions.held.checksum,
      startedLeases: [...this.#executions.takeUnconfirmed(nowMs)],
    };
  }

  #acknowledged(number: bigint): void {
    const sentMs = this.#beats.get(number);
    if (sentMs === undefined) return;
    for (const earlier of this.#beats.keys()) if (earlier <= number) this.#beats.delete(earlier);
    this.#pulse.heard(sentMs);
  }

  #warnBlocked(blockedMs: number): void {
    const runs = [...this.#executions.executing()].map(({ runId }) => runId);
    const named = runs.length === 0 ? "no run was executing" : `executing: ${runs.slice(0, 10).join(", ")}`;
    this.#params.log.warn(
      `The event loop was blocked for ${(blockedMs / 1_000).toFixed(1)} s (${named}). ` +
        'Long synchronous work keeps heartbeats back: await heartbeats.yield() in it, or give the task isolation: "process"',
    );
  }

  // ── places, and the end ────────────────────────────────────────────────────────────────────────────────────────────────────────

  get #isStopping(): boolean {
    return this.#life === "draining" || this.#life === "interrupting";
  }

  #freePlaces(): number {
    if (this.#life !== "serving" || this.#executions.unanswered > UNANSWERED_MAX) return 0;
    return Math.max(0, this.#params.concurrency - this.#executions.places);
  }

  #changed(): void {
    this.#connection.flush();
    // Not at once: a run that gives its place back may be about to report.
    if (this.#isStopping) queueMicrotask(() => this.#afterChange());
  }

  #afterChange(): void {
    if (!this.#isStopping) return;
    if (this.#executions.open === 0) void this.#close();
    // Waiting runs do not prolong the grace period (RUN-7).
    else if (this.#executions.busy === 0) this.#interrupt();
  }

  #interrupt(): void {
    if (this.#life !== "draining") return;
    this.#life = "interrupting";
    const reason = new Error("The worker stops; the run will be executed again");
    reason.name = "AbortError";
    this.#executions.interruptAll(reason);
    this.#deadlines.set(LAST_WORDS_MS, () => void this.#close());
    this.#afterChange();
  }

  async #close(): Promise<void> {
    if (this.#life === "closed") return;
    this.#life = "closed";
    this.#pulse.stop();
    this.#deadlines.clear();
    await this.#connection.close();
    this.#settleClosed();
  }
}
