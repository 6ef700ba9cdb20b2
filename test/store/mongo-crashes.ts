/**
 * A server that stops between two writes, at every one of them: another one repairs, and everything starts, ends and frees its slot.
 * A bulk is one write: the database carries out each of its updates by itself.
 */
import test, { type ExecutionContext } from "ava";
import { isAppError } from "../../server/domain/error.js";
import { resolveRetryPolicy } from "../../server/domain/retry.js";
import type { MongoStore } from "../../server/store/mongo/mongo-store.js";
import type { InsertRun } from "../../server/store/store.js";
import { holders } from "./mongo-promises.js";
import { type Databases, mongoStore } from "./mongo-world.js";
import { hashOf, SESSION, World } from "./world.js";

const LIMIT = 1;
const RUNS = 3;
const RESCUER = "session_00000000000000000000000009";
const POLICY = resolveRetryPolicy(undefined);
/** More writes than any step has. */
const WRITES_MAX = 60;

/** Another server, that stops after so many writes. */
type OpenDying = (stopAfterWrites: number) => Promise<World>;

interface Scene {
  readonly title: string;
  /** By a server that stays. */
  readonly before: (world: World, items: readonly InsertRun[], other: OpenDying) => Promise<unknown>;
  /** By the server that stops. */
  readonly step: (world: World, items: readonly InsertRun[]) => Promise<unknown>;
}

const insert = (world: World, items: readonly InsertRun[]) => world.store.insertRuns(items);

async function started(world: World, items: readonly InsertRun[]): Promise<void> {
  await insert(world, items);
  await world.open();
  await world.claim(10);
}

async function executing(world: World) {
  const states = await Promise.all((await world.list({ statuses: ["EXECUTING"] })).map((id) => world.state(id)));
  return states.map((run) => ({ run, lease: world.lease({ run }) }));
}

const SCENES: readonly Scene[] = [
  { title: "inserts", before: async () => undefined, step: insert },
  {
    title: "claims",
    before: async (world, items) => {
      await insert(world, items);
      await world.open();
    },
    step: (world) => world.claim(10),
  },
  {
    title: "completes",
    before: started,
    step: async (world) => {
      for (const { run, lease } of await executing(world)) {
        await world.change(run.id, { event: "complete", ...lease, output: undefined });
      }
    },
  },
  {
    title: "cancels, and ends the code",
    before: started,
    step: async (world) => {
      for (const { run, lease } of await executing(world)) {
        await world.change(run.id, { event: "cancel", reason: "" });
        await world.store.endLingering({ kind: "run", environment: "dev", runId: run.id, fence: lease.fence });
      }
    },
  },
  {
    title: "puts back",
    before: started,
    step: async (world) => {
      for (const { run, lease } of await executing(world)) {
        await world.change(run.id, { event: "interrupt", ...lease, codeEnded: true, interruptionsMax: 20 });
      }
    },
  },
  {
    title: "parks for a retry",
    before: started,
    step: async (world) => {
      for (const { run, lease } of await executing(world)) {
        const failure = { kind: "error", name: "Error", message: "no" } as const;
        await world.change(run.id, { event: "retryLater", ...lease, failure, delayMs: 60_000 });
      }
    },
  },
  {
    title: "lets wait, and wakes",
    before: started,
    step: async (world) => {
      for (const { run, lease } of await executing(world)) {
        await world.change(run.id, { event: "wait", ...lease, waitingFor: "w" });
        await world.change(run.id, { event: "wake", waitingFor: "w" });
      }
    },
  },
  {
    title: "loses",
    before: started,
    step: async (world) => {
      for (const { run, lease } of await executing(world)) {
        await world.change(run.id, { event: "lose", sessionId: lease.sessionId, policy: POLICY, random: 0 });
      }
    },
  },
  {
    title: "repairs what another left half claimed",
    before: async (world, items, other) => {
      await insert(world, items);
      await world.open();
      const dying = await other(1);
      if (!(await stops(() => dying.claim(10)))) throw new Error("the claim was to be cut off");
      // Finds the slot taken, and closes the head.
      await world.claim(10);
    },
    step: (world) => world.store.repair({ nowMs: Date.now() + 60_000, limit: 100 }),
  },
  {
    title: "turns a limit on",
    before: async (world) => {
      await world.triggerMany(2, { queue: "late" });
      await world.open();
      await world.claim(1);
    },
    step: (world) => world.override("late", LIMIT),
  },
  {
    title: "raises a limit",
    before: async (world) => {
      await world.triggerMany(3, { queue: "low", queueLimit: 0 });
      await world.open();
      await world.claim(1);
    },
    step: (world) => world.override("low", LIMIT),
  },
];

/** `stands still`: as a suspended machine, for longer than a session lives, and goes on with its next write. */
type Fate = "stops" | "stands still";

export function mongoCrashes(databases: Databases): void {
  for (const fate of ["stops", "stands still"] as const) registerScenes(databases, fate);
}

function registerScenes(databases: Databases, fate: Fate): void {
  for (const scene of SCENES) {
    test(`design 12: a server that ${scene.title} and ${fate} after any of its writes leaves nothing that repair does not finish`, async (t) => {
      t.timeout(600_000);
      let writes = 1;
      while (await isCutOff(t, { databases, fate }, scene, writes)) {
        writes += 1;
        if (writes > WRITES_MAX) return t.fail(`${scene.title} never came to its end`);
      }
      t.log(`${scene.title}: ${fate} after each of ${writes - 1} writes`);
      t.true(writes > 1);
    });
  }
}

