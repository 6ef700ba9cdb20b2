/**
 * The driver of servers that share a MongoDB database: Agenda, with one recurring job per duty, so that one server at a time does each.
 * Never a job per run: the runs are the record of what is due, and a second one would be a second truth (design 13).
 *
 * A server that dies in a duty leaves its lock behind; any other takes over when the lock is {@link LOCK_MS} old. Duties are guarded by the
 * times in the record, so that two holders for a moment, as after a long stop of a machine, would do no harm.
 */
import { Agenda, type Job } from "agenda";
import type { Db } from "mongodb";
import type { Clock, Timer } from "../server/engine/clock.js";
import { type AgendaJobs, createAgendaJobs } from "./agenda-jobs.js";
import type { Driver, DutyPass } from "./driver.js";

/** How long a holder may be silent; with the poll's period the take-over stays within 30 s. */
const LOCK_MS = 20_000;

/** A holder that works for longer renews its lock between pages in this pace. */
const TOUCH_MS = 5_000;

/**
 * Pause between two looks for due jobs, and so the shortest period of a duty. A look is one operation per duty, and a run of a duty two
 * beside those of its verb: with 8 duties 30 a second for the server that holds all of them, 11 for one that holds none.
 */
const POLL_MS = 750;

/** One run of a job works off a backlog for this long before it lets another server have it. */
const RUN_MS = 10_000;

/** Pause before another try to set the jobs up, where the database was away. */
const RETRY_MS = 1_000;

/** Stopping waits this long for what is under way; locks that stay behind run out. */
const STOP_MS = 3_000;

export interface AgendaParams {
  readonly db: Db;
  /** The database's time. */
  readonly clock: Clock;
  /** Named in the locks. */
  readonly serverName: string;
  readonly rows: readonly DutyPass[];
  readonly onError: (error: unknown) => void;
}

export function createAgendaDriver(params: AgendaParams): Driver {
  return new AgendaDriver(params);
}

class AgendaDriver implements Driver {
  readonly #params: AgendaParams;
  /** Runs of jobs until their last save. */
  readonly #running = new Set<string>();
  #agenda: Agenda | undefined;
  #jobs: AgendaJobs | undefined;
  #retry: Timer | undefined;
  #isStopped = false;
  #starting: Promise<void> | undefined;
  #onIdle: (() => void) | undefined;

  constructor(params: AgendaParams) {
    this.#params = params;
  }

  start(): void {
    this.#starting ??= this.#start();
  }

  async #start(): Promise<void> {
    const { db, clock, serverName, rows, onError } = this.#params;
    const pauses = { pauseMs: POLL_MS / 2, watchMs: LOCK_MS / 2 };
    const jobs = createAgendaJobs({ db, clock, serverName, ...pauses });
    this.#jobs = jobs;
    try {
      await jobs.prepare();
      const agenda = new Agenda({
        backend: jobs.backend,
        name: serverName,
        processEvery: POLL_MS,
        maxConcurrency: rows.length,
        defaultConcurrency: 1,
        defaultLockLifetime: LOCK_MS,
      });
      agenda.on("error", onError);
      agenda.on("complete", (job: Job) => this.#ended(job.attrs.name));
      for (const row of rows) {
        // oxlint-disable-next-line typescript/no-misused-promises -- Agenda waits for it; the types say so in an overload that is not seen
        agenda.define(row.duty.name, (job: Job) => this.#run(row, job));
      }
      for (const { duty } of rows) await agenda.every(duty.periodMs, duty.name);
      if (this.#isStopped) return;
      this.#agenda = agenda;
      await agenda.start();
    } catch (error) {
      onError(error);
      if (this.#isStopped) return;
      this.#retry = clock.setTimer(RETRY_MS, () => {
        this.#starting = this.#start();
      });
    }
  }

  async #run({ duty, pass }: DutyPass, job: Job): Promise<void> {
    const { clock } = this.#params;
    this.#running.add(duty.name);
    const endMs = clock.nowMs() + RUN_MS;
    let touchedMs = clock.nowMs();
    const touch = async (): Promise<void> => {
      if (clock.nowMs() - touchedMs < TOUCH_MS) return;
      await job.touch();
      touchedMs = clock.nowMs();
    };
    for (;;) {
      const { isMore } = await pass(touch);
      if (!isMore || this.#isStopped || clock.nowMs() >= endMs) return;
      await new Promise<void>((resolve) => clock.setTimer(duty.budgetMs, resolve));
      await touch();
    }
  }

  #ended(name: string): void {
    this.#running.delete(name);
    if (this.#running.size === 0) this.#onIdle?.();
  }

  async stop(): Promise<void> {
    this.#isStopped = true;
    this.#retry?.cancel();
    await this.#starting;
    const closed = this.#jobs?.close();
    try {
      await this.#agenda?.stop(false);
    } catch (error) {
      this.#params.onError(error);
    }
    await this.#within(STOP_MS, this.#idle());
    await this.#within(STOP_MS, closed);
  }

  /** Resolves after the last save of every run that began. */
  #idle(): Promise<void> {
    if (this.#running.size === 0) return Promise.resolve();
    return new Promise((resolve) => {
      this.#onIdle = resolve;
    });
  }

  async #within(ms: number, work: Promise<void> | undefined): Promise<void> {
    let timer: Timer | undefined;
    const over = new Promise<void>((resolve) => {
      timer = this.#params.clock.setTimer(ms, resolve);
    });
    await Promise.race([work, over]);
    timer?.cancel();
  }
}
