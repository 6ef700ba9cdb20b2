/** The driver of shared stores, on a real database and in real time; every test has a database of its own. */
import { type ForkOptions, fork } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import type { ExecutionContext } from "ava";
import { type Db, MongoClient } from "mongodb";
import { createAgendaDriver } from "../../scheduler/agenda.js";
import type { DutyPass } from "../../scheduler/driver.js";
import { DUTIES } from "../../scheduler/duties.js";
import { systemClock } from "../../server/engine/clock.js";
import { testIf } from "../support/available.js";
import { adopt, endChild } from "../support/children.js";
import { registerAgendaAlone } from "./agenda-alone.js";

const MONGODB_URI = process.env.MONGODB_URI;
const onMongo = testIf(MONGODB_URI !== undefined, "MONGODB_URI is not set");
const HOLDER = fileURLToPath(new URL("./agenda-holder.js", import.meta.url));

const STDIO = { stdio: ["ignore", "inherit", "inherit", "ipc"] } satisfies ForkOptions;

registerAgendaAlone();

let serial = 0;

async function database(t: ExecutionContext): Promise<Db> {
  const client = new MongoClient(MONGODB_URI ?? "");
  serial += 1;
  const db = client.db(`ht_agenda_${process.pid}_${serial}`);
  t.teardown(async () => {
    await db.dropDatabase();
    await client.close();
  });
  return db;
}

function rowsOf(counts: Map<string, number>): readonly DutyPass[] {
  return DUTIES.map((duty) => ({
    duty,
    async pass() {
      counts.set(duty.name, (counts.get(duty.name) ?? 0) + 1);
      return { count: 0, isMore: false };
    },
  }));
}

/** Longest wait for what does not come; a test that goes on for ever would say less. */
const PATIENCE_MS = 45_000;

