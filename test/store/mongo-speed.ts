/** What keeps the cost of a run on MongoDB from growing with the number of runs that wait. */
import type { Document } from "mongodb";
import type { ClaimedRun } from "../../server/store/store.js";
import { Commands } from "./mongo-commands.js";
import { promiseOn } from "./mongo-promises.js";
import type { Databases } from "./mongo-world.js";
import { ids, World } from "./world.js";

/** More than a claim looks ahead (free.ts). */
const BACKLOG = 4_500;
const PAGE = 500;

export function mongoSpeed(databases: Databases): void {
  const promise = promiseOn(databases);

  promise("equal changes of a page are one update, and runs that differ have their own", async (t, open) => {
    const store = open({ settingsCacheMs: 60_000 });
    await store.start();
    const commands = new Commands(store);
    const world = new World(store);
    await world.open();
    await world.triggerMany(40);
    const [odd] = await world.claim(1);
    if (odd === undefined) return t.fail();
    // Back in the queue, in another version than the others.
    await world.apply(odd.run.id, {
      event: "interrupt",
      ...world.lease(odd),
      codeEnded: true,
      interruptionsMax: 20,
    });
    commands.writes.length = 0;
    const claimed = await world.claim(40);
    t.is(claimed.length, 40);
    t.is(new Set(ids(claimed)).size, 40);
    const updates = updatesOf(commands.writes);
    t.is(updates.length, 2, "39 in one, and the one that differs");
    t.is(updates.filter(({ multi }) => multi === true).length, 1);
    const again = claimed.find(({ run }) => run.id === odd.run.id);
    t.is(again?.run.fence, 2);
    t.true(claimed.every(({ run }) => run.attempt === 1 && run.status === "EXECUTING"));
  });

  promise("QUE-24: claims that do not read the whole backlog give the best runs all the same", async (t, open) => {
    const store = open();
    await store.start();
    const commands = new Commands(store);
    const world = new World(store);
    await world.open();
    const triggered: string[] = [];
    while (triggered.length < BACKLOG) {
      triggered.push(...(await world.triggerMany(PAGE)));
      world.nowMs += 1;
    }
    const claimed: ClaimedRun[] = [];
    for (let page = 0; page < 3; page += 1) claimed.push(...(await world.claim(PAGE)));
    const near = commands.reads.filter(({ find, filter }) => find === "runs" && filter.pos !== undefined);
    t.true(near.length > 0, "a claim of a long backlog reads a part of it");
    // Better than everything that waits.
    const urgent = await world.trigger({ prioritySeconds: 1_000 });
    claimed.push(...(await world.claim(1)));
    t.is(claimed.at(-1)?.run.id, urgent);
    for (;;) {
      const more = await world.claim(PAGE);
      claimed.push(...more);
      if (more.length === 0) break;
    }
    t.deepEqual(
      ids(claimed).filter((id) => id !== urgent),
      triggered,
    );
  });

  promise("QUE-10: the size of a queue is counted only where its limit is near", async (t, open) => {
    const store = open({ settingsCacheMs: 60_000 });
    await store.start();
    const commands = new Commands(store);
    const world = new World(store);
    const counted = async (queueSizeMax: number): Promise<{ readonly counts: number; readonly kind: string }> => {
      commands.reads.length = 0;
      const [result] = await store.insertRuns([world.item({ queueSizeMax })]);
      return {
        counts: commands.reads.filter(({ aggregate }) => aggregate === "runs").length,
        kind: result?.kind ?? "",
      };
    };
    t.deepEqual(await counted(1_000_000), { counts: 1, kind: "created" });
    t.deepEqual(await counted(1_000_000), { counts: 0, kind: "created" });
    t.deepEqual(await counted(3), { counts: 1, kind: "created" });
    t.deepEqual(await counted(3), { counts: 1, kind: "queueFull" });
  });
}

/** Updates of runs, whatever commands they were sent in. */
function updatesOf(writes: readonly Document[]): readonly Document[] {
  return writes.flatMap((write): readonly Document[] => (write.update === "runs" ? write.updates : []));
}
