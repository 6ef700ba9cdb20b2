/** Following the runs with some tags, or of a batch (RUN-24…26). */
import type { MessageInitShape } from "@bufbuild/protobuf";
import { runs as sdkRuns } from "@hairtrigger/sdk";
import test from "ava";
import type { Run } from "#proto/hairtrigger/v1/run_pb.js";
import type { WatchRunsRequestSchema } from "#proto/hairtrigger/v1/run_service_pb.js";
import { refusal, startApi, statusName, type TestApi } from "../../support/api.js";

const SECOND = 1_000;
const MINUTE = 60 * SECOND;

/** A watcher of the wire; `next` waits for the next state. */
function watch(api: TestApi, request: MessageInitShape<typeof WatchRunsRequestSchema>) {
  const leaving = new AbortController();
  const stream = api.runs.watchRuns(request, { signal: leaving.signal })[Symbol.asyncIterator]();
  const next = async (): Promise<Run> => {
    const { value } = await stream.next();
    if (value?.run === undefined) throw new Error("the stream has ended");
    return value.run;
  };
  return {
    next,
    state: async (): Promise<readonly [id: string, status: string]> => {
      const run = await next();
      return [run.id, statusName(run.status)];
    },
    leave: () => leaving.abort(),
  };
}

test("RUN-24, TAG-6: a watcher of tags gets existing, new and changed runs that have all of them, and no others", async (t) => {
  const api = await startApi(t);
  const first = await api.triggered("work", { tags: ["a", "b", "c"] });
  await api.triggered("work", { tags: ["a"] });
  await api.advance(1);
  const second = await api.triggered("work", { tags: ["b", "a"] });
  const watcher = watch(api, { tags: ["a", "b"] });
  t.deepEqual(await watcher.state(), [first, "QUEUED"]);
  t.deepEqual(await watcher.state(), [second, "QUEUED"], "oldest first");
  await api.triggered("work", { tags: ["b"] });
  const fresh = await api.triggered("work", { tags: ["a", "b"], delay: "10s" });
  t.deepEqual(await watcher.state(), [fresh, "DELAYED"]);
  await api.runs.cancelRun({ runId: first });
  t.deepEqual(await watcher.state(), [first, "CANCELED"], "it goes on after final states");
  await api.advance(10 * SECOND);
  t.deepEqual(await watcher.state(), [fresh, "QUEUED"]);
  const late = await api.triggered("work", { tags: ["b"] });
  await api.runs.addRunTags({ runId: late, tags: ["a"] });
  t.deepEqual(await watcher.state(), [late, "QUEUED"], "a run that gets its second tag begins to be shown");
  watcher.leave();
  await t.throwsAsync(watcher.next());
});

test("RUN-24: other environments are not watched", async (t) => {
  const api = await startApi(t);
  const watcher = watch(api, { tags: ["a"] });
  const prod = api.as(api.server.prodKey).runs;
  await prod.triggerTask({ taskId: "work", options: { tags: ["a"] } });
  const runId = await api.triggered("work", { tags: ["a"] });
  t.deepEqual(await watcher.state(), [runId, "QUEUED"]);
  watcher.leave();
});

test("RUN-24: createdAt bounds what exists, 24 hours by default and a week at most", async (t) => {
  const api = await startApi(t);
  const old = await api.triggered("work", { tags: ["a"] });
  await api.advance(2 * MINUTE);
  const young = await api.triggered("work", { tags: ["a"] });
  const firstOf = async (created: MessageInitShape<typeof WatchRunsRequestSchema>["createdAfterSpec"]) => {
    const watcher = watch(api, { tags: ["a"], createdAfterSpec: created });
    const [id] = await watcher.state();
    watcher.leave();
    return id;
  };
  t.is(await firstOf(undefined), old);
  t.is(await firstOf({ case: "createdWithin", value: "1m" }), young);
  t.is(await firstOf({ case: "createdWithin", value: "3m" }), old);
  const minuteAgo = { seconds: BigInt(Math.floor(api.nowMs() / SECOND) - 60), nanos: 0 };
  t.is(await firstOf({ case: "createdAfterTime", value: minuteAgo }), young);
  t.is(await firstOf({ case: "createdWithin", value: "52w" }), old, "cut to a week");
  const refused = await refusal(firstOf({ case: "createdWithin", value: "soon" }));
  t.deepEqual([refused.code, refused.reason], ["INVALID_ARGUMENT", "INVALID_DURATION"]);
});

