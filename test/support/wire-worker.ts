/**
 * A worker that does exactly what a test says, word by word in the worker protocol and without the SDK: it opens a session, gives credit,
 * collects what it is sent, reports on command, falls silent by sending nothing, loses its connection and comes back. It keeps the set of
 * leases that it holds as the protocol counts them, because heartbeats and hellos have to name it; everything else is the test's.
 */
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { durationFromMs } from "@bufbuild/protobuf/wkt";
import { type Client, ConnectError } from "@connectrpc/connect";
import type { PayloadSchema } from "#proto/hairtrigger/v1/payload_pb.js";
import { FailureKind, type FailureSchema, type WaitingForSchema } from "#proto/hairtrigger/v1/run_pb.js";
import type {
  Acknowledgement,
  Assignment,
  CancelRun,
  HeldInstruction,
  HeldLeaseSchema,
  LostLease,
  MetadataAcknowledgement,
  QueueDeclarationSchema,
  Resume,
  TaskDeclarationSchema,
  Welcome,
} from "#proto/hairtrigger/worker/v1/worker_pb.js";
import {
  type OpenSessionRequest,
  OpenSessionRequestSchema,
  type OpenSessionResponse,
  type WorkerService,
} from "#proto/hairtrigger/worker/v1/worker_service_pb.js";

/** Longest wait for a message that never comes; a hanging test would say less. */
const PATIENCE_MS = 30_000;

const PROTOCOL_VERSION = "0.1";

export interface WireWorkerOptions {
  /** Default: a new session. */
  readonly sessionId?: string;
  /** Default: 1. */
  readonly epoch?: number;
  readonly tasks: readonly (string | MessageInitShape<typeof TaskDeclarationSchema>)[];
  readonly queues?: readonly MessageInitShape<typeof QueueDeclarationSchema>[];
  /** Leases of an earlier connection. */
  readonly held?: readonly MessageInitShape<typeof HeldLeaseSchema>[];
  /** Awaited before a heartbeat: when its answer is here, so is what was begun before. */
  readonly settled?: () => Promise<void>;
  /** Free places offered at once; 0: none until `credit`. Default 10. */
  readonly credit?: number;
}

type Message = MessageInitShape<typeof OpenSessionRequestSchema>;
type Instruction = Acknowledgement["instruction"];

/** How a stream ended: without error, or with this code (a number of Connect). */
export type StreamEnd = { readonly code: number | undefined; readonly error: ConnectError | undefined };

let sessions = 0;

export class WireWorker {
  readonly sessionId: string;
  readonly epoch: number;
  /** Runs to execute, in the order in which they came. */
  readonly assignments = new Mailbox<Assignment>("assignment");
  /** Runs that go on after a wait. */
  readonly resumes = new Mailbox<Resume>("resume");
  readonly cancels = new Mailbox<CancelRun>("cancel");
  readonly lost = new Mailbox<LostLease>("lost lease");
  readonly held = new Mailbox<HeldInstruction>("answer for a held lease");
  readonly drains = new Mailbox<true>("drain");
  readonly resyncs = new Mailbox<true>("resync");
  readonly metadata = new Mailbox<MetadataAcknowledgement>("metadata acknowledgement");
  readonly #client: Client<typeof WorkerService>;
  readonly #options: WireWorkerOptions;
  readonly #abort = new AbortController();
  readonly #outgoing = new Outgoing();
  readonly #welcome = new Mailbox<Welcome>("welcome");
  readonly #ended: Promise<StreamEnd>;
  #onEnd: (end: StreamEnd) => void = () => {};
  readonly #beats = new Mailbox<bigint>("acknowledged heartbeat");
  readonly #acknowledgements = new Map<string, Mailbox<Instruction>>();
  /** Hex of a lease → the lease, from the message that gave it to the one that took it. */
  readonly #leases = new Map<string, Uint8Array>();
  #received = 0n;
  #beat = 0n;

