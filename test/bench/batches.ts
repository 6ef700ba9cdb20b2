/**
 * Streamed batches against batches of one call: the rate, and what a stream of 100,000 items adds to the memory of server and client.
 * `npm run build && node dist/test/bench/batches.js [items]`. Figures, no verdicts.
 */
import { tasks } from "@hairtrigger/sdk";
import { startServer } from "../support/processes.js";
import { rssMegabytes } from "./processes.js";

const ITEMS = Number(process.argv[2] ?? 100_000);
const BATCH = 500;
/** As many chunks as a stream has on their way. */
const CALLS_IN_FLIGHT = 2;
const SAMPLE_MS = 100;

const server = await startServer();
const requestOptions = { clientConfig: server.sdk };

function item(n: number) {
  return { payload: { n, text: "x".repeat(200) } };
}

function* items(count: number) {
  for (let n = 0; n < count; n += 1) yield item(n);
}

/** The largest growth of resident memory while `work` goes on, in megabytes. */
async function growth(work: () => Promise<unknown>): Promise<{ readonly server: number; readonly client: number }> {
  const before = { server: rssMegabytes(server.pid), client: rssMegabytes(process.pid) };
  const most = { ...before };
  const timer = setInterval(() => {
    most.server = Math.max(most.server, rssMegabytes(server.pid));
    most.client = Math.max(most.client, rssMegabytes(process.pid));
  }, SAMPLE_MS);
  try {
    await work();
  } finally {
    clearInterval(timer);
  }
  return { server: most.server - before.server, client: most.client - before.client };
}

async function seconds(work: () => Promise<unknown>): Promise<number> {
  const before = performance.now();
  await work();
  return (performance.now() - before) / 1_000;
}

async function byCalls(count: number): Promise<void> {
  let next = 0;
  const caller = async (): Promise<void> => {
    while (next < count) {
      const from = next;
      next += BATCH;
      await tasks.batchTrigger(
        "calls",
        Array.from({ length: BATCH }, (_, at) => item(from + at)),
        {},
        requestOptions,
      );
    }
  };
  await Promise.all(Array.from({ length: CALLS_IN_FLIGHT }, caller));
}

const byStream = (count: number) => tasks.batchTrigger("stream", items(count), {}, requestOptions);

try {
  // Code is compiled, caches are full.
  await byStream(20_000);
  await byCalls(20_000);
  const calls = await seconds(() => byCalls(ITEMS));
  let streamed = 0;
  const grown = await growth(async () => {
    streamed = await seconds(() => byStream(ITEMS));
  });
  console.log(`calls of ${BATCH}, ${CALLS_IN_FLIGHT} in flight: ${Math.round(ITEMS / calls)} items/s`);
  console.log(`one stream: ${Math.round(ITEMS / streamed)} items/s`);
  console.log(
    `growth of memory while ${ITEMS} items were streamed: server ${Math.round(grown.server)} MB, client ${Math.round(grown.client)} MB`,
  );
} finally {
  await server.remove();
}
