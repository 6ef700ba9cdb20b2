/** Runs as they change, without polling: one run, and all runs with some tags. */
import { runs, task, tasks } from "@hairtrigger/sdk";
import { startWorker } from "@hairtrigger/sdk/worker";

const convert = task({
  id: "example-convert",
  run: async ({ page }: { readonly page: number }) => `page ${page} as an image`,
});

const worker = await startWorker({ tasks: [convert], handleSignals: false });

const one = await tasks.trigger<typeof convert>(convert.id, { page: 1 }, { delay: "2s" });
const statuses: string[] = [];
for await (const run of runs.subscribeToRun(one)) {
  statuses.push(run.status);
  if (run.isCompleted) console.log(run.output);
}
console.log("from", statuses[0], "to", statuses.at(-1)); // those between may be skipped, none comes backwards

const upload = `upload-${process.pid}-${Date.now()}`;
for (const page of [2, 3]) await tasks.trigger<typeof convert>(convert.id, { page }, { tags: ["example", upload] });
const finished = new Set<string>();
for await (const run of runs.subscribeToRunsWithTag<typeof convert>(["example", upload])) {
  if (run.isCompleted) finished.add(run.id);
  if (finished.size === 2) break;
}
console.log(finished.size, "pages of the upload are done");

await worker.stop();
