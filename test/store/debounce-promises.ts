/** Debounced calls (section 9). */
import type { InsertDebounce, InsertRun, InsertRunResult } from "../../server/store/store.js";
import type { Promises } from "./store-contract.js";
import { hashOf, only, type RunOptions, type World } from "./world.js";

const DELAY_MS = 5_000;

export function debounced(world: World, options: RunOptions = {}, debounce: Partial<InsertDebounce> = {}): InsertRun {
  return {
    ...world.item({ delayedUntilMs: world.nowMs + DELAY_MS, ...options }),
    debounce: { recordHash: hashOf("d"), delayMs: DELAY_MS, maxDelayMs: undefined, isTrailing: true, ...debounce },
  };
}

/** The run that answered. */
export function idOf(result: InsertRunResult): string {
  if (result.kind === "queueFull" || result.kind === "tokenUsed") throw new Error(`the call was ${result.kind}`);
  return result.kind === "created" || result.kind === "pushed" ? result.run.id : result.runId;
}

export function debouncePromises(promise: Promises): void {
  promise("DEB-7: concurrent first calls with one debounce key create one run", async (t, world) => {
    const calls = Array.from({ length: 64 }, (_, index) =>
      world.store.insertRuns([debounced(world, index % 3 === 0 ? { key: world.key(`k${index}`) } : {})]),
    );
    const results = (await Promise.all(calls)).map(only);
    t.is(results.filter(({ kind }) => kind === "created").length, 1);
    t.is(new Set(results.map(idOf)).size, 1);
    t.is((await world.list()).length, 1);
  });

  promise("DEB-3, REQ-1: a push is shown as the run is now, and its repeat changes nothing", async (t, world) => {
    const first = debounced(world, { spec: new Uint8Array([1]), metadataJson: '{"n":1}', tags: ["a"] });
    const made = only(await world.store.insertRuns([first]));
    world.nowMs += 1_000;
    const spec = new Uint8Array(5_000).fill(2);
    const push = debounced(world, { spec, metadataJson: '{"n":2}', tags: ["b"], requestHash: hashOf("r") });
    const pushed = only(await world.store.insertRuns([push]));
    const runId = idOf(made);
    const after = await world.state(runId);
    t.deepEqual(pushed, { kind: "pushed", run: after });
    t.like(after, { version: 2, dueMs: world.nowMs + DELAY_MS, tags: ["b"] });
    const detail = await world.detail(runId);
    t.deepEqual([detail.spec, detail.metadataJson], [spec, '{"n":2}']);
    t.deepEqual(only(await world.store.insertRuns([push])), { kind: "repeat", runId, isCached: false });
    t.is((await world.state(runId)).version, 2);
  });

  promise("DEB-2: a run that waits for a far due time is still the holder of its key then", async (t, world) => {
    const runId = idOf(only(await world.store.insertRuns([debounced(world)])));
    await world.apply(runId, { event: "reschedule", dueMs: world.nowMs + 3 * 86_400_000 });
    world.nowMs += 2 * 86_400_000;
    await world.store.purge({ nowMs: world.nowMs, finishedRunsKeptMs: 0, limit: 100 });
    t.is(idOf(only(await world.store.insertRuns([debounced(world)]))), runId);
  });

  promise("DEB-4: a run that is due is pushed no more, even before it is queued", async (t, world) => {
    const runId = idOf(only(await world.store.insertRuns([debounced(world)])));
    world.nowMs += DELAY_MS;
    t.not(idOf(only(await world.store.insertRuns([debounced(world)]))), runId);
    t.is((await world.state(runId)).status, "DELAYED");
  });
}
