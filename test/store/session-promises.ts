/** Sessions: connections, heartbeats, lapse and end (design 8). */
import type { Promises } from "./store-contract.js";
import { ids, only, SESSION, World } from "./world.js";

const POLICY = { maxAttempts: 3, minTimeoutMs: 1_000, maxTimeoutMs: 60_000, factor: 2, randomize: false };

export function sessionPromises(promise: Promises): void {
  promise("a session is listed as it was opened, within its environment", async (t, world) => {
    const session = world.session({ taskIds: ["a", "b"] });
    t.is(await world.store.openSession(session), "opened");
    t.deepEqual(await world.store.listSessions({ environment: "dev" }), [session]);
    t.deepEqual(await world.store.listSessions({ environment: "prod" }), []);
  });

  promise("a newer connection takes a session over, an older one is superseded", async (t, world) => {
    await world.open({ connectionEpoch: 2 });
    t.is(await world.store.openSession(world.session({ connectionEpoch: 1 })), "superseded");
    t.is(await world.store.openSession(world.session({ connectionEpoch: 2 })), "opened");
    t.is(await world.store.openSession(world.session({ connectionEpoch: 3, workerName: "new" })), "opened");
    const keep = { environment: "dev", sessionId: SESSION, untilMs: world.nowMs + 60_000 };
    const kept = await world.store.keepSessions([
      { ...keep, connectionEpoch: 2 },
      { ...keep, connectionEpoch: 3 },
      { ...keep, connectionEpoch: 3, sessionId: "session_unknown" },
      { ...keep, connectionEpoch: 3, environment: "prod" },
    ]);
    t.deepEqual(kept, [false, true, false, false]);
    const listed = only(await world.store.listSessions({ environment: "dev" }));
    t.like(listed, { workerName: "new", connectionEpoch: 3, untilMs: world.nowMs + 60_000 });
  });

  promise("RUN-6: a session lapses after its time, not at it, and is given nothing any more", async (t, world) => {
    await world.triggerMany(2);
    await world.open();
    await world.claimOne();
    const lapse = (nowMs: number) => world.store.lapseSessions({ nowMs, limit: 10 });
    t.deepEqual(await lapse(world.nowMs + 30_000), []);
    t.is((await world.claim(0)).length, 0);
    const lapsed = await lapse(world.nowMs + 30_001);
    t.deepEqual(
      lapsed.map(({ id }) => id),
      [SESSION],
    );
    t.deepEqual(await world.claim(10), []);
    t.deepEqual(
      await world.store.keepSessions([{ environment: "dev", sessionId: SESSION, connectionEpoch: 1, untilMs: 9e12 }]),
      [false],
    );
    t.deepEqual(await world.store.listSessions({ environment: "dev" }), []);
  });

  promise("RUN-6: a heartbeat keeps a session from lapsing", async (t, world) => {
    await world.open();
    const untilMs = world.nowMs + 90_000;
    await world.store.keepSessions([{ environment: "dev", sessionId: SESSION, connectionEpoch: 1, untilMs }]);
    t.deepEqual(await world.store.lapseSessions({ nowMs: world.nowMs + 60_000, limit: 10 }), []);
  });

  promise(
    "RUN-6: a lapsed session is returned until its runs are lost, then it can be opened anew",
    async (t, world) => {
      await world.triggerMany(2);
      await world.open();
      const [executing, waiting] = await world.claim(2);
      if (executing === undefined || waiting === undefined) return t.fail();
      await world.apply(executing.run.id, { event: "confirm", ...world.lease(executing) });
      await world.apply(waiting.run.id, { event: "wait", ...world.lease(waiting), waitingFor: "w" });
      world.nowMs += 30_001;
      const lapse = async () =>
        (await world.store.lapseSessions({ nowMs: world.nowMs, limit: 10 })).map(({ id }) => id);
      t.deepEqual(await lapse(), [SESSION]);
      t.deepEqual(await lapse(), [SESSION]);
      t.is(await world.store.openSession(world.session({ connectionEpoch: 2 })), "lapsed");
      const query = { kind: "session", environment: "dev", sessionId: SESSION, limit: 10 } as const;
      const held = await world.store.findRuns(query);
      t.deepEqual(new Set(held.map(({ id }) => id)), new Set([executing.run.id, waiting.run.id]));
      for (const { id } of held) {
        await world.apply(id, { event: "lose", sessionId: SESSION, policy: POLICY, random: 0 });
        t.like(await world.state(id), { status: "QUEUED", readiness: "parked", attempt: 1 });
      }
      t.deepEqual(await lapse(), []);
      t.deepEqual(await world.store.findRuns(query), []);
      t.is(await world.store.openSession(world.session({ connectionEpoch: 2 })), "opened");
    },
  );

  promise("RUN-6: a lapsed session without runs is returned once and gone", async (t, world) => {
    await world.open();
    const lapse = () => world.store.lapseSessions({ nowMs: world.nowMs + 30_001, limit: 10 });
    t.is((await lapse()).length, 1);
    t.is((await lapse()).length, 0);
    t.is(await world.store.openSession(world.session({ connectionEpoch: 1 })), "opened");
  });

  promise("QUE-4: the lapse of a session ends the code that lingered in it", async (t, world) => {
    await world.triggerMany(2, { queueLimit: 1 });
    await world.open();
    const claimed = await world.claimOne();
    await world.apply(claimed.run.id, { event: "cancel", reason: "" });
    t.is((await world.queue("task/job")).running, 1);
    await world.store.lapseSessions({ nowMs: world.nowMs + 30_001, limit: 10 });
    t.is((await world.queue("task/job")).running, 0);
    const other = "session_00000000000000000000000002";
    await world.open({ id: other, untilMs: world.nowMs + 90_000 });
    t.is((await world.claim(10, { sessionId: other })).length, 1);
  });

  promise("a session is not closed while runs name it, and its close ends lingering code", async (t, world) => {
    await world.triggerMany(2, { queueLimit: 2 });
    await world.open();
    const [first, second] = await world.claim(2);
    if (first === undefined || second === undefined) return t.fail();
    const close = () => world.store.closeSession({ environment: "dev", sessionId: SESSION });
    t.false(await close());
    await world.complete(first);
    t.false(await close());
    await world.apply(second.run.id, { event: "cancel", reason: "" });
    t.is((await world.queue("task/job")).running, 1);
    t.true(await close());
    t.is((await world.queue("task/job")).running, 0);
    t.true(await close());
    t.deepEqual(await world.store.listSessions({ environment: "dev" }), []);
  });

  promise("a bound run waits for its own session, also when another session has its id elsewhere", async (t, world) => {
    const runId = await world.trigger();
    await world.open();
    const other = new World(world.store, "prod");
    await other.open();
    const claimed = await world.claimOne();
    await world.apply(runId, { event: "wait", ...world.lease(claimed), waitingFor: "w" });
    await world.apply(runId, { event: "wake", waitingFor: "w" });
    t.deepEqual(await other.claim(10), []);
    t.deepEqual(ids(await world.claim(10)), [runId]);
  });
}
