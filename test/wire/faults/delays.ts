/** Delays through restarts. */
import { runs, tasks } from "@hairtrigger/sdk";
import test from "ava";
import { nowMs } from "../../support/ledger.js";
import { inScene, pass } from "./scene.js";

const DAY_MS = 24 * 3_600_000;

export function registerDelays(): void {
  test.serial("DLY-11, DLY-12: a delay of 60 days survives a crash of the server", async (t) => {
    t.timeout(30_000);
    await inScene(t, {}, async ({ server }) => {
      const handle = await tasks.trigger("work", { number: 1 }, { delay: new Date(nowMs() + 60 * DAY_MS) });
      const before = await runs.retrieve(handle);
      await server.kill();
      await server.start();
      const after = await runs.retrieve(handle);
      t.is(after.status, "DELAYED");
      t.deepEqual(after.delayedUntil, before.delayedUntil);
      // A timer that overflows fires at once; by the time another delayed run has started it would have.
      t.is((await runs.retrieve(await tasks.trigger("work", { number: 2 }))).status, "QUEUED");
      t.is((await runs.retrieve(handle)).status, "DELAYED");
    });
  });

  test.serial("DLY-7, DLY-8: a run delayed by a second starts when the second has passed, never before", async (t) => {
    t.timeout(30_000);
    await inScene(t, {}, async ({ ledger, startWorker }) => {
      await startWorker({ name: "worker" });
      const late: number[] = [];
      for (let number = 0; number < 5; number += 1) {
        const handle = await tasks.trigger("work", { number }, { delay: "1s" });
        const start = await ledger.first("start", { number });
        const { delayedUntil } = await runs.retrieve(handle);
        late.push(start.atMs - (delayedUntil?.getTime() ?? Number.NaN));
      }
      // The due time is kept in whole milliseconds, and so is the clock of the server: one of rounding.
      t.deepEqual(
        late.filter((ms) => !(ms > -1)),
        [],
      );
      t.log(`started ${late.map((ms) => ms.toFixed(1)).join(", ")} ms after the due time`);
    });
  });

  test.serial(
    "DLY-11: runs that fell due while the server was away start promptly after it, in order of due time",
    async (t) => {
      t.timeout(60_000);
      await inScene(t, {}, async ({ server, ledger, startWorker }) => {
        await startWorker({ name: "worker", concurrency: 1 });
        const baseMs = nowMs() + 3_000;
        // Triggered in another order than they fall due.
        const numbers = Array.from({ length: 40 }, (_, index) => (index * 17) % 40);
        for (const number of numbers) {
          await tasks.trigger("work", { number }, { delay: new Date(baseMs + number * 25) });
        }
        t.is(ledger.count("start"), 0);
        await server.kill();
        await pass(baseMs + 40 * 25 - nowMs());
        await server.start();
        const readyMs = nowMs();
        await ledger.until("all have started", () => ledger.count("start") === numbers.length);
        t.deepEqual(
          ledger.of("start").map(({ number }) => number),
          numbers.toSorted((a, b) => a - b),
        );
        t.log(
          `the first started ${Math.round((ledger.of("start")[0]?.atMs ?? Number.NaN) - readyMs)} ms after the ready line`,
        );
      });
    },
  );
}
