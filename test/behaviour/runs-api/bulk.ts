/** Actions on many runs (RUN-22). */
import type { MessageInitShape } from "@bufbuild/protobuf";
import { type BulkProgress, runs as sdkRuns } from "@hairtrigger/sdk";
import test from "ava";
import { RunStatus } from "#proto/hairtrigger/v1/run_pb.js";
import type { BulkReplayRunsRequestSchema } from "#proto/hairtrigger/v1/run_service_pb.js";
import { refusal, startApi, type TestApi } from "../../support/api.js";

const MISSING = `run_${"0".repeat(26)}`;

/** Runs of one millisecond, each with the tag. */
async function triggered(api: TestApi, count: number, tag = "a"): Promise<readonly string[]> {
  const items = Array.from({ length: count }, () => ({ taskId: "work", options: { tags: [tag] } }));
  const { results } = await api.runs.triggerTasks({ items });
  return results.map(({ result }) => (result.case === "triggered" ? result.value.runId : ""));
}

async function idsOf(api: TestApi, filter: object): Promise<readonly string[]> {
  const ids: string[] = [];
  for (let pageToken = ""; ; ) {
    const page = await api.runs.listRuns({ filter, pageSize: 100, pageToken });
    ids.push(...page.runs.map(({ id }) => id));
    if (page.nextPageToken === "") return ids;
    pageToken = page.nextPageToken;
  }
}

test("RUN-22: a filter cancels its live runs page by page; those made after the first call are none of them", async (t) => {
  const api = await startApi(t);
  const runs = await triggered(api, 7);
  const other = await triggered(api, 1, "b");
  await api.runs.cancelRun({ runId: runs[0] ?? "" });
  await api.advance(1);
  const filter = { tags: ["a"] };
  const first = await api.runs.bulkCancelRuns({ filter, pageSize: 4, reason: "enough" });
  t.like(first, { matched: 6, succeeded: 4, failed: 0 });
  await api.advance(1);
  const late = await triggered(api, 1);
  const second = await api.runs.bulkCancelRuns({ filter, pageSize: 4, pageToken: first.nextPageToken });
  t.like(second, { matched: 6, succeeded: 2, failed: 0, nextPageToken: "" });
  for (const runId of runs) t.is(await api.status(runId), "CANCELED");
  for (const runId of [...late, ...other]) t.is(await api.status(runId), "QUEUED");
  const messages = await Promise.all(runs.map(async (runId) => (await api.run(runId)).error?.message));
  t.is(messages.filter((message) => message === "enough").length, 4);
  const none = await api.runs.bulkCancelRuns({ filter: { statuses: [RunStatus.COMPLETED] } });
  t.like(none, { matched: 0, succeeded: 0, nextPageToken: "" }, "no final run is live");
  t.is(await api.status(late[0] ?? ""), "QUEUED");
});

test("RUN-22: by ids, an unknown one is a failure of its own, and a final one a success", async (t) => {
  const api = await startApi(t);
  const [first = "", second = ""] = await triggered(api, 2);
  await api.runs.cancelRun({ runId: first });
  const answer = await api.runs.bulkCancelRuns({ runIds: [first, second, MISSING, "nonsense", first] });
  t.like(answer, { matched: 4, succeeded: 2, failed: 2, nextPageToken: "" });
  const failures = new Map(answer.failures.map(({ runId, reason }) => [runId, reason]));
  t.deepEqual([failures.get("nonsense"), failures.get(MISSING)], ["RUN_NOT_FOUND", "RUN_NOT_FOUND"]);
  t.is(await api.status(second), "CANCELED");
  const replayed = await api.runs.bulkReplayRuns({ runIds: [first, MISSING] });
  t.like(replayed, { matched: 2, succeeded: 1, failed: 1 });
  t.is(await api.count(), 3);
});

