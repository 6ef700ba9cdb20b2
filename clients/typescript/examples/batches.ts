/** Many runs by one call: of one task, and of several. */
import { batch, runs, task, tasks } from "@hairtrigger/sdk";
import { startWorker } from "@hairtrigger/sdk/worker";

const resize = task({ id: "example-resize", run: async ({ width }: { readonly width: number }) => `${width} px wide` });
const publish = task({ id: "example-publish", run: async (page: string) => `${page} is public` });

const worker = await startWorker({ tasks: [resize, publish], handleSignals: false });

const images = await tasks.batchTrigger<typeof resize>(resize.id, [
  { payload: { width: 100 } },
  { payload: { width: 200 }, options: { tags: ["large"] } },
]);
for (const handle of images.runs) {
  const { output } = await runs.poll(handle, { pollIntervalMs: 50 });
  console.log(output);
}
console.log("large:", (await runs.list({ batch: images.batchId, tag: "large" })).data.length);

const site = await batch.triggerByTask([
  { task: resize, payload: { width: 400 } },
  { task: publish, payload: "home" },
]);
const page = await runs.poll(site.runs[1], { pollIntervalMs: 50 });
console.log(page.output?.toUpperCase());
const { runCount, status } = await batch.retrieve(site.batchId);
console.log(runCount, "runs,", status === "COMPLETED" || status === "PENDING" ? "all created" : status);

await worker.stop();
