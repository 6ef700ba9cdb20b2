/**
 * `node dist/test/bench/subscribers.js`: one run with `BENCH_SUBSCRIBERS` (1,000) subscribers, a server process and this one. Prints how long
 * after a cancel was answered the last subscriber had the final state, and what a subscriber costs the server.
 */
import { setMaxListeners } from "node:events";
import { createClient } from "@connectrpc/connect";
import { createGrpcTransport, Http2SessionManager } from "@connectrpc/connect-node";
import { type Run, RunStatus } from "#proto/hairtrigger/v1/run_pb.js";
import { RunService } from "#proto/hairtrigger/v1/run_service_pb.js";
import { startServer } from "../support/processes.js";
import { printFigures } from "./figures.js";
import { rssMegabytes } from "./processes.js";

const SUBSCRIBERS = Number(process.env["BENCH_SUBSCRIBERS"] ?? 1_000);
/** Streams of one connection that a server takes. */
const PER_CONNECTION = 500;
const SETTLE_MS = 2_000;

// Each stream listens to the one signal that ends them all.
setMaxListeners(0);

const server = await startServer({ settings: { HAIRTRIGGER_LOG_LEVEL: "error" } });
const headers = { authorization: `Bearer ${server.key}` };
const newClient = () => {
  const sessionManager = new Http2SessionManager(server.url);
  return createClient(RunService, createGrpcTransport({ baseUrl: server.url, sessionManager }));
};
const caller = newClient();

type States = AsyncIterable<{ readonly run?: Run | undefined }>;

async function measure(
  name: string,
  tag: string,
  open: (runId: string, client: typeof caller, signal: AbortSignal) => States,
): Promise<void> {
  const { runId } = await caller.triggerTask({ taskId: "noop", options: { tags: [tag] } }, { headers });
  const before = rssMegabytes(server.pid);
  const ending = new AbortController();
  const started = new Set<number>();
  const arrivals: number[] = [];
  let client = caller;
  const watching = Array.from({ length: SUBSCRIBERS }, async (_, index) => {
    if (index % PER_CONNECTION === 0) client = newClient();
    try {
      for await (const { run } of open(runId, client, ending.signal)) {
        started.add(index);
        if (run?.status === RunStatus.CANCELED) arrivals.push(performance.now());
        if (arrivals.length === SUBSCRIBERS) ending.abort();
      }
    } catch (error) {
      if (!ending.signal.aborted) throw error;
    }
  });
  while (started.size < SUBSCRIBERS) await new Promise((resolve) => setTimeout(resolve, 20));
  await new Promise((resolve) => setTimeout(resolve, SETTLE_MS));
  const each = ((rssMegabytes(server.pid) - before) * 1_024) / SUBSCRIBERS;
  await caller.cancelRun({ runId }, { headers });
  const answeredMs = performance.now();
  await Promise.all(watching);
  printFigures([
    {
      name: `${name}: ${SUBSCRIBERS} have the final state after`,
      unit: "ms",
      values: [Math.max(...arrivals) - answeredMs],
    },
    { name: `${name}: server RSS of a subscriber`, unit: "KB", values: [each] },
  ]);
}

try {
  // What is measured is a server that is warm.
  await measure("warming up", "w", (runId, client, signal) => client.watchRun({ runId }, { headers, signal }));
  await measure("WatchRun", "a", (runId, client, signal) => client.watchRun({ runId }, { headers, signal }));
  await measure("WatchRuns by tag", "b", (_, client, signal) => client.watchRuns({ tags: ["b"] }, { headers, signal }));
} finally {
  await server.remove();
}
process.exit(0);
