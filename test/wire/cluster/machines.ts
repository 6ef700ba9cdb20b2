/** Machines of servers: clocks that are wrong, processes that stand still for a while, hints that nobody gets. */
import { fileURLToPath } from "node:url";
import { auth, runs, tasks } from "@hairtrigger/sdk";
import { mongoTest } from "../../support/mongo.js";
import { pass, SHORT, until } from "../faults/scene.js";
import { inCluster, nowMs } from "./scene.js";

const SKEW = fileURLToPath(new URL("../../support/clock-skew.js", import.meta.url));

function skewed(aheadMs: number): Readonly<Record<string, string>> {
  return { NODE_OPTIONS: `--import=${SKEW}`, CLOCK_AHEAD_MS: String(aheadMs) };
}

export function registerMachines(): void {
  mongoTest("DLY-1, TTL-1, RUN-6: servers whose clocks are 30 s apart keep delays, ttls and sessions", async (t) => {
    await inCluster(t, { servers: [{}, skewed(30_000), skewed(-30_000)] }, async ({ servers, ledger, startWorker }) => {
      const workers = await Promise.all(
        servers.map((server, index) => startWorker({ name: `worker ${index}`, concurrency: 2 }, server)),
      );
      for (const [number, { sdk }] of servers.entries()) {
        await auth.withAuth(sdk, async () => {
          const askedMs = nowMs();
          const delayed = await tasks.trigger("work", { number }, { delay: "2s" });
          const dying = await tasks.trigger("nobody-serves-this", { number }, { ttl: "2s" });
          const start = await ledger.first("start", { number });
          t.true(start.atMs - askedMs > 1_900, `a delay of 2 s took ${start.atMs - askedMs} ms`);
          t.true(start.atMs - askedMs < 12_000, `a delay of 2 s took ${start.atMs - askedMs} ms`);
          t.like(await runs.poll(delayed, { pollIntervalMs: 100 }), { status: "COMPLETED" });
          const expired = await runs.poll(dying, { pollIntervalMs: 100 });
          t.is(expired.status, "EXPIRED");
          t.true(nowMs() - askedMs > 1_900);
        });
      }
      // Every worker's session is seen by servers of other clocks, for longer than it lasts without a heartbeat.
      const handles = await Promise.all(
        workers.map(({ name }, index) => tasks.trigger("work", { number: 100 + index, holdIn: name })),
      );
      await ledger.until("all have started", () =>
        workers.every((_, index) => ledger.of("start", { number: 100 + index }).length > 0),
      );
      await pass(SHORT.sessionMs * 1.5);
      workers.forEach((worker) => {
        for (let index = 0; index < workers.length; index += 1) worker.release(100 + index);
      });
      for (const handle of handles) {
        t.like(await runs.poll(handle, { pollIntervalMs: 100 }), { status: "COMPLETED", attemptCount: 1 });
      }
    });
  });

  mongoTest(
    "RUN-6, RUN-8: a server that stands still for longer than a session judges nobody when it goes on, and its workers went elsewhere",
    async (t) => {
      await inCluster(t, { servers: [{}, {}] }, async ({ servers, balancer, ledger, startWorker }) => {
        const [still, other] = servers;
        if (still === undefined || other === undefined) return t.fail();
        balancer.use([still.url]);
        const mover = await startWorker({ name: "mover", concurrency: 5 });
        const moving = await tasks.trigger("work", { number: 1, holdIn: "mover" });
        await ledger.first("start", { number: 1 });
        const stayer = await startWorker({ name: "stayer", concurrency: 1 }, still);
        balancer.use([other.url]);
        process.kill(still.pid, "SIGSTOP");
        try {
          await pass(SHORT.sessionMs * 1.5);
          mover.release(1);
          const run = await runs.poll(moving, { pollIntervalMs: 100 });
          t.like(run, { status: "COMPLETED", attemptCount: 1 }, "the worker kept its run at the other server");
        } finally {
          process.kill(still.pid, "SIGCONT");
        }
        // The server that stood still finds sessions whose time seems to be over, and has to leave them alone.
        const held = await tasks.trigger("work", { number: 2, holdIn: "mover" });
        await ledger.first("start", { number: 2 });
        await pass(SHORT.sessionMs);
        mover.release(2);
        stayer.release(2);
        t.like(await runs.poll(held, { pollIntervalMs: 100 }), { status: "COMPLETED", attemptCount: 1 });
        await until("the server is ready again", async () => (await fetch(`${still.url}/readyz`)).status === 200);
        const at = await auth.withAuth(still.sdk, () => tasks.trigger("work", { number: 3 }));
        t.like(await runs.poll(at, { pollIntervalMs: 100 }), { status: "COMPLETED" });
      });
    },
  );

  mongoTest("promise 5: where no hint arrives, runs start and cancels reach their workers all the same", async (t) => {
    const deaf = { HAIRTRIGGER_PEER_ADDRESS: "http://127.0.0.1:9" };
    await inCluster(t, { servers: [deaf, deaf] }, async ({ servers, ledger, startWorker }) => {
      const [here, there] = servers;
      if (here === undefined || there === undefined) return t.fail();
      await startWorker({ name: "worker" }, there);
      await auth.withAuth(here.sdk, async () => {
        const handle = await tasks.trigger("work", { number: 1, holdIn: "worker" });
        await ledger.first("start", { number: 1 });
        await runs.cancel(handle);
        t.true((await ledger.first("end", { number: 1 })).isAborted);
        t.is((await runs.retrieve(handle)).status, "CANCELED");
      });
    });
  });
}
