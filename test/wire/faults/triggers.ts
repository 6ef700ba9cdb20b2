/** Triggers through crashes of the server: nothing acknowledged is lost, nothing is there twice. */
import test from "ava";
import type { Ledger } from "../../support/ledger.js";
import type { ServerPlace } from "../../support/processes.js";
import { allFinal, assertStored, everyRun, inScene } from "./scene.js";

/** The promise speaks of 20,000 calls; slow machines may ask for less. */
const CALLS = Number(process.env.FAULTS_CALLS ?? 20_000);
const PRODUCERS = 4;
const CALLS_PER_KEY = 4;
const KILLS = 3;

/** Kills the server in the middle of the load, and starts it again, as often as promised. */
async function killRepeatedly(server: ServerPlace, ledger: Ledger, calls: number): Promise<void> {
  for (let kill = 1; kill <= KILLS; kill += 1) {
    const acks = (kill * calls) / (KILLS + 1);
    await ledger.until(`${acks} acknowledged triggers`, () => ledger.count("ack") >= acks);
    await server.kill();
    await server.start();
  }
}

export function registerTriggers(): void {
  test.serial(
    "IDM-12, IDM-14, TRG-7, TRG-9, REQ-1: one run for each of 5,000 keys, from 20,000 calls by 4 processes while the server is killed three times",
    async (t) => {
      t.timeout(120_000);
      await inScene(t, {}, async ({ server, ledger, startWorker, produce }) => {
        await startWorker({ name: "worker", concurrency: 100 });
        const [calls, keys] = [CALLS / PRODUCERS, CALLS / CALLS_PER_KEY];
        const startedAt = performance.now();
        const producers = Array.from({ length: PRODUCERS }, (_, index) =>
          produce({ name: `producer ${index}`, calls, keys, callers: 64 }),
        );
        await Promise.all([...producers, killRepeatedly(server, ledger, CALLS)]);
        t.log(
          `${CALLS} calls in ${((performance.now() - startedAt) / 1_000).toFixed(1)} s, ${KILLS} restarts included`,
        );
        await allFinal();

        t.is(ledger.count("refused"), 0);
        const acks = ledger.of("ack");
        t.is(acks.length, CALLS);
        const runOf = new Map(acks.map(({ number, runId }) => [number, runId]));
        t.is(runOf.size, keys);
        t.deepEqual(
          acks.filter(({ number, runId }) => runOf.get(number) !== runId),
          [],
          "callers of one key got different runs",
        );
        const created = acks.filter(({ isCached }) => isCached === false);
        t.is(created.length, keys, "calls that were told that the run is new");
        t.is(new Set(created.map(({ runId }) => runId)).size, keys);

        const stored = await everyRun();
        assertStored(t, stored.keys(), runOf.values());
        t.deepEqual(
          [...stored.values()].filter(({ status }) => status !== "COMPLETED"),
          [],
        );
        const starts = ledger.of("start");
        t.is(new Set(starts.map(({ runId }) => runId)).size, keys);
        t.is(starts.length, keys, "a run was executed twice though its worker lived through the restarts");
      });
    },
  );

  test.serial(
    "TRG-7, TRG-9, REQ-1: 4,000 triggers without keys are there exactly once after the server was killed three times",
    async (t) => {
      t.timeout(120_000);
      await inScene(t, {}, async ({ server, ledger, produce }) => {
        const calls = 2_000;
        const producers = [0, 1].map((index) =>
          produce({ name: `producer ${index}`, calls, firstNumber: index * calls, callers: 16 }),
        );
        await Promise.all([...producers, killRepeatedly(server, ledger, 2 * calls)]);

        t.is(ledger.count("refused"), 0);
        const acks = ledger.of("ack");
        t.is(new Set(acks.map(({ number }) => number)).size, 2 * calls);
        t.is(new Set(acks.map(({ runId }) => runId)).size, 2 * calls);
        t.deepEqual(
          acks.filter(({ isCached }) => isCached !== false),
          [],
          "a repeat of one's own request is no hit",
        );
        assertStored(
          t,
          (await everyRun()).keys(),
          acks.map(({ runId }) => runId),
        );
      });
    },
  );
}
