/** Subscriptions over a restart of the server (RUN-26). */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { runs } from "@hairtrigger/sdk";
import test from "ava";
import { startApi } from "../../support/api.js";

test("RUN-26: a subscription to tags survives a restart of its server, and gets what happened meanwhile", async (t) => {
  const storeDirectory = await mkdtemp(join(tmpdir(), "hairtrigger-watch-"));
  t.teardown(() => rm(storeDirectory, { recursive: true, force: true }));
  const first = await startApi(t, { storeDirectory, isRealTime: true });
  const listen = { host: "127.0.0.1", port: Number(new URL(first.server.url).port) };
  const before = await first.triggered("work", { tags: ["a"] });
  const retry = { minTimeoutInMs: 10, maxTimeoutInMs: 100 };
  const subscription = runs.subscribeToRunsWithTag("a", {}, { clientConfig: first.server.sdk, retry });
  const states = subscription[Symbol.asyncIterator]();
  const next = async () => {
    const { value } = await states.next();
    return value === undefined ? undefined : [value.id, value.status];
  };
  t.deepEqual(await next(), [before, "QUEUED"]);
  const following = next();
  await first.server.stop();
  const second = await startApi(t, { storeDirectory, isRealTime: true, listen });
  await second.runs.cancelRun({ runId: before });
  t.deepEqual(await following, [before, "CANCELED"]);
  const after = await second.triggered("work", { tags: ["a"] });
  t.deepEqual(await next(), [after, "QUEUED"], "nothing is shown twice");
  subscription.unsubscribe();
  t.is(await next(), undefined);
});
