/**
 * A worker process whose task leaves errors uncaught: `node stray-worker.js <url> <key>`. It prints what became of the runs it triggers
 * itself, one line of JSON each, and ends in order. A process of its own, because a test runner takes uncaught errors for its own.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { configure, runs, task } from "@hairtrigger/sdk";
import { startWorker } from "@hairtrigger/sdk/worker";

const [, , baseURL = "", accessToken = ""] = process.argv;
configure({ baseURL, accessToken });

const once = { maxAttempts: 1 } as const;
const aborted = (signal: AbortSignal) => new Promise((resolve) => signal.addEventListener("abort", resolve));

const rejecting = task({
  id: "rejecting",
  retry: once,
  run: (_: undefined, { signal }) => {
    void Promise.reject(new Error("nobody awaits me"));
    return aborted(signal);
  },
});
const throwing = task({
  id: "throwing",
  retry: once,
  run: (_: undefined, { signal }) => {
    setImmediate(() => {
      throw new Error("nobody catches me");
    });
    return aborted(signal);
  },
});
const finished: (() => void)[] = [];
const bystander = task({
  id: "bystander",
  run: () => new Promise<string>((resolve) => finished.push(() => resolve("unharmed"))),
});

const worker = await startWorker({ tasks: [rejecting, throwing, bystander], handleSignals: false });
const other = await bystander.trigger();
while (finished.length === 0) await sleep(1);
setImmediate(() => {
  throw new Error("of no run");
});
for (const handle of [await rejecting.trigger(), await throwing.trigger()]) {
  const { status, error } = await runs.poll(handle, { pollIntervalMs: 5 });
  console.log(JSON.stringify([status, error?.message]));
}
for (const finish of finished) finish();
const { status, output } = await runs.poll(other, { pollIntervalMs: 5 });
console.log(JSON.stringify([status, output]));
await worker.stop();
