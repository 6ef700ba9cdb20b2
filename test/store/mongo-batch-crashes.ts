/**
 * A server that stops in the middle of making a batch, after every one of its writes: its caller's repeat brings the batch to its end; without
 * one the batch is there whole or not at all, and its keys belong to whoever comes next.
 */
import test, { type ExecutionContext } from "ava";
import { isAppError } from "../../server/domain/error.js";
import type { InsertBatch } from "../../server/store/store.js";
import { batchOf } from "./batch-promises.js";
import { Commands } from "./mongo-commands.js";
import { holders } from "./mongo-promises.js";
import { type Databases, mongoStore } from "./mongo-world.js";
import { only, type RunOptions, World } from "./world.js";

/** More writes than a batch takes. */
const WRITES_MAX = 40;
const LIMIT = 2;

interface Scene {
  readonly world: World;
  /** What the server that stops is asked for. */
  readonly step: InsertBatch;
  /** Before it. */
  readonly earlier: readonly InsertBatch[];
  readonly failed: string;
  readonly batchId: string;
  readonly positions: number;
  readonly owing: () => Promise<number>;
}

type Ending = (t: ExecutionContext, scene: Scene) => Promise<void>;

interface Kind {
  readonly title: string;
  readonly isStreamed: boolean;
}

const KINDS: readonly Kind[] = [
  { title: "a batch", isStreamed: false },
  { title: "a chunk", isStreamed: true },
];

export function mongoBatchCrashes(databases: Databases): void {
  for (const kind of KINDS) {
    test(`REQ-1, BAT-8, BAT-16: ${kind.title} that was cut off after any write is brought to its end by its repeat`, async (t) => {
      await afterEveryWrite(t, databases, kind, byRepeat);
    });
    test(`BAT-8, IDM-14: ${kind.title} that was cut off after any write, and never repeated, is whole or not there`, async (t) => {
      await afterEveryWrite(t, databases, kind, byOthers);
    });
  }

  test("design 6: who meets a key of a batch that is not being made any more waits 5 s at most, and gets a run", async (t) => {
    await withScene(databases, { title: "", isStreamed: false }, async (scene, die) => {
      // Batch record, batch key, queue, item keys.
      t.true(await die(4));
      const { world } = scene;
      const before = performance.now();
      const result = only(await world.store.insertRuns([world.item({ key: world.key("k0") })]));
      t.true(result.kind === "created" || result.kind === "cached", result.kind);
      t.true(performance.now() - before < 15_000);
      // The repeat begins anew, and finds a hit where the other was quicker.
      const again = await world.store.insertBatch(scene.step);
      t.is(again.kind, "created");
      const items = await itemsOf(scene);
      t.is(items.length, scene.positions);
      t.is((await runsWithKey(scene, "k0")).length, 1);
    });
  });

  test("a batch of 500 costs as many round trips as one of 5", async (t) => {
    const name = await databases.take();
    const store = mongoStore(name);
    await store.start();
    try {
      const world = new World(store);
      const commands = new Commands(store);
      const plain = (count: number, request: string) =>
        commands.count(() =>
          store.insertBatch(
            batchOf(
              world,
              Array.from({ length: count }, () => ({})),
              { request },
            ),
          ),
        );
      const keyed = (count: number, request: string) =>
        commands.count(() => {
          const items = Array.from({ length: count }, (_, at) => ({ key: world.key(`${request} ${at}`) }));
          return store.insertBatch(batchOf(world, items, { request, key: request }));
        });
      await plain(1, "warm");
      const [few, many] = [await plain(5, "a"), await plain(500, "b")];
      const [fewKeyed, manyKeyed] = [await keyed(5, "c"), await keyed(500, "d")];
      t.log(`without keys ${few} and ${many} round trips, with keys ${fewKeyed} and ${manyKeyed}`);
      t.is(many, few);
      t.is(manyKeyed, fewKeyed);
    } finally {
      await store.stop();
      await databases.giveBack(name);
    }
  });
}

const byRepeat: Ending = async (t, scene) => {
  const { world, step } = scene;
  const result = await world.store.insertBatch(step);
  t.true(result.kind === "created" || result.kind === "repeat", result.kind);
  await checkWhole(t, scene);
};

const byOthers: Ending = async (t, scene) => {
  const { world, step, batchId } = scene;
  await settle(scene);
  const view = only(await world.store.readBatches([{ environment: "dev", batchId }]));
  if (view?.batch.chunkCount === step.chunk.index + 1) {
    await checkWhole(t, scene);
    return;
  }
  const visible = await world.list({ batchId });
  t.is(
    visible.length,
    scene.earlier.reduce((sum, { items }) => sum + items.length, 0),
    "nothing of it is seen",
  );
  // Its keys are free: each names one run from now on, which ends.
  const results = await world.store.insertRuns(
    ["k0", "k1", "failed"].map((key) => world.item({ key: world.key(key) })),
  );
  t.deepEqual(
    results.map(({ kind }) => kind),
    ["created", "created", "created"],
  );
  await drain(scene);
  for (const key of ["k0", "k1", "failed"]) t.is((await runsWithKey(scene, key)).length, 1, key);
};

