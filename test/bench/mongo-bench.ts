/**
 * The store and servers on a MongoDB-protocol server: `npm run build && .ci/mongodb node dist/test/bench/mongo-bench.js [part …]`, parts being
 * store, throughput, latency, idle. One machine carries database, servers, worker and callers. Figures, never pass or fail. `BENCH_RUNS`
 * (20,000) sets the amount of work.
 */
import { setTimeout as pause } from "node:timers/promises";
import { createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { auth, tasks } from "@hairtrigger/sdk";
import { MongoClient } from "mongodb";
import { RunService } from "#proto/hairtrigger/v1/run_service_pb.js";
import { Commands } from "../store/mongo-commands.js";
import { MONGODB_URI, mongoStore } from "../store/mongo-world.js";
import { World } from "../store/world.js";
import { type ServerPlace, startServer } from "../support/processes.js";
import { perSecond, printFigures, quantile } from "./figures.js";
import { startWorkerProcess } from "./processes.js";

const RUNS = Number(process.env["BENCH_RUNS"] ?? 20_000);
const PAGE = 500;
const ITEMS = 64;
const PROBES = 200;
const PROBE_PAUSE_MS = 20;
const IDLE_S = 10;

const uri = MONGODB_URI ?? "mongodb://127.0.0.1:27017/";
const client = new MongoClient(uri);
let databases = 0;

function note(name: string, unit: string, ...values: readonly number[]): void {
  printFigures([{ name: name.padEnd(60), unit, values }]);
}

async function withDatabase(work: (name: string) => Promise<void>): Promise<void> {
  databases += 1;
  const name = `hairtrigger_bench_${process.pid}_${databases}`;
  try {
    await work(name);
  } finally {
    await client.db(name).dropDatabase();
  }
}

async function withServers(count: number, work: (servers: readonly ServerPlace[]) => Promise<void>): Promise<void> {
  await withDatabase(async (name) => {
    const url = new URL(uri);
    url.pathname = `/${name}`;
    const settings = { HAIRTRIGGER_LOG_LEVEL: "error", HAIRTRIGGER_STORE: url.href };
    const servers: ServerPlace[] = [];
    try {
      while (servers.length < count) servers.push(await startServer({ settings }));
      await work(servers);
    } finally {
      for (const server of servers) await server.remove();
    }
  });
}

/** The store's own verbs, without a server: how fast pages of 500 go in, and the round trips that a page costs. */
async function store(): Promise<void> {
  await withDatabase(async (name) => {
    const own = mongoStore(name, { settingsCacheMs: 60_000 });
    await own.start();
    const world = new World(own);
    const commands = new Commands(own);
    await world.open();
    await world.triggerMany(PAGE);
    const pages = Array.from({ length: Math.ceil(RUNS / PAGE) }, () =>
      Array.from({ length: PAGE }, () => world.item({})),
    );
    const rate = await perSecond(pages.length, 2, (index) => own.insertRuns(pages[index] ?? []));
    note("insert, batches of 500, 2 in flight", "runs/s", rate * PAGE);
    const items = Array.from({ length: PAGE }, () => world.item({}));
    note("round trips of an insert of 500", "operations", await commands.count(() => own.insertRuns(items)));
    let claimed: Awaited<ReturnType<World["claim"]>> = [];
    const claims = await commands.count(async () => {
      claimed = await world.claim(PAGE);
    });
    note("round trips of a claim of 500", "operations", claims);
    const changes = claimed.map((run) =>
      world.changeOf(run.run.id, { event: "complete", ...world.lease(run), output: undefined }),
    );
    note("round trips of 500 completions", "operations", await commands.count(() => own.changeRuns(changes)));
    await own.stop();
  });
}

async function throughput(): Promise<void> {
  await withServers(1, async ([server]) => {
    if (server === undefined) return;
    const producer = createClient(RunService, createGrpcTransport({ baseUrl: server.url }));
    const headers = { authorization: `Bearer ${server.key}` };
    const items = Array.from({ length: ITEMS }, () => ({
      taskId: "noop",
      payload: { data: { case: "json" as const, value: "{}" } },
    }));
    const calls = Math.ceil(RUNS / ITEMS);
    const rate = await perSecond(calls, 2, () => producer.triggerTasks({ items }, { headers }));
    note("TriggerTasks of 64, 2 in flight", "runs/s", rate * ITEMS);
    const startedAt = performance.now();
    const worker = await startWorkerProcess(server, "noop", 500);
    await worker.executed(calls * ITEMS);
    const seconds = (performance.now() - startedAt) / 1_000;
    note("drain, one worker of 500 places (its start included)", "runs/s", (calls * ITEMS) / seconds);
    await worker.stop();
  });
}

async function latency(): Promise<void> {
  await withServers(2, async ([here, there]) => {
    if (here === undefined || there === undefined) return;
    for (const [how, at] of [
      ["on one server", here],
      ["trigger and worker on different servers", there],
    ] as const) {
      const worker = await startWorkerProcess(at, "latency", 10);
      await auth.withAuth(here.sdk, async () => {
        const triggered: number[] = [];
        for (let number = 0; number < PROBES; number += 1) {
          triggered.push(performance.timeOrigin + performance.now());
          await tasks.trigger("latency", { number });
          await worker.executed(number + 1);
          await pause(PROBE_PAUSE_MS);
        }
        const starts = worker.takeStarts();
        const delays = triggered.map((fromMs, number) => (starts.get(number) ?? Number.NaN) - fromMs);
        note(`trigger → start, idle, ${how}: p50`, "ms", quantile(delays, 0.5));
        note(`trigger → start, idle, ${how}: p99`, "ms", quantile(delays, 0.99));
      });
      await worker.stop();
    }
  });
}

/** Operations that the database itself counted, so those of Agenda too. */
async function idle(): Promise<void> {
  await withServers(1, async ([server]) => {
    if (server === undefined) return;
    const worker = await startWorkerProcess(server, "noop", 10);
    await pause(3_000);
    const before = await operations();
    await pause(IDLE_S * 1_000);
    note("idle server, one worker connected", "operations/s", ((await operations()) - before) / IDLE_S);
    await worker.stop();
  });
}

const COUNTED = ["find", "aggregate", "insert", "update", "delete", "findAndModify", "getMore", "count"];

async function operations(): Promise<number> {
  const { metrics } = await client.db("admin").command({ serverStatus: 1 });
  return COUNTED.reduce((sum, name) => sum + Number(metrics.commands[name]?.total ?? 0), 0);
}

const PARTS = { store, throughput, latency, idle };
const chosen = process.argv.slice(2);
for (const [name, part] of Object.entries(PARTS)) if (chosen.length === 0 || chosen.includes(name)) await part();
await client.close();
process.exit(0);
