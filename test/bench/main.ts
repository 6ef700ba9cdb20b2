/**
 * `npm run bench`: one producer process (this one), one server process, one worker process on one machine, no-op task, fsync before every
 * answer. Prints figures and judges none. `BENCH_ROUNDS` (3) and `BENCH_RUNS` (20,000) set the amount of work.
 */
import { createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { configure, tasks } from "@hairtrigger/sdk";
import { RunService } from "#proto/hairtrigger/v1/run_service_pb.js";
import { type ServerPlace, startServer } from "../support/processes.js";
import { type Figure, perSecond, printFigures, quantile } from "./figures.js";
import { rssMegabytes, startWorkerProcess } from "./processes.js";

const ROUNDS = Number(process.env["BENCH_ROUNDS"] ?? 3);
const RUNS = Number(process.env["BENCH_RUNS"] ?? 20_000);
const CALLERS = 64;
const QUEUED_FOR_RSS = 100_000;
const LATENCY_PROBES = 300;
const PROBE_PAUSE_MS = 5;

const collected = new Map<string, { unit: string; values: number[] }>();

function note(name: string, unit: string, value: number): void {
  const figure = collected.get(name) ?? { unit, values: [] };
  collected.set(name, figure);
  figure.values.push(value);
}

async function withServer(work: (server: ServerPlace) => Promise<void>): Promise<void> {
  const server = await startServer({ settings: { HAIRTRIGGER_LOG_LEVEL: "error" } });
  note("server: spawn to ready", "ms", server.readyMs);
  configure({ accessToken: server.key, baseURL: server.url });
  try {
    await work(server);
  } finally {
    await server.remove();
  }
}

async function throughput(): Promise<void> {
  await withServer(async (server) => {
    note("server: RSS idle", "MB", rssMegabytes(server.pid));
    note(
      "single triggers, 64 callers (SDK)",
      "runs/s",
      await perSecond(RUNS, CALLERS, () => tasks.trigger("noop", {})),
    );
    const client = createClient(RunService, createGrpcTransport({ baseUrl: server.url }));
    const headers = { authorization: `Bearer ${server.key}` };
    const items = Array.from({ length: CALLERS }, () => ({
      taskId: "noop",
      payload: { data: { case: "json" as const, value: "{}" } },
    }));
    const calls = Math.ceil(RUNS / CALLERS);
    const rate = await perSecond(calls, 2, () => client.triggerTasks({ items }, { headers }));
    note("TriggerTasks of 64, 2 in flight", "runs/s", rate * CALLERS);
    const queued = RUNS + calls * CALLERS;
    const startedAt = performance.now();
    const worker = await startWorkerProcess(server, "noop", 100);
    await worker.executed(queued);
    note(
      "drain, one worker of 100 places (its start included)",
      "runs/s",
      queued / ((performance.now() - startedAt) / 1_000),
    );
    await worker.stop();
  });
}

async function latency(): Promise<void> {
  await withServer(async (server) => {
    const worker = await startWorkerProcess(server, "latency", 10);
    const triggered: number[] = [];
    for (let number = 0; number < LATENCY_PROBES; number++) {
      triggered.push(performance.timeOrigin + performance.now());
      await tasks.trigger("latency", { number });
      await worker.executed(number + 1);
      await new Promise((resolve) => setTimeout(resolve, PROBE_PAUSE_MS));
    }
    const starts = worker.takeStarts();
    const delays = triggered.map((at, number) => (starts.get(number) ?? Number.NaN) - at);
    note("trigger → start, idle: p50", "ms", quantile(delays, 0.5));
    note("trigger → start, idle: p99", "ms", quantile(delays, 0.99));
    await worker.stop();
  });
}

async function memory(): Promise<void> {
  await withServer(async (server) => {
    await perSecond(QUEUED_FOR_RSS, CALLERS * 4, () => tasks.trigger("nobody", { some: "payload" }));
    note(`server: RSS with ${QUEUED_FOR_RSS.toLocaleString("en-US")} queued runs`, "MB", rssMegabytes(server.pid));
  });
}

for (let round = 0; round < ROUNDS; round++) {
  await throughput();
  await latency();
}
await memory();
printFigures([...collected].map(([name, { unit, values }]): Figure => ({ name, unit, values })));
process.exit(0);
