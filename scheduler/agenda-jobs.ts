/**
 * Where Agenda keeps its jobs, made safe for locks that matter. What the stock repository does, and why it is not enough here:
 * - it takes times from each machine's own clock; with two clocks 30 s apart one server would see the other's lock as run out. Here every
 *   stored time is of the database's clock, and is translated on the way in and out;
 * - it saves a job whoever holds it by now, so that a server that was stopped for a while clears the lock of the one that took over. Here
 *   every save, touch and unlock of a holder is guarded by the very time of its lock;
 * - `every` of a starting server clears the lock of the present holder. Here it inserts what is missing and sets the period, no more;
 * - it locks jobs ahead of their time, which Agenda forgets to free when the process was stopped meanwhile. Here only due jobs are locked;
 * - a lock whose release was lost with the database waits for its end. Here the release is tried again.
 */
import { MongoBackend } from "@agendajs/mongo-backend";
import type { JobParameters, JobRepository } from "agenda";
import { type Collection, type Db, MongoServerError } from "mongodb";
import type { Clock } from "../server/engine/clock.js";
import { unrefTimerOfThisTurn } from "./agenda-timer.js";

export const COLLECTION = "agendaJobs";

const DUPLICATE_KEY = 11_000;

export interface AgendaJobsParams {
  readonly db: Db;
  /** The database's time. */
  readonly clock: Clock;
  /** Named in the lock, for people. */
  readonly serverName: string;
  /** Agenda asks for a job again at once after it got one; every name has one document, so nothing is asked for that soon. */
  readonly pauseMs: number;
  /** Delay of the timer by which Agenda watches a run. */
  readonly watchMs: number;
}

export interface AgendaJobs {
  readonly backend: MongoBackend;
  /** Makes the unique index on the job name. Safe to repeat. */
  prepare(): Promise<void>;
  /** Locks nothing more. Resolves when no operation is under way. */
  close(): Promise<void>;
}

export function createAgendaJobs({ db, clock, serverName, pauseMs, watchMs }: AgendaJobsParams): AgendaJobs {
  const backend = new MongoBackend({ mongo: db, collection: COLLECTION, ensureIndex: false });
  const repository: JobRepository = backend.repository;
  const jobs: Collection = db.collection(COLLECTION);
  const by = { lastModifiedBy: serverName };
  const stock = { getNextJobToRun: repository.getNextJobToRun.bind(repository) };
  /** When this server's lock on a job began or was renewed, as stored. */
  const locks = new Map<string, Date>();
  const namesById = new Map<string, string>();
  /** Last saves that did not get through. */
  const owed = new Map<string, () => Promise<void>>();
  /** Agenda does not wait for its own operations when it stops. */
  const underWay = new Set<Promise<unknown>>();
  let isClosed = false;

  async function tracked<T>(work: () => Promise<T>): Promise<T> {
    const promise = work();
    underWay.add(promise);
    try {
      return await promise;
    } finally {
      underWay.delete(promise);
    }
  }

  // Agenda itself lives by the machine's time.
  const aheadMs = (): number => clock.nowMs() - Date.now();
  const toStore = (date: Date | null | undefined): Date | null =>
    date === null || date === undefined ? null : new Date(new Date(date).getTime() + aheadMs());
  const toMachine = (date: Date | null | undefined): Date | undefined =>
    date === null || date === undefined ? undefined : new Date(date.getTime() - aheadMs());

  repository.getNextJobToRun = (name, _scanAt, lockDeadline) => tracked(() => lockNext(name, lockDeadline));

  async function lockNext(name: string, lockDeadline: Date): Promise<JobParameters | undefined> {
    const now = new Date(clock.nowMs());
    const lock = locks.get(name);
    if (isClosed || (lock !== undefined && now.getTime() - lock.getTime() < pauseMs)) return undefined;
    await owed.get(name)?.();
    owed.delete(name);
    const job = await stock.getNextJobToRun(name, now, toStore(lockDeadline) ?? now, now, by);
    if (job === undefined) return undefined;
    locks.set(name, now);
    const { _id: id } = job;
    if (id !== undefined) namesById.set(id.toString(), name);
    if (isClosed) {
      await release(name, { lockedAt: null });
      return undefined;
    }
    return {
      ...job,
      lockedAt: toMachine(now),
      nextRunAt: toMachine(job.nextRunAt) ?? null,
      lastRunAt: toMachine(job.lastRunAt),
      lastFinishedAt: toMachine(job.lastFinishedAt),
      failedAt: toMachine(job.failedAt),
    };
  }

  /** @returns whether this server still held the lock. */
  async function saveHeld(name: string, fields: Readonly<Record<string, unknown>>): Promise<boolean> {
    const lock = locks.get(name);
    if (lock === undefined) return false;
    const renewed = fields.lockedAt instanceof Date ? fields.lockedAt : undefined;
    const filter = { name, lockedAt: lock };
    const { matchedCount } = await jobs.updateOne(filter, { $set: { ...fields, ...by } });
    if (matchedCount === 1 && renewed !== undefined) locks.set(name, renewed);
    return matchedCount === 1;
  }

  repository.saveJobState = (job) => tracked(() => saveState(job));

  async function saveState(job: JobParameters): Promise<void> {
    const isRelease = (job.lockedAt ?? undefined) === undefined;
    const fields = {
      lockedAt: isRelease ? null : new Date(clock.nowMs()),
      nextRunAt: toStore(job.nextRunAt),
      lastRunAt: toStore(job.lastRunAt),
      lastFinishedAt: toStore(job.lastFinishedAt),
      failedAt: toStore(job.failedAt),
      failCount: job.failCount ?? null,
      failReason: job.failReason ?? null,
    };
    if (isRelease) return release(job.name, fields);
    unrefTimerOfThisTurn(watchMs);
    if (!(await saveHeld(job.name, fields))) throw new Error(`the lock of ${job.name} was lost`);
  }

  async function release(name: string, fields: Readonly<Record<string, unknown>>): Promise<void> {
    try {
      await saveHeld(name, fields);
    } catch (error) {
      owed.set(name, async () => void (await saveHeld(name, fields)));
      throw error;
    }
  }

  // Agenda does not wait for it, so nobody would catch what it throws.
  repository.unlockJob = ({ name }) => tracked(() => release(name, { lockedAt: null })).catch(() => {});

  // Those that were locked and have not begun, when Agenda stops.
  repository.unlockJobs = async (ids) => {
    const names = ids.flatMap((id) => namesById.get(id.toString()) ?? []);
    await Promise.all(names.map((name) => release(name, { lockedAt: null })));
  };

  repository.saveJob = async (job) => {
    const { name, priority, repeatInterval } = job;
    const insert = { type: "single", priority, data: null, disabled: false, lockedAt: null, lastRunAt: null } as const;
    const nextRunAt = new Date(clock.nowMs());
    const update = { $set: { repeatInterval }, $setOnInsert: { ...insert, nextRunAt } };
    const upsert = (): Promise<unknown> => jobs.updateOne({ name }, update, { upsert: true });
    await upsert().catch((error: unknown) => {
      // Another server was quicker.
      if (error instanceof MongoServerError && error.code === DUPLICATE_KEY) return upsert();
      throw error;
    });
    return job;
  };

  return {
    backend,
    async prepare() {
      await jobs.createIndex({ name: 1 }, { unique: true, name: "name" });
    },
    async close() {
      isClosed = true;
      while (underWay.size > 0) await Promise.allSettled(underWay);
    },
  };
}
