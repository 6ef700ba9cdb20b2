/**
 * What is to be said to one worker. Everything that comes up before the writer takes the next message travels in it, so that cost is per
 * flush and not per run; while a message is on its way to the socket, the next one fills up.
 *
 * Bounded: runs come by credit, answers by reports, and the reader waits while too much is unsent ({@link Outbox.room}).
 */
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import {
  type Acknowledgement,
  type Assignment,
  type CancelRun,
  type HeldInstruction,
  type LostLease,
  type MetadataAcknowledgement,
  type Resume,
  type Welcome,
} from "#proto/hairtrigger/worker/v1/worker_pb.js";
import { type OpenSessionResponse, OpenSessionResponseSchema } from "#proto/hairtrigger/worker/v1/worker_service_pb.js";
import { createCreditBook } from "./credit.js";
import { createHeldSet } from "./held-set.js";

/** Spec bytes in one message; a larger run travels alone. Below what gRPC libraries take by default (4 MB), and two round trips of a LAN. */
const SPEC_BYTES_MAX = 3_000_000;
/** Answers in one message. */
const ANSWERS_MAX = 5_000;
/** Unsent answers at which the reader stops reading. */
const UNSENT_MAX = 20_000;

/** How the stream ends once everything is said: `undefined` is OK. */
export type Ending = { readonly error: Error | undefined };

type MessageParts = MessageInitShape<typeof OpenSessionResponseSchema>;

