/** The server goes away and comes back. */
import { ApiError, type RunReference, runs, tasks } from "@hairtrigger/sdk";
import test, { type ExecutionContext } from "ava";
import { startServer } from "../../support/processes.js";
import { assertStored, inScene, pass, SHORT, until } from "./scene.js";

/** Below the 28 s after which a worker gives up its runs, the last heartbeat's age and the restart of a slow machine included. */
const OUTAGE_MS = 20_000;

/** Statuses of a run as a subscription sees them. */
async function statuses(t: ExecutionContext, run: RunReference): Promise<readonly string[]> {
  const over = new AbortController();
  t.teardown(() => over.abort());
  const seen: string[] = [];
  try {
    for await (const { status } of runs.subscribeToRun(run, { signal: over.signal })) {
      if (seen.at(-1) !== status) seen.push(status);
    }
  } catch (error) {
    // After a test that failed nobody waits for the subscription any more.
    if (!over.signal.aborted) throw error;
  }
  return seen;
}

export function registerOutages(): void {
  test("RUN-7, RES-10: through an outage that a session survives, runs, polls and subscriptions go on, and no attempt is counted", async (t) => {
    t.timeout(60_000);
    await inScene(t, {}, async ({ server, ledger, startWorker }) => {
      const worker = await startWorker({ name: "worker" });
      const [during, after] = [
        await tasks.trigger("work", { number: 1, holdIn: "worker" }),
        await tasks.trigger("work", { number: 2, holdIn: "worker" }),
      ];
      const waiting = await tasks.trigger("nobody-serves-this", {});
      await ledger.first("start", { number: 1 });
      await ledger.first("start", { number: 2 });
      const polled = runs.poll(after, { pollIntervalMs: 100, maxPolls: 600 });
      const subscribed = statuses(t, after);

      await server.kill();
      worker.release(1);
      await ledger.first("end", { number: 1 });
      await pass(OUTAGE_MS);
      t.deepEqual(ledger.of("end", { number: 2 }), [], "the worker gave up a run though its session stands");
      await server.start();

      const early = await runs.poll(during, { pollIntervalMs: 100 });
      t.is(early.status, "COMPLETED", "an end in the outage is reported after it");
      t.is((await runs.retrieve(after)).status, "EXECUTING");
      worker.release(2);
      t.like(await polled, { status: "COMPLETED", attemptCount: 1 });
      t.is((await subscribed).at(-1), "COMPLETED");
      t.is(early.attemptCount, 1);
      t.is(ledger.count("start"), 2, "a run was started twice");
      t.is((await runs.retrieve(waiting)).status, "QUEUED");
    });
  });

  test("RUN-6, RUN-7: through an outage longer than a session the worker fences its runs, and they go on as interrupted", async (t) => {
    t.timeout(90_000);
    await inScene(t, { settings: SHORT.settings }, async ({ server, ledger, startWorker }) => {
      await startWorker({ name: "worker" });
      const handle = await tasks.trigger("work", { number: 1, holdIn: "worker" });
      await ledger.first("start", { number: 1 });
      const polled = runs.poll(handle, { pollIntervalMs: 200, maxPolls: 400 });
      const subscribed = statuses(t, handle);
      const awayMs = performance.timeOrigin + performance.now();
      await server.kill();

      const fenced = await ledger.first("end", { number: 1 });
      t.true(fenced.isAborted);
      t.true(
        fenced.atMs - awayMs < SHORT.sessionMs,
        "the session could have lapsed elsewhere before the code was stopped",
      );
      await pass(SHORT.outageMs - (fenced.atMs - awayMs));
      t.is(ledger.count("start"), 1);
      await server.start();

      t.like(await polled, { status: "COMPLETED", attemptCount: 1 });
      t.is((await subscribed).at(-1), "COMPLETED");
      t.deepEqual(
        ledger.of("start").map(({ attempt }) => attempt),
        [1, 1],
      );
      t.is((await runs.retrieve(handle)).attempts[0]?.outcome, "INTERRUPTED");
    });
  });

  test.serial(
    "RUN-7: a server that stops in order finishes calls, ends streams, and leaves nothing half done; workers come back",
    async (t) => {
      t.timeout(60_000);
      await inScene(t, {}, async ({ server, ledger, startWorker }) => {
        const worker = await startWorker({ name: "worker" });
        const held = await tasks.trigger("work", { number: 0, holdIn: "worker" });
        await ledger.first("start", { number: 0 });
        const subscribed = statuses(t, held);

        // Callers that do not try again: what was accepted is answered, and what is refused was not accepted.
        const acknowledged: string[] = [];
        const codes = new Set<string>();
        let number = 0;
        const gone = new AbortController();
        const caller = async (): Promise<void> => {
          while (!gone.signal.aborted) {
            number += 1;
            try {
              const { id } = await tasks.trigger("nobody-serves-this", { number }, {}, { retry: { maxAttempts: 1 } });
              acknowledged.push(id);
            } catch (error) {
              codes.add(error instanceof ApiError ? error.code : String(error));
              if (error instanceof ApiError && error.code !== "unavailable") t.log(error.message, error.cause);
              await pass(1);
            }
          }
        };
        const callers = Promise.all(Array.from({ length: 32 }, caller));
        await until("calls are under way", () => Promise.resolve(acknowledged.length > 500));
        t.is(await server.stop(), 0);
        gone.abort();
        await callers;
        t.deepEqual([...codes], ["unavailable"]);

        await server.start();
        const stored = new Set<string>();
        for await (const run of runs.list({ taskIdentifier: "nobody-serves-this", limit: 100 })) stored.add(run.id);
        assertStored(t, stored, acknowledged);

        worker.release(0);
        t.is((await subscribed).at(-1), "COMPLETED");
        t.like(await runs.poll(await tasks.trigger("work", { number: -1 }), { pollIntervalMs: 50 }), {
          status: "COMPLETED",
        });
        t.is(ledger.of("start", { number: 0 }).length, 1);
        t.deepEqual(
          server.log.filter((line) => /"level":"?(?:error|fatal|50|60)/.test(line)),
          [],
        );
      });
    },
  );

  test.serial(
    "RUN-7: a second server on a store in use does not start and names the process that holds it",
    async (t) => {
      t.timeout(30_000);
      await inScene(t, {}, async ({ server }) => {
        const error = await t.throwsAsync(startServer({ directory: server.directory }));
        t.regex(error?.message ?? "", new RegExp(`in use by process ${server.pid}\\b`));
        const handle = await tasks.trigger("work", { number: 1 });
        t.is((await runs.retrieve(handle)).status, "QUEUED", "the first server is not disturbed");
      });
    },
  );
}
