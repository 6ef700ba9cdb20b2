/**
 * A worker process whose tasks write their starts and ends into a ledger: `node ledger-worker.js <LedgerWorkerOptions as JSON>`. Its parent
 * releases held runs by messages, and takes it along when it disappears.
 */
import { metadata, queue, task, tasks } from "@hairtrigger/sdk";
import { startWorker } from "@hairtrigger/sdk/worker";
import { appendEntry } from "./ledger.js";
import { KEYED_LIMIT, type LedgerWorkerOptions, NARROW_LIMIT, type ReleaseMessage, type Work } from "./ledger-work.js";

const options: LedgerWorkerOptions = JSON.parse(process.argv[2] ?? "{}");
const { name, ledger, concurrency, gracePeriodMs } = options;
const held = new Map<number, () => void>();
const seen = new Set<string>();

process.on("message", ({ release }: ReleaseMessage) => {
  held.get(release)?.();
});
process.on("disconnect", () => process.exit(1));

async function work(
  payload: Work,
  params: { ctx: { run: { id: string }; attempt: { number: number } }; signal: AbortSignal },
) {
  const { ctx, signal } = params;
  const { number } = payload;
  const base = { who: name, runId: ctx.run.id, attempt: ctx.attempt.number, number };
  appendEntry(ledger, { ...base, what: "start" });
  try {
    if (payload.ms !== undefined) await spent(payload.ms, payload.isStubborn === true ? undefined : signal);
    if (payload.holdIn === name && !seen.has(ctx.run.id)) {
      seen.add(ctx.run.id);
      await released(number, signal);
    }
    return { number, by: name, attempt: ctx.attempt.number };
  } finally {
    appendEntry(ledger, { ...base, what: "end", isAborted: signal.aborted });
  }
}

function released(number: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    held.set(number, resolve);
    signal.addEventListener("abort", () => reject(signal.reason), { once: true });
  });
}

function spent(ms: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, ms);
    signal?.addEventListener(
      "abort",
      () => {
        clearTimeout(timer);
        reject(signal.reason);
      },
      { once: true },
    );
  });
}

/** Makes children that are counted in its metadata, and lives until it is released. */
async function count(payload: Work, params: Parameters<typeof work>[1]) {
  const { children = 0 } = payload;
  for (let number = 1; number <= children; number += 1) {
    await tasks.trigger("counted", { number, ms: 20 + (number % 7) * 15 });
  }
  return work(payload, params);
}

async function counted(payload: Work, params: Parameters<typeof work>[1]) {
  const done = await work(payload, params);
  metadata.root.increment("done").increment(`by-${name}`);
  return done;
}

/** Pauses far below a session's time, so that a test sees the session and not the policy. */
const retry = { maxAttempts: 3, minTimeoutInMs: 200, maxTimeoutInMs: 200, randomize: false };
const narrow = queue({ name: "narrow", concurrencyLimit: NARROW_LIMIT });

const served = [
  task({ id: "work", retry, run: work }),
  task({ id: "count", retry, run: count }),
  task({ id: "counted", retry, run: counted }),
  task({ id: "narrow-a", retry, queue: narrow, run: work }),
  task({ id: "narrow-b", retry, queue: narrow, run: work }),
  task({ id: "keyed", retry, queue: queue({ name: "keyed", concurrencyLimit: KEYED_LIMIT }), run: work }),
];

const worker = await startWorker({
  tasks: served,
  concurrency: concurrency ?? 10,
  gracePeriodMs: gracePeriodMs ?? 25_000,
});
appendEntry(ledger, { who: name, what: "ready" });
await worker.closed;
