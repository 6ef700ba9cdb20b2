/** The worker of a bench: `node worker-process.js noop|latency <concurrency>`. Speaks on stdout: `ready`, `count N`, `start N <time>`. */
import { task } from "@hairtrigger/sdk";
import { startWorker } from "@hairtrigger/sdk/worker";

const [kind, concurrency] = process.argv.slice(2);
let count = 0;
let isTold = true;

/** At most one line per turn of the event loop, so that counting costs the worker little. */
function tell(): void {
  if (!isTold) return;
  isTold = false;
  setImmediate(() => {
    isTold = true;
    process.stdout.write(`count ${count}\n`);
  });
}

const noop = task({
  id: "noop",
  run: async () => {
    count++;
    tell();
  },
});

const latency = task({
  id: "latency",
  run: async ({ number }: { number: number }) => {
    process.stdout.write(`start ${number} ${performance.timeOrigin + performance.now()}\n`);
  },
});

const worker = await startWorker({ tasks: kind === "latency" ? [latency] : [noop], concurrency: Number(concurrency) });
process.stdout.write("ready\n");
await worker.closed;