test("RUN-24: a batch is watched from its first run on; an unknown one is not found", async (t) => {
  const api = await startApi(t);
  const triggered = await api.batches.batchTrigger({ items: [{ taskId: "work" }, { taskId: "work" }] });
  await api.trigger("work");
  const watcher = watch(api, { batchId: triggered.batchId });
  const ids = [(await watcher.state())[0], (await watcher.state())[0]];
  t.is(new Set(ids).size, 2);
  await api.runs.cancelRun({ runId: ids[1] ?? "" });
  t.deepEqual(await watcher.state(), [ids[1] ?? "", "CANCELED"]);
  watcher.leave();
  const unknown = watch(api, { batchId: `batch_${"0".repeat(26)}` });
  t.is((await refusal(unknown.next())).reason, "BATCH_NOT_FOUND");
  t.is((await refusal(watch(api, {}).next())).reason, "INVALID_REQUEST");
  t.is((await refusal(watch(api, { tags: ["a"], batchId: triggered.batchId }).next())).reason, "INVALID_REQUEST");
});

test("RUN-25: states have payload, output and metadata, no logs and no relations; skipped fields are left out", async (t) => {
  const api = await startApi(t);
  const worker = await api.worker({ tasks: ["work"] });
  const options = { tags: ["a"], metadata: { n: 1 } };
  const { runId } = await api.trigger("work", { payload: { json: "1" }, options });
  await api.trigger("child", { parentRunId: runId });
  await worker.completed((await worker.assigned()).lease, { data: { case: "json", value: "2" } });
  const whole = watch(api, { tags: ["a"] });
  const run = await whole.next();
  t.deepEqual([run.payload?.data.value, run.output?.data.value, run.metadataJson], ["1", "2", '{"n":1}']);
  t.deepEqual([run.logs, run.relatedRuns], [[], undefined]);
  const lean = watch(api, { tags: ["a"], skipFields: ["payload", "metadata_json"] });
  const skipped = await lean.next();
  t.deepEqual([skipped.payload, skipped.metadataJson, skipped.output?.data.value], [undefined, "", "2"]);
  whole.leave();
  lean.leave();
});

test("RUN-26: a slow watcher of thousands of changes gets the final state of every run, and none backwards", async (t) => {
  const api = await startApi(t);
  const watcher = watch(api, { tags: ["a"], skipFields: ["payload"] });
  const probe = await api.triggered("work", { tags: ["a"] });
  t.is((await watcher.state())[0], probe);
  const ids = new Set<string>();
  for (let page = 0; page < 6; page += 1) {
    const items = Array.from({ length: 100 }, () => ({ taskId: "work", options: { tags: ["a"] } }));
    const { results } = await api.runs.triggerTasks({ items });
    for (const { result } of results) if (result.case === "triggered") ids.add(result.value.runId);
  }
  await Promise.all([...ids].map((runId) => api.runs.cancelRun({ runId })));
  const seen = new Map<string, string>();
  while ([...ids].some((id) => seen.get(id) !== "CANCELED")) {
    const [id, status] = await watcher.state();
    if (seen.get(id) === "CANCELED") t.is(status, "CANCELED", "nothing else comes after a final state");
    seen.set(id, status);
  }
  t.deepEqual(
    [...seen.keys()].filter((id) => !ids.has(id) && id !== probe),
    [],
  );
  watcher.leave();
});

test("RUN-24, RUN-25, TAG-6: the SDK follows tags and batches, leaves members out, and ends when it is told to", async (t) => {
  const api = await startApi(t);
  const { sdk } = api.server;
  const requestOptions = { clientConfig: sdk };
  const runId = await api.triggered("work", { tags: ["a", "b"], metadata: { n: 1 } });
  const subscription = sdkRuns.subscribeToRunsWithTag(["a", "b"], { skipColumns: ["metadata"] }, requestOptions);
  const statuses: string[] = [];
  for await (const run of subscription) {
    t.is(run.id, runId);
    t.is(run.metadata, undefined);
    statuses.push(run.status);
    if (run.status === "CANCELED") subscription.unsubscribe();
    else await api.runs.cancelRun({ runId });
  }
  t.deepEqual(statuses, ["QUEUED", "CANCELED"]);
  const { batchId } = await api.batches.batchTrigger({ items: [{ taskId: "work" }] });
  for await (const run of sdkRuns.subscribeToBatch(batchId, {}, requestOptions)) {
    t.is(run.batchId, batchId);
    break;
  }
  const ending = new AbortController();
  const ended = (async () => {
    for await (const _ of sdkRuns.subscribeToRunsWithTag(
      "a",
      { signal: ending.signal, createdAt: "1h" },
      requestOptions,
    )) {
      ending.abort();
    }
  })();
  await t.throwsAsync(ended, { name: "AbortError" });
  const bad = sdkRuns.subscribeToRunsWithTag("a", { createdAt: "soon" }, requestOptions)[Symbol.asyncIterator]();
  await t.throwsAsync(bad.next(), { message: /createdAt/ });
});
