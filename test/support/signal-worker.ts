/**
 * A worker process to send signals to: `node signal-worker.js <url> <key> <"ends soon" | "never ends">`. It triggers a run of its own, prints its
 * id once it executes; what the worker says of signals follows.
 */
import { configure, task } from "@hairtrigger/sdk";
import { startWorker } from "@hairtrigger/sdk/worker";

const [, , baseURL = "", accessToken = "", mode] = process.argv;
configure({ baseURL, accessToken });

const long = task({
  id: "long",
  run: (_: undefined, { ctx }) => {
    console.log(ctx.run.id);
    return new Promise<string>((resolve) => {
      if (mode === "ends soon") process.on("SIGTERM", () => setTimeout(() => resolve("after the signal"), 50));
    });
  },
});
await startWorker({ tasks: [long] });
await long.trigger();
