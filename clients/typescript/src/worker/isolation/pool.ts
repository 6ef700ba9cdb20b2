/**
 * Task processes of a worker (WRK-5): as many as its attempts need at a time, each serving one attempt, kept for 60 s when idle.
 *
 *   starting ──ready──▶ busy ──attempt ended──▶ idle ──60 s──▶ (channel closed, ends by itself)
 *                         ▲                       │
 *                         └───────── taken ───────┘        anything ──killed, crashed──▶ gone
 *
 * Nobody counts them: the worker's places bound what executes, and a WAITING run keeps its process, as its continuation is in there.
 */
import type { ChildProcess } from "node:child_process";
import type { Deadline, Deadlines } from "../deadlines.js";
import { type FromProcess, isFromProcess, type ToProcess } from "./messages.js";

/** WRK-5. */
const IDLE_MS = 60_000;
/** Loading the code takes longer than this only if it never calls `startWorker`. */
const READY_MS = 60_000;
/** A process that was told to end and has not. */
const RETIRE_MS = 5_000;

/** Who has the process. */
export interface Occupant {
  /** The process takes messages now. */
  ready(): void;
  received(message: FromProcess): void;
  /** The process is gone. @param how as in "ended with exit code 1". */
  gone(how: string): void;
}

export interface TaskProcess {
  /** False until its code is loaded. */
  readonly isReady: boolean;
  send(message: ToProcess): void;
  /** At once, whatever its code does. */
  kill(): void;
}

export interface PoolParams {
  readonly fork: () => ChildProcess;
  readonly deadlines: Deadlines;
  /** Takes what a process says that belongs to no attempt any more. */
  readonly onStray: (message: FromProcess) => void;
}

interface Member extends TaskProcess {
  readonly child: ChildProcess;
  isReady: boolean;
  occupant: Occupant | undefined;
  /** Ends what has not become ready, or is idle. */
  limit: Deadline | undefined;
  readonly gone: Promise<void>;
}

export class ProcessPool {
  readonly #params: PoolParams;
  readonly #members = new Set<Member>();
  /** The one that was used last is taken first, so that surplus ones become old. */
  readonly #idle: Member[] = [];
  #isClosed = false;

  constructor(params: PoolParams) {
    this.#params = params;
  }

  /** An idle process, or a new one; it is the occupant's until it is released or gone. */
  take(occupant: Occupant): TaskProcess {
    const member = this.#idle.pop() ?? this.#fork();
    member.occupant = occupant;
    if (member.isReady) member.limit?.drop();
    return member;
  }

  /** Its attempt has ended: another may have it. */
  release(process: TaskProcess): void {
    const member = [...this.#members].find((candidate) => candidate === process);
    if (member === undefined || member.occupant === undefined) return;
    member.occupant = undefined;
    if (member.isReady) this.#rest(member);
  }

  /** Ends all of them at once; resolves when they are gone. */
  async close(): Promise<void> {
    this.#isClosed = true;
    for (const member of this.#members) member.kill();
    await Promise.all([...this.#members].map(({ gone }) => gone));
  }

  #fork(): Member {
    const child = this.#params.fork();
    let settle: () => void = () => undefined;
    const member: Member = {
      child,
      isReady: false,
      occupant: undefined,
      limit: this.#params.deadlines.set(READY_MS, () => child.kill("SIGKILL")),
      gone: new Promise((resolve) => {
        settle = resolve;
      }),
      // A channel that breaks is followed by the end of the process.
      send: (message) => void (child.connected && child.send({ hairtrigger: message }, () => undefined)),
      kill: () => void child.kill("SIGKILL"),
    };
    const end = (how: string): void => {
      if (!this.#members.delete(member)) return;
      member.limit?.drop();
      this.#forgetIdle(member);
      settle();
      member.occupant?.gone(how);
      member.occupant = undefined;
    };
    this.#members.add(member);
    child.on("message", (message) => {
      if (isFromProcess(message)) this.#received(member, message.hairtrigger);
    });
    child.on("error", (error) => {
      if (child.pid === undefined) end(`could not be started: ${error.message}`);
    });
    // User code may close the channel: then nobody hears of its outcome.
    child.on("disconnect", () => {
      if (member.occupant !== undefined) child.kill("SIGKILL");
      else this.#forgetIdle(member);
    });
    child.on("exit", () => {
      // What it said last may still be on its way.
      if (child.connected) child.once("disconnect", () => end(howItEnded(child)));
      else end(howItEnded(child));
    });
    return member;
  }

  #received(member: Member, message: FromProcess): void {
    if (message.kind !== "ready") {
      if (member.occupant === undefined) this.#params.onStray(message);
      else member.occupant.received(message);
      return;
    }
    member.limit?.drop();
    member.isReady = true;
    if (member.occupant === undefined) this.#rest(member);
    else member.occupant.ready();
  }

  #forgetIdle(member: Member): void {
    const at = this.#idle.indexOf(member);
    if (at !== -1) this.#idle.splice(at, 1);
  }

  #rest(member: Member): void {
    if (this.#isClosed || !member.child.connected) {
      member.kill();
      return;
    }
    this.#idle.push(member);
    member.limit = this.#params.deadlines.set(IDLE_MS, () => {
      this.#forgetIdle(member);
      if (member.child.connected) member.child.disconnect();
      member.limit = this.#params.deadlines.set(RETIRE_MS, () => member.kill());
    });
  }
}

function howItEnded({ exitCode, signalCode }: ChildProcess): string {
  return signalCode === null ? `ended with exit code ${exitCode}` : `was ended by ${signalCode}`;
}