  constructor(client: Client<typeof WorkerService>, options: WireWorkerOptions) {
    this.#client = client;
    this.#options = options;
    this.epoch = options.epoch ?? 1;
    this.sessionId = options.sessionId ?? newSessionId();
    this.#ended = new Promise((resolve) => {
      this.#onEnd = resolve;
    });
    for (const { lease } of options.held ?? []) if (lease !== undefined) this.#hold(lease);
  }

  /** Says hello; the answers for held leases are in `held`. Rejects with the server's refusal. */
  async open(): Promise<Welcome> {
    this.send({ hello: this.hello() });
    const welcome = await this.listen();
    const { credit = 10 } = this.#options;
    if (credit > 0) this.credit(credit);
    return welcome;
  }

  /** Opens the stream with what was sent so far; for tests that greet in a way of their own. Rejects with the server's refusal. */
  listen(): Promise<Welcome> {
    void this.#receive();
    return Promise.race([this.#welcome.take(), this.#refused()]);
  }

  /** Number of the last message received. */
  get receivedSequence(): bigint {
    return this.#received;
  }

  /** What `open` says first. */
  hello() {
    const { tasks, queues = [], held = [] } = this.#options;
    return {
      sessionId: this.sessionId,
      connectionEpoch: this.epoch,
      identity: { name: "wire-worker", host: "test", pid: 1, sdk: "none/0.1.0", runtime: "test" },
      protocolVersion: PROTOCOL_VERSION,
      tasks: tasks.map((task) => (typeof task === "string" ? { id: task } : task)),
      queues: [...queues],
      concurrency: 100,
      held: [...held],
    };
  }

  send(message: Message): void {
    this.#outgoing.push(create(OpenSessionRequestSchema, message));
  }

  credit(freePlaces: number): void {
    this.send({ credit: { freePlaces, receivedSequence: this.#received } });
  }

  /** A sign of life, kept by the server when this resolves; confirms the pick-up of `started`. */
  async heartbeat(started: readonly Uint8Array[] = []): Promise<void> {
    await this.#options.settled?.();
    this.#beat += 1n;
    const number = this.#beat;
    this.send({
      heartbeat: {
        number,
        receivedSequence: this.#received,
        heldCount: this.#leases.size,
        heldChecksum: checksum([...this.#leases.values()]),
        startedLeases: [...started],
      },
    });
    while ((await this.#beats.take()) < number);
  }

  /** The next assignment. */
  assigned(): Promise<Assignment> {
    return this.assignments.take();
  }

  /** The next assignment, with its pick-up confirmed. */
  async begin(): Promise<Assignment> {
    const assignment = await this.assigned();
    await this.started(assignment.lease);
    return assignment;
  }

  /** Takes the next assignment, begins it and completes it. */
  async finish(output?: MessageInitShape<typeof PayloadSchema>): Promise<Assignment> {
    const assignment = await this.begin();
    await this.completed(assignment.lease, output);
    return assignment;
  }

  // Reports: each resolves with the instruction that acknowledges it.

  started(lease: Uint8Array): Promise<Instruction> {
    return this.report(lease, { started: [{ lease }] });
  }

  completed(lease: Uint8Array, output?: MessageInitShape<typeof PayloadSchema>): Promise<Instruction> {
    return this.report(lease, { completed: [{ lease, output }] });
  }

  /** @param retryDelayMs undefined: no further attempt. */
  failed(
    lease: Uint8Array,
    failure: MessageInitShape<typeof FailureSchema> = {},
    retryDelayMs?: number,
  ): Promise<Instruction> {
    const retryDelay = retryDelayMs === undefined ? undefined : durationFromMs(retryDelayMs);
    const thrown = { name: "Error", message: "failed", kind: FailureKind.ERROR, ...failure };
    return this.report(lease, { failed: [{ lease, failure: thrown, retryDelay }] });
  }

  interrupted(lease: Uint8Array, codeRunsOn = false): Promise<Instruction> {
    return this.report(lease, { interrupted: [{ lease, codeRunsOn }] });
  }

  /** @param runId of the run that it waits for; or whatever else it waits for. */
  waits(lease: Uint8Array, runId: string | MessageInitShape<typeof WaitingForSchema>): Promise<Instruction> {
    const waitingFor = typeof runId === "string" ? ({ waitpoint: { case: "runId", value: runId } } as const) : runId;
    return this.report(lease, { waiting: [{ lease, waitingFor }] });
  }

  /** The next resume, with its pick-up confirmed. */
  async resumed(): Promise<Resume> {
    const resume = await this.resumes.take();
    await this.started(resume.lease);
    return resume;
  }

  timedOut(lease: Uint8Array): Promise<Instruction> {
    return this.report(lease, { timedOut: [{ lease }] });
  }

  ended(lease: Uint8Array): Promise<Instruction> {
    return this.report(lease, { ended: [{ lease }] });
  }

  /** Sends a message that reports about this lease, and waits for its acknowledgement. */
  report(lease: Uint8Array, message: Message): Promise<Instruction> {
    const answer = this.#acknowledgementsOf(lease).take();
    this.send(message);
    return answer;
  }

  /** The leases held now, for the hello of the next connection. */
  get leases(): readonly Uint8Array[] {
    return [...this.#leases.values()];
  }

  /** Number of the last message that came. */
  get received(): bigint {
    return this.#received;
  }

  /** How the stream ended; waits for it. */
  end(): Promise<StreamEnd> {
    return this.#ended;
  }

  /** Breaks the connection without a word. Idempotent. */
  disconnect(): void {
    this.#abort.abort();
    this.#outgoing.close();
  }

  /** Ends the stream in an orderly way from this side; resolves when the server has ended its own. */
  async close(): Promise<StreamEnd> {
    this.#outgoing.close();
    return this.end();
  }

  /**
   * Another connection of the same session, under the next epoch.
   * @param change what differs; `held`: all that this one holds unless said otherwise.
   */
  async reconnect(change: Partial<WireWorkerOptions> = {}): Promise<WireWorker> {
    const held = this.leases.map((lease) => ({ lease }));
    const options = { ...this.#options, sessionId: this.sessionId, epoch: this.epoch + 1, held, ...change };
    const next = new WireWorker(this.#client, options);
    await next.open();
    return next;
  }

  async #receive(): Promise<void> {
    try {
      for await (const message of this.#client.openSession(this.#outgoing, { signal: this.#abort.signal })) {
        this.#handle(message);
      }
      this.#finish({ code: undefined, error: undefined });
    } catch (error) {
      const refusal = ConnectError.from(error);
      this.#finish({ code: refusal.code, error: refusal });
    }
  }

  #finish(end: StreamEnd): void {
    this.#onEnd(end);
    const why = `the stream has ended (${end.error?.message ?? "OK"})`;
    const mailboxes = [
      this.assignments,
      this.resumes,
      this.cancels,
      this.lost,
      this.held,
      this.drains,
      this.resyncs,
      this.metadata,
      this.#beats,
    ];
    for (const mailbox of [...mailboxes, ...this.#acknowledgements.values()]) mailbox.close(why);
  }

  #handle(message: OpenSessionResponse): void {
    this.#received = message.sequence;
    if (message.welcome !== undefined) this.#welcome.push(message.welcome);
    for (const assignment of message.assignments) {
      this.#hold(assignment.lease);
      this.assignments.push(assignment);
    }
    for (const resume of message.resumes) {
      this.#drop(resume.waitingLease);
      this.#hold(resume.lease);
      this.resumes.push(resume);
    }
    for (const cancel of message.cancels) this.cancels.push(cancel);
    for (const { lease, instruction } of message.acknowledgements) {
      this.#follow(lease, instruction);
      this.#acknowledgementsOf(lease).push(instruction);
    }
    for (const lost of message.lost) {
      this.#drop(lost.lease);
      this.lost.push(lost);
    }
    if (message.heartbeatAck !== undefined) this.#beats.push(message.heartbeatAck.number);
    for (const answer of message.held) {
      this.#follow(answer.lease, answer.instruction);
      this.held.push(answer);
    }
    if (message.drain !== undefined) this.drains.push(true);
    for (const answer of message.metadataAcknowledgements) this.metadata.push(answer);
    if (message.resync) this.resyncs.push(true);
  }

  /** What an answer does to the set of held leases. */
  #follow(lease: Uint8Array, instruction: Instruction | HeldInstruction["instruction"]): void {
    switch (instruction.case) {
      case "retry":
      case "resume":
        this.#drop(lease);
        this.#hold(instruction.value.lease);
        return;
      case "finished":
      case "released":
      case "lost":
        this.#drop(lease);
        return;
      default:
    }
  }

  async #refused(): Promise<never> {
    const end = await this.#ended;
    throw end.error ?? new Error("the stream ended before the welcome");
  }

  #acknowledgementsOf(lease: Uint8Array): Mailbox<Instruction> {
    const key = hex(lease);
    const known = this.#acknowledgements.get(key);
    if (known !== undefined) return known;
    const mailbox = new Mailbox<Instruction>("acknowledgement");
    this.#acknowledgements.set(key, mailbox);
    return mailbox;
  }

  #hold(lease: Uint8Array): void {
    this.#leases.set(hex(lease), lease);
  }

  #drop(lease: Uint8Array): void {
    this.#leases.delete(hex(lease));
  }
}

/** What came and was not taken yet, first in, first out. */
export class Mailbox<T> {
  readonly #what: string;
  readonly #items: T[] = [];
  readonly #takers: { readonly resolve: (item: T) => void; readonly reject: (error: Error) => void }[] = [];
  #closed: string | undefined;

  constructor(what: string) {
    this.#what = what;
  }

  /** Items that nobody has taken. */
  get size(): number {
    return this.#items.length;
  }

  push(item: T): void {
    const taker = this.#takers.shift();
    if (taker === undefined) this.#items.push(item);
    else taker.resolve(item);
  }

  /** Nothing comes any more; whoever waits learns why. */
  close(why: string): void {
    this.#closed ??= why;
    for (const { reject } of this.#takers.splice(0)) reject(new Error(`no ${this.#what} will come: ${why}`));
  }

  /** The next item, now or when it comes. */
  take(): Promise<T> {
    const [first] = this.#items.splice(0, 1);
    if (first !== undefined) return Promise.resolve(first);
    const missing = new Error(`no ${this.#what} came within ${PATIENCE_MS / 1_000} s`);
    return new Promise((resolve, reject) => {
      if (this.#closed !== undefined) return reject(new Error(`no ${this.#what} will come: ${this.#closed}`));
      const taker = {
        resolve: (item: T): void => {
          clearTimeout(timer);
          resolve(item);
        },
        reject: (error: Error): void => {
          clearTimeout(timer);
          reject(error);
        },
      };
      const timer = setTimeout(() => {
        this.#takers.splice(this.#takers.indexOf(taker), 1);
        reject(missing);
      }, PATIENCE_MS);
      this.#takers.push(taker);
    });
  }
}

/** The request side of the stream: messages are sent as they are pushed. */
class Outgoing implements AsyncIterable<OpenSessionRequest> {
  readonly #items: OpenSessionRequest[] = [];
  #wake: (() => void) | undefined;
  #isClosed = false;

  push(message: OpenSessionRequest): void {
    this.#items.push(message);
    this.#wake?.();
  }

  close(): void {
    this.#isClosed = true;
    this.#wake?.();
  }

  async *[Symbol.asyncIterator](): AsyncIterator<OpenSessionRequest> {
    for (;;) {
      for (let item = this.#items.shift(); item !== undefined; item = this.#items.shift()) yield item;
      if (this.#isClosed) return;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }
}

export function newSessionId(): string {
  sessions += 1;
  return `session_${String(sessions).padStart(26, "0")}`;
}

export function hex(lease: Uint8Array): string {
  return Buffer.from(lease).toString("hex");
}

/** Exclusive or of the 64-bit FNV-1a hashes, as `Heartbeat.held_checksum` wants it. */
function checksum(leases: readonly Uint8Array[]): bigint {
  return leases.map(fnv1a).reduce((sum, hash) => sum ^ hash, 0n);
}

function fnv1a(bytes: Uint8Array): bigint {
  let hash = 0xcbf29ce484222325n;
  for (const byte of bytes) hash = BigInt.asUintN(64, (hash ^ BigInt(byte)) * 0x100000001b3n);
  return hash;
}
