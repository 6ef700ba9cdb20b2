/** Every row of the run machine through the store: what it writes, what it refuses, what becomes of the slot. */
import { engineFailure } from "../../server/domain/failure.js";
import type { RunState } from "../../server/domain/run.js";
import type { ClaimedRun } from "../../server/store/store.js";
import type { Promises } from "./store-contract.js";
import { type Change, ids, only, SESSION, type World } from "./world.js";

const FAILURE = { kind: "error", name: "Error", message: "no" } as const;
const POLICY = { maxAttempts: 3, minTimeoutMs: 1_000, maxTimeoutMs: 60_000, factor: 2, randomize: false };

/** A claimed run of a queue with limit 1. */
async function claimed(world: World): Promise<ClaimedRun> {
  await world.trigger({ queueLimit: 1 });
  await world.open();
  return world.claimOne();
}

const running = async (world: World): Promise<number> => (await world.queue("task/job")).running;

/** Reports that end or pause the claimed run; each frees its slot. */
const ENDS: readonly (readonly [title: string, change: (lease: Lease) => Change, after: Partial<RunState>])[] = [
  ["completes", (lease) => ({ event: "complete", ...lease, output: new Uint8Array([4]) }), { status: "COMPLETED" }],
  ["fails", (lease) => ({ event: "fail", ...lease, failure: FAILURE, status: "FAILED" }), { status: "FAILED" }],
  ["crashes", (lease) => ({ event: "fail", ...lease, failure: FAILURE, status: "CRASHED" }), { status: "CRASHED" }],
  ["times out, its code ended", (lease) => ({ event: "timeOut", ...lease, codeEnded: true }), { status: "TIMED_OUT" }],
  [
    "is retried later",
    (lease) => ({ event: "retryLater", ...lease, failure: FAILURE, delayMs: 60_000 }),
    { status: "QUEUED", readiness: "parked", attempt: 1 },
  ],
  ["waits", (lease) => ({ event: "wait", ...lease, waitingFor: "w" }), { status: "WAITING", fence: 2 }],
  [
    "is interrupted, its code ended",
    (lease) => ({ event: "interrupt", ...lease, codeEnded: true, interruptionsMax: 20 }),
    { status: "QUEUED", readiness: "waiting", attempt: 0 },
  ],
];

interface Lease {
  readonly fence: number;
  readonly sessionId: string;
}