export class Outbox {
  readonly held = createHeldSet();
  readonly #credit = createCreditBook();
  #sequence = 0;
  #greetings: {
    readonly welcome: Welcome;
    readonly held: readonly HeldInstruction[];
    readonly leases: readonly Uint8Array[];
  }[] = [];
  #assignments: Assignment[] = [];
  #resumes: Resume[] = [];
  #cancels: CancelRun[] = [];
  #answers: Acknowledgement[] = [];
  #lost: LostLease[] = [];
  #metadata: MetadataAcknowledgement[] = [];
  #heartbeat: bigint | undefined;
  #isResync = false;
  #isDraining = false;
  #ending: Ending | undefined;
  #wakeWriter: (() => void) | undefined;
  #wakeReader: (() => void) | undefined;

  /** The answer to a hello; travels alone, before anything else is said about its leases. */
  greet(welcome: Welcome, held: readonly HeldInstruction[], leases: readonly Uint8Array[]): void {
    this.#greetings.push({ welcome, held, leases });
    this.#wakeWriter?.();
  }

  assign(assignments: readonly Assignment[], resumes: readonly Resume[]): void {
    this.#assignments.push(...assignments);
    this.#resumes.push(...resumes);
    this.#wakeWriter?.();
  }

  cancel(cancels: readonly CancelRun[]): void {
    this.#cancels.push(...cancels);
    this.#wakeWriter?.();
  }

  answer(answers: readonly Acknowledgement[]): void {
    this.#answers.push(...answers);
    this.#wakeWriter?.();
  }

  lose(lost: readonly LostLease[]): void {
    this.#lost.push(...lost);
    this.#wakeWriter?.();
  }

  answerMetadata(answers: readonly MetadataAcknowledgement[]): void {
    this.#metadata.push(...answers);
    this.#wakeWriter?.();
  }

  beat(number: bigint): void {
    this.#heartbeat = number;
    this.#wakeWriter?.();
  }

  resync(): void {
    this.#isResync = true;
    this.#wakeWriter?.();
  }

  drain(): void {
    this.#isDraining = true;
    this.#wakeWriter?.();
  }

  /** Ends the stream after what is unsent; the first ending holds. */
  end(ending: Ending): void {
    this.#ending ??= ending;
    this.#wakeWriter?.();
    this.#wakeReader?.();
  }

  get isEnded(): boolean {
    return this.#ending !== undefined;
  }

  /** Free places of the worker, from what it says and what it does not know yet. */
  places(freePlaces: number, receivedSequence: number): number {
    return this.#credit.places(freePlaces, receivedSequence, this.#assignments.length + this.#resumes.length);
  }

  /** Resolves when little enough is unsent that more may be asked for, or the stream ends. */
  async room(): Promise<void> {
    while (this.#answers.length > UNSENT_MAX && this.#ending === undefined) {
      await new Promise<void>((resolve) => {
        this.#wakeReader = resolve;
      });
    }
  }

  /** Every message until the end. @throws the error of the ending. */
  async *messages(): AsyncGenerator<OpenSessionResponse, void, undefined> {
    for (;;) {
      if (this.#isEmpty) {
        if (this.#ending !== undefined) break;
        await new Promise<void>((resolve) => {
          this.#wakeWriter = resolve;
        });
        this.#wakeWriter = undefined;
        // Whoever woke us may have more to say in the same turn.
        await Promise.resolve();
        continue;
      }
      yield this.#take();
      this.#wakeReader?.();
      this.#wakeReader = undefined;
    }
    if (this.#ending.error !== undefined) throw this.#ending.error;
  }

  get #isEmpty(): boolean {
    const lists = [
      this.#greetings,
      this.#assignments,
      this.#resumes,
      this.#cancels,
      this.#answers,
      this.#lost,
      this.#metadata,
    ];
    const isSilent = this.#heartbeat === undefined && !this.#isResync && !this.#isDraining;
    return isSilent && lists.every((list) => list.length === 0);
  }

  #take(): OpenSessionResponse {
    this.#sequence += 1;
    const parts = this.#takeGreeting() ?? this.#takeParts();
    this.held.mark(this.#sequence);
    return create(OpenSessionResponseSchema, { ...parts, sequence: BigInt(this.#sequence) });
  }

  #takeGreeting(): MessageParts | undefined {
    const greeting = this.#greetings.shift();
    if (greeting === undefined) return undefined;
    const { welcome, held, leases } = greeting;
    this.held.reset(leases);
    for (const { lease, instruction } of held) this.#follow(lease, instruction);
    return { welcome, held: [...held] };
  }

  #takeParts(): MessageParts {
    const assignments = this.#takeAssignments();
    const resumes = this.#resumes.splice(0);
    const answers = this.#answers.splice(0, ANSWERS_MAX);
    // What is said about a run must not overtake the run.
    const isAllAssigned = this.#assignments.length === 0;
    const cancels = isAllAssigned ? this.#cancels.splice(0) : [];
    const lost = isAllAssigned ? this.#lost.splice(0) : [];
    this.#credit.sent(this.#sequence, assignments.length + resumes.length);
    for (const { lease } of assignments) this.held.add(lease);
    for (const { lease, waitingLease } of resumes) {
      this.held.remove(waitingLease);
      this.held.add(lease);
    }
    for (const { lease, instruction } of answers) this.#follow(lease, instruction);
    for (const { lease } of lost) this.held.remove(lease);
    const parts: MessageParts = {
      assignments,
      resumes,
      cancels,
      acknowledgements: answers,
      lost,
      heartbeatAck: this.#heartbeat === undefined ? undefined : { number: this.#heartbeat },
      drain: this.#isDraining ? {} : undefined,
      resync: this.#isResync,
      metadataAcknowledgements: this.#metadata.splice(0),
    };
    this.#heartbeat = undefined;
    this.#isDraining = false;
    this.#isResync = false;
    return parts;
  }

  #takeAssignments(): Assignment[] {
    let bytes = 0;
    let count = 0;
    for (const { spec } of this.#assignments) {
      bytes += spec.length;
      if (count > 0 && bytes > SPEC_BYTES_MAX) break;
      count += 1;
    }
    return this.#assignments.splice(0, count);
  }

  /** What an answer does to the held set: see the comment of `Heartbeat.held_count`. */
  #follow(lease: Uint8Array, instruction: Acknowledgement["instruction"] | HeldInstruction["instruction"]): void {
    switch (instruction.case) {
      case "retry":
      case "resume":
        this.held.remove(lease);
        this.held.add(instruction.value.lease);
        break;
      case "finished":
      case "released":
      case "lost":
        this.held.remove(lease);
        break;
      case "goOn":
      case "keepWaiting":
      case "cancel":
      case undefined:
        break;
    }
  }
}
