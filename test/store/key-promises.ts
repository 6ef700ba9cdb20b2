/** Idempotency keys (section 8). */

import { engineFailure } from "../../server/domain/failure.js";
import type { RunState } from "../../server/domain/run.js";
import type { RunStatus } from "../../server/domain/run-status.js";
import type { Promises } from "./store-contract.js";
import { hashOf, only, type World } from "./world.js";

const FAILURE = engineFailure("TASK_RUN_STALLED_EXECUTING", "gone");

/** How the holder of a key comes into each status. */
const ENDINGS: Readonly<Record<RunStatus, (world: World, runId: string) => Promise<unknown>>> = {
  DELAYED: async () => undefined,
  QUEUED: async () => undefined,
  EXECUTING: claim,
  WAITING: async (world) => {
    const run = await claim(world);
    return world.apply(run.id, { event: "wait", ...world.lease({ run }), waitingFor: "run_x" });
  },
  COMPLETED: async (world) => world.complete({ run: await claim(world) }),
  CANCELED: (world, runId) => world.apply(runId, { event: "cancel", reason: "enough" }),
  FAILED: (world) => fail(world, "FAILED"),
  CRASHED: (world) => fail(world, "CRASHED"),
  SYSTEM_FAILURE: (world) => fail(world, "SYSTEM_FAILURE"),
  EXPIRED: (world, runId) => {
    world.nowMs += 60_000;
    return world.apply(runId, { event: "expire" });
  },
  TIMED_OUT: async (world) => {
    const run = await claim(world);
    return world.apply(run.id, { event: "timeOut", ...world.lease({ run }), codeEnded: true });
  },
};

async function claim(world: World): Promise<RunState> {
  await world.open();
  return (await world.claimOne()).run;
}

async function fail(world: World, status: "FAILED" | "CRASHED" | "SYSTEM_FAILURE"): Promise<unknown> {
  const run = await claim(world);
  return world.apply(run.id, { event: "fail", ...world.lease({ run }), failure: FAILURE, status });
}

const CACHED: readonly RunStatus[] = ["DELAYED", "QUEUED", "EXECUTING", "WAITING", "COMPLETED", "CANCELED"];
const REPLACED: readonly RunStatus[] = ["FAILED", "CRASHED", "SYSTEM_FAILURE", "EXPIRED", "TIMED_OUT"];

async function holderIn(world: World, status: RunStatus): Promise<string> {
  const holder = await world.trigger({
    key: world.key("k"),
    ttl: { ms: 60_000, text: "1m" },
    delayedUntilMs: status === "DELAYED" ? world.nowMs + 1_000 : undefined,
  });
  await ENDINGS[status](world, holder);
  return holder;
}

