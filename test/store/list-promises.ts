/** Pages of runs (RUN-17…20). */
import type { RunFilter, RunPage } from "../../server/store/store.js";
import type { Promises } from "./store-contract.js";
import { START_MS, World } from "./world.js";

async function pages(world: World, filter: RunFilter, limit: number): Promise<readonly RunPage[]> {
  const all: RunPage[] = [];
  let page = await world.store.listRuns({ environment: world.environment, filter, limit });
  all.push(page);
  while (page.hasOlder) {
    const last = page.runs[page.runs.length - 1];
    if (last === undefined) throw new Error("a page with older runs is empty");
    const after = { createdAtMs: last.createdAtMs, runId: last.id };
    page = await world.store.listRuns({ environment: world.environment, filter, limit, after });
    all.push(page);
  }
  return all;
}

export function listPromises(promise: Promises): void {
  promise("RUN-18, RUN-19: runs are listed newest first, each once, over all pages and back", async (t, world) => {
    const triggered: string[] = [];
    for (let index = 0; index < 10; index += 1) {
      triggered.push(...(await world.triggerMany(3)));
      world.nowMs += 1;
    }
    const newest = triggered.toReversed();
    const read = await pages(world, {}, 7);
    t.deepEqual(
      read.flatMap(({ runs }) => runs.map(({ id }) => id)),
      newest,
    );
    t.deepEqual(
      read.map(({ hasOlder, hasNewer }) => [hasOlder, hasNewer]),
      [
        [true, false],
        [true, true],
        [true, true],
        [true, true],
        [false, true],
      ],
    );
    const first = read[1]?.runs[0];
    if (first === undefined) return t.fail();
    const before = { createdAtMs: first.createdAtMs, runId: first.id };
    const back = await world.store.listRuns({ environment: "dev", filter: {}, limit: 5, before });
    t.deepEqual(
      back.runs.map(({ id }) => id),
      newest.slice(2, 7),
    );
    t.like(back, { hasNewer: true, hasOlder: true });
    const start = await world.store.listRuns({ environment: "dev", filter: {}, limit: 10, before });
    t.like(start, { hasNewer: false, hasOlder: true });
    t.is(start.runs.length, 7);
  });

  promise("RUN-13: lists see a run's present state", async (t, world) => {
    const item = world.item({ tags: ["a"] });
    await world.store.insertRuns([item]);
    const { runs } = await world.store.listRuns({ environment: "dev", filter: {}, limit: 1 });
    t.deepEqual(runs, [item.run]);
  });

  promise("RUN-17: members of the filter are all required, values of one are alternatives", async (t, world) => {
    const a = await world.trigger({ taskId: "a", queue: "q1", tags: ["x", "y"] });
    const b = await world.trigger({ taskId: "b", queue: "q1", tags: ["y"], isTest: true });
    const c = await world.trigger({ taskId: "c", queue: "q2", tags: ["z"] });
    await world.open();
    await world.complete(await world.claimOne({ tasks: ["c"] }));
    const cases: readonly (readonly [RunFilter, readonly string[]])[] = [
      [{}, [c, b, a]],
      [{ taskIds: ["a"] }, [a]],
      [{ taskIds: ["a", "c", "nobody"] }, [c, a]],
      [{ taskIds: ["nobody"] }, []],
      [{ queues: ["q1"] }, [b, a]],
      [{ queues: ["q2", "q1"] }, [c, b, a]],
      [{ queues: ["nothing"] }, []],
      [{ statuses: ["COMPLETED"] }, [c]],
      [{ statuses: ["QUEUED", "COMPLETED"] }, [c, b, a]],
      [{ statuses: ["FAILED"] }, []],
      [{ tags: ["y"] }, [b, a]],
      [{ tags: ["x", "y", "z"] }, [c, b, a]],
      [{ tags: ["x", "y"], taskIds: ["b", "c"] }, [b]],
      [{ isTest: true }, [b]],
      [{ isTest: false, queues: ["q1"] }, [a]],
      [{ queues: ["q1"], statuses: ["QUEUED"], tags: ["x"], taskIds: ["a", "b"] }, [a]],
      [{ queues: ["q1"], statuses: ["COMPLETED"] }, []],
      [{ statuses: [], taskIds: [], tags: [], queues: [] }, [c, b, a]],
      [{ batchId: "batch_none" }, []],
    ];
    for (const [filter, expected] of cases) {
      t.deepEqual(await world.list(filter), expected, JSON.stringify(filter));
      t.deepEqual(
        (await pages(world, filter, 1)).flatMap(({ runs }) => runs.map(({ id }) => id)),
        expected,
        `${JSON.stringify(filter)} by pages`,
      );
    }
  });

  promise("RUN-17: from and to bound the creation, both inclusive", async (t, world) => {
    const runs: string[] = [];
    for (let index = 0; index < 4; index += 1) {
      runs.push(await world.trigger());
      world.nowMs += 10;
    }
    t.deepEqual(await world.list({ fromMs: START_MS + 10, toMs: START_MS + 20 }), [runs[2], runs[1]]);
    t.deepEqual(await world.list({ fromMs: START_MS + 21, taskIds: ["job"] }), [runs[3]]);
    t.deepEqual(await world.list({ toMs: START_MS - 1 }), []);
  });

  promise("TAG-2, TAG-6: a tag added later finds its run", async (t, world) => {
    const runId = await world.trigger({ tags: ["a"] });
    await world.apply(runId, { event: "addTags", attempt: undefined, tags: ["b", "a"], tagsMax: 10 });
    t.deepEqual(await world.list({ tags: ["b"] }), [runId]);
    t.deepEqual((await world.state(runId)).tags, ["a", "b"]);
    t.like(await world.change(runId, { event: "addTags", attempt: undefined, tags: ["c"], tagsMax: 2 }), {
      kind: "refused",
      refusal: "overLimit",
    });
    t.deepEqual(await world.list({ tags: ["c"] }), []);
  });

  promise("a list never shows a run of another environment", async (t, world) => {
    await world.trigger({ tags: ["a"] });
    const prod = new World(world.store, "prod");
    const own = await prod.trigger({ tags: ["a"] });
    for (const filter of [{}, { tags: ["a"] }, { taskIds: ["job"] }, { queues: ["task/job"] }] satisfies RunFilter[]) {
      t.deepEqual(await prod.list(filter), [own]);
    }
    t.deepEqual(await new World(world.store, "nowhere").list(), []);
  });

  promise("a cursor stands between runs, also when its own run does not exist", async (t, world) => {
    const [older] = await world.triggerMany(1);
    const gone = { createdAtMs: world.nowMs, runId: world.id() };
    const [newer] = await world.triggerMany(1);
    const after = await world.store.listRuns({ environment: "dev", filter: {}, limit: 5, after: gone });
    t.deepEqual(
      after.runs.map(({ id }) => id),
      [older],
    );
    const before = await world.store.listRuns({ environment: "dev", filter: {}, limit: 5, before: gone });
    t.deepEqual(
      before.runs.map(({ id }) => id),
      [newer],
    );
  });

  promise("RUN-24, TAG-6: runs with all of some tags, and runs that changed since, are found", async (t, world) => {
    const both = await world.trigger({ tags: ["x", "y"] });
    await world.trigger({ tags: ["x"] });
    await world.trigger({ tags: ["y", "z"] });
    const three = await world.trigger({ tags: ["z", "y", "x"] });
    t.deepEqual((await world.list({ allTags: ["y", "x"] })).toSorted(), [both, three].toSorted());
    t.deepEqual(await world.list({ allTags: ["x", "y"], tags: ["z", "none"] }), [three]);
    t.deepEqual(await world.list({ allTags: ["x", "none"] }), []);
    world.nowMs += 1_000;
    await world.apply(both, { event: "cancel", reason: "" });
    t.deepEqual(await world.list({ allTags: ["x", "y"], updatedFromMs: world.nowMs }), [both]);
    t.deepEqual(await world.list({ updatedFromMs: world.nowMs + 1 }), []);
  });

  promise("RUN-22: runs are counted by every filter, each once", async (t, world) => {
    const { environment } = world;
    const ids = [
      await world.trigger({ tags: ["x", "y"], isTest: true }),
      await world.trigger({ tags: ["y"], queue: "named" }),
      await world.trigger({ taskId: "other" }),
    ];
    world.nowMs += 1_000;
    await world.trigger({ taskId: "other", queue: "named" });
    await world.apply(ids[0] ?? "", { event: "cancel", reason: "" });
    const count = (filter: RunFilter) => world.store.countRuns({ environment, filter });
    t.is(await count({}), 4);
    t.is(await count({ tags: ["x", "y"] }), 2);
    t.is(await count({ allTags: ["x", "y"] }), 1);
    t.is(await count({ taskIds: ["other", "job"] }), 4);
    t.is(await count({ taskIds: ["other"], queues: ["named"] }), 1);
    t.is(await count({ queues: ["named", "task/other"] }), 3);
    t.is(await count({ statuses: ["QUEUED"] }), 3);
    t.is(await count({ statuses: ["CANCELED"], tags: ["x"], isTest: true }), 1);
    t.is(await count({ fromMs: world.nowMs }), 1);
    t.is(await count({ toMs: world.nowMs - 1, taskIds: ["job"] }), 2);
    t.is(await world.store.countRuns({ environment: "nowhere", filter: {} }), 0);
  });
}
