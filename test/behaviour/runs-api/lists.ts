/** Lists of runs (RUN-17 to RUN-20). */
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import test from "ava";
import { type RunListItem, RunStatus } from "#proto/hairtrigger/v1/run_pb.js";
import { refusal, startApi } from "../../support/api.js";

const SECOND = 1_000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

const ids = (runs: readonly RunListItem[]): readonly string[] => runs.map(({ id }) => id);

test("RUN-17, TAG-6: filters are combined by and, the values of one by or", async (t) => {
  const api = await startApi(t);
  const made = new Map<string, string>();
  const make = async (name: string, taskId: string, options = {}, isTest = false): Promise<void> => {
    await api.advance(1);
    made.set(name, (await api.trigger(taskId, { isTest, options })).runId);
  };
  await make("a", "send", { tags: ["x", "y"] });
  await make("b", "send", { tags: ["y"], delay: "1h" });
  await make("c", "render", { tags: ["X"] }, true);
  await make("d", "render", { queue: { name: "named" }, tags: ["x"] });
  await api.runs.cancelRun({ runId: made.get("d") });
  const listed = async (filter: Parameters<typeof api.runs.listRuns>[0]["filter"]): Promise<string> => {
    const { runs } = await api.runs.listRuns({ filter });
    return ids(runs)
      .map((id) => [...made].find(([, runId]) => runId === id)?.[0])
      .toReversed()
      .join("");
  };
  t.is(await listed({}), "abcd");
  t.is(await listed({ taskIds: ["send"] }), "ab");
  t.is(await listed({ taskIds: ["send", "render"] }), "abcd");
  t.is(await listed({ taskIds: ["unknown"] }), "");
  t.is(await listed({ statuses: [RunStatus.QUEUED] }), "ac");
  t.is(await listed({ statuses: [RunStatus.DELAYED, RunStatus.CANCELED] }), "bd");
  t.is(await listed({ tags: ["x"] }), "ad", "case-sensitive");
  t.is(await listed({ tags: ["x", "y"] }), "abd", "with any of them, each once");
  t.is(await listed({ queues: ["named"] }), "d");
  t.is(await listed({ queues: ["named", "task/render"] }), "cd");
  t.is(await listed({ isTest: true }), "c");
  t.is(await listed({ isTest: false }), "abd");
  t.is(await listed({ tags: ["x", "y"], statuses: [RunStatus.QUEUED], taskIds: ["send"] }), "a");
  t.is(await listed({ tags: ["x"], taskIds: ["render"], isTest: true }), "");
});

test("RUN-17, RUN-18, DUR-G5: without a time filter all runs are listed; from, to and period bound their creation", async (t) => {
  const api = await startApi(t);
  const first = await api.triggered("work");
  const startMs = api.nowMs();
  await api.server.clock.jump(40 * DAY);
  const second = await api.triggered("work");
  await api.server.clock.jump(HOUR);
  const third = await api.triggered("work");
  const listed = async (filter: Parameters<typeof api.runs.listRuns>[0]["filter"]) =>
    ids((await api.runs.listRuns({ filter })).runs);
  t.deepEqual(await listed({}), [third, second, first], "newest first");
  t.deepEqual(await listed({ periodSpec: { case: "period", value: "1h" } }), [third, second]);
  t.deepEqual(await listed({ periodSpec: { case: "period", value: "59m59s" } }), [third]);
  t.deepEqual(await listed({ periodSpec: { case: "periodFor", value: { seconds: 3_600n, nanos: 0 } } }), [
    third,
    second,
  ]);
  t.deepEqual(
    await listed({ fromTime: timestampFromMs(startMs + 40 * DAY) }),
    [third, second],
    "at this time or later",
  );
  t.deepEqual(await listed({ toTime: timestampFromMs(startMs + 40 * DAY) }), [first], "before this time");
  const both = { fromTime: timestampFromMs(startMs + 1), toTime: timestampFromMs(startMs + 40 * DAY + 1) };
  t.deepEqual(await listed(both), [second]);
  for (const value of ["soon", "-1h", "1 h", ""]) {
    const refused = await refusal(listed({ periodSpec: { case: "period", value } }));
    t.is(refused.reason, "INVALID_DURATION", value);
  }
});

test("RUN-18, RUN-19: runs made while somebody pages neither repeat nor hide any; the page before leads back to them", async (t) => {
  const api = await startApi(t);
  const made: string[] = [];
  const make = async (): Promise<void> => {
    await api.advance(1);
    made.unshift(await api.triggered("work"));
  };
  for (let count = 0; count < 7; count += 1) await make();
  const seven = [...made];
  const first = await api.runs.listRuns({ pageSize: 3 });
  t.is(first.previousPageToken, "");
  await make();
  const second = await api.runs.listRuns({ pageSize: 3, pageToken: first.nextPageToken });
  await make();
  const third = await api.runs.listRuns({ pageSize: 3, pageToken: second.nextPageToken });
  t.is(third.nextPageToken, "");
  t.deepEqual([...ids(first.runs), ...ids(second.runs), ...ids(third.runs)], seven);
  const back = await api.runs.listRuns({ pageSize: 3, pageToken: second.previousPageToken });
  t.deepEqual(ids(back.runs), seven.slice(0, 3));
  const newest = await api.runs.listRuns({ pageSize: 3, pageToken: back.previousPageToken });
  t.deepEqual(ids(newest.runs), made.slice(0, 2));
  t.is((await api.runs.listRuns({})).runs.length, 9, "25 on a page by default");
});

test("RUN-20: list items have no payload, output or error, and nothing of another environment", async (t) => {
  const api = await startApi(t);
  const { runId } = await api.trigger("work", {
    payload: { json: '"secret"' },
    options: { metadata: { a: "secret" } },
  });
  const { runs } = await api.runs.listRuns({});
  t.is(runs[0]?.id, runId);
  t.false(JSON.stringify(runs, (_, value) => (typeof value === "bigint" ? String(value) : value)).includes("secret"));
  t.deepEqual((await api.as(api.server.prodKey).runs.listRuns({})).runs, []);
});
