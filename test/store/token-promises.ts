/** One-time tokens: used by one run or one hit, whoever calls at the same time, and by nothing that was refused. */
import type { InsertRun } from "../../server/store/store.js";
import type { Promises } from "./store-contract.js";
import { DAY_MS, hashOf, only, type RunOptions, type World } from "./world.js";

function withToken(world: World, options: RunOptions = {}, token = "t"): InsertRun {
  return { ...world.item(options), token: { hash: hashOf(token), forgetAtMs: world.nowMs + DAY_MS } };
}

export function tokenPromises(promise: Promises): void {
  promise("AUT-3: a one-time token makes one run; any other request of its finds it used", async (t, world) => {
    const item = withToken(world, { requestHash: hashOf("r1") });
    t.is(only(await world.store.insertRuns([item])).kind, "created");
    for (const other of [
      withToken(world),
      withToken(world, { requestHash: hashOf("r2") }),
      withToken(world, { key: world.key("k") }),
      withToken(world, { key: world.key("k"), requestHash: hashOf("r3") }),
    ]) {
      t.deepEqual(await world.store.insertRuns([other]), [{ kind: "tokenUsed" }]);
    }
    t.deepEqual(await world.store.insertRuns([item]), [{ kind: "repeat", runId: item.run.id, isCached: false }]);
    t.is((await world.list()).length, 1);
    t.is(only(await world.store.insertRuns([withToken(world, {}, "another")])).kind, "created");
  });

  promise("AUT-3: a hit uses a one-time token, and its repeat gets the same answer", async (t, world) => {
    const holder = await world.trigger({ key: world.key("k") });
    const item = withToken(world, { key: world.key("k"), requestHash: hashOf("r1") });
    t.deepEqual(await world.store.insertRuns([item]), [{ kind: "cached", runId: holder }]);
    t.deepEqual(await world.store.insertRuns([item]), [{ kind: "repeat", runId: holder, isCached: true }]);
    t.deepEqual(await world.store.insertRuns([withToken(world, { key: world.key("k") })]), [{ kind: "tokenUsed" }]);
    t.deepEqual(await world.store.insertRuns([withToken(world)]), [{ kind: "tokenUsed" }]);
    t.is((await world.list()).length, 1);
  });

  promise("AUT-3: a full queue uses no token up", async (t, world) => {
    await world.trigger();
    const item = withToken(world, { queueSizeMax: 1 });
    t.like(only(await world.store.insertRuns([item])), { kind: "queueFull" });
    t.is(only(await world.store.insertRuns([withToken(world)])).kind, "created");
  });

  promise("AUT-3: of many callers at the same time one uses the token, with keys or without", async (t, world) => {
    const items = Array.from({ length: 12 }, (_, index) =>
      withToken(world, {
        ...(index % 2 === 0 ? {} : { requestHash: hashOf(`r${index}`) }),
        ...(index % 3 === 0 ? { key: world.key(`k${index}`) } : {}),
      }),
    );
    const calls = await Promise.all(items.map((item) => world.store.insertRuns([item])));
    const kinds = calls.flat().map(({ kind }) => kind);
    t.is(kinds.filter((kind) => kind === "created").length, 1, kinds.join());
    t.is(kinds.filter((kind) => kind === "tokenUsed").length, items.length - 1, kinds.join());
    t.is((await world.list()).length, 1);
  });

  promise("AUT-3: items of one call see each other's use, in order", async (t, world) => {
    const items = [withToken(world), world.item(), withToken(world)];
    const results = await world.store.insertRuns(items);
    t.deepEqual(
      results.map(({ kind }) => kind),
      ["created", "created", "tokenUsed"],
    );
  });

  promise("AUT-3: a use is remembered until its token has expired, and forgotten then", async (t, world) => {
    const item = withToken(world);
    await world.store.insertRuns([item]);
    const clean = (nowMs: number): Promise<unknown> =>
      world.store.purge({ nowMs, finishedRunsKeptMs: DAY_MS, limit: 100 });
    await clean(world.nowMs + DAY_MS - 1);
    t.deepEqual(await world.store.insertRuns([withToken(world)]), [{ kind: "tokenUsed" }]);
    await clean(world.nowMs + DAY_MS);
    t.is(only(await world.store.insertRuns([withToken(world)])).kind, "created");
  });
}
