/** A queue that lets two runs execute at once, a limit for each customer, and a pause. */
import { setTimeout as sleep } from "node:timers/promises";
import { queue, queues, runs, task, tasks } from "@hairtrigger/sdk";
import { startWorker } from "@hairtrigger/sdk/worker";

const press = queue({ name: "example-press", concurrencyLimit: 2 });

let printing = 0;
const print = task({
  id: "example-print",
  queue: press,
  run: async () => {
    printing += 1;
    const atOnce = printing;
    await sleep(100);
    printing -= 1;
    return atOnce;
  },
});

const visiting = new Map<string, number>();
const visit = task({
  id: "example-visit",
  queue: { concurrencyLimit: 1 },
  run: async ({ customer }: { readonly customer: string }) => {
    const atOnce = (visiting.get(customer) ?? 0) + 1;
    visiting.set(customer, atOnce);
    await sleep(50);
    visiting.set(customer, atOnce - 1);
    return atOnce;
  },
});

const worker = await startWorker({ tasks: [print, visit], concurrency: 20, handleSignals: false });
const poll = { pollIntervalMs: 50 };

const sheets = await Promise.all(
  Array.from({ length: 8 }, () => tasks.triggerAndPoll<typeof print>(print.id, undefined, poll)),
);
console.log(sheets.length, "sheets, at most", Math.max(...sheets.map(({ output }) => output ?? 0)), "at once");

const customers = ["ada", "grace", "ada", "grace"];
const visits = await Promise.all(
  customers.map((customer) =>
    tasks.triggerAndPoll<typeof visit>(visit.id, { customer }, { ...poll, concurrencyKey: customer }),
  ),
);
console.log("visits of one customer at once:", Math.max(...visits.map(({ output }) => output ?? 0)));

const selector = { type: "custom", name: press.name } as const;
await queues.pause(selector);
const waiting = await tasks.trigger<typeof print>(print.id, undefined);
console.log("paused:", (await queues.retrieve(selector)).queued, "queued");
await queues.resume(selector);
console.log("resumed:", (await runs.poll(waiting, poll)).status);

await worker.stop();
