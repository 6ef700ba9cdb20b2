/** The server restarts while runs wait, at every side of a wake-up (WAI-5, RUN-7). */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Http2SessionManager } from "@connectrpc/connect-node";
import test from "ava";
import { clientsOf } from "../../support/api.js";
import { startTestApp } from "../../support/harness.js";
import { WireWorker } from "../../support/wire-worker.js";

const SECOND = 1_000;

test("WAI-5: waits for a run, a time and a token survive a restart of the service", async (t) => {
  const storeDirectory = await mkdtemp(join(tmpdir(), "hairtrigger-"));
  t.teardown(() => rm(storeDirectory, { recursive: true, force: true }));
  const start = async () => {
    const server = await startTestApp({ storeDirectory });
    const manager = new Http2SessionManager(server.url);
    return { server, manager, ...clientsOf(server.url, manager, server.key) };
  };
  const first = await start();
  const tasks = ["run", "time", "token", "child"];
  const worker = new WireWorker(first.workers, { tasks });
  await worker.open();
  const begin = async (taskId: string) => {
    const { runId } = await first.runs.triggerTask({ taskId });
    return { runId, lease: (await worker.begin()).lease };
  };
  const [onRun, onTime, onToken] = [await begin("run"), await begin("time"), await begin("token")];
  const child = await first.runs.triggerTask({
    taskId: "child",
    parentRunId: onRun.runId,
    awaitingLease: onRun.lease,
    options: { delaySpec: { case: "delay", value: "1h" } },
  });
  await worker.waits(onRun.lease, child.runId);
  const timer = await first.waitpoints.createTimer({
    lease: onTime.lease,
    untilSpec: { case: "for", value: { seconds: 60n, nanos: 0 } },
  });
  await worker.waits(onTime.lease, { waitpoint: { case: "waitpointId", value: timer.waitpointId } });
  const { token } = await first.waitpoints.createToken({});
  await worker.waits(onToken.lease, { waitpoint: { case: "waitpointId", value: token?.id ?? "" } });
  const held = worker.leases.map((lease) => ({ lease }));
  worker.disconnect();
  first.manager.abort();
  await first.server.stop();

  const second = await start();
  t.teardown(async () => {
    second.manager.abort();
    await second.server.stop();
  });
  // Over before the worker is back.
  await second.waitpoints.completeToken({ tokenId: token?.id ?? "" });
  await second.runs.cancelRun({ runId: child.runId });
  const back = new WireWorker(second.workers, { tasks, sessionId: worker.sessionId, epoch: 2, held });
  t.teardown(() => back.disconnect());
  await back.open();
  for (const _ of held) t.is((await back.held.take()).instruction.case, "keepWaiting");
  const resumed = [await back.resumed(), await back.resumed()].map(({ runId }) => runId);
  t.deepEqual(resumed.toSorted(), [onRun.runId, onToken.runId].toSorted());
  // The clock of the second server began at the latest time that the first had stored.
  for (let seconds = 0; seconds < 65; seconds += 5) {
    await second.server.advance(5 * SECOND);
    await back.heartbeat();
  }
  t.is((await back.resumed()).runId, onTime.runId);
});
