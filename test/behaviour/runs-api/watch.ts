/** Following runs: watching (RUN-23) and polling (RUN-16). */
import { runs as sdkRuns } from "@hairtrigger/sdk";
import test from "ava";
import { RunStatus } from "#proto/hairtrigger/v1/run_pb.js";
import { refusal, type StatusName, startApi, statusName, timeMs } from "../../support/api.js";
import { oneOfEach } from "./one-of-each.js";

const SECOND = 1_000;

test("RUN-23, RUN-5: a watcher gets the present state, then every change in order, and the end after the final one", async (t) => {
  const api = await startApi(t);
  const runId = await api.triggered("work", { delay: "10s" });
  const watching = api.runs.watchRun({ runId })[Symbol.asyncIterator]();
  const next = async (): Promise<StatusName | "ended"> => {
    const { done, value } = await watching.next();
    return done === true ? "ended" : statusName(value.run?.status ?? RunStatus.UNSPECIFIED);
  };
  t.is(await next(), "DELAYED");
  await api.advance(10 * SECOND);
  t.is(await next(), "QUEUED");
  const worker = await api.worker({ tasks: ["work"] });
  const { lease } = await worker.assigned();
  t.is(await next(), "EXECUTING");
  await api.runs.addRunTags({ runId, tags: ["a"] });
  const { value } = await watching.next();
  t.deepEqual(value?.run?.tags, ["a"]);
  await worker.completed(lease);
  t.is(await next(), "COMPLETED");
  t.is(await next(), "ended");
});

test("RUN-23: watching a final run gives its state and the end; kept open, it stays until the watcher leaves", async (t) => {
  const api = await startApi(t);
  const runId = await api.triggered("work");
  await api.runs.cancelRun({ runId });
  const states: StatusName[] = [];
  for await (const { run } of api.runs.watchRun({ runId }))
    states.push(statusName(run?.status ?? RunStatus.UNSPECIFIED));
  t.deepEqual(states, ["CANCELED"]);
  const leaving = new AbortController();
  const kept = api.runs.watchRun({ runId, keepOpen: true }, { signal: leaving.signal })[Symbol.asyncIterator]();
  t.is((await kept.next()).value?.run?.status, RunStatus.CANCELED);
  const open = kept.next();
  t.is(
    await Promise.race([
      open.then(
        () => "more",
        () => "ended",
      ),
      api.advance(10 * SECOND).then(() => "open"),
    ]),
    "open",
  );
  leaving.abort();
  await t.throwsAsync(open);
  const unknown = api.runs.watchRun({ runId: `run_${"0".repeat(26)}` });
  t.is((await refusal(unknown[Symbol.asyncIterator]().next())).reason, "RUN_NOT_FOUND");
});

test("RUN-26: a slow watcher may miss states, never the final one, and sees none twice or backwards", async (t) => {
  const api = await startApi(t);
  const worker = await api.worker({ tasks: ["work"] });
  const runId = await api.triggered("work", { maxAttempts: 50 });
  const versions: number[] = [];
  const watched = (async () => {
    let last = RunStatus.UNSPECIFIED;
    for await (const { run } of api.runs.watchRun({ runId })) {
      versions.push(timeMs(run?.updateTime) ?? 0);
      last = run?.status ?? last;
    }
    return last;
  })();
  let { lease } = await worker.begin();
  for (let attempt = 1; attempt < 50; attempt += 1) {
    const answer = await worker.failed(lease, {}, 0);
    if (answer.case !== "retry") return t.fail("no retry");
    lease = answer.value.lease;
  }
  await worker.completed(lease);
  t.is(await watched, RunStatus.COMPLETED);
  t.deepEqual(
    versions,
    [...new Set(versions)].toSorted((a, b) => a - b),
  );
});

test("RUN-16, RUN-21, TAP-3: polling resolves at every final status, and not before", async (t) => {
  const api = await startApi(t);
  const options = { clientConfig: api.server.sdk };
  for (const [status, runId] of await oneOfEach(api)) {
    const poll = sdkRuns.poll(runId, { pollIntervalMs: 1, maxPolls: 3 }, options);
    if (["DELAYED", "QUEUED", "EXECUTING"].includes(status)) {
      const error = await t.throwsAsync(poll);
      t.is(error.message, `Run ${runId} did not complete after 3 attempts`);
      continue;
    }
    const run = await poll;
    t.true(run.status === status);
    t.true(run.isCompleted);
    t.true(run.finishedAt instanceof Date);
  }
});

test("RTY-7, DLY-10: retries, delays and keys work alike in every environment and for triggers made together", async (t) => {
  const api = await startApi(t);
  const prod = api.as(api.server.prodKey);
  const item = { taskId: "work", options: { delaySpec: { case: "delay", value: "10s" }, maxAttempts: 2 } } as const;
  const { results } = await prod.runs.triggerTasks({ items: [item, item] });
  const worker = await api.worker({ tasks: ["work"] }, prod);
  await api.pass(9 * SECOND, worker);
  t.is(worker.assignments.size, 0);
  await api.pass(2 * SECOND, worker);
  for (const { result } of results) {
    const { lease } = await worker.begin();
    const retry = await worker.failed(lease, {}, 0);
    if (retry.case !== "retry" || result.case !== "triggered") return t.fail("no retry");
    t.is((await worker.failed(retry.value.lease, {}, 0)).case, "finished");
    const { run } = await prod.runs.retrieveRun({ runId: result.value.runId });
    t.like(run ?? {}, { taskId: "work", maxAttempts: 2 });
  }
});
