/** A batch of more items than an array may have: read from a generator, no faster than the server stores them. */
import { batch, runs, task } from "@hairtrigger/sdk";
import { startWorker } from "@hairtrigger/sdk/worker";

const square = task({ id: "example-square", run: async ({ side }: { readonly side: number }) => side * side });

const worker = await startWorker({ tasks: [square], concurrency: 50, handleSignals: false });

async function* sides() {
  for (let side = 1; side <= 600; side += 1) yield { payload: { side } };
}
const handle = await square.batchTrigger(sides());
console.log(handle.runCount, "runs");

const finished = new Set<string>();
for await (const run of runs.subscribeToBatch(handle.batchId)) {
  if (run.status === "COMPLETED") finished.add(run.id);
  if (finished.size === handle.runCount) break;
}
console.log(finished.size, "completed");
console.log((await batch.retrieve(handle.batchId)).processing?.errors.length, "errors");

await worker.stop();