export function machinePromises(promise: Promises): void {
  for (const [title, change, after] of ENDS) {
    promise(`QUE-4: a run that ${title} frees its slot in the same step`, async (t, world) => {
      const first = await claimed(world);
      const next = await world.trigger();
      t.deepEqual(await world.claim(1), []);
      world.nowMs += 1_000;
      const result = await world.change(first.run.id, change(world.lease(first)));
      t.like(result, { kind: "applied", before: "EXECUTING", isClaimable: true });
      t.like(await world.state(first.run.id), after);
      t.deepEqual(result.run, await world.state(first.run.id));
      t.is(await running(world), 0);
      t.true([first.run.id, next].includes(only(await world.claim(10)).run.id));
      t.is(await running(world), 1);
    });

    promise(
      `RUN-8: a run that ${title} hears a repeat as a repeat, and an older or foreign lease as stale`,
      async (t, world) => {
        const first = await claimed(world);
        const lease = world.lease(first);
        const foreign = await world.change(first.run.id, change({ ...lease, sessionId: "session_other" }));
        t.like(foreign, { kind: "refused", refusal: "stale" });
        const older = await world.change(first.run.id, change({ ...lease, fence: lease.fence - 1 }));
        t.like(older, { kind: "refused", refusal: "stale" });
        t.deepEqual(await world.state(first.run.id), first.run);
        const applied = await world.apply(first.run.id, change(lease));
        const repeated = await world.change(first.run.id, change(lease));
        t.like(repeated, { kind: "refused", refusal: "repeat" });
        t.deepEqual(repeated.run, applied);
        t.deepEqual(await world.state(first.run.id), applied);
      },
    );
  }

  promise("RUN-10: a completed run shows output and attempt, a failed one its failure", async (t, world) => {
    const first = await claimed(world);
    world.nowMs += 250;
    await world.apply(first.run.id, { event: "complete", ...world.lease(first), output: new Uint8Array([4, 2]) });
    const completed = await world.detail(first.run.id);
    t.deepEqual(completed.output, new Uint8Array([4, 2]));
    t.is(completed.failure, undefined);
    t.like(only(completed.attempts), {
      number: 1,
      outcome: "COMPLETED",
      startedAtMs: world.nowMs - 250,
      finishedAtMs: world.nowMs,
      worker: SESSION,
    });
    await world.trigger();
    const second = await world.claimOne();
    await world.apply(second.run.id, { event: "fail", ...world.lease(second), failure: FAILURE, status: "FAILED" });
    const failed = await world.detail(second.run.id);
    t.deepEqual(failed.failure, FAILURE);
    t.is(failed.output, undefined);
    t.like(only(failed.attempts), { outcome: "FAILED", error: FAILURE });
  });

  promise(
    "RUN-10: a run that completes later keeps its earlier attempts, whatever the size of its output",
    async (t, world) => {
      for (const bytes of [10, 100_000]) {
        await world.trigger({ maxAttempts: 3 });
        await world.open();
        const first = await world.claimOne();
        await world.apply(first.run.id, { event: "confirm", ...world.lease(first) });
        const second = await world.apply(first.run.id, {
          event: "retrySoon",
          ...world.lease(first),
          failure: FAILURE,
          delayMs: 0,
        });
        const output = new Uint8Array(bytes).fill(3);
        await world.apply(second.id, { event: "complete", ...world.lease({ run: second }), output });
        const detail = await world.detail(second.id);
        t.deepEqual(detail.output, output);
        t.deepEqual(
          detail.attempts.map(({ number, outcome }) => [number, outcome]),
          [
            [1, "FAILED"],
            [2, "COMPLETED"],
          ],
        );
      }
    },
  );

  promise("PAY-3: a large output of a first attempt is read back whole", async (t, world) => {
    const first = await claimed(world);
    const output = new Uint8Array(500_000).fill(5);
    await world.apply(first.run.id, { event: "complete", ...world.lease(first), output });
    const detail = await world.detail(first.run.id);
    t.deepEqual(detail.output, output);
    t.like(only(detail.attempts), { number: 1, outcome: "COMPLETED" });
  });

  promise("RES-8: an output of undefined is no output", async (t, world) => {
    const first = await claimed(world);
    await world.complete(first);
    t.is((await world.detail(first.run.id)).output, undefined);
  });

  promise("RUN-10: the last ten attempts are kept, in order", async (t, world) => {
    await world.trigger({ maxAttempts: 20 });
    await world.open();
    let { run } = await world.claimOne();
    for (let attempt = 1; attempt <= 12; attempt += 1) {
      world.nowMs += 10;
      run = await world.apply(run.id, { event: "retrySoon", ...world.lease({ run }), failure: FAILURE, delayMs: 0 });
    }
    const { attempts } = await world.detail(run.id);
    t.deepEqual(
      attempts.map(({ number }) => number),
      [3, 4, 5, 6, 7, 8, 9, 10, 11, 12],
    );
  });

  promise("RTY-5: a short retry keeps worker and slot and raises attempt and fence", async (t, world) => {
    const first = await claimed(world);
    await world.trigger();
    const retried = await world.change(first.run.id, {
      event: "retrySoon",
      ...world.lease(first),
      failure: FAILURE,
      delayMs: 5_000,
    });
    t.like(retried, { kind: "applied", isClaimable: false });
    t.like(retried.run, { status: "EXECUTING", attempt: 2, fence: 2, retryAtMs: world.nowMs + 5_000 });
    t.is(await running(world), 1);
    t.deepEqual(await world.claim(10), []);
  });

  promise("DLY-4, TTL-3: a due run queues by its due time, and its ttl begins then", async (t, world) => {
    const dueMs = world.nowMs + 1_000;
    const delayed = await world.trigger({ delayedUntilMs: dueMs, ttl: { ms: 500, text: "500ms" }, prioritySeconds: 2 });
    t.like(await world.change(delayed, { event: "due" }), { kind: "refused", refusal: "notYet" });
    await world.open();
    t.deepEqual(await world.claim(1), []);
    world.nowMs += 3_000;
    const earlier = await world.trigger({ prioritySeconds: 3.9 });
    const later = await world.trigger({ prioritySeconds: 4.1 });
    t.like(await world.change(delayed, { event: "due" }), { kind: "applied", before: "DELAYED", isClaimable: true });
    t.like(await world.state(delayed), { status: "QUEUED", orderMs: dueMs - 2_000, expireAtMs: dueMs + 500 });
    t.like(await world.change(delayed, { event: "due" }), { kind: "refused", refusal: "illegal" });
    t.deepEqual(ids(await world.claim(3)), [later, delayed, earlier]);
  });

  promise("RUN-14: only a delayed run is rescheduled, earlier or later", async (t, world) => {
    const delayed = await world.trigger({ delayedUntilMs: world.nowMs + 60_000 });
    await world.apply(delayed, { event: "reschedule", dueMs: world.nowMs + 10 });
    const due = await world.store.findRuns({ kind: "due", nowMs: world.nowMs + 10, limit: 1 });
    t.is(only(due).id, delayed);
    const queued = await world.trigger();
    const change = { event: "reschedule", dueMs: world.nowMs + 10 } as const;
    t.like(await world.change(queued, change), { kind: "refused", refusal: "illegal" });
  });

  promise(
    "RUN-6: an unconfirmed pick-up goes back with its order and no attempt; the fifth in a row fails",
    async (t, world) => {
      const runId = await world.trigger({ queueLimit: 1 });
      await world.open({ untilMs: world.nowMs + 1e9 });
      for (let failures = 1; failures <= 5; failures += 1) {
        const { run } = await world.claimOne();
        t.is(run.id, runId);
        const release = {
          event: "release",
          fence: run.fence,
          counts: true,
          pickUpFailuresMax: 5,
          force: false,
        } as const;
        t.like(await world.change(runId, release), { kind: "refused", refusal: "notYet" });
        t.like(await world.change(runId, { ...release, fence: run.fence - 1 }), { kind: "refused", refusal: "stale" });
        world.nowMs += 10_000;
        const released = await world.apply(runId, release);
        t.is(await running(world), 0);
        if (failures < 5)
          t.like(released, { status: "QUEUED", readiness: "waiting", attempt: 0, startedAtMs: undefined });
        else t.is(released.status, "SYSTEM_FAILURE");
      }
      t.is((await world.detail(runId)).failure?.code, "TASK_RUN_PICKUP_FAILED");
      t.deepEqual(await world.claim(1), []);
    },
  );

  promise("RUN-6: five pick-ups that do not count end nothing", async (t, world) => {
    const runId = await world.trigger();
    await world.open();
    for (let index = 0; index < 6; index += 1) {
      const { run } = await world.claimOne();
      await world.apply(runId, {
        event: "release",
        fence: run.fence,
        counts: false,
        pickUpFailuresMax: 5,
        force: true,
      });
    }
    t.is((await world.state(runId)).status, "QUEUED");
  });

  promise(
    "RUN-5: the start is that of the first attempt, and every change raises version and updatedAt",
    async (t, world) => {
      const first = await claimed(world);
      const confirmed = await world.apply(first.run.id, { event: "confirm", ...world.lease(first) });
      const parked = await world.apply(first.run.id, {
        event: "retryLater",
        ...world.lease(first),
        failure: FAILURE,
        delayMs: 60_000,
      });
      t.true(first.run.version < confirmed.version && confirmed.version < parked.version);
      t.true(first.run.updatedAtMs < confirmed.updatedAtMs && confirmed.updatedAtMs < parked.updatedAtMs);
      world.nowMs += 60_000;
      await world.apply(first.run.id, { event: "due" });
      await world.open({ untilMs: world.nowMs + 30_000 });
      const again = await world.claimOne();
      t.like(again.run, { attempt: 2, startedAtMs: first.run.startedAtMs, attemptStartedAtMs: world.nowMs });
    },
  );

  promise("RUN-6: a lost run is parked for its next attempt, or crashes at the last", async (t, world) => {
    const runId = await world.trigger({ maxAttempts: 2 });
    await world.open({ untilMs: world.nowMs + 1e9 });
    const lose = { event: "lose", sessionId: SESSION, policy: POLICY, random: 0 } as const;
    const first = await world.claimOne();
    await world.apply(runId, { event: "confirm", ...world.lease(first) });
    t.like(await world.change(runId, { ...lose, sessionId: "session_other" }), { kind: "refused", refusal: "stale" });
    const parked = await world.apply(runId, lose);
    t.like(parked, { status: "QUEUED", readiness: "parked", attempt: 1 });
    world.nowMs = parked.dueMs ?? 0;
    await world.apply(runId, { event: "due" });
    const second = await world.claimOne();
    t.is(second.run.attempt, 2);
    await world.apply(runId, { event: "confirm", ...world.lease(second) });
    t.like(await world.apply(runId, lose), { status: "CRASHED" });
    t.is((await world.detail(runId)).failure?.code, "TASK_RUN_STALLED_EXECUTING");
    t.deepEqual(
      (await world.detail(runId)).attempts.map(({ outcome }) => outcome),
      ["CRASHED", "CRASHED"],
    );
  });

  promise(
    "RUN-7: an interrupted run is unbound, keeps its order and its attempt is not counted; the 20th crashes",
    async (t, world) => {
      const runId = await world.trigger();
      world.nowMs += 1;
      await world.trigger();
      await world.open();
      for (let count = 1; count <= 20; count += 1) {
        const { run } = await world.claimOne();
        t.is(run.id, runId);
        t.is(run.attempt, 1);
        const lease = world.lease({ run });
        const next = await world.apply(runId, { event: "interrupt", ...lease, codeEnded: true, interruptionsMax: 20 });
        t.is(next.status, count < 20 ? "QUEUED" : "CRASHED");
      }
    },
  );

  promise("RUN-7: a WAITING and a bound run are interrupted to any worker", async (t, world) => {
    const [a, b] = await world.triggerMany(2);
    if (a === undefined || b === undefined) return t.fail();
    await world.open();
    const leases = [];
    for (const taken of await world.claim(2)) {
      const run = await world.apply(taken.run.id, { event: "wait", ...world.lease(taken), waitingFor: "w" });
      leases.push(world.lease({ run }));
    }
    await world.apply(b, { event: "wake", waitingFor: "w" });
    for (const [index, runId] of [a, b].entries()) {
      const lease = leases[index];
      if (lease === undefined) return t.fail();
      await world.apply(runId, { event: "interrupt", ...lease, codeEnded: true, interruptionsMax: 20 });
    }
    const other = await world.open({ id: "session_00000000000000000000000002" });
    t.deepEqual(ids(await world.claim(10, { sessionId: other })), [a, b]);
    t.like(await world.queue("task/job"), { running: 2, queued: 0 });
  });

  promise("a wake for something else, and a second one, are refused", async (t, world) => {
    const first = await claimed(world);
    await world.apply(first.run.id, { event: "wait", ...world.lease(first), waitingFor: "w" });
    t.like(await world.change(first.run.id, { event: "wake", waitingFor: "x" }), { kind: "refused" });
    await world.apply(first.run.id, { event: "wake", waitingFor: "w" });
    t.like(await world.change(first.run.id, { event: "wake", waitingFor: "w" }), {
      kind: "refused",
      refusal: "illegal",
    });
  });

  promise("DUR-3: the clock times a run out only past its deadline, and its code keeps the slot", async (t, world) => {
    const runId = await world.trigger({ maxDurationSeconds: 5, queueLimit: 1 });
    await world.open();
    await world.claimOne();
    const timeOut = { event: "timeOut", fence: undefined, sessionId: undefined, codeEnded: false } as const;
    world.nowMs += 4_999;
    t.like(await world.change(runId, timeOut), { kind: "refused", refusal: "notYet" });
    world.nowMs += 1;
    t.like(await world.change(runId, timeOut), { kind: "applied", isClaimable: false });
    t.is(await running(world), 1);
    t.is((await world.detail(runId)).failure?.code, "MAX_DURATION_EXCEEDED");
    t.is(await world.store.endLingering({ kind: "run", environment: "dev", runId, fence: 1 }), 1);
    t.is(await running(world), 0);
  });

  promise("TTL-2: a run expires after its ttl, and never once it has started", async (t, world) => {
    const ttl = { ms: 1_000, text: "1s" };
    const started = await world.trigger({ ttl });
    await world.open();
    await world.claimOne();
    const waiting = await world.trigger({ ttl });
    t.like(await world.change(waiting, { event: "expire" }), { kind: "refused", refusal: "notYet" });
    world.nowMs += 1_000;
    t.like(await world.apply(waiting, { event: "expire" }), { status: "EXPIRED", expiredAtMs: world.nowMs });
    t.like(await world.change(started, { event: "expire" }), { kind: "refused", refusal: "illegal" });
    t.deepEqual(await world.claim(10), []);
    t.is((await world.queue("task/job")).queued, 0);
  });

  const PLACES: readonly (readonly [string, (world: World) => Promise<string>, Partial<RunState>])[] = [
    ["DELAYED", (world) => world.trigger({ delayedUntilMs: world.nowMs + 1_000 }), { status: "DELAYED" }],
    ["QUEUED waiting", (world) => world.trigger(), { readiness: "waiting" }],
    [
      "QUEUED parked",
      async (world) => {
        const taken = await claimed(world);
        const change = { event: "retryLater", ...world.lease(taken), failure: FAILURE, delayMs: 1_000 } as const;
        return (await world.apply(taken.run.id, change)).id;
      },
      { readiness: "parked" },
    ],
    [
      "WAITING",
      async (world) => {
        const taken = await claimed(world);
        return (await world.apply(taken.run.id, { event: "wait", ...world.lease(taken), waitingFor: "w" })).id;
      },
      { status: "WAITING" },
    ],
    [
      "QUEUED bound",
      async (world) => {
        const taken = await claimed(world);
        await world.apply(taken.run.id, { event: "wait", ...world.lease(taken), waitingFor: "w" });
        return (await world.apply(taken.run.id, { event: "wake", waitingFor: "w" })).id;
      },
      { readiness: "bound" },
    ],
  ];
  for (const [title, reach, before] of PLACES) {
    promise(`CAN-2, CAN-7: a ${title} run is cancelled at once and never starts`, async (t, world) => {
      const runId = await reach(world);
      t.like(await world.state(runId), before);
      const canceled = await world.apply(runId, { event: "cancel", reason: "enough" });
      t.like(canceled, { status: "CANCELED", readiness: undefined, dueMs: undefined });
      t.is((await world.detail(runId)).failure?.message, "enough");
      await world.open();
      t.deepEqual(await world.claim(10), []);
      t.deepEqual(await world.store.findRuns({ kind: "due", nowMs: world.nowMs + 1e9, limit: 10 }), []);
      t.like(await world.queue("task/job"), { running: 0, queued: 0 });
      t.like(await world.change(runId, { event: "cancel", reason: "again" }), { kind: "refused", refusal: "illegal" });
    });
  }

  promise("CAN-8: of a cancel and a completion in one moment exactly one wins", async (t, world) => {
    const runs = await world.triggerMany(20);
    await world.open();
    const taken = await world.claim(20);
    const results = await Promise.all(
      taken.flatMap((one, index) => {
        const cancel = world.change(one.run.id, { event: "cancel", reason: "" });
        const complete = world.change(one.run.id, { event: "complete", ...world.lease(one), output: undefined });
        return index % 2 === 0 ? [cancel, complete] : [complete, cancel];
      }),
    );
    t.is(results.filter(({ kind }) => kind === "applied").length, runs.length);
    for (const run of await world.store.readRuns(runs.map((runId) => ({ environment: "dev", runId })))) {
      t.true(run?.status === "CANCELED" || run?.status === "COMPLETED");
    }
  });

  promise("several changes of one run in one call apply in order, and each answers for itself", async (t, world) => {
    const first = await claimed(world);
    const lease = world.lease(first);
    const changes = [
      world.changeOf(first.run.id, { event: "confirm", ...lease }),
      world.changeOf(world.id(), { event: "cancel", reason: "" }),
      world.changeOf(first.run.id, { event: "complete", ...lease, output: undefined }),
      world.changeOf(first.run.id, { event: "cancel", reason: "" }),
    ];
    const results = await world.store.changeRuns(changes);
    t.deepEqual(
      results.map((result) => (result.kind === "applied" ? result.run.status : result.refusal)),
      ["EXECUTING", "unknown", "COMPLETED", "illegal"],
    );
  });

  promise("an engine failure is read back as it was stored", async (t, world) => {
    const first = await claimed(world);
    const failure = { ...engineFailure("HANDLE_ERROR_ERROR", "oh"), cause: FAILURE };
    await world.apply(first.run.id, { event: "fail", ...world.lease(first), failure, status: "CRASHED" });
    t.deepEqual((await world.detail(first.run.id)).failure, failure);
  });
}
