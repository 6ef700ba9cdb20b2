/** Reading with a public token (AUT-2, AUT-5). */
import test from "ava";
import { refusal, startApi, type TestApi } from "../../support/api.js";

const DENIED = { code: "PERMISSION_DENIED", reason: "SCOPE_MISSING" };

async function reader(api: TestApi, ...scopes: readonly string[]) {
  return api.as((await api.auth.createPublicToken({ scopes: [...scopes] })).token).runs;
}

test("AUT-2: a token for tasks or tags lists the runs of these, and is refused any wider list", async (t) => {
  const api = await startApi(t);
  const runId = await api.triggered("a", { tags: ["x", "y"] });
  await api.triggered("b", { tags: ["z"] });
  const byTask = await reader(api, "read:tasks:a");
  t.deepEqual(
    (await byTask.listRuns({ filter: { taskIds: ["a"] } })).runs.map(({ id }) => id),
    [runId],
  );
  for (const filter of [
    undefined,
    {},
    { taskIds: ["a", "b"] },
    { tags: ["x"] },
    { taskIds: ["b"] },
    { isTest: false },
  ]) {
    t.like(await refusal(byTask.listRuns({ filter })), DENIED, JSON.stringify(filter));
  }
  const byTag = await reader(api, "read:tags:x");
  t.deepEqual(
    (await byTag.listRuns({ filter: { tags: ["x"] } })).runs.map(({ id }) => id),
    [runId],
  );
  for (const filter of [{ tags: ["x", "z"] }, { tags: ["y"] }, { taskIds: ["a"] }]) {
    t.like(await refusal(byTag.listRuns({ filter })), DENIED, JSON.stringify(filter));
  }
  t.is((await (await reader(api, "read:runs")).listRuns({})).runs.length, 2);
});

test("AUT-5: a page token of another list does not widen what a token lists", async (t) => {
  const api = await startApi(t);
  for (let run = 0; run < 3; run += 1) await api.triggered("b");
  const { nextPageToken } = await api.runs.listRuns({ pageSize: 1 });
  t.not(nextPageToken, "");
  const byTask = await reader(api, "read:tasks:a");
  t.like(await refusal(byTask.listRuns({ pageToken: nextPageToken, filter: { taskIds: ["a"] } })), DENIED);
});

test("AUT-5: a run shows a token only those of its relatives that the token may read", async (t) => {
  const api = await startApi(t);
  const { runId: parent } = await api.trigger("parent");
  const { runId } = await api.trigger("middle", { parentRunId: parent });
  const { runId: child } = await api.trigger("child", { parentRunId: runId });
  const related = async (...scopes: readonly string[]) => {
    const { run } = await (await reader(api, ...scopes)).retrieveRun({ runId });
    const { root, parent: above, children = [] } = run?.relatedRuns ?? {};
    return [root?.id, above?.id, children.map(({ id }) => id)];
  };
  t.deepEqual(await related("read:runs"), [parent, parent, [child]]);
  t.deepEqual(await related(`read:runs:${runId}`), [undefined, undefined, []]);
  t.deepEqual(await related(`read:runs:${runId}`, "read:tasks:child"), [undefined, undefined, [child]]);
  t.deepEqual(await related("read:tasks:middle", `read:runs:${parent}`), [parent, parent, []]);
});
