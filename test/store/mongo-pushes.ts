/** A server that stops between two writes of a debounced call: its repeat finds or makes the one run, and the payload arrives once. */
import test, { type ExecutionContext } from "ava";
import { isAppError } from "../../server/domain/error.js";
import { debounced, idOf } from "./debounce-promises.js";
import { type Databases, mongoStore } from "./mongo-world.js";
import { hashOf, only, World } from "./world.js";

/** More writes than the call has. */
const WRITES_MAX = 20;

export function mongoPushes(databases: Databases): void {
  test("DEB-3, DEB-7, REQ-1, design 12: a server that debounces and stops after any of its writes leaves what the repeat completes", async (t) => {
    t.timeout(300_000);
    for (const isFirst of [true, false]) {
      let writes = 1;
      while (await isCutOff(t, databases, isFirst, writes)) {
        writes += 1;
        if (writes > WRITES_MAX) return t.fail("the call never came to its end");
      }
      t.true(writes > 1);
    }
  });
}

async function isCutOff(t: ExecutionContext, databases: Databases, isFirst: boolean, writes: number): Promise<boolean> {
  const name = await databases.take();
  const store = mongoStore(name);
  const dying = mongoStore(name, { stopAfterWrites: writes });
  await store.start();
  await dying.start();
  try {
    const world = new World(store);
    const other = { recordHash: hashOf("other") };
    if (!isFirst) await store.insertRuns([debounced(world, { spec: new Uint8Array([1]) })]);
    world.nowMs += 1_000;
    const item = debounced(world, { spec: new Uint8Array([2]), requestHash: hashOf("r") });
    const isCut = await dying.insertRuns([item]).then(
      () => false,
      (error: unknown) => {
        if (isAppError(error) && error.reason === "STORE_UNAVAILABLE") return true;
        throw error;
      },
    );
    const runId = idOf(only(await store.insertRuns([item])));
    t.deepEqual([...(await world.detail(runId)).spec], [2], `stopped after write ${writes}`);
    const last = idOf(only(await store.insertRuns([debounced(world, { spec: new Uint8Array([3]) })])));
    t.is(last, runId, "one run, whichever call made it");
    t.is(idOf(only(await store.insertRuns([item]))), runId);
    t.deepEqual([...(await world.detail(runId)).spec], [3], "the repeat pushed nothing");
    t.is((await world.list()).length, 1);
    t.not(idOf(only(await store.insertRuns([debounced(world, {}, other)]))), runId);
    return isCut;
  } finally {
    await Promise.all([store.stop(), dying.stop()]);
    await databases.giveBack(name);
  }
}
