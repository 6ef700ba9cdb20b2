/** A payload and an output of 2 MB: nothing has to be done for them, and a URL gives the output to whoever has it. */
import { ApiError, task, tasks } from "@hairtrigger/sdk";
import { startWorker } from "@hairtrigger/sdk/worker";

const shout = task({
  id: "example-shout",
  run: async ({ text }: { readonly text: string }) => ({ text: text.toUpperCase() }),
});

const worker = await startWorker({ tasks: [shout], handleSignals: false });

const text = "word ".repeat(400_000);
const run = await tasks.triggerAndPoll<typeof shout>(shout.id, { text }, { pollIntervalMs: 50 });
console.log(run.status, run.payload?.text.length, run.output?.text.slice(0, 4));

const response = await fetch(run.outputPresignedUrl ?? "");
console.log(response.status, (await response.text()).length > text.length ? "whole" : "cut");

await tasks
  .trigger<typeof shout>(shout.id, { text: "x".repeat(11_000_000) })
  .catch((error: unknown) => console.log(error instanceof ApiError ? error.reason : error));

await worker.stop();
