/** What a browser gets instead of the secret key: a token that reads one run, and one that triggers one task once. */
import { ApiError, auth, runs, task, tasks } from "@hairtrigger/sdk";
import { startWorker } from "@hairtrigger/sdk/worker";

const thumbnail = task({
  id: "example-thumbnail",
  run: async ({ url }: { readonly url: string }) => `${url}.small`,
});

const worker = await startWorker({ tasks: [thumbnail], handleSignals: false });
const say = (error: unknown): void => console.log(error instanceof ApiError ? error.reason : error);

// The backend triggers, the browser reads that run and no other.
const handle = await tasks.trigger<typeof thumbnail>(thumbnail.id, { url: "a.png" });
const other = await tasks.trigger<typeof thumbnail>(thumbnail.id, { url: "secret.png" });
const reader = await auth.createPublicToken({ scopes: { read: { runs: handle.id } }, expirationTime: "1h" });
await auth.withAuth({ accessToken: reader }, async () => {
  console.log((await runs.poll(handle, { pollIntervalMs: 50 })).output);
  await runs.retrieve(other).catch(say);
});

// The browser triggers, with the tags that the backend fixed.
const accessToken = await auth.createTriggerPublicToken(thumbnail.id, { options: { tags: ["user-17"] } });
await auth.withAuth({ accessToken }, async () => {
  const own = await tasks.trigger<typeof thumbnail>(thumbnail.id, { url: "b.png" }, { tags: ["mine"] });
  const run = await auth.withAuth({ accessToken: own.publicAccessToken }, () => runs.poll(own, { pollIntervalMs: 50 }));
  console.log(run.output, run.tags.join());
  await tasks.trigger<typeof thumbnail>(thumbnail.id, { url: "c.png" }).catch(say);
});

await worker.stop();
