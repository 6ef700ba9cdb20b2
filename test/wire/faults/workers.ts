/** Workers that die, and workers that stop. */
import { runs, tasks } from "@hairtrigger/sdk";
import test from "ava";
import { inScene, pass, SHORT } from "./scene.js";

/** Wide enough that a heartbeat confirms a pick-up in time on a machine that is busy with other tests. */
const PICK_UP_MS = 4_000;

export function registerWorkers(): void {
  test("RUN-6: runs of a killed worker start again once its session has lapsed, and the attempt counts", async (t) => {
    t.timeout(60_000);
    const settings = { ...SHORT.settings, HAIRTRIGGER_PICK_UP_TIMEOUT: `${PICK_UP_MS / 1_000}s` };
    await inScene(t, { settings }, async ({ ledger, startWorker }) => {
      const first = await startWorker({ name: "first" });
      const handle = await tasks.trigger("work", { number: 1, holdIn: "first" });
      await ledger.first("start", { number: 1, who: "first" });
      // What no heartbeat had confirmed until then would be given back, uncounted.
      await pass(PICK_UP_MS);
      await startWorker({ name: "second" });
      await first.kill();
      const gone = await ledger.first("gone", { who: "first" });
      t.is((await runs.retrieve(handle)).status, "EXECUTING", "a closed stream alone ends nothing");

      const again = await ledger.first("start", { number: 1, who: "second" });
      t.is(again.attempt, 2);
      t.true(again.atMs - gone.atMs >= SHORT.sessionMs - SHORT.heartbeatMs, "the session had not lapsed yet");
      t.log(`started again ${Math.round(again.atMs - gone.atMs)} ms after the kill, sessions of ${SHORT.sessionMs} ms`);

      const run = await runs.poll(handle, { pollIntervalMs: 50 });
      t.is(run.status, "COMPLETED");
      t.is(run.attemptCount, 2);
      t.like(run.attempts[0], { number: 1, error: { code: "TASK_RUN_STALLED_EXECUTING" } });
      t.is(ledger.of("start", { number: 1 }).length, 2);
    });
  });

  test.serial(
    "RUN-7: a worker stopped by SIGTERM finishes what it can; the rest starts elsewhere at once, uncounted",
    async (t) => {
      t.timeout(60_000);
      // Sessions of 30 s: what starts within this test was not found by a lapse.
      await inScene(t, {}, async ({ ledger, startWorker }) => {
        const first = await startWorker({ name: "first", gracePeriodMs: 500 });
        const short = await tasks.trigger("work", { number: 1, holdIn: "first" });
        const long = await tasks.trigger("work", { number: 2, holdIn: "first" });
        await ledger.first("start", { number: 1 });
        await ledger.first("start", { number: 2 });
        await startWorker({ name: "second" });
        const ended = first.stop();
        const later = await tasks.trigger("work", { number: 3 });
        await pass(100);
        first.release(1);

        const again = await ledger.first("start", { number: 2, who: "second" });
        const aborted = await ledger.first("end", { number: 2, who: "first" });
        t.is(again.attempt, 1);
        t.true(aborted.isAborted);
        t.true(again.atMs - aborted.atMs < 10_000, "only a lapsed session takes longer");
        t.log(
          `started again ${Math.round(again.atMs - aborted.atMs)} ms after its code had ended in the stopping worker`,
        );
        t.is(await ended, 0);

        for (const handle of [short, long, later]) {
          const run = await runs.poll(handle, { pollIntervalMs: 50 });
          t.is(run.status, "COMPLETED");
          t.is(run.attemptCount, 1);
        }
        t.deepEqual(
          ledger.of("start").map(({ number, who }) => `${number} in ${who}`),
          ["1 in first", "2 in first", "3 in second", "2 in second"],
        );
        t.is((await runs.retrieve(long)).attempts[0]?.outcome, "INTERRUPTED");
      });
    },
  );
}
