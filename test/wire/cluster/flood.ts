/**
 * The heaviest promise: 3 servers, 6 workers, 20,000 calls with 5,000 keys by 4 processes, and every 5 s a server is killed and started again.
 * Here less of it; `FLOOD_CALLS=20000 npx ava --match='*killed in turn*' dist/test/wire/cluster.test.js` plays all of it.
 */
import { queues, tasks } from "@hairtrigger/sdk";
import type { Entry } from "../../support/ledger.js";
import { KEYED_LIMIT, NARROW_LIMIT } from "../../support/ledger-work.js";
import { mongoTest } from "../../support/mongo.js";
import { allFinal, assertStored, everyRun, pass } from "../faults/scene.js";
import { type Cluster, inCluster } from "./scene.js";

const CALLS = Number(process.env.FLOOD_CALLS ?? 1_200);
const CALLS_PER_KEY = 4;
const PRODUCERS = 4;
const WORKERS = 6;
const KILL_EVERY_MS = 5_000;
const KEYS = 50;
const LIMITED = 150;

/** Kills one server after the other until the work is done, and starts it again. */
async function killInTurn({ servers }: Cluster, isOver: () => boolean): Promise<number> {
  let kills = 0;
  while (!isOver()) {
    await pass(KILL_EVERY_MS);
    const server = servers[kills % servers.length];
    if (isOver() || server === undefined) break;
    await server.kill();
    await server.start();
    kills += 1;
  }
  return kills;
}

/** The most that executed at once, by what the workers wrote as they began and ended. */
function most(entries: readonly Entry[], groupOf: (entry: Entry) => string | undefined): number {
  const executing = new Map<string, Set<string>>();
  let highest = 0;
  for (const entry of entries) {
    const group = groupOf(entry);
    if (group === undefined) continue;
    const key = `${entry.who}/${entry.runId}/${entry.attempt}`;
    const own = executing.get(group) ?? new Set();
    executing.set(group, own);
    if (entry.what === "end") own.delete(key);
    if (entry.what !== "start") continue;
    own.add(key);
    highest = Math.max(highest, own.size);
  }
  return highest;
}

export function registerFlood(): void {
  mongoTest(
    "IDM-12, QUE-6, QUE-16: one run for each key, each completed, and no limit exceeded, while 3 servers under load are killed in turn",
    async (t) => {
      await inCluster(t, { servers: [{}, {}, {}] }, async (cluster) => {
        const { ledger, startWorker, produce } = cluster;
        await Promise.all(
          Array.from({ length: WORKERS }, (_, index) => startWorker({ name: `worker ${index}`, concurrency: 20 })),
        );
        const [calls, keys] = [CALLS / PRODUCERS, CALLS / CALLS_PER_KEY];
        let isOver = false;
        const killing = killInTurn(cluster, () => isOver);
        const startedAt = performance.now();
        const limited = async (): Promise<readonly string[]> => {
          const ids: string[] = [];
          const retry = { maxAttempts: 500, minTimeoutInMs: 20, maxTimeoutInMs: 300 };
          for (let number = 0; number < LIMITED; number += 1) {
            const narrow = { number: -1 - number, ms: 30 };
            ids.push((await tasks.trigger("narrow-a", narrow, {}, { retry })).id);
            const options = { concurrencyKey: `key ${number % KEYS}` };
            ids.push((await tasks.trigger("keyed", { number: 1_000_000 + number, ms: 30 }, options, { retry })).id);
          }
          return ids;
        };
        const [limitedIds] = await Promise.all([
          limited(),
          ...Array.from({ length: PRODUCERS }, (_, index) =>
            produce({ name: `producer ${index}`, calls, keys, callers: 16 }),
          ),
        ]);
        isOver = true;
        const kills = await killing;
        await allFinal();
        t.log(`${CALLS} calls, ${kills} kills, ${((performance.now() - startedAt) / 1_000).toFixed(1)} s`);

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
        const stored = await everyRun();
        assertStored(t, stored.keys(), [...runOf.values(), ...limitedIds], "accepted is finished");
        t.deepEqual(
          [...stored.values()].filter(({ status }) => status !== "COMPLETED"),
          [],
        );
        const isKeyed = (number: number): boolean => number >= 1_000_000;
        t.true(most(ledger.entries, ({ number = 0 }) => (number < 0 ? "narrow" : undefined)) <= NARROW_LIMIT);
        const byKey = ({ number = 0 }: Entry): string | undefined =>
          isKeyed(number) ? String(number % KEYS) : undefined;
        t.is(most(ledger.entries, byKey), KEYED_LIMIT);
        for (const name of ["narrow", "keyed"]) {
          t.like(await queues.retrieve({ type: "custom", name }), { running: 0, queued: 0 }, `slots of ${name}`);
        }
      });
    },
  );
}
