/**
 * A server that stops between two writes of a trigger by a one-time token, at every one of them (AUT-3): whoever comes next with the token,
 * the same request or another, makes at most one run of it, and the token is not lost to a trigger that was never stored.
 */
import test, { type ExecutionContext } from "ava";
import { isAppError } from "../../server/domain/error.js";
import type { InsertRun, InsertRunResult } from "../../server/store/store.js";
import { type Databases, mongoStore } from "./mongo-world.js";
import { DAY_MS, hashOf, only, type RunOptions, World } from "./world.js";

/** More writes than any such trigger has. */
const WRITES_MAX = 20;

interface Scene {
  readonly title: string;
  readonly before?: (world: World) => Promise<unknown>;
  readonly item: (world: World) => RunOptions;
}

const SCENES: readonly Scene[] = [
  { title: "a plain trigger", item: () => ({ requestHash: hashOf("r1") }) },
  { title: "a trigger with a key", item: (world) => ({ requestHash: hashOf("r1"), key: world.key("k1") }) },
  {
    title: "a hit on a key",
    before: (world) => world.trigger({ key: world.key("k1") }),
    item: (world) => ({ requestHash: hashOf("r1"), key: world.key("k1") }),
  },
];

export function mongoTokenCrashes(databases: Databases): void {
  for (const scene of SCENES) {
    test(`AUT-3, design 12: ${scene.title} by a one-time token that stops after any of its writes uses it once or not at all`, async (t) => {
      t.timeout(300_000);
      for (const isRepeat of [true, false]) {
        let writes = 0;
        while (await isCutOff(t, databases, { scene, writes, isRepeat })) {
          writes += 1;
          if (writes > WRITES_MAX) return t.fail(`${scene.title} never came to its end`);
        }
        t.true(writes > 1);
      }
    });
  }
}

function byToken(world: World, options: RunOptions): InsertRun {
  return { ...world.item(options), token: { hash: hashOf("t"), forgetAtMs: world.nowMs + DAY_MS } };
}

/** @returns whether the trigger was cut off after so many writes. */
async function isCutOff(
  t: ExecutionContext,
  databases: Databases,
  { scene, writes, isRepeat }: { readonly scene: Scene; readonly writes: number; readonly isRepeat: boolean },
): Promise<boolean> {
  const name = await databases.take();
  const [living, dying] = [mongoStore(name), mongoStore(name, { stopAfterWrites: writes })];
  await living.start();
  try {
    const world = new World(living);
    await scene.before?.(world);
    const before = (await world.list()).length;
    await dying.start();
    const item = byToken(world, scene.item(world));
    const answered = await orStopped(dying.insertRuns([item]));
    const other = isRepeat ? item : byToken(world, { requestHash: hashOf("r2") });
    const next = only(await living.insertRuns([other]));
    const made = (await world.list()).length - before;
    t.true(made <= 1, `${scene.title}: ${made} runs after write ${writes}`);
    const isOwn = next.kind === "created" || next.kind === "repeat" || next.kind === "cached";
    if (isRepeat) t.true(isOwn, `${scene.title}: its repeat was answered ${next.kind} after write ${writes}`);
    else if (answered !== undefined) t.is(next.kind, "tokenUsed");
    else t.true(isOwn || made === 1 || scene.before !== undefined, `the token is lost after write ${writes}`);
    // Whatever happened, it is used now.
    const last = byToken(world, { requestHash: hashOf("r3") });
    t.deepEqual(await living.insertRuns([last]), [{ kind: "tokenUsed" }]);
    return answered === undefined;
  } finally {
    await Promise.all([living.stop(), dying.stop()]);
    await databases.giveBack(name);
  }
}

async function orStopped(call: Promise<readonly InsertRunResult[]>): Promise<InsertRunResult | undefined> {
  try {
    return only(await call);
  } catch (error) {
    if (isAppError(error) && error.reason === "STORE_UNAVAILABLE") return undefined;
    throw error;
  }
}
