/**
 * Limits under everything at once: seeded histories of triggers, ends of every kind, cancels, interruptions, lost workers and changes of the
 * limit, over two workers and three partitions. What is counted is what the workers hold, not what the server believes.
 */
import test, { type ExecutionContext } from "ava";
import { selector, startApi, type TestApi } from "../../support/api.js";
import type { WireWorker } from "../../support/wire-worker.js";

const STEPS = 120;
/** Places of each worker. */
const PLACES = 3;
const KEYS = ["", "a", "b"] as const;

interface Held {
  readonly runId: string;
  readonly lease: Uint8Array;
  readonly worker: WireWorker;
  /** Its run was cancelled; the code goes on. */
  isCancelled: boolean;
}

for (const seed of [1, 2]) {
  test(`QUE-4, QUE-16: no partition ever has more than its limit executing, and no slot is lost (history ${seed})`, (t) =>
    playHistory(t, seed));
}

async function playHistory(t: ExecutionContext, seed: number): Promise<void> {
  const api = await startApi(t);
  const random = createRandom(seed);
  const pick = <T>(items: readonly T[]): T | undefined => items[Math.floor(random() * items.length)];
  const tasks = [{ id: "work", queue: { concurrencyLimit: 2 } }];
  const workers = [await api.worker({ tasks, credit: PLACES }), await api.worker({ tasks, credit: PLACES })];
  const held: Held[] = [];
  const keys = new Map<string, string>();
  let limit = 2;
  let limitBefore = 2;

  /** Takes what has arrived; no partition may have more than its limit (or what it had when the limit was lowered). */
  async function take(): Promise<void> {
    const before = new Map(KEYS.map((key) => [key, countOf(key)]));
    for (const worker of workers) {
      await worker.heartbeat();
      while (worker.assignments.size > 0) {
        const { runId, lease } = await worker.begin();
        held.push({ runId, lease, worker, isCancelled: false });
      }
    }
    for (const key of KEYS)
      t.true(countOf(key) <= Math.max(limit, before.get(key) ?? 0), `partition "${key}", seed ${seed}`);
  }

  function countOf(key: string): number {
    return held.filter(({ runId }) => keys.get(runId) === key).length;
  }

  function credit(): void {
    for (const worker of workers) {
      const taken = held.filter((item) => item.worker === worker).length + worker.assignments.size;
      worker.credit(Math.max(0, PLACES - taken));
    }
  }

  async function end(item: Held): Promise<void> {
    held.splice(held.indexOf(item), 1);
    const { worker, lease, isCancelled } = item;
    const how = random();
    if (isCancelled) await worker.ended(lease);
    else if (how < 0.5) await worker.completed(lease);
    else if (how < 0.65) await worker.failed(lease);
    else if (how < 0.75) await worker.failed(lease, {}, 40_000);
    else if (how < 0.85) await worker.interrupted(lease);
    else if (how < 0.95) await retryHere(item);
    else {
      await worker.timedOut(lease);
      await worker.ended(lease);
    }
  }

  /** The next attempt keeps the slot. */
  async function retryHere({ worker, lease, runId }: Held): Promise<void> {
    const answer = await worker.failed(lease, {}, 0);
    if (answer.case === "retry") held.push({ runId, lease: answer.value.lease, worker, isCancelled: false });
  }

  async function step(): Promise<void> {
    const what = random();
    const item = pick(held);
    if (what < 0.4) {
      const key = pick(KEYS) ?? "";
      keys.set(await api.triggered("work", { concurrencyKey: key, maxAttempts: 3 }), key);
    } else if (what < 0.75 && item !== undefined) {
      await end(item);
    } else if (what < 0.85 && item !== undefined) {
      await api.runs.cancelRun({ runId: item.runId });
      item.isCancelled = true;
    } else if (what < 0.93) {
      await api.pass(5_000, ...workers);
    } else {
      limitBefore = limit;
      limit = 1 + Math.floor(random() * 3);
      await api.queues.overrideConcurrencyLimit({ queue: selector("task/work"), concurrencyLimit: limit });
      if (limit > limitBefore) return;
    }
    credit();
  }

  for (let count = 0; count < STEPS; count += 1) {
    await step();
    // Cancelled code has had its 30 s if time went on too long; it is ended before that.
    for (const item of held.filter(({ isCancelled }) => isCancelled)) if (random() < 0.5) await end(item);
    await take();
  }
  await drain();
  t.is((await api.queue("task/work")).running, 0, "every slot is free at the end");
  t.is((await api.queue("task/work")).queued, 0);

  async function drain(): Promise<void> {
    for (let rounds = 0; rounds < 200; rounds += 1) {
      for (const item of held.splice(0)) {
        await (item.isCancelled ? item.worker.ended(item.lease) : item.worker.completed(item.lease));
      }
      credit();
      await take();
      if (held.length === 0 && (await isEmpty(api))) return;
      if (held.length === 0) await api.pass(10_000, ...workers);
    }
    t.fail("runs are left that nobody starts");
  }
}

async function isEmpty(api: TestApi): Promise<boolean> {
  return (await api.queue("task/work")).queued === 0;
}

/** mulberry32: small, seeded, good enough to pick steps. */
function createRandom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}
