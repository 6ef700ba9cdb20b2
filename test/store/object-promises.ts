/** Objects of the payload store: which are named by runs, from the trigger, the output, until the purge. */
import type { Promises } from "./store-contract.js";
import { DAY_MS, hashOf, only } from "./world.js";

const key = (name: string): string => `dev/run_x/payload-${name}`;

export function objectPromises(promise: Promises): void {
  promise("PAY-11: objects are named from the insert of their run to its purge", async (t, world) => {
    const [named, output, never] = [key("named"), key("output"), key("never")];
    const unnamed = () => world.store.findUnnamedObjects([named, output, never]);
    t.deepEqual(await unnamed(), [named, output, never]);
    const item = { ...world.item(), objectKeys: [named] };
    t.is(only(await world.store.insertRuns([item])).kind, "created");
    t.deepEqual(await unnamed(), [output, never]);
    await world.open();
    const claimed = await world.claimOne();
    const done = only(
      await world.store.changeRuns([
        {
          event: "complete",
          environment: "dev",
          runId: claimed.run.id,
          sessionId: claimed.run.sessionId ?? "",
          fence: claimed.run.fence,
          nowMs: world.nowMs,
          output: Uint8Array.of(1),
          objectKeys: [output],
        },
      ]),
    );
    t.is(done.kind, "applied");
    t.deepEqual(await unnamed(), [never]);
    const purge = (nowMs: number) => world.store.purge({ nowMs, finishedRunsKeptMs: DAY_MS, limit: 10 });
    t.deepEqual(await purge(world.nowMs + DAY_MS - 1), { removed: 0, objectKeys: [] });
    const purged = await purge(world.nowMs + DAY_MS);
    t.is(purged.removed, 1);
    t.deepEqual(purged.objectKeys.toSorted(), [named, output].toSorted());
    t.deepEqual(await unnamed(), [named, output, never]);
    t.deepEqual(await world.store.findUnnamedObjects([]), []);
  });

  promise("PAY-11: what was not inserted names nothing, and a refused report neither", async (t, world) => {
    const [hit, repeat, stale] = [key("hit"), key("repeat"), key("stale")];
    const first = world.item({ key: world.key("k"), requestHash: hashOf("r") });
    await world.store.insertRuns([first]);
    await world.store.insertRuns([{ ...world.item({ key: world.key("k") }), objectKeys: [hit] }]);
    await world.store.insertRuns([{ ...first, objectKeys: [repeat] }]);
    await world.open();
    const { run } = await world.claimOne();
    await world.store.changeRuns([
      {
        event: "complete",
        environment: "dev",
        runId: run.id,
        sessionId: run.sessionId ?? "",
        fence: run.fence + 1,
        nowMs: world.nowMs,
        output: undefined,
        objectKeys: [stale],
      },
    ]);
    t.deepEqual(await world.store.findUnnamedObjects([hit, repeat, stale]), [hit, repeat, stale]);
  });
}
