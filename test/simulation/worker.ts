/**
 * A worker of a simulation: keeps the promises that a real one makes (RUN-6…8) and may be cut off, forgotten or answered into the void at
 * any step. It holds no code; what it "executes" is what {@link SimulatedWorker.executing} says.
 */
import type { Lease } from "../../server/domain/lease.js";
import type { Engine, Instruction, OpenedSession, Report, SessionSink } from "../../server/engine/engine.js";

interface Held {
  readonly lease: Lease;
  readonly queue: string;
  /** Code of a limited queue starts only after its `started` was acknowledged. */
  isRunning: boolean;
  /** Sent and not known to be acknowledged. */
  report: Report | undefined;
}

/** A report without the lease it is about. */
export type Said = Report extends infer One ? (One extends Report ? Omit<One, "lease"> : never) : never;

/** RUN-6: a worker fences itself 28 s after the sending of its last acknowledged heartbeat. */
const FENCE_MS = 28_000;

export class SimulatedWorker {
  readonly engine: Engine;
  readonly nowMs: () => number;
  readonly sessionId: string;
  readonly held = new Map<string, Held>();
  /** Every lease it was ever given. */
  readonly given: Lease[] = [];
  #session: OpenedSession | undefined;
  #epoch = 0;
  #heardMs = 0;
  #fenced: Lease[] = [];

  constructor(engine: Engine, nowMs: () => number, sessionId: string) {
    this.engine = engine;
    this.nowMs = nowMs;
    this.sessionId = sessionId;
  }

  /** Runs whose code goes on under a lease that the worker believes in. */
  executing(queue: string): number {
    this.fenceIfDue();
    return [...this.held.values()].filter((held) => held.isRunning && held.queue === queue).length;
  }

  fenceIfDue(): void {
    if (this.nowMs() - this.#heardMs < FENCE_MS || this.held.size === 0) return;
    this.#fenced.push(...[...this.held.values()].map(({ lease }) => lease));
    this.held.clear();
  }

  async connect(taskIds: readonly string[], places: number): Promise<void> {
    this.fenceIfDue();
    await this.disconnect();
    const sentMs = this.nowMs();
    const isCurrent = this.#nextConnection();
    const listed = [
      ...[...this.held.values()].map(({ lease }) => ({ lease, isInterrupted: false, codeEnded: false })),
      ...this.#fenced.map((lease) => ({ lease, isInterrupted: true, codeEnded: true })),
    ];
    const sink: SessionSink = {
      assign: (runs) => {
        if (!isCurrent()) return;
        for (const { run, isLimited } of runs) {
          const lease = { runId: run.id, fence: run.fence };
          this.given.push(lease);
          this.held.set(run.id, { lease, queue: run.queue, isRunning: !isLimited, report: undefined });
        }
      },
      cancel: (runs) => {
        if (isCurrent()) for (const { lease } of runs) this.#drop(lease);
      },
      lost: (leases) => {
        if (isCurrent()) for (const lease of leases) this.#drop(lease);
      },
      end: () => {
        if (isCurrent()) this.#session = undefined;
      },
    };
    const session = await this.engine.openSession(
      {
        environment: "dev",
        sessionId: this.sessionId,
        connectionEpoch: this.#epoch,
        workerName: this.sessionId,
        sdk: "simulation",
        concurrency: places,
        tasks: taskIds.map((id) => ({ id, retry: { randomize: false } })),
        queues: [],
        held: listed,
      },
      sink,
    );
    this.#heardMs = sentMs;
    this.#fenced = [];
    listed.forEach(({ lease }, index) => this.#follow(lease, session.instructions[index]));
    this.#session = session;
    session.setPlaces(Math.max(0, places - this.held.size));
  }

  /** The stream breaks; the worker goes on and may come back. */
  async disconnect(): Promise<void> {
    const session = this.#session;
    this.#session = undefined;
    this.#epoch += 1;
    await session?.close("disconnected");
  }

  async heartbeat(): Promise<void> {
    const sentMs = this.nowMs();
    this.#session?.noteMessage();
    const begun = [...this.held.values()].filter(({ isRunning }) => isRunning).map(({ lease }) => lease);
    if ((await this.#session?.heartbeat(begun)) === true) this.#heardMs = sentMs;
  }

  /** Reports every run that `choose` says something about; with `answersLost` the worker never hears what came of it. */
  async report(choose: (runId: string) => Said | undefined, answersLost: boolean): Promise<void> {
    this.fenceIfDue();
    const session = this.#session;
    if (session === undefined) return;
    session.noteMessage();
    const reports: Report[] = [];
    for (const held of this.held.values()) {
      const asked: Said | undefined = held.isRunning ? choose(held.lease.runId) : { kind: "started" };
      const report: Report | undefined =
        held.report ?? (asked === undefined ? undefined : { ...asked, lease: held.lease });
      if (report === undefined) continue;
      if (report.kind !== "started") {
        held.report = report;
        held.isRunning = false;
      }
      reports.push(report);
    }
    const answers = await session.report(reports);
    if (answersLost || session !== this.#session) return;
    reports.forEach(({ lease }, index) => this.#follow(lease, answers[index]));
  }

  /** A message that was under way for long: says what is no longer true, and its answer is heard by nobody. */
  async reportLate(lease: Lease): Promise<void> {
    await this.#session?.report([{ kind: "completed", lease, output: undefined }]);
  }

  offer(places: number): void {
    this.#session?.setPlaces(Math.max(0, places - this.held.size));
  }

  #nextConnection(): () => boolean {
    this.#epoch += 1;
    const epoch = this.#epoch;
    return () => epoch === this.#epoch;
  }

  #follow(lease: Lease, instruction: Instruction | undefined): void {
    const held = this.held.get(lease.runId);
    if (held === undefined || held.lease.fence !== lease.fence || instruction === undefined) return;
    if (instruction.kind === "goOn") held.isRunning = held.report === undefined;
    else if (instruction.kind === "retry") {
      this.given.push(instruction.lease);
      this.held.set(lease.runId, { ...held, lease: instruction.lease, isRunning: true, report: undefined });
    } else this.held.delete(lease.runId);
  }

  /** The code of a cancelled or lost run ends at once here. */
  #drop(lease: Lease): void {
    const held = this.held.get(lease.runId);
    if (held?.lease.fence === lease.fence) this.held.delete(lease.runId);
  }
}
