/**
 * How many rows a second the embedded store takes and gives, through its thread and with fsync:
 * `npm run build && node dist/test/bench/store-bench.js [seconds] [directory]`. Figures, never pass or fail.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { newId } from "../../server/domain/ids.js";
import { newRun } from "../../server/domain/run.js";
import { createEmbeddedStore, type EmbeddedStore } from "../../server/store/embedded/embedded-store.js";
import type { ClaimedRun, InsertRun } from "../../server/store/store.js";

const ENVIRONMENT = "bench";
const SPEC_BYTES = 200;
const spec = new Uint8Array(SPEC_BYTES);

const random = new Uint8Array(10);
let serial = 0;

/** Made as cheaply as may be: what is measured is the store. */
function run(nowMs: number): InsertRun {
  serial += 1;
  new DataView(random.buffer).setUint32(0, Math.imul(serial, 2_654_435_761) >>> 0);
  const state = newRun({
    environment: ENVIRONMENT,
    id: newId("run", nowMs, random),
    taskId: "noop",
    queue: "task/noop",
    concurrencyKey: undefined,
    prioritySeconds: 0,
    delayedUntilMs: undefined,
    ttl: undefined,
    maxAttempts: undefined,
    maxDurationSeconds: undefined,
    key: undefined,
    parent: undefined,
    replayOf: undefined,
    triggerFunction: "trigger",
    isTest: false,
    tags: [],
    nowMs,
  });
  const request = { hash: serial.toString(16).padStart(64, "0"), expiresAtMs: nowMs + 86_400_000 };
  return { run: state, spec, metadataJson: undefined, request, queueSizeMax: undefined, queueLimit: undefined, nowMs };
}

/** Runs `callers` loops of `step` for `seconds`. */
async function measure(
  name: string,
  { callers, seconds }: { readonly callers: number; readonly seconds: number },
  step: () => Promise<number>,
): Promise<void> {
  const startMs = performance.now();
  const startCpu = process.cpuUsage();
  const endMs = startMs + seconds * 1_000;
  let rows = 0;
  const latencies: number[] = [];
  const loop = async (): Promise<void> => {
    while (performance.now() < endMs) {
      const fromMs = performance.now();
      const count = await step();
      if (count === 0) return;
      latencies.push(performance.now() - fromMs);
      rows += count;
    }
  };
  await Promise.all(Array.from({ length: callers }, loop));
  const tookMs = performance.now() - startMs;
  const cpu = process.cpuUsage(startCpu);
  latencies.sort((a, b) => a - b);
  const rate = Math.round((rows / tookMs) * 1_000);
  const p50 = latencies[Math.floor(latencies.length / 2)] ?? 0;
  const cpuUs = (cpu.user + cpu.system) / Math.max(rows, 1);
  console.log(
    `${name.padEnd(44)} ${String(rate).padStart(8)}/s   p50 ${p50.toFixed(2)} ms   ${cpuUs.toFixed(1)} µs CPU each`,
  );
}

async function drain(store: EmbeddedStore, seconds: number, places: number): Promise<void> {
  const tasks = [{ taskId: "noop", maxDurationSeconds: undefined, maxAttempts: 3 }];
  const claim = async (): Promise<readonly ClaimedRun[]> => {
    const nowMs = Date.now();
    const request = {
      environment: ENVIRONMENT,
      sessionId: "session_bench",
      places,
      tasks,
      nowMs,
      pickUpDeadlineMs: nowMs + 10_000,
    };
    return (await store.claimRuns([request]))[0] ?? [];
  };
  await measure(`claim + complete, ${places} places, 2 callers`, { callers: 2, seconds }, async () => {
    const claimed = await claim();
    await store.changeRuns(
      claimed.map(({ run: { id, fence } }) => ({
        event: "complete",
        environment: ENVIRONMENT,
        runId: id,
        nowMs: Date.now(),
        fence,
        sessionId: "session_bench",
        output: new Uint8Array(10),
      })),
    );
    return claimed.length;
  });
}

async function main(): Promise<void> {
  const { positionals } = parseArgs({ allowPositionals: true });
  const seconds = Number(positionals[0] ?? 3);
  const directory = positionals[1] ?? mkdtempSync(join(tmpdir(), "hairtrigger-bench-"));
  const store = createEmbeddedStore({ directory });
  await store.start();
  const nowMs = Date.now();
  await store.openSession({
    environment: ENVIRONMENT,
    id: "session_bench",
    workerName: "bench",
    sdk: "bench",
    connectionEpoch: 1,
    taskIds: ["noop"],
    concurrency: 1_000,
    connectedAtMs: nowMs,
    untilMs: nowMs + 3_600_000,
  });
  const insert = (count: number) => async (): Promise<number> => {
    const items = Array.from({ length: count }, () => run(Date.now()));
    return (await store.insertRuns(items)).length;
  };
  await measure("single inserts, 1 caller", { callers: 1, seconds }, insert(1));
  await measure("single inserts, 64 callers", { callers: 64, seconds }, insert(1));
  await measure("inserts of 64, 2 callers", { callers: 2, seconds }, insert(64));
  await measure("inserts of 500, 2 callers", { callers: 2, seconds }, insert(500));
  await drain(store, seconds, 200);
  await drain(store, seconds, 1_000);
  await store.stop();
  rmSync(directory, { recursive: true, force: true });
}

await main();
