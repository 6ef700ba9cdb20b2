/** Waits: who waits for what, what came of it, and waitpoints (design 9). */
import { newId } from "../../server/domain/ids.js";
import { TODO } from "../../server/domain/run.js";
import { targetOf, type Waitpoint } from "../../server/domain/waitpoint.js";
import type { InsertWaitpointResult, TokenFilter } from "../../server/store/store.js";
import type { Promises } from "./store-contract.js";
import { DAY_MS, hashOf, only, type World } from "./world.js";

const SECOND = 1_000;
const HOUR = 3_600 * SECOND;

let serial = 0;

function waitpoint(world: World, options: Partial<Waitpoint> = {}): Waitpoint {
  serial += 1;
  const random = new Uint8Array(10);
  new DataView(random.buffer).setUint32(0, serial);
  return {
    environment: world.environment,
    id: newId("waitpoint", world.nowMs, random),
    kind: "token",
    status: "WAITING",
    createdAtMs: world.nowMs,
    timeoutAtMs: world.nowMs + 10 * SECOND,
    completedAtMs: undefined,
    output: undefined,
    key: undefined,
    tags: [],
    ...options,
  };
}

async function insert(world: World, made: Waitpoint, requestHash?: string): Promise<InsertWaitpointResult> {
  const request = requestHash === undefined ? undefined : { hash: requestHash, expiresAtMs: world.nowMs + DAY_MS };
  return only(await world.store.insertWaitpoints([{ waitpoint: made, request, nowMs: world.nowMs }]));
}

async function read(world: World, waitpointId: string): Promise<Waitpoint | undefined> {
  return only(await world.store.readWaitpoints([{ environment: world.environment, waitpointId }]));
}

async function end(world: World, waitpointId: string, output?: Uint8Array) {
  const completion = { kind: "complete", output, nowMs: world.nowMs } as const;
  return only(await world.store.endWaitpoints([{ environment: world.environment, waitpointId, end: completion }]));
}

