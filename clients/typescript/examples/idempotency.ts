/** One key, one run: for concurrent callers, and for a task that is tried again. */
import { idempotencyKeys, task, tasks } from "@hairtrigger/sdk";
import { startWorker } from "@hairtrigger/sdk/worker";

const sendReceipt = task({ id: "example-send-receipt", run: async ({ order }: { readonly order: number }) => order });

const bill = task({
  id: "example-bill",
  retry: { maxAttempts: 2, minTimeoutInMs: 10, maxTimeoutInMs: 10 },
  run: async ({ order }: { readonly order: number }, { ctx }) => {
    const key = await idempotencyKeys.create(["receipt", String(order)]); // the same in every attempt of this run
    const receipt = await sendReceipt.trigger({ order }, { idempotencyKey: key });
    if (ctx.attempt.number === 1) throw new Error("the printer is out of paper");
    return receipt.isCached;
  },
});

const worker = await startWorker({ tasks: [sendReceipt, bill], handleSignals: false });

const material = `order-${process.pid}-${Date.now()}`;
const receipt = () =>
  tasks.trigger<typeof sendReceipt>(
    sendReceipt.id,
    { order: 1 },
    { idempotencyKey: material, idempotencyKeyTTL: "1h" },
  );
const handles = await Promise.all(Array.from({ length: 20 }, receipt));
console.log(new Set(handles.map(({ id }) => id)).size, "run for", handles.length, "calls");

await idempotencyKeys.reset(sendReceipt.id, material);
console.log("after a reset:", (await receipt()).isCached ? "the same run" : "a new run");

const run = await tasks.triggerAndPoll<typeof bill>(bill.id, { order: 2 }, { pollIntervalMs: 50 });
console.log(run.attemptCount, "attempts, second receipt is the first:", run.output);

await worker.stop();
