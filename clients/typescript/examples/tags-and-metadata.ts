/** Labels to find a run by, and an object that says how far it is. */
import { metadata, runs, tags, task, tasks } from "@hairtrigger/sdk";
import { startWorker } from "@hairtrigger/sdk/worker";

const importRows = task({
  id: "example-import-rows",
  run: async ({ rows }: { readonly rows: readonly string[] }) => {
    for (const row of rows) metadata.increment("done").append("seen", row);
    await tags.add("imported");
    return metadata.get("customer");
  },
});

const worker = await startWorker({ tasks: [importRows], handleSignals: false });

const upload = `upload-${process.pid}-${Date.now()}`;
const run = await tasks.triggerAndPoll<typeof importRows>(
  importRows.id,
  { rows: ["a", "b", "c"] },
  { tags: ["customer-7", upload], metadata: { customer: "acme", done: 0 }, pollIntervalMs: 50 },
);
console.log(run.output, JSON.stringify(run.metadata));
console.log("imported:", run.tags.includes("imported"));
console.log("found by its tag:", (await runs.list({ tag: upload })).data.length);

await worker.stop();
