/** Many calls in a row, one run: with the payload of the last one. */
import { runs, task, tasks } from "@hairtrigger/sdk";
import { startWorker } from "@hairtrigger/sdk/worker";

const indexDocument = task({
  id: "example-index-document",
  run: async ({ version }: { readonly version: number }) => `version ${version} is indexed`,
});

const worker = await startWorker({ tasks: [indexDocument], handleSignals: false });

const key = `document-${process.pid}-${Date.now()}`;
const ids = new Set<string>();
let last = "";
for (const version of [1, 2, 3]) {
  const handle = await tasks.trigger<typeof indexDocument>(
    indexDocument.id,
    { version },
    { debounce: { key, delay: "2s", mode: "trailing", maxDelay: "1m" } },
  );
  ids.add(handle.id);
  last = handle.id;
}
console.log(ids.size, "run for 3 calls");
console.log((await runs.poll<typeof indexDocument>(last, { pollIntervalMs: 50 })).output);

await worker.stop();
