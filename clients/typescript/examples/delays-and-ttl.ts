/** A run that starts later, one that is moved to now, and one that is given up because nothing started it in time. */
import { runs, task, tasks } from "@hairtrigger/sdk";
import { startWorker } from "@hairtrigger/sdk/worker";

const remind = task({
  id: "example-remind",
  run: async ({ dueAt }: { readonly dueAt: number }) => (Date.now() < dueAt ? "too early" : "in time"),
});

const worker = await startWorker({ tasks: [remind], handleSignals: false });

const later = await tasks.trigger<typeof remind>(remind.id, { dueAt: Date.now() + 1_000 }, { delay: "1s" });
console.log((await runs.poll(later, { pollIntervalMs: 50 })).output);

const nextYear = await tasks.trigger<typeof remind>(remind.id, { dueAt: 0 }, { delay: "365d" });
console.log((await runs.retrieve(nextYear)).status);
await runs.reschedule(nextYear, { delay: "0s" });
console.log("moved to now:", (await runs.poll(nextYear, { pollIntervalMs: 50 })).status);

const hopeless = await tasks.trigger("example-nobody-serves-this", {}, { ttl: "1s" });
const expired = await runs.poll(hopeless.id, { pollIntervalMs: 50 });
console.log(expired.status, "after", expired.attemptCount, "attempts");

await worker.stop();
