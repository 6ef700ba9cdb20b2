/**
 * An attempt whose code runs in a task process, as the worker sees it: what the process says is passed on to the run's state machine, what
 * happens to the run is passed on to the process, and a process that does not end its code in time is ended.
 *
 * - The attempt itself, with hooks, context and waits, is the ordinary one (attempt.ts), in the process; here is its {@link AttemptInput}.
 * - Only what the process has said counts. If it goes without a word, the attempt has failed with `TASK_PROCESS_EXITED`.
 */
import { fromBinary, toBinary } from "@bufbuild/protobuf";
import { engineFailure } from "../../convert/failure.js";
import { WaitingForSchema } from "../../gen/hairtrigger/v1/run_pb.js";
import { AssignmentSchema, WaitOutcomeSchema } from "../../gen/hairtrigger/worker/v1/worker_pb.js";
import { type RetryPolicy, retryDelayMs } from "../../retry-policy.js";
import type { ExecutorParams } from "../attempt/executor.js";
import type { Deadline, Deadlines } from "../deadlines.js";
import type { AttemptInput, RunningAttempt } from "../session/execution.js";
import type { MetadataWriter } from "../session/metadata-ledger.js";
import { type FromProcess, packRefusal, type Refusal, unpackOutcome } from "./messages.js";
import type { Occupant, ProcessPool, TaskProcess } from "./pool.js";

export interface IsolatedParams extends Pick<ExecutorParams, "facts" | "metadataWriter" | "logLine"> {
  readonly input: AttemptInput;
  readonly taskId: string;
  readonly policy: RetryPolicy;
  /** An earlier attempt of the same assignment was started here. */
  readonly isRepeated: boolean;
  readonly pool: ProcessPool;
  readonly deadlines: Deadlines;
  readonly random: () => number;
}

/** The process ends this long before the server frees the slot (QUE-4): no code goes on beside that of the next run. */
const KILL_LEAD_MS = 500;
/** A dropped continuation has ended (CAN-2); listeners of its signal have this long. */
const DROPPED_MS = 1_000;

const TOO_MANY_CHANGES = "More changes wait for the server than can be kept";

export class IsolatedAttempt implements RunningAttempt, Occupant {
  readonly #params: IsolatedParams;
  #process: TaskProcess | undefined;
  #hasBegun = false;
  #isWaiting = false;
  #isTold = false;
  #isStopped = false;
  #isOver = false;
  #limit: Deadline | undefined;
  #metadata: MetadataWriter | undefined;
  /** Changes of metadata that the server has not acknowledged. */
  readonly #unsettled = new Set<{ refusal: Refusal | undefined }>();

  constructor(params: IsolatedParams) {
    this.#params = params;
  }

  get taskId(): string {
    return this.#params.taskId;
  }