/** @returns whether the step was cut off after so many writes. */
async function isCutOff(
  t: ExecutionContext,
  { databases, fate }: { readonly databases: Databases; readonly fate: Fate },
  scene: Scene,
  writes: number,
): Promise<boolean> {
  const name = await databases.take();
  const rescuer = mongoStore(name);
  const stores = [rescuer];
  const open: OpenDying = async (stopAfterWrites) => {
    const dying = mongoStore(name, { stopAfterWrites });
    stores.push(dying);
    await dying.start();
    return new World(dying);
  };
  await rescuer.start();
  try {
    const world = new World(rescuer);
    const items = Array.from({ length: RUNS }, (_, index) =>
      world.item({ queueLimit: LIMIT, key: world.key(`k${index}`), requestHash: hashOf(`r${index}`) }),
    );
    await scene.before(world, items, open);
    const still = new StandStill();
    const dying = mongoStore(name, {
      stopAfterWrites: writes,
      ...(fate === "stops" ? {} : { standStill: () => still.here() }),
    });
    stores.push(dying);
    await dying.start();
    const stepping = stops(() => scene.step(new World(dying), items));
    const isCut = fate === "stops" ? await stepping : await Promise.race([still.reached, stepping]);
    // The caller asks again; with its own request it gets its own run.
    for (const result of await world.store.insertRuns(items))
      t.true(result.kind === "created" || result.kind === "repeat");
    await rescue(t, world, rescuer);
    if (fate === "stands still") {
      still.goOn();
      await stepping;
      await rescue(t, world, rescuer);
    }
    t.deepEqual(await holders(rescuer), [], `${scene.title}: a slot is lost after write ${writes}`);
    const owing = await rescuer.database.collection("runs").countDocuments({ owes: { $exists: true } });
    t.is(owing, 0, `${scene.title}: something is owed after write ${writes}`);
    return isCut;
  } finally {
    await Promise.all(stores.map((store) => store.stop()));
    await databases.giveBack(name);
  }
}

class StandStill {
  readonly reached: Promise<true>;
  readonly #gone: Promise<void>;
  #reach: () => void = () => {};
  #go: () => void = () => {};

  constructor() {
    this.reached = new Promise((resolve) => {
      this.#reach = () => resolve(true);
    });
    this.#gone = new Promise((resolve) => {
      this.#go = resolve;
    });
  }

  /** Called by the store in front of the write that is held up. */
  async here(): Promise<void> {
    this.#reach();
    await this.#gone;
  }

  goOn(): void {
    this.#go();
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

/** What the duties of a live server do, until everything is final. */
async function rescue(t: ExecutionContext, world: World, store: MongoStore): Promise<void> {
  world.nowMs += 60_000;
  const { nowMs, environment } = world;
  await world.open({ id: RESCUER });
  for (let round = 0; round < 20; round += 1) {
    // Later than any mark: some are set by the database's time, some by that of the repair that was cut off.
    for (let pass = 0; pass < 100; pass += 1) {
      if ((await store.repair({ nowMs: store.databaseMs() + 180_000, limit: 100 })) === 0) break;
    }
    await store.endLingering({ kind: "expired", nowMs, graceMs: 30_000, limit: 100 });
    for (const run of await store.findRuns({ kind: "unconfirmed", nowMs, limit: 100 })) {
      await world.change(run.id, {
        event: "release",
        fence: run.fence,
        counts: false,
        pickUpFailuresMax: 5,
        force: false,
      });
    }
    await loseAndFallDue(world, store);
    for (;;) {
      const claimed = await world.claim(10, { sessionId: RESCUER });
      for (const queue of new Set(claimed.map(({ run }) => run.queue))) {
        const view = await world.queue(queue);
        t.true(view.running <= LIMIT, `${queue} has ${view.running} running`);
      }
      for (const run of claimed) await world.complete(run);
      if (claimed.length === 0) break;
    }
    const live = await world.list({ statuses: ["QUEUED", "EXECUTING", "WAITING"] });
    if (live.length === 0) break;
  }
  const runs = await store.readRuns((await world.list()).map((runId) => ({ environment, runId })));
  t.deepEqual(
    runs.filter((run) => run?.status !== "COMPLETED" && run?.status !== "CANCELED"),
    [],
    "a run never ended",
  );
}

/** What the lapse of the first session and the time of parked runs bring about. */
async function loseAndFallDue(world: World, store: MongoStore): Promise<void> {
  const { environment, nowMs } = world;
  for (const run of await store.findRuns({ kind: "session", environment, sessionId: SESSION, limit: 100 })) {
    if (run.status === "EXECUTING") continue;
    await world.change(run.id, { event: "lose", sessionId: SESSION, policy: POLICY, random: 0 });
  }
  world.nowMs += 120_000;
  for (const run of await store.findRuns({ kind: "due", nowMs: world.nowMs, limit: 100 })) {
    await world.change(run.id, { event: "due" });
  }
  world.nowMs = Math.max(world.nowMs, nowMs);
}