async function until(isSo: () => boolean | Promise<boolean>): Promise<void> {
  const endMs = performance.now() + PATIENCE_MS;
  while (!(await isSo())) {
    if (performance.now() > endMs) throw new Error(`not so within ${PATIENCE_MS / 1_000} s`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

function failing(t: ExecutionContext): (error: unknown) => void {
  return (error) => t.log("agenda said", error);
}

onMongo("every duty is an Agenda job: one document each, with its period as a number of milliseconds", async (t) => {
  t.timeout(60_000);
  const db = await database(t);
  const counts = new Map<string, number>();
  const clock = systemClock();
  const drivers = ["a", "b", "c"].map((serverName) =>
    createAgendaDriver({ db, clock, serverName, rows: rowsOf(counts), onError: failing(t) }),
  );
  for (const driver of drivers) driver.start();
  t.teardown(async () => void (await Promise.all(drivers.map(async (driver) => driver.stop()))));
  await until(() => DUTIES.every(({ name, periodMs }) => (counts.get(name) ?? 0) >= (periodMs > PATIENCE_MS ? 1 : 2)));

  const documents = await db.collection("agendaJobs").find().toArray();
  t.deepEqual(documents.map(({ name }) => String(name)).toSorted(), DUTIES.map(({ name }) => name).toSorted());
  for (const { name, repeatInterval, type, lastRunAt } of documents) {
    t.is(repeatInterval, DUTIES.find((duty) => duty.name === name)?.periodMs);
    t.is(type, "single");
    t.true(lastRunAt instanceof Date);
  }
  const indexes = await db.collection("agendaJobs").listIndexes().toArray();
  t.like(
    indexes.find(({ key }) => key.name === 1),
    { unique: true },
  );
});

onMongo("one server at a time does a duty, however many there are", async (t) => {
  t.timeout(60_000);
  const db = await database(t);
  const counts = new Map<string, number>();
  const under = new Map<string, number>();
  const most = new Map<string, number>();
  const rows = DUTIES.map(
    (duty): DutyPass => ({
      duty: { ...duty, periodMs: Math.min(duty.periodMs, 1_000) },
      async pass() {
        const now = (under.get(duty.name) ?? 0) + 1;
        under.set(duty.name, now);
        most.set(duty.name, Math.max(now, most.get(duty.name) ?? 0));
        await new Promise((resolve) => setTimeout(resolve, 400));
        under.set(duty.name, (under.get(duty.name) ?? 0) - 1);
        counts.set(duty.name, (counts.get(duty.name) ?? 0) + 1);
        return { count: 0, isMore: false };
      },
    }),
  );
  const clock = systemClock();
  const drivers = ["a", "b", "c"].map((serverName) =>
    createAgendaDriver({ db, clock, serverName, rows, onError: failing(t) }),
  );
  for (const driver of drivers) driver.start();
  await until(() => DUTIES.every(({ name }) => (counts.get(name) ?? 0) >= 4));
  await Promise.all(drivers.map(async (driver) => driver.stop()));
  for (const { name } of DUTIES) t.is(most.get(name), 1, name);
  const locked = await db.collection("agendaJobs").countDocuments({ lockedAt: { $ne: null } });
  t.is(locked, 0, "who stops lets go");
});

onMongo("servers whose clocks are 30 s apart respect each other's locks, also while they start", async (t) => {
  t.timeout(60_000);
  const db = await database(t);
  let holders = 0;
  let most = 0;
  let passes = 0;
  const children = [0, 30_000, -30_000].map((skewMs) => {
    const child = adopt(fork(HOLDER, [MONGODB_URI ?? "", db.databaseName, String(skewMs)], STDIO));
    child.on("message", (message) => {
      holders += message === "begin" ? 1 : -1;
      most = Math.max(most, holders);
      if (message === "end") passes += 1;
    });
    return child;
  });
  await until(() => passes >= 5);
  await Promise.all(children.map((child) => endChild(child, "SIGKILL")));
  t.is(most, 1);
});

onMongo("a duty goes on within 30 s when the process that holds it is killed", async (t) => {
  t.timeout(90_000);
  const db = await database(t);
  const child = adopt(fork(HOLDER, [MONGODB_URI ?? "", db.databaseName, "hold"], STDIO));
  await once(child, "message");
  const [duty] = DUTIES;
  if (duty === undefined) return t.fail("there are duties");
  let passes = 0;
  const pass = async () => {
    passes += 1;
    return { count: 0, isMore: false };
  };
  const params = { db, clock: systemClock(), serverName: "heir", rows: [{ duty, pass }], onError: failing(t) };
  const driver = createAgendaDriver(params);
  driver.start();
  t.teardown(() => driver.stop());
  // The negative half: as long as the holder lives, nobody else gets the duty.
  await new Promise((resolve) => setTimeout(resolve, 3_000));
  t.is(passes, 0);
  await endChild(child, "SIGKILL");
  const killedAt = performance.now();
  await until(() => passes > 0);
  const tookMs = performance.now() - killedAt;
  t.log(`taken over after ${Math.round(tookMs)} ms`);
  t.true(tookMs < 30_000, `${tookMs}`);
});

onMongo("a backlog is worked off in one run of the job, which keeps its lock by touching it", async (t) => {
  t.timeout(60_000);
  const db = await database(t);
  const [duty] = DUTIES;
  if (duty === undefined) return t.fail("there are duties");
  const lockedAts = new Set<number>();
  let passes = 0;
  const row: DutyPass = {
    duty,
    async pass(touch) {
      passes += 1;
      await new Promise((resolve) => setTimeout(resolve, 2_800));
      await touch?.();
      const [job] = await db.collection("agendaJobs").find().toArray();
      if (job?.lockedAt instanceof Date) lockedAts.add(job.lockedAt.getTime());
      return { count: duty.page, isMore: passes < 3 };
    },
  };
  const driver = createAgendaDriver({ db, clock: systemClock(), serverName: "a", rows: [row], onError: failing(t) });
  driver.start();
  await until(() => passes >= 3);
  await until(async () => (await db.collection("agendaJobs").countDocuments({ lockedAt: null })) === 1);
  await driver.stop();
  t.true(lockedAts.size >= 2, "the lock was renewed");
});

onMongo("a finished job's timer does not keep the process alive", async (t) => {
  t.timeout(60_000);
  const db = await database(t);
  const child = adopt(fork(HOLDER, [MONGODB_URI ?? "", db.databaseName, "stop"], STDIO));
  await once(child, "message");
  const stoppedAt = performance.now();
  const [exitCode] = await once(child, "exit");
  t.is(exitCode, 0);
  const tookMs = performance.now() - stoppedAt;
  t.log(`ended ${Math.round(tookMs)} ms after it had stopped`);
  t.true(tookMs < 3_000, `${tookMs}`);
});
