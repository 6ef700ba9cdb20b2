/** The database goes away and comes back, for as long as nobody notices, for less than a session, for longer. */
import { ApiError, runs, tasks } from "@hairtrigger/sdk";
import { mongoTest } from "../../support/mongo.js";
import { allFinal, assertStored, everyRun, pass, SHORT, until } from "../faults/scene.js";
import { type Cluster, inCluster, nowMs } from "./scene.js";

const STOPS = 6;
const CALLS_PER_STOP = 150;
const STOP_MAX_MS = 2_000;
const BETWEEN_MS = 1_500;
/** Leaves a slow machine seconds between the end of an outage and the end of a session. */
const LONGER_SESSION_MS = 15_000;

/** Stops the database: by turns it is silent, and it is gone. */
async function stopFor({ network }: Pick<Cluster, "network">, ms: number, isSilent: boolean): Promise<void> {
  if (isSilent) network.suspend();
  else network.cut();
  await pass(ms);
  if (isSilent) network.resume();
  else network.heal();
}

const readiness = async (url: string): Promise<number> => (await fetch(`${url}/readyz`)).status;

export function registerOutages(): void {
  mongoTest(
    "RES-10, TRG-7: while the database stops for up to 2 s again and again, nothing is lost and nothing is there or done twice",
    async (t) => {
      await inCluster(t, { servers: [{}, {}] }, async (cluster) => {
        const { ledger, startWorker, produce } = cluster;
        await Promise.all(["a", "b"].map((name) => startWorker({ name, concurrency: 20 })));
        for (let stop = 0; stop < STOPS; stop += 1) {
          const producing = produce({
            name: `producer ${stop}`,
            calls: CALLS_PER_STOP,
            callers: 8,
            firstNumber: stop * CALLS_PER_STOP,
          });
          await pass(100);
          await stopFor(cluster, (STOP_MAX_MS * (stop + 1)) / STOPS, stop % 2 === 0);
          await Promise.all([producing, pass(BETWEEN_MS)]);
        }
        await allFinal();
        t.is(ledger.count("refused"), 0);
        const acks = ledger.of("ack");
        t.is(acks.length, STOPS * CALLS_PER_STOP);
        const stored = await everyRun();
        assertStored(
          t,
          stored.keys(),
          acks.map(({ runId }) => runId),
        );
        t.deepEqual(
          [...stored.values()].filter(({ status }) => status !== "COMPLETED"),
          [],
        );
        const starts = new Set(ledger.of("start").map(({ runId }) => runId));
        t.is(starts.size, acks.length);
        t.is(ledger.count("start"), acks.length, "code was started twice");
      });
    },
  );

  for (const isSilent of [false, true]) {
    const how = isSilent ? "is silent" : "is gone";

    mongoTest(
      `RUN-6, RUN-7: while the database ${how} for less than a session's life, workers keep their runs`,
      async (t) => {
        const server = { HAIRTRIGGER_SESSION_TIMEOUT: `${LONGER_SESSION_MS / 1_000}s` };
        await inCluster(t, { servers: [server, server], socketTimeoutMs: 20_000 }, async (cluster) => {
          const { ledger, startWorker } = cluster;
          const worker = await startWorker({ name: "worker" });
          const handle = await tasks.trigger("work", { number: 1, holdIn: "worker" });
          await ledger.first("start", { number: 1 });
          // With the age of the last heartbeat, a third of a session, below the time after which a worker gives up.
          await stopFor(cluster, LONGER_SESSION_MS / 4, isSilent);
          // Long enough to see a lapse.
          await pass(LONGER_SESSION_MS * 1.5);
          t.deepEqual(ledger.of("end"), []);
          worker.release(1);
          t.like(await runs.poll(handle, { pollIntervalMs: 100 }), { status: "COMPLETED", attemptCount: 1 });
          t.is(ledger.count("start"), 1);
        });
      },
    );

    mongoTest(
      `RUN-7, RES-10: while the database ${how} for longer than a session, calls are UNAVAILABLE, servers not ready, workers stop; then all goes on, no attempt counted`,
      async (t) => {
        await inCluster(t, { servers: [{}, {}], socketTimeoutMs: 2_000 }, async (cluster) => {
          const { servers, network, ledger, startWorker } = cluster;
          await startWorker({ name: "worker" });
          const handle = await tasks.trigger("work", { number: 1, holdIn: "worker" });
          await ledger.first("start", { number: 1 });
          const pids = servers.map(({ pid }) => pid);
          const awayMs = nowMs();
          if (isSilent) network.suspend();
          else network.cut();
          const once = { retry: { maxAttempts: 1 } };
          const error = await t.throwsAsync(tasks.trigger("work", { number: 2 }, {}, once));
          t.true(error instanceof ApiError);
          if (error instanceof ApiError) {
            t.is(error.code, "unavailable");
            t.true((error.retryAfterMs ?? 0) > 0, "a caller is told when to try again");
          }
          for (const { url } of servers) t.is(await readiness(url), 503);
          const fenced = await ledger.first("end", { number: 1 });
          t.true(fenced.isAborted);
          t.true(fenced.atMs - awayMs < SHORT.sessionMs + SHORT.heartbeatMs);
          await pass(SHORT.outageMs - (nowMs() - awayMs));
          t.is(ledger.count("start"), 1);
          if (isSilent) network.resume();
          else network.heal();
          await until("the servers are ready", async () => (await readiness(servers[0]?.url ?? "")) === 200);
          const run = await runs.poll(handle, { pollIntervalMs: 200, maxPolls: 300 });
          t.like(run, { status: "COMPLETED", attemptCount: 1 });
          t.is((await runs.retrieve(handle)).attempts[0]?.outcome, "INTERRUPTED");
          t.is(ledger.of("start", { number: 1 }).length, 2);
          t.deepEqual(
            servers.map(({ pid }) => pid),
            pids,
            "without a restart",
          );
        });
      },
    );
  }
}