export function keyPromises(promise: Promises): void {
  promise("IDM-12: concurrent triggers with one key create one run", async (t, world) => {
    const results = await Promise.all(Array.from({ length: 64 }, () => world.insert({ key: world.key("order-1") })));
    const created = only(results.filter((result) => result.kind === "created"));
    const cached = results.filter((result) => result.kind === "cached");
    t.is(cached.length, 63);
    t.deepEqual([...new Set(cached.map(({ runId }) => runId))], [created.run.id]);
    t.is((await world.list()).length, 1);
  });

  promise("IDM-9: different keys, and runs without one, share nothing", async (t, world) => {
    await world.trigger({ key: world.key("a") });
    await world.trigger({ key: world.key("b") });
    await world.trigger();
    await world.trigger();
    t.is((await world.list()).length, 4);
  });

  for (const status of CACHED) {
    promise(`IDM-10: a ${status} holder keeps its key and is the answer`, async (t, world) => {
      const holder = await holderIn(world, status);
      t.is((await world.state(holder)).status, status);
      t.deepEqual(await world.insert({ key: world.key("k") }), { kind: "cached", runId: holder });
    });
  }

  for (const status of REPLACED) {
    promise(`IDM-25: a ${status} holder loses its key to the next trigger`, async (t, world) => {
      const holder = await holderIn(world, status);
      t.is((await world.state(holder)).status, status);
      t.is((await world.state(holder)).key?.text, "k");
      const next = await world.trigger({ key: world.key("k") });
      t.is((await world.state(holder)).key, undefined);
      t.is((await world.state(next)).key?.text, "k");
      t.deepEqual(await world.insert({ key: world.key("k") }), { kind: "cached", runId: next });
    });
  }

  promise("IDM-27: any number of triggers after a failure yield one new run", async (t, world) => {
    const holder = await holderIn(world, "FAILED");
    const results = await Promise.all(Array.from({ length: 20 }, () => world.insert({ key: world.key("k") })));
    t.is(results.filter(({ kind }) => kind === "created").length, 1);
    t.false(results.some((result) => result.kind === "cached" && result.runId === holder));
  });

  promise("IDM-24: a run between attempts keeps its key", async (t, world) => {
    const holder = await world.trigger({ key: world.key("k") });
    const run = await claim(world);
    await world.apply(holder, { event: "retryLater", ...world.lease({ run }), failure: FAILURE, delayMs: 60_000 });
    t.deepEqual(await world.insert({ key: world.key("k") }), { kind: "cached", runId: holder });
  });

  promise(
    "IDM-19, IDM-20: the window runs from creation, ends at its instant, and a hit does not move it",
    async (t, world) => {
      const holder = await world.trigger({ key: world.key("k", 1_000) });
      world.nowMs += 999;
      t.is((await world.insert({ key: world.key("k", 50_000) })).kind, "cached");
      world.nowMs += 1;
      const next = await world.trigger({ key: world.key("k", 1_000) });
      t.not(next, holder);
      t.is((await world.state(holder)).key, undefined);
      t.is((await world.state(holder)).status, "QUEUED");
    },
  );

  promise("IDM-17: equal keys inside one call: the later ones are hits on the first", async (t, world) => {
    const items = [world.item({ key: world.key("k") }), world.item(), world.item({ key: world.key("k") })];
    const results = await world.store.insertRuns(items);
    t.deepEqual(
      results.map(({ kind }) => kind),
      ["created", "created", "cached"],
    );
    t.like(results[2], { runId: items[0]?.run.id });
  });

  const reset = (world: World, environment = "dev"): Promise<{ readonly runId: string } | undefined> =>
    world.store.resetKey({ environment, recordHash: hashOf("k"), request: undefined, nowMs: world.nowMs });

  promise(
    "IDM-28, IDM-30: reset takes the key from its run, which goes on; a second reset finds none",
    async (t, world) => {
      const holder = await world.trigger({ key: world.key("k") });
      t.is(await reset(world, "prod"), undefined);
      t.deepEqual(await reset(world), { runId: holder });
      t.is(await reset(world), undefined);
      t.like(await world.state(holder), { status: "QUEUED", key: undefined });
      t.not(await world.trigger({ key: world.key("k") }), holder);
    },
  );

  promise("IDM-30: a key whose window has ended is held by no run", async (t, world) => {
    await world.trigger({ key: world.key("k", 1_000) });
    world.nowMs += 1_000;
    t.is(await reset(world), undefined);
  });

  promise("REQ-1: a repeated reset answers as the first did and takes nothing from the next run", async (t, world) => {
    const holder = await world.trigger({ key: world.key("k") });
    const request = { hash: hashOf("reset-1"), expiresAtMs: world.nowMs + 1_000 };
    const params = { environment: "dev", recordHash: hashOf("k"), request, nowMs: world.nowMs };
    t.deepEqual(await world.store.resetKey(params), { runId: holder });
    const next = await world.trigger({ key: world.key("k") });
    t.deepEqual(await world.store.resetKey(params), { runId: holder });
    t.is((await world.state(next)).key?.text, "k");
    // The memory ends; then it is a new request.
    t.deepEqual(await world.store.resetKey({ ...params, nowMs: world.nowMs + 1_000 }), { runId: next });
  });
}