export function waitPromises(promise: Promises): void {
  promise("IDM-16, QUE-23: those who wait for a run are found, and nobody else", async (t, world) => {
    await world.triggerMany(4);
    await world.open();
    const [a, b, c, d] = await world.claim(4);
    if (a === undefined || b === undefined || c === undefined || d === undefined) return t.fail();
    const [one, two] = [await world.trigger({ awaited: true }), await world.trigger({ awaited: true })];
    for (const [claimed, waitingFor] of [
      [a, one],
      [b, one],
      [c, two],
    ] as const) {
      await world.apply(claimed.run.id, { event: "wait", ...world.lease(claimed), waitingFor });
    }
    const query = { kind: "waiting", environment: world.environment, limit: 10 } as const;
    const found = async (waitingFor: readonly string[], environment = world.environment) =>
      (await world.store.findRuns({ ...query, environment, waitingFor })).map(({ id }) => id).toSorted();
    t.deepEqual(await found([one]), [a.run.id, b.run.id].toSorted());
    t.deepEqual(await found([one, two]), [a.run.id, b.run.id, c.run.id].toSorted());
    t.deepEqual(await found([d.run.id]), []);
    t.deepEqual(await found([one], "prod"), []);
    await world.apply(a.run.id, { event: "wake", waitingFor: one });
    t.deepEqual(await found([one]), [b.run.id]);
    t.is((await world.store.findRuns({ ...query, waitingFor: [one, two], limit: 1 })).length, 1);
  });

  promise(
    "design 9: a wait and the end of what is awaited leave marks, which are found until they are settled",
    async (t, world) => {
      const parentId = await world.trigger();
      await world.open();
      const parent = await world.claimOne();
      const childId = await world.trigger({ awaited: true });
      const other = await world.trigger();
      t.like(await world.change(childId, { event: "await" }), { kind: "refused", refusal: "unchanged" });
      const marked = await world.apply(other, { event: "await" });
      t.true(marked.awaited && marked.version === 2);
      const waiting = await world.apply(parentId, { event: "wait", ...world.lease(parent), waitingFor: childId });
      t.is(waiting.todo, TODO.watch);
      const ended = await world.apply(childId, { event: "cancel", reason: "" });
      t.is(ended.todo, TODO.wakeWaiting | TODO.cancelChildren);
      t.is((await world.apply(other, { event: "cancel", reason: "" })).todo & TODO.wakeWaiting, TODO.wakeWaiting);
      t.like(await world.change(childId, { event: "await" }), { kind: "refused", refusal: "illegal" });
      const todo = { kind: "todo", untilMs: world.nowMs + SECOND, limit: 10 } as const;
      t.is((await world.store.findRuns(todo)).length, 3);
      t.is((await world.apply(parentId, { event: "wake", waitingFor: childId })).todo, 0, "nothing is left to watch");
      for (const runId of [childId, other]) {
        const { version, todo: bits } = await world.state(runId);
        await world.apply(runId, { event: "settle", bits, version });
      }
      t.is((await world.store.findRuns(todo)).length, 0);
    },
  );

  promise(
    "TAW-10a: the attempt since which waits are re-joined moves with ordinary failures alone",
    async (t, world) => {
      const runId = await world.trigger({ maxAttempts: 9 });
      await world.open();
      const failure = { kind: "error", message: "" } as const;
      const first = await world.claimOne();
      t.is(first.run.rejoinAttempt, undefined);
      const second = await world.apply(runId, { event: "retrySoon", ...world.lease(first), failure, delayMs: 0 });
      t.like(second, { attempt: 2, rejoinAttempt: 2 });
      await world.apply(runId, {
        event: "interrupt",
        ...world.lease({ run: second }),
        codeEnded: true,
        interruptionsMax: 20,
      });
      const third = await world.claimOne();
      t.like(third.run, { attempt: 2, rejoinAttempt: 2 });
      await world.apply(runId, { event: "retryLater", ...world.lease(third), failure, delayMs: SECOND });
      t.like(await world.state(runId), { attempt: 2, rejoinAttempt: 3 });
    },
  );

  promise("RES-1: results of runs are read: output, failure, or neither while they are live", async (t, world) => {
    const [done, failed, live] = await world.triggerMany(3);
    if (done === undefined || failed === undefined || live === undefined) return t.fail();
    await world.open();
    const claimed = await world.claim(2);
    const byId = (runId: string) => claimed.find(({ run }) => run.id === runId);
    const [one, two] = [byId(done), byId(failed)];
    if (one === undefined || two === undefined) return t.fail();
    const output = new Uint8Array([1, 2]);
    await world.apply(done, { event: "complete", ...world.lease(one), output });
    const failure = { kind: "error", message: "oh" } as const;
    await world.apply(failed, { event: "fail", ...world.lease(two), failure, status: "FAILED" });
    const refs = [done, failed, live, "run_00000000000000000000000000"].map((runId) => ({
      environment: world.environment,
      runId,
    }));
    const results = await world.store.readRunResults(refs);
    t.like(results[0], { run: { status: "COMPLETED" }, output, failure: undefined });
    t.like(results[1], { run: { status: "FAILED" }, output: undefined });
    t.is(results[1]?.failure?.message, "oh");
    t.like(results[2], { run: { status: "QUEUED" }, output: undefined, failure: undefined });
    t.is(results[3], undefined);
    const foreign = await world.store.readRunResults([{ environment: "prod", runId: done }]);
    t.deepEqual(foreign, [undefined]);
  });

  promise("WAI-6: a waitpoint is read as it was made; another environment does not know it", async (t, world) => {
    const made = waitpoint(world, { tags: ["a", "b"], key: world.key("k") });
    t.deepEqual(await insert(world, made), { kind: "created", waitpoint: made });
    t.deepEqual(await read(world, made.id), made);
    const foreign = await world.store.readWaitpoints([{ environment: "prod", waitpointId: made.id }]);
    t.deepEqual(foreign, [undefined]);
  });

  promise("REQ-1, WAI-3: a repeat finds its own, a key its holder, until its window is over", async (t, world) => {
    const made = waitpoint(world, { key: world.key("k", HOUR) });
    await insert(world, made, hashOf("r"));
    t.deepEqual(await insert(world, made, hashOf("r")), { kind: "repeat", waitpoint: made });
    const other = waitpoint(world, { key: world.key("k", HOUR) });
    t.deepEqual(await insert(world, other), { kind: "cached", waitpoint: made });
    await end(world, made.id);
    t.is((await insert(world, other)).kind, "cached", "a finished one keeps its key");
    world.nowMs += HOUR;
    const third = waitpoint(world, { key: world.key("k", HOUR) });
    t.like(await insert(world, third), { kind: "created", waitpoint: { id: third.id } });
    t.is((await insert(world, waitpoint(world, { key: world.key("k", HOUR) }))).waitpoint.id, third.id);
  });

  promise("IDM-12: concurrent callers with one key get one waitpoint", async (t, world) => {
    const results = await Promise.all(
      Array.from({ length: 8 }, () => insert(world, waitpoint(world, { key: world.key("k") }))),
    );
    t.is(new Set(results.map(({ waitpoint: { id } }) => id)).size, 1);
    t.is(results.filter(({ kind }) => kind === "created").length, 1);
  });

  promise("WAI-7: of completions at once one is applied; its data stays", async (t, world) => {
    const made = waitpoint(world);
    await insert(world, made);
    const results = await Promise.all([1, 2, 3].map((byte) => end(world, made.id, new Uint8Array([byte]))));
    const applied = results.filter(({ isApplied }) => isApplied);
    t.is(applied.length, 1);
    const stored = await read(world, made.id);
    t.deepEqual(stored, applied[0]?.waitpoint);
    t.like(stored, { status: "COMPLETED", completedAtMs: world.nowMs });
    for (const { waitpoint: seen } of results) t.deepEqual(seen?.output, stored?.output);
    t.deepEqual(await end(world, "waitpoint_00000000000000000000000000"), { isApplied: false, waitpoint: undefined });
  });

  promise(
    "WAI-1, WAI-8: what is due is found and ended by its time, not before; from then on nothing completes it",
    async (t, world) => {
      const token = waitpoint(world);
      const time = waitpoint(world, { kind: "time", timeoutAtMs: world.nowMs + 5 * SECOND });
      await world.store.insertWaitpoints(
        [token, time].map((made) => ({ waitpoint: made, request: undefined, nowMs: world.nowMs })),
      );
      const due = async () =>
        (await world.store.findWaitpoints({ kind: "due", nowMs: world.nowMs, limit: 10 })).map(({ id }) => id);
      const timeout = (waitpointId: string) =>
        world.store.endWaitpoints([
          { environment: world.environment, waitpointId, end: { kind: "timeout", nowMs: world.nowMs } },
        ]);
      t.deepEqual(await due(), []);
      t.like(only(await timeout(time.id)), { isApplied: false });
      t.like(await end(world, time.id), { isApplied: false }, "an instant is completed by nobody");
      world.nowMs += 5 * SECOND;
      t.deepEqual(await due(), [time.id]);
      t.like(only(await timeout(time.id)), { isApplied: true, waitpoint: { status: "COMPLETED" } });
      world.nowMs += 5 * SECOND;
      t.deepEqual(await due(), [token.id]);
      t.like(await end(world, token.id, new Uint8Array([1])), { isApplied: true, waitpoint: { status: "TIMED_OUT" } });
      t.is((await read(world, token.id))?.output, undefined);
      t.deepEqual(await due(), []);
      const owing = { kind: "owing", untilMs: world.nowMs, limit: 10 } as const;
      t.deepEqual(
        (await world.store.findWaitpoints(owing)).map(({ id }) => id),
        [time.id, token.id],
      );
      await world.store.settleWaitpoints([{ environment: world.environment, waitpointId: time.id }]);
      t.deepEqual(
        (await world.store.findWaitpoints(owing)).map(({ id }) => id),
        [token.id],
      );
      t.not(targetOf(time), targetOf({ ...time, timeoutAtMs: time.timeoutAtMs + 1 }));
    },
  );

  promise(
    "WAI-11: tokens are listed newest first, each once, in pages both ways; instants are not",
    async (t, world) => {
      const made: Waitpoint[] = [];
      for (let count = 0; count < 6; count += 1) {
        // Two of each millisecond.
        world.nowMs += count % 2;
        const one = waitpoint(world, { tags: count < 3 ? ["early"] : [] });
        made.unshift(one);
        await insert(world, one);
        await insert(world, waitpoint(world, { kind: "time" }));
      }
      const expected = made
        .toSorted((a, b) => b.createdAtMs - a.createdAtMs || (a.id < b.id ? 1 : -1))
        .map(({ id }) => id);
      const list = (filter: TokenFilter, rest: object = {}, limit = 10) =>
        world.store.listTokens({ environment: world.environment, filter, limit, ...rest });
      const idsOf = (page: Awaited<ReturnType<typeof list>>) => page.tokens.map(({ id }) => id);
      t.deepEqual(idsOf(await list({})), expected);
      const first = await list({}, {}, 4);
      t.like(first, { hasOlder: true, hasNewer: false });
      const [last] = first.tokens.slice(-1);
      const after = { createdAtMs: last?.createdAtMs ?? 0, waitpointId: last?.id ?? "" };
      const second = await list({}, { after }, 4);
      t.deepEqual(idsOf(second), expected.slice(4));
      t.like(second, { hasOlder: false, hasNewer: true });
      const [head] = second.tokens;
      const before = { createdAtMs: head?.createdAtMs ?? 0, waitpointId: head?.id ?? "" };
      t.deepEqual(idsOf(await list({}, { before }, 4)), expected.slice(0, 4));
      t.is(idsOf(await list({ tags: ["early"] })).length, 3);
      await end(world, expected[0] ?? "");
      t.deepEqual(idsOf(await list({ statuses: ["COMPLETED"] })), expected.slice(0, 1));
      t.is(idsOf(await list({ statuses: ["WAITING", "COMPLETED"] })).length, 6);
      t.deepEqual(idsOf(await list({ fromMs: world.nowMs + 1 })), []);
      t.deepEqual((await world.store.listTokens({ environment: "prod", filter: {}, limit: 10 })).tokens, []);
    },
  );

  promise(
    "RUN-9: ended waitpoints go after the retention and an hour after their key, waiting ones stay",
    async (t, world) => {
      const [gone, keyed, waiting] = [
        waitpoint(world),
        waitpoint(world, { key: world.key("k", 40 * DAY_MS) }),
        waitpoint(world, { timeoutAtMs: world.nowMs + 400 * DAY_MS }),
      ];
      for (const one of [gone, keyed, waiting]) await insert(world, one);
      for (const one of [gone, keyed]) {
        await end(world, one.id);
        await world.store.settleWaitpoints([{ environment: world.environment, waitpointId: one.id }]);
      }
      const purge = () => world.store.purge({ nowMs: world.nowMs, finishedRunsKeptMs: 30 * DAY_MS, limit: 100 });
      world.nowMs += 31 * DAY_MS;
      await purge();
      t.is(await read(world, gone.id), undefined);
      t.is((await read(world, keyed.id))?.id, keyed.id);
      world.nowMs += 10 * DAY_MS;
      await purge();
      t.is(await read(world, keyed.id), undefined);
      t.is((await read(world, waiting.id))?.status, "WAITING");
    },
  );
}
