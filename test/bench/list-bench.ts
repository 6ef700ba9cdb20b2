/**
 * The first page of `runs.list` with many runs, filter by filter, on the embedded store with its file:
 * `npm run build && node dist/test/bench/list-bench.js [runs] [directory]` (1,000,000 runs). Prints the median and the slowest of
 * `ROUNDS` readings, and that of the first, which finds nothing in memory. Figures, never pass or fail.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { batchRunId, derivedId, newId } from "../../server/domain/ids.js";
import { type NewRunParams, newRun } from "../../server/domain/run.js";
import { createEmbeddedStore } from "../../server/store/embedded/embedded-store.js";
import type { InsertRun, RunFilter } from "../../server/store/store.js";
import { quantile } from "./figures.js";

const ENVIRONMENT = "bench";
const RUNS = Number(process.argv[2] ?? 1_000_000);
const PAGE = 25;
const ROUNDS = 20;
const CALL = 500;
const TASKS = 40;
const START_MS = Date.UTC(2026, 0, 1);
const spec = new Uint8Array(200);

const BATCH = derivedId("batch", ENVIRONMENT, "bench", "only");
const random = new Uint8Array(10);

/** Of a service with some busy tasks and many quiet ones, customers as tags, one large batch, a few tests and cancelled runs. */
function run(serial: number): InsertRun {
  new DataView(random.buffer).setUint32(0, Math.imul(serial, 2_654_435_761) >>> 0);
  const nowMs = START_MS + serial;
  const task = `task-${Math.floor(TASKS * (((serial * 7_919) % 10_007) / 10_007) ** 3)}`;
  const isOfBatch = serial % 2_000 === 7;
  const params: NewRunParams = {
    environment: ENVIRONMENT,
    id: isOfBatch ? batchRunId(ENVIRONMENT, "only", serial) : newId("run", nowMs, random),
    taskId: task,
    queue: serial % 10 === 0 ? "shared" : `task/${task}`,
    concurrencyKey: undefined,
    prioritySeconds: 0,
    delayedUntilMs: serial % 20 === 1 ? nowMs + 86_400_000_000 : undefined,
    ttl: undefined,
    maxAttempts: undefined,
    maxDurationSeconds: undefined,
    key: undefined,
    ...(isOfBatch ? { batch: { id: BATCH, index: serial } } : {}),
    parent: undefined,
    replayOf: undefined,
    triggerFunction: "trigger",
    isTest: serial % 5_000 === 3,
    tags: serial % 4 === 0 ? [`customer-${serial % 1_000}`, "common"] : [],
    nowMs,
  };
  const rest = { metadataJson: undefined, request: undefined, queueSizeMax: undefined, queueLimit: undefined };
  return { run: newRun(params), spec, ...rest, nowMs };
}

const END_MS = START_MS + RUNS;
const FILTERS: Readonly<Record<string, RunFilter>> = {
  "no filter": {},
  "one status, most runs": { statuses: ["QUEUED"] },
  "one status, few runs": { statuses: ["CANCELED"] },
  "one status, no run": { statuses: ["FAILED"] },
  "three statuses": { statuses: ["CANCELED", "DELAYED", "COMPLETED"] },
  "busy task": { taskIds: ["task-0"] },
  "quiet task": { taskIds: [`task-${TASKS - 1}`] },
  "unknown task": { taskIds: ["none"] },
  "five tasks": { taskIds: ["task-0", "task-3", "task-9", "task-20", "task-39"] },
  "rare tag": { tags: ["customer-4"] },
  "common tag": { tags: ["common"] },
  "two tags, any": { tags: ["customer-4", "common"] },
  "two tags, all": { allTags: ["customer-4", "common"] },
  "queue of a task": { queues: ["task/task-0"] },
  "shared queue": { queues: ["shared"] },
  "two queues": { queues: ["shared", "task/task-9"] },
  "the last hour": { fromMs: END_MS - 3_600_000 },
  "the oldest second": { toMs: START_MS + 1_000 },
  "from and to, in the middle": { fromMs: START_MS + RUNS / 2, toMs: START_MS + RUNS / 2 + 60_000 },
  "only tests": { isTest: true },
  "only others": { isTest: false },
  batch: { batchId: BATCH },
  "task and status": { taskIds: ["task-0"], statuses: ["CANCELED"] },
  "task and tag": { taskIds: ["task-9"], tags: ["common"] },
  "rare tag and status": { tags: ["customer-4"], statuses: ["CANCELED"] },
  "common tag and rare status": { tags: ["common"], statuses: ["CANCELED"] },
  "shared queue and quiet task": { queues: ["shared"], taskIds: [`task-${TASKS - 1}`] },
  "test and status": { isTest: true, statuses: ["QUEUED"] },
};

const directory = mkdtempSync(join(process.argv[3] ?? tmpdir(), "hairtrigger-list-"));
const store = createEmbeddedStore({ directory });
try {
  await store.start();
  const filledMs = performance.now();
  for (let from = 0; from < RUNS; from += 4 * CALL) {
    await Promise.all(
      [0, 1, 2, 3].map((part) => {
        const first = from + part * CALL;
        const items = Array.from({ length: Math.max(0, Math.min(CALL, RUNS - first)) }, (_, at) => run(first + at));
        return store.insertRuns(items);
      }),
    );
  }
  for (const taskIds of [["task-0"], ["task-5"]]) {
    const { runs } = await store.listRuns({
      environment: ENVIRONMENT,
      filter: { taskIds, toMs: END_MS },
      limit: 3_000,
    });
    await store.changeRuns(
      runs.map(({ id: runId }) => ({ event: "cancel", environment: ENVIRONMENT, runId, nowMs: END_MS, reason: "" })),
    );
  }
  const seconds = (performance.now() - filledMs) / 1_000;
  console.log(`${RUNS.toLocaleString("en-US")} runs stored in ${seconds.toFixed(0)} s`);
  const width = Math.max(...Object.keys(FILTERS).map((name) => name.length));
  for (const [name, filter] of Object.entries(FILTERS)) {
    const times: number[] = [];
    let found = 0;
    for (let round = 0; round < ROUNDS; round += 1) {
      const startMs = performance.now();
      const page = await store.listRuns({ environment: ENVIRONMENT, filter, limit: PAGE });
      times.push(performance.now() - startMs);
      found = page.runs.length;
    }
    const [first = 0] = times;
    const shown = [quantile(times, 0.5), quantile(times, 1), first].map((ms) => ms.toFixed(1).padStart(8));
    console.log(
      `${name.padEnd(width)}  median ${shown[0]} ms  slowest ${shown[1]} ms  first ${shown[2]} ms  ${found} runs`,
    );
  }
} finally {
  await store.stop();
  rmSync(directory, { recursive: true });
}
