/** A task that waits for other runs, for a time and for an answer, without holding a place in its worker. */
import { task, tasks, wait } from "@hairtrigger/sdk";
import { startWorker } from "@hairtrigger/sdk/worker";

const convertPage = task({
  id: "example-convert-page",
  retry: { maxAttempts: 1 },
  run: async ({ page }: { readonly page: number }) => {
    if (page > 2) throw new RangeError(`there is no page ${page}`);
    return `image ${page}`;
  },
});

const book = task({
  id: "example-book",
  run: async ({ tokenId }: { readonly tokenId: string }) => {
    const first = await convertPage.triggerAndWait({ page: 1 }).unwrap();
    const third = await convertPage.triggerAndWait({ page: 3 }); // a failed run is a value
    await wait.for({ seconds: 0.2 });
    const answer = await wait.forToken<{ readonly approved: boolean }>(tokenId);
    return { first, third: third.ok, approved: answer.ok && answer.output.approved };
  },
});

// One place is enough for parent and children: whoever waits holds none.
const worker = await startWorker({ tasks: [convertPage, book], concurrency: 1, handleSignals: false });

const token = await wait.createToken({ timeout: "1h" });
const published = tasks.triggerAndPoll<typeof book>(book.id, { tokenId: token.id }, { pollIntervalMs: 50 });
await fetch(token.url, { method: "POST", body: JSON.stringify({ approved: true }) });
const { status, attemptCount, output } = await published;
console.log(status, "in", attemptCount, "attempt");
console.log(JSON.stringify(output));

await worker.stop();
