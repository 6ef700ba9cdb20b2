/** Server processes on one database behind a network that can be stopped, a balancer in front of them, workers, and the ledger. */
import { auth } from "@hairtrigger/sdk";
import type { ExecutionContext } from "ava";
import { type Balancer, startBalancer } from "../../support/balancer.js";
import { removeDirectory, temporaryDirectory } from "../../support/children.js";
import { type FlakyNetwork, flakyNetwork } from "../../support/flaky-network.js";
import { Ledger } from "../../support/ledger.js";
import { type LedgerWorker, startLedgerProducer, startLedgerWorker } from "../../support/ledger-processes.js";
import type { LedgerProducerOptions, LedgerWorkerOptions } from "../../support/ledger-work.js";
import { takeDatabase } from "../../support/mongo.js";
import { type ServerPlace, startServer } from "../../support/processes.js";
import { SHORT } from "../faults/scene.js";

/**
 * Pick-ups keep their real time: the gap of 5 s after which a server no longer trusts its own silence (RUN-7) does not shrink with the
 * session either, and a pick-up has to last longer than it.
 */
const TIMES = { ...SHORT.settings, HAIRTRIGGER_PICK_UP_TIMEOUT: "10s" };

export interface Cluster {
  readonly servers: readonly ServerPlace[];
  /** Between the servers and their database. */
  readonly network: FlakyNetwork;
  readonly balancer: Balancer;
  readonly ledger: Ledger;
  /** @param at default: the balancer. */
  readonly startWorker: (options: Omit<LedgerWorkerOptions, "ledger">, at?: ServerPlace) => Promise<LedgerWorker>;
  /** Resolves when the producer, at the balancer, has made all its calls. */
  readonly produce: (options: Omit<LedgerProducerOptions, "ledger">) => Promise<void>;
}

export interface ClusterOptions {
  /** What each server is told beside store, keys and the short times of sessions. */
  readonly servers: readonly Readonly<Record<string, string>>[];
  /** An operation without an answer for so long is given up, at a fifth of the real time too. */
  readonly socketTimeoutMs?: number;
}

/** Beyond it something stands still; all of 20,000 calls takes a quarter of an hour on a small machine. */
const PATIENCE_MS = 1_500_000;

/** Of each server's log, after a failure. */
const LINES_SHOWN = 60;

/** Plays `play` with the SDK configured for the balancer. */
export async function inCluster<T>(
  t: ExecutionContext,
  { servers: settings, socketTimeoutMs = 4_000 }: ClusterOptions,
  play: (cluster: Cluster) => Promise<T>,
): Promise<T> {
  // The turn of the others is waited for too.
  t.timeout(PATIENCE_MS);
  const database = new URL(await takeDatabase(t));
  const network = await flakyNetwork(database.href);
  t.teardown(() => network.stop());
  const timeouts = `serverSelectionTimeoutMS=1000&socketTimeoutMS=${socketTimeoutMs}`;
  const store = `${network.url.replace("http:", "mongodb:")}${database.pathname}?directConnection=true&${timeouts}`;
  const servers: ServerPlace[] = [];
  t.teardown(async () => {
    // With its database away a server would wait before it ends.
    await Promise.all(servers.map((server) => server.remove()));
  });
  for (const own of settings) {
    servers.push(await startServer({ settings: { ...TIMES, ...own, HAIRTRIGGER_STORE: store } }));
  }
  const balancer = await startBalancer(servers.map(({ url }) => url));
  t.teardown(() => balancer.stop());
  const directory = temporaryDirectory("ledger");
  t.teardown(() => removeDirectory(directory));
  const ledger = new Ledger(directory);
  t.teardown(() => ledger.close());
  t.teardown(() => {
    if (t.passed) return;
    for (const { log } of servers) {
      t.log(
        log
          .filter((line) => !line.includes("call ended"))
          .slice(-LINES_SHOWN)
          .join("\n"),
      );
    }
  });
  const [first] = servers;
  if (first === undefined) throw new Error("a cluster has servers");
  const door = { url: balancer.url, key: first.key };
  return auth.withAuth({ accessToken: first.key, baseURL: balancer.url }, () =>
    play({
      servers,
      network,
      balancer,
      ledger,
      async startWorker(options, at) {
        const worker = await startLedgerWorker(at ?? door, ledger, options);
        t.teardown(() => worker.kill());
        return worker;
      },
      produce(options) {
        const producer = startLedgerProducer(door, ledger, options);
        t.teardown(() => producer.kill());
        return producer.done;
      },
    }),
  );
}

/** Milliseconds since the epoch, with a fraction, as ledgers count them. */
export function nowMs(): number {
  return performance.timeOrigin + performance.now();
}
