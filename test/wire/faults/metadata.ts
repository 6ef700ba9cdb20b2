/** Operations on metadata through kills of those who make them and of those who apply them. */
import { runs, tasks } from "@hairtrigger/sdk";
import test from "ava";
import { inScene, SHORT, until } from "./scene.js";

const CHILDREN = 100;

export function registerMetadata(): void {
  test.serial(
    "MET-7: 100 children that each add 1 to a counter of their root add 100, through kills of a worker and of the server",
    async (t) => {
      t.timeout(110_000);
      await inScene(t, { settings: SHORT.settings }, async ({ server, ledger, startWorker }) => {
        // The root keeps the only place of its worker, which nobody kills.
        const keeper = await startWorker({ name: "keeper", concurrency: 1 });
        const root = await tasks.trigger("count", { number: 0, children: CHILDREN, holdIn: "keeper" });
        await ledger.first("start", { who: "keeper" });
        const killed = await startWorker({ name: "killed", concurrency: 4 });
        await startWorker({ name: "other", concurrency: 4 });
        const ended = (who?: string): number => ledger.of("end", who === undefined ? {} : { who }).length;
        await ledger.until("both workers have done some", () => ended("killed") >= 8 && ended("other") >= 8);
        await killed.kill();
        await ledger.until("the other goes on", () => ended("other") >= 20);
        await server.kill();
        await server.start();
        await until("every child is over", async () => {
          const { data } = await runs.list({ taskIdentifier: "counted", status: "COMPLETED", limit: 100 });
          return data.length === CHILDREN;
        });
        const { metadata = {} } = await runs.retrieve(root);
        t.is(metadata.done, CHILDREN);
        t.is(Number(metadata["by-killed"]) + Number(metadata["by-other"]), CHILDREN);
        t.true(Number(metadata["by-killed"]) > 0, "the one that was killed had its part in it");
        t.true(ledger.of("start").length > CHILDREN + 1, "some were executed again");
        keeper.release(0);
        t.is((await runs.poll(root, { pollIntervalMs: 50 })).status, "COMPLETED");
      });
    },
  );
}