async function checkWhole(t: ExecutionContext, scene: Scene): Promise<void> {
  const { world, batchId, positions, failed } = scene;
  const items = await itemsOf(scene);
  t.is(items.length, positions);
  t.is(new Set(items.map(({ runId }) => runId)).size, positions);
  t.is((await world.list({ batchId })).length, positions, "every run once, and no other");
  t.false(items.some(({ runId }) => runId === failed));
  await settle(scene);
  t.is((await world.state(failed)).key, undefined, "IDM-25: the failed run shows its key no longer");
  for (const key of ["k0", "k1", "failed"]) t.is((await runsWithKey(scene, key)).length, 1, key);
  await drain(scene);
  const view = only(await world.store.readBatches([{ environment: "dev", batchId }]));
  t.is(view?.hasLiveRun, false);
}

async function itemsOf({ world, batchId }: Scene) {
  return world.store.readBatchItems({ environment: "dev", batchId, fromIndex: 0, limit: 100 });
}

async function runsWithKey({ world }: Scene, key: string): Promise<readonly string[]> {
  const ids = await world.list();
  const runs = await world.store.readRuns(ids.map((runId) => ({ environment: "dev", runId })));
  return runs.flatMap((run) => (run?.key?.text === key ? [run.id] : []));
}

/** What the duties of a live server do; later than any mark. */
async function settle({ world, owing }: Scene): Promise<void> {
  for (let pass = 0; pass < 50; pass += 1) {
    if ((await world.store.repair({ nowMs: Date.now() + 180_000, limit: 100 })) === 0) break;
  }
  if ((await owing()) > 0) throw new Error("something is owed for ever");
}

async function drain({ world }: Scene): Promise<void> {
  await world.open();
  for (;;) {
    const claimed = await world.claim(100);
    if (claimed.length === 0) break;
    for (const run of claimed) await world.complete(run);
  }
  const live = await world.list({ statuses: ["QUEUED", "EXECUTING"] });
  if (live.length > 0) throw new Error(`${live.length} runs cannot start`);
}

async function afterEveryWrite(t: ExecutionContext, databases: Databases, kind: Kind, ending: Ending): Promise<void> {
  t.timeout(600_000);
  let writes = 1;
  for (; writes <= WRITES_MAX; writes += 1) {
    const isCut = await withScene(databases, kind, async (scene, die) => {
      const isCutOff = await die(writes);
      await ending(t, scene);
      return isCutOff;
    });
    if (!isCut) break;
  }
  t.log(`cut off after each of ${writes - 1} writes`);
  t.true(writes > 5 && writes <= WRITES_MAX);
}

async function withScene<T>(
  databases: Databases,
  { isStreamed }: Kind,
  work: (scene: Scene, die: (writes: number) => Promise<boolean>) => Promise<T>,
): Promise<T> {
  const name = await databases.take();
  const rescuer = mongoStore(name);
  await rescuer.start();
  const stores = [rescuer];
  try {
    const world = new World(rescuer);
    world.nowMs = Date.now();
    const failed = await world.trigger({ key: world.key("failed"), ttl: { ms: 1, text: "1ms" } });
    world.nowMs += 10;
    await world.apply(failed, { event: "expire" });
    const first = batchOf(world, [{}, {}], { isStreamed, key: "b" });
    const chunk = isStreamed ? { index: 1, firstIndex: 2 } : { index: 0, firstIndex: 0 };
    const keyed = ["k0", "k1", "failed"].map(
      (key): RunOptions => ({ key: world.key(key), queue: "q", queueLimit: LIMIT }),
    );
    const step = batchOf(world, [...keyed, {}], { isStreamed, key: "b", chunk });
    const earlier = isStreamed ? [first] : [];
    for (const batch of earlier) await rescuer.insertBatch(batch);
    const owing = async () => {
      const counts = await Promise.all(
        ["runs", "batches"].map((table) =>
          rescuer.database.collection(table).countDocuments({ owes: { $exists: true } }),
        ),
      );
      return counts.reduce((sum, count) => sum + count, (await holders(rescuer)).length);
    };
    const positions = step.items.length + earlier.reduce((sum, { items }) => sum + items.length, 0);
    const scene: Scene = { world, step, earlier, failed, batchId: step.batch.id, positions, owing };
    return await work(scene, async (writes) => {
      const dying = mongoStore(name, { stopAfterWrites: writes });
      stores.push(dying);
      await dying.start();
      return stops(() => dying.insertBatch(step));
    });
  } finally {
    await Promise.all(stores.map((store) => store.stop()));
    await databases.giveBack(name);
  }
}

async function stops(step: () => Promise<unknown>): Promise<boolean> {
  try {
    await step();
    return false;
  } catch (error) {
    if (isAppError(error) && error.reason === "STORE_UNAVAILABLE") return true;
    throw error;
  }
}
