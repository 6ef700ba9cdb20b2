/** A server, workers, and the ledger of what happens, all ended with the test. */
import { auth, runs } from "@hairtrigger/sdk";
import type { ExecutionContext } from "ava";
import { removeDirectory, temporaryDirectory } from "../../support/children.js";
import { Ledger } from "../../support/ledger.js";
import { type LedgerWorker, startLedgerProducer, startLedgerWorker } from "../../support/ledger-processes.js";
import type { LedgerProducerOptions, LedgerWorkerOptions } from "../../support/ledger-work.js";
import { type ServerOptions, type ServerPlace, startServer } from "../../support/processes.js";

/**
 * The times of sessions (RUN-6, RUN-7), all a fifth of their defaults, so that an outage of a minute takes twelve seconds. Not less: a
 * worker's pauses between connections (3 s at most) do not shrink with them, and have to fit into the life of a session.
 */
export const SHORT = {
  settings: {
    HAIRTRIGGER_SESSION_TIMEOUT: "6s",
    HAIRTRIGGER_PICK_UP_TIMEOUT: "2s",
    HAIRTRIGGER_LOG_LEVEL: "debug",
  },
  sessionMs: 6_000,
  heartbeatMs: 2_000,
  outageMs: 12_000,
};

export interface Scene {
  readonly server: ServerPlace;
  readonly ledger: Ledger;
  readonly startWorker: (options: Omit<LedgerWorkerOptions, "ledger">) => Promise<LedgerWorker>;
  /** Resolves when the producer has made all its calls. */
  readonly produce: (options: Omit<LedgerProducerOptions, "ledger">) => Promise<void>;
}

/** Of the servers' log, after a failure. */
const LINES_SHOWN = 100;

/** Plays `play` with the SDK configured for the scene's server. */
export async function inScene<T>(
  t: ExecutionContext,
  options: ServerOptions,
  play: (scene: Scene) => Promise<T>,
): Promise<T> {
  const server = await startServer(options);
  t.teardown(() => server.remove());
  const directory = temporaryDirectory("ledger");
  t.teardown(() => removeDirectory(directory));
  const ledger = new Ledger(directory);
  t.teardown(() => ledger.close());
  t.teardown(() => {
    if (!t.passed)
      t.log(
        server.log
          .filter((line) => !line.includes("call ended"))
          .slice(-LINES_SHOWN)
          .join("\n"),
      );
  });
  const startWorker: Scene["startWorker"] = async (workerOptions) => {
    const worker = await startLedgerWorker(server, ledger, workerOptions);
    t.teardown(() => worker.kill());
    return worker;
  };
  const produce: Scene["produce"] = (producerOptions) => {
    const producer = startLedgerProducer(server, ledger, producerOptions);
    t.teardown(() => producer.kill());
    return producer.done;
  };
  return auth.withAuth(server.sdk, () => play({ server, ledger, startWorker, produce }));
}

const LIVE = ["DELAYED", "QUEUED", "EXECUTING", "WAITING"] as const;
const POLL_MS = 50;

/** Real time passes, for what only time can bring about: an outage, a lapse. Never a proof that something else has happened. */
export function pass(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** Asks until the answer is yes. @throws Error where it is not within a minute. */
export async function until(what: string, ask: () => Promise<boolean>): Promise<void> {
  const endMs = performance.now() + 60_000;
  while (!(await ask())) {
    if (performance.now() > endMs) throw new Error(`not so within 60 s: ${what}`);
    await pass(POLL_MS);
  }
}

/** Resolves when no run is live. */
export function allFinal(): Promise<void> {
  return until("every run is final", async () => (await runs.list({ status: [...LIVE], limit: 1 })).data.length === 0);
}

/** Every run of the environment, by id. */
export async function everyRun(): Promise<ReadonlyMap<string, { readonly id: string; readonly status: string }>> {
  const found = new Map<string, { readonly id: string; readonly status: string }>();
  for await (const run of runs.list({ limit: 100 })) found.set(run.id, run);
  return found;
}

/** Asserts that exactly these runs are stored, and says of how many and which that is not so. */
export function assertStored(
  t: ExecutionContext,
  stored: Iterable<string>,
  expected: Iterable<string | undefined>,
  when = "",
): void {
  const [have, want] = [new Set<string | undefined>(stored), new Set(expected)];
  const lost = [...want].filter((id) => !have.has(id));
  const unexpected = [...have].filter((id) => !want.has(id));
  t.deepEqual({ lost: lost.length, unexpected: unexpected.length }, { lost: 0, unexpected: 0 }, when);
}