test("RUN-22, REQ-1: a replay takes what existed before it, and a repeated page makes no second runs", async (t) => {
  const api = await startApi(t);
  const old = await triggered(api, 5);
  await api.advance(1);
  const request: MessageInitShape<typeof BulkReplayRunsRequestSchema> = {
    filter: { tags: ["a"] },
    pageSize: 3,
    requestId: "r1",
  };
  const first = await api.runs.bulkReplayRuns(request);
  t.like(first, { matched: 5, succeeded: 3 });
  await api.advance(1);
  t.like(await api.runs.bulkReplayRuns(request), { succeeded: 3 }, "the first page again");
  t.is(await api.count(), 8);
  const next = { ...request, pageToken: first.nextPageToken };
  t.like(await api.runs.bulkReplayRuns(next), { matched: 5, succeeded: 2, nextPageToken: "" });
  t.like(await api.runs.bulkReplayRuns(next), { succeeded: 2 });
  t.is(await api.count(), 10);
  const origins = await Promise.all(
    (await idsOf(api, {})).filter((id) => !old.includes(id)).map(async (id) => (await api.run(id)).replayOfRunId),
  );
  t.deepEqual(origins.toSorted(), old.toSorted(), "each once");
});

test("RUN-22, RUN-20: bad sizes, too many ids, both or none, and a foreign token are refused", async (t) => {
  const api = await startApi(t);
  await triggered(api, 3);
  await api.advance(1);
  const { runs } = api;
  const { nextPageToken: pageToken } = await runs.bulkReplayRuns({ filter: {}, pageSize: 1 });
  const bad: readonly (readonly [call: Promise<unknown>, reason: string])[] = [
    [runs.bulkCancelRuns({ filter: {}, pageSize: 0 }), "INVALID_PAGE"],
    [runs.bulkCancelRuns({ filter: {}, pageSize: 501 }), "INVALID_PAGE"],
    [runs.bulkCancelRuns({ filter: {}, pageToken: "forged" }), "INVALID_PAGE"],
    [runs.bulkCancelRuns({ filter: {}, pageToken }), "INVALID_PAGE"],
    [runs.bulkCancelRuns({}), "INVALID_REQUEST"],
    [runs.bulkCancelRuns({ filter: {}, runIds: [MISSING] }), "INVALID_REQUEST"],
    [runs.bulkCancelRuns({ runIds: Array.from({ length: 501 }, () => MISSING) }), "INVALID_REQUEST"],
    [runs.bulkReplayRuns({ filter: { statuses: [RunStatus.UNSPECIFIED] } }), "INVALID_STATUS"],
    [runs.bulkReplayRuns({ filter: { periodSpec: { case: "period", value: "soon" } } }), "INVALID_DURATION"],
  ];
  for (const [call, reason] of bad) t.is((await refusal(call)).reason, reason);
});

test("RUN-22: the SDK goes through all pages, tells its progress, and stops at its signal", async (t) => {
  const api = await startApi(t);
  const requestOptions = { clientConfig: api.server.sdk };
  for (let page = 0; page < 3; page += 1) await triggered(api, 400);
  await api.advance(1);
  const progress: BulkProgress[] = [];
  const onProgress = (at: BulkProgress): void => void progress.push(at);
  const result = await sdkRuns.bulk.cancel({ filter: { tag: "a" } }, { onProgress }, requestOptions);
  t.deepEqual(result, { total: 1_200, success: 1_200, failure: 0, failures: [] });
  t.deepEqual(progress, [
    { done: 500, matched: 1_200 },
    { done: 1_000, matched: 1_200 },
    { done: 1_200, matched: 1_200 },
  ]);
  const ids = [...(await idsOf(api, { tags: ["a"] })).slice(0, 600), MISSING];
  const ending = new AbortController();
  const aborted = sdkRuns.bulk.replay(
    { runIds: ids },
    { signal: ending.signal, onProgress: () => ending.abort() },
    requestOptions,
  );
  await t.throwsAsync(aborted, { name: "AbortError" });
  const replayed = await sdkRuns.bulk.replay({ runIds: ids.slice(499) }, {}, requestOptions);
  t.deepEqual(replayed, { total: 102, success: 101, failure: 1, failures: [{ id: MISSING, reason: "RUN_NOT_FOUND" }] });
  // @ts-expect-error -- neither
  await t.throwsAsync(sdkRuns.bulk.cancel({}, {}, requestOptions), { instanceOf: TypeError });
  // @ts-expect-error -- both
  await t.throwsAsync(sdkRuns.bulk.cancel({ filter: {}, runIds: [] }, {}, requestOptions), { instanceOf: TypeError });
});