  start(): void {
    try {
      this.#process = this.#params.pool.take(this);
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      // Not before the run counts as running.
      queueMicrotask(() => this.gone(`could not be started: ${why}`));
      return;
    }
    if (this.#process.isReady) this.ready();
  }

  ready(): void {
    const { input, facts, isRepeated } = this.#params;
    const lease = input.lease();
    if (lease === undefined) {
      this.#over();
      return;
    }
    this.#hasBegun = true;
    const { attempt, activeBeforeMs, rejoinAttempt } = input;
    const assignment = toBinary(AssignmentSchema, input.assignment);
    this.#process?.send({
      kind: "start",
      assignment,
      attempt,
      activeBeforeMs,
      rejoinAttempt,
      isRepeated,
      lease,
      facts: facts(),
    });
  }

  received(message: FromProcess): void {
    const { input, logLine } = this.#params;
    switch (message.kind) {
      case "ready":
        return;
      case "log":
        logLine(message.runId, message.attempt, message.line);
        return;
      case "tags":
        input.tagsChanged(message.tags);
        return;
      case "waiting":
        this.#wait(message.waitingFor);
        return;
      case "metadata":
        this.#changeMetadata(message);
        return;
      case "outcome":
        this.#isTold = true;
        this.#keepMetadata(message.metadataJson);
        // Code that an uncaught error went ahead of may go on.
        if (!this.#isStopped) this.#endWithin(this.#graceMs());
        input.onOutcome(unpackOutcome(message.outcome));
        return;
      case "ended":
        this.#over();
    }
  }

  gone(how: string): void {
    const { input, policy, random } = this.#params;
    this.#process = undefined;
    if (!this.#isTold && !this.#isStopped) {
      const failure = engineFailure("TASK_PROCESS_EXITED", `The process of the task ${how}`);
      const delayMs = retryDelayMs(policy, input.attempt, random());
      input.onOutcome({ kind: "failed", failure, retryDelayMs: delayMs, maxAttempts: policy.maxAttempts });
    }
    this.#over();
  }

  abort(reason: Error): void {
    this.#stop(() => this.#process?.send({ kind: "abort", name: reason.name, message: reason.message }));
  }

  cancel(reason: string): void {
    this.#stop(() => this.#process?.send({ kind: "cancel", reason }));
  }

  #stop(say: () => void): void {
    if (this.#isOver || this.#isStopped) return;
    this.#isStopped = true;
    if (!this.#hasBegun) {
      // Its code is not loaded yet; another attempt may have the process.
      this.#over();
      return;
    }
    say();
    this.#endWithin(this.#isWaiting ? DROPPED_MS : this.#graceMs());
  }

  #wait(bytes: Uint8Array): void {
    if (this.#isStopped) {
      this.#endWithin(DROPPED_MS);
      return;
    }
    this.#isWaiting = true;
    const { input } = this.#params;
    input.wait(fromBinary(WaitingForSchema, bytes), (outcome) => {
      this.#isWaiting = false;
      const packed = outcome === undefined ? undefined : toBinary(WaitOutcomeSchema, outcome);
      this.#process?.send({ kind: "resume", lease: input.lease(), outcome: packed });
    });
  }

  /** It goes on to the server from here; the process is told when that has it. */
  #changeMetadata({ changes, sequence, metadataJson }: Extract<FromProcess, { readonly kind: "metadata" }>): void {
    if (this.#isStopped) return;
    const { metadataWriter, input } = this.#params;
    const { runId } = input.assignment;
    this.#keepMetadata(metadataJson);
    this.#metadata ??= metadataWriter(runId, input.attempt, (_, refusal) => {
      if (refusal !== undefined) for (const batch of this.#unsettled) batch.refusal = packRefusal(refusal);
    });
    const batch: { refusal: Refusal | undefined } = { refusal: undefined };
    this.#unsettled.add(batch);
    for (const change of changes) {
      if (!this.#metadata.add(change)) batch.refusal = { code: "resource_exhausted", message: TOO_MANY_CHANGES };
    }
    const settled = { kind: "settled", runId, attempt: input.attempt, sequence } as const;
    const process = this.#process;
    const told = async (flushed: Promise<void>): Promise<void> => {
      await flushed;
      this.#unsettled.delete(batch);
      process?.send({ ...settled, refusal: batch.refusal });
    };
    void told(this.#metadata.flush());
  }

  /** The next attempt goes on from there, in whatever process (MET-10). */
  #keepMetadata(json: string | undefined): void {
    if (json !== undefined) this.#params.input.assignment.metadataJson = json;
  }

  #graceMs(): number {
    return Math.max(0, this.#params.facts().cancelGraceMs - KILL_LEAD_MS);
  }

  #endWithin(delayMs: number): void {
    this.#limit?.drop();
    this.#limit = this.#params.deadlines.set(delayMs, () => this.#process?.kill());
  }

  #over(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#limit?.drop();
    if (this.#process !== undefined) this.#params.pool.release(this.#process);
    this.#params.input.onEnded();
  }
}
