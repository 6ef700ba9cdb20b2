/** Batches (section 11): whole or not at all, found again by their request and their key, and done when all their runs are. */
import type { BatchOpener } from "../../server/domain/batch.js";
import { batchRunId, derivedId } from "../../server/domain/ids.js";
import type { InsertBatch, InsertBatchResult } from "../../server/store/store.js";
import { debounced } from "./debounce-promises.js";
import type { Promises } from "./store-contract.js";
import { DAY_MS, hashOf, only, type RunOptions, SESSION, type World } from "./world.js";

export interface BatchOptions {
  readonly request?: string;
  readonly key?: string;
  readonly isStreamed?: boolean;
  readonly isAwaited?: boolean;
  readonly opener?: BatchOpener;
  readonly chunk?: InsertBatch["chunk"];
}

export function batchOf(world: World, items: readonly RunOptions[], options: BatchOptions = {}): InsertBatch {
  const { environment, nowMs } = world;
  const { request = "r", chunk = { index: 0, firstIndex: 0 }, isStreamed = false, isAwaited = false } = options;
  const id = derivedId("batch", environment, "batch", request);
  return {
    batch: {
      environment,
      id,
      isStreamed,
      isAwaited,
      key: options.key === undefined ? undefined : world.key(`batch ${options.key}`),
      opener: options.opener,
      nowMs,
    },
    chunk,
    items: items.map((item, at) => {
      const index = chunk.firstIndex + at;
      return world.item({ ...item, id: batchRunId(environment, request, index), batch: { id, index } });
    }),
    request: { hash: hashOf(request), expiresAtMs: nowMs + DAY_MS },
    nowMs,
  };
}

/** A batch that must be new. */
export async function created(
  world: World,
  items: readonly RunOptions[],
  options: BatchOptions = {},
): Promise<Extract<InsertBatchResult, { readonly kind: "created" }>> {
  const result = await world.store.insertBatch(batchOf(world, items, options));
  if (result.kind !== "created") throw new Error(`the batch was ${result.kind}`);
  return result;
}

async function view(world: World, batchId: string) {
  const found = only(await world.store.readBatches([{ environment: world.environment, batchId }]));
  if (found === undefined) throw new Error(`${batchId} is unknown`);
  return found;
}

/** Claims and completes everything. */
async function drain(world: World): Promise<void> {
  for (;;) {
    const claimed = await world.claim(100);
    if (claimed.length === 0) return;
    for (const run of claimed) await world.complete(run);
  }
}

const JOBS = (count: number): readonly RunOptions[] => Array.from({ length: count }, () => ({}));

export function batchPromises(promise: Promises): void {
  promise(
    "DEB-10: items of a batch push one run, the last one's payload in it, and none of them is cached",
    async (t, world) => {
      const batch = batchOf(
        world,
        [0, 1, 2].map((at) => ({ spec: new Uint8Array([at]) })),
      );
      const items = batch.items.map((item) => {
        return debounced(world, { ...item.run, spec: item.spec, delayedUntilMs: world.nowMs + 5_000 });
      });
      const result = await world.store.insertBatch({ ...batch, items });
      if (result.kind !== "created") throw new Error(`the batch was ${result.kind}`);
      t.is(new Set(result.items.map(({ runId }) => runId)).size, 1);
      t.deepEqual(
        result.items.map(({ isCached }) => isCached),
        [false, false, false],
      );
      const [item] = result.items;
      t.deepEqual([...(await world.detail(item?.runId ?? "")).spec], [2]);
      t.is((await world.list()).length, 1);
    },
  );

  promise("BAT-2, BAT-7: runs are created in the order of the items, and claimed in it", async (t, world) => {
    const { items, batch, created: runs } = await created(world, JOBS(30));
    t.deepEqual(
      items.map(({ index }) => index),
      items.map((_, index) => index),
    );
    t.deepEqual(
      runs.map(({ id }) => id),
      items.map(({ runId }) => runId),
    );
    t.like(batch, { itemCount: 30, chunkCount: 1, isStreamed: false });
    t.is(batch.sealedAtMs, world.nowMs);
    await world.open();
    t.deepEqual(
      (await world.claim(30)).map(({ run }) => run.id),
      items.map(({ runId }) => runId),
    );
  });

  promise("BAT-13: members are found by their batch, and say which place they have in it", async (t, world) => {
    const { batch, items } = await created(world, JOBS(3));
    await world.trigger();
    t.deepEqual(
      [...(await world.list({ batchId: batch.id }))].toReversed(),
      items.map(({ runId }) => runId),
    );
    t.like(await world.state(items[2]?.runId ?? ""), { batchId: batch.id, batchIndex: 2 });
  });

  promise("REQ-1: a repeat finds its own batch, and makes no second run", async (t, world) => {
    const first = await created(world, JOBS(5));
    const again = await world.store.insertBatch(batchOf(world, JOBS(5)));
    t.like(again, { kind: "repeat" });
    t.deepEqual(await positions(world, first.batch.id), first.items);
    t.is((await world.list()).length, 5);
    t.is((await world.queue("task/job")).queued, 5);
  });

  promise("REQ-1: of concurrent repeats of one batch one creates it", async (t, world) => {
    const results = await Promise.all(
      Array.from({ length: 8 }, () => world.store.insertBatch(batchOf(world, JOBS(4), { key: "k" }))),
    );
    t.is(results.filter(({ kind }) => kind === "created").length, 1);
    t.is(results.filter(({ kind }) => kind === "repeat").length, 7);
    t.is((await world.list()).length, 4);
  });

  promise("BAT-20: of concurrent batches with one key one is created, and all get it", async (t, world) => {
    const results = await Promise.all(
      Array.from({ length: 6 }, (_, index) =>
        world.store.insertBatch(batchOf(world, JOBS(3), { key: "k", request: `r${index}` })),
      ),
    );
    t.is(results.filter(({ kind }) => kind === "created").length, 1);
    t.is(results.filter(({ kind }) => kind === "cached").length, 5);
    t.is(new Set(results.map((result) => ("batch" in result ? result.batch?.id : ""))).size, 1);
    t.is((await world.list()).length, 3);
  });

  promise(
    "BAT-20, REQ-1: a hit on a batch key is answered again as a hit, also when the window is over",
    async (t, world) => {
      const { batch } = await created(world, JOBS(1), { key: "k" });
      const hit = batchOf(world, JOBS(1), { key: "k", request: "other" });
      t.like(await world.store.insertBatch(hit), { kind: "cached", batch: { id: batch.id } });
      world.nowMs += DAY_MS;
      t.like(await world.store.insertBatch({ ...hit, nowMs: world.nowMs - 1 }), {
        kind: "cached",
        batch: { id: batch.id },
      });
      t.is((await created(world, JOBS(1), { key: "k", request: "third" })).batch.key?.text, "batch k");
      t.is((await world.list()).length, 2);
    },
  );

  promise("IDM-17, IDM-26: hits of items are positions, on runs before and on earlier positions", async (t, world) => {
    const holder = await world.trigger({ key: world.key("a") });
    const failed = await world.trigger({ key: world.key("f"), ttl: { ms: 1, text: "1ms" } });
    world.nowMs += 10;
    await world.apply(failed, { event: "expire" });
    const { items: made, created: runs } = await created(world, [
      { key: world.key("a") },
      { key: world.key("b") },
      { key: world.key("b") },
      { key: world.key("f") },
    ]);
    t.deepEqual(
      made.map(({ isCached }) => isCached),
      [true, false, true, false],
    );
    t.is(made[0]?.runId, holder);
    t.is(made[2]?.runId, made[1]?.runId);
    t.not(made[3]?.runId, failed);
    t.is((await world.state(failed)).key, undefined, "IDM-25: the failed run lost its key");
    t.is(runs.length, 2);
    t.is(made[1]?.keyText, "b");
  });

  promise(
    "BAT-8, QUE-10: a queue without room for all refuses the batch, and nothing of it is left",
    async (t, world) => {
      await world.trigger({ queue: "q", queueSizeMax: 3 });
      const full = batchOf(
        world,
        JOBS(3).map((_, index) => ({ queue: "q", queueSizeMax: 3, key: world.key(`k${index}`) })),
        { key: "b" },
      );
      t.deepEqual(await world.store.insertBatch(full), { kind: "queueFull", index: 2, size: 3 });
      t.is(only(await world.store.readBatches([{ environment: "dev", batchId: full.batch.id }])), undefined);
      t.is((await world.list()).length, 1);
      t.is((await world.insert({ key: world.key("k0") })).kind, "created", "no key was left behind");
      const fits = batchOf(
        world,
        [
          { queue: "q", queueSizeMax: 3 },
          { queue: "q", queueSizeMax: 3 },
        ],
        { key: "b" },
      );
      t.is((await world.store.insertBatch(fits)).kind, "created");
    },
  );

  promise("QUE-11: a declared queue ignores the limit of an item, and says so once", async (t, world) => {
    await world.register({ id: "job", queueName: "q", concurrencyLimit: 3 });
    const { ignoredLimits } = await created(world, [
      { queue: "q", queueLimit: 9 },
      { queue: "q", queueLimit: 8 },
    ]);
    t.deepEqual(ignoredLimits, ["q"]);
    t.is((await world.queue("q")).baseLimit, 3);
  });

  promise("BAT-7: runs of a batch obey the limit of their queue", async (t, world) => {
    await created(
      world,
      JOBS(5).map(() => ({ queue: "q", queueLimit: 2 })),
    );
    await world.open();
    const claimed = await world.claim(10);
    t.is(claimed.length, 2);
    for (const run of claimed) await world.complete(run);
    t.is((await world.claim(10)).length, 2);
  });

  promise("BAT-9, BAT-12: a batch has a live run until the last one is final", async (t, world) => {
    const { batch, items: made } = await created(world, JOBS(3));
    await world.open();
    const [first, second] = await world.claim(2);
    if (first === undefined || second === undefined) throw new Error("two were to be claimed");
    await world.complete(first);
    await world.apply(made[2]?.runId ?? "", { event: "cancel", reason: "" });
    t.true((await view(world, batch.id)).hasLiveRun);
    await world.complete(second);
    t.false((await view(world, batch.id)).hasLiveRun);
  });

  promise("BAT-11: a live run that a position hit counts as a member; a finished one is done", async (t, world) => {
    const live = await world.trigger({ key: world.key("live") });
    const over = await world.trigger({ key: world.key("over") });
    await world.apply(over, { event: "cancel", reason: "" });
    const { batch } = await created(world, [{ key: world.key("live") }, { key: world.key("over") }]);
    t.true((await view(world, batch.id)).hasLiveRun);
    await world.apply(live, { event: "cancel", reason: "" });
    t.false((await view(world, batch.id)).hasLiveRun);
    const { batch: done } = await created(world, [{ key: world.key("over") }], { request: "s" });
    t.false((await view(world, done.id)).hasLiveRun);
  });

  promise(
    "design 9: an awaited batch is told of when its last run, made or hit, has ended; another never",
    async (t, world) => {
      const { environment } = world;
      const hit = await world.trigger({ key: world.key("h"), queue: "elsewhere" });
      const { batch, items: made } = await created(world, [{}, { key: world.key("h") }], { isAwaited: true });
      const plain = await created(world, [{ key: world.key("h") }], { request: "plain" });
      const own = made[0]?.runId ?? "";
      const refs = [own, hit].map((runId) => ({ environment, runId }));
      t.deepEqual(await world.store.doneBatches(refs), []);
      await world.apply(own, { event: "cancel", reason: "" });
      t.deepEqual(await world.store.doneBatches(refs), []);
      await world.apply(hit, { event: "cancel", reason: "" });
      t.deepEqual(await world.store.doneBatches([{ environment, runId: hit }]), [{ environment, batchId: batch.id }]);
      t.deepEqual(await world.store.doneBatches([{ environment, runId: own }]), [{ environment, batchId: batch.id }]);
      t.false((await view(world, plain.batch.id)).hasLiveRun);
    },
  );

  promise("BAT-22: a batch can be awaited later, by its own environment only", async (t, world) => {
    const { environment } = world;
    const { batch, items: made } = await created(world, JOBS(1));
    const { batch: other } = await created(world, JOBS(1), { request: "other" });
    const run = { environment, runId: made[0]?.runId ?? "" };
    await world.apply(run.runId, { event: "cancel", reason: "" });
    await world.store.awaitBatches([{ environment: "elsewhere", batchId: batch.id }]);
    t.deepEqual(await world.store.doneBatches([run]), []);
    await world.store.awaitBatches([{ environment, batchId: batch.id }]);
    t.deepEqual(await world.store.doneBatches([run]), [{ environment, batchId: batch.id }]);
    t.true((await view(world, batch.id)).batch.isAwaited);
    t.false((await view(world, other.id)).batch.isAwaited);
  });

  promise("BAT-25: positions are read from anywhere, across chunks, with their tasks and keys", async (t, world) => {
    const options = { isStreamed: true };
    await created(world, [{ taskId: "a" }, { taskId: "b", key: world.key("x") }], options);
    await created(world, [{ taskId: "b" }], { ...options, chunk: { index: 1, firstIndex: 2 } });
    const { batch } = await created(world, [{ taskId: "c" }], { ...options, chunk: { index: 2, firstIndex: 3 } });
    const all = await positions(world, batch.id);
    t.deepEqual(
      all.map(({ index, taskId, keyText }) => [index, taskId, keyText]),
      [
        [0, "a", undefined],
        [1, "b", "x"],
        [2, "b", undefined],
        [3, "c", undefined],
      ],
    );
    const page = await world.store.readBatchItems({ environment: "dev", batchId: batch.id, fromIndex: 1, limit: 2 });
    t.deepEqual(page, all.slice(1, 3));
    t.deepEqual(
      await world.store.readBatchItems({ environment: "dev", batchId: batch.id, fromIndex: 4, limit: 2 }),
      [],
    );
  });

  promise("BAT-16: a known chunk changes nothing, and a gap is refused", async (t, world) => {
    const options = { isStreamed: true };
    const { batch } = await created(world, JOBS(2), options);
    t.like(await world.store.insertBatch(batchOf(world, JOBS(2), options)), { kind: "repeat" });
    const gap = batchOf(world, JOBS(1), { ...options, chunk: { index: 2, firstIndex: 2 } });
    t.like(await world.store.insertBatch(gap), { kind: "outOfOrder", batch: { chunkCount: 1, itemCount: 2 } });
    const misplaced = batchOf(world, JOBS(1), { ...options, chunk: { index: 1, firstIndex: 5 } });
    t.like(await world.store.insertBatch(misplaced), { kind: "outOfOrder" });
    const unknown = batchOf(world, JOBS(1), { ...options, request: "new", chunk: { index: 1, firstIndex: 2 } });
    t.deepEqual(await world.store.insertBatch(unknown), { kind: "outOfOrder", batch: undefined });
    t.is((await world.list()).length, 2);
    t.is((await view(world, batch.id)).batch.sealedAtMs, undefined);
  });

  promise("BAT-16: of concurrent sendings of one chunk one creates it", async (t, world) => {
    const options = { isStreamed: true };
    const results = await Promise.all(
      Array.from({ length: 6 }, () => world.store.insertBatch(batchOf(world, JOBS(3), options))),
    );
    t.is(results.filter(({ kind }) => kind === "created").length, 1);
    t.is(results.filter(({ kind }) => kind === "repeat").length, 5);
    t.is((await world.list()).length, 3);
  });

  promise("BAT-16: a batch can be opened without items, and is then found again", async (t, world) => {
    const open = batchOf(world, [], { isStreamed: true, key: "k" });
    t.like(await world.store.insertBatch(open), { kind: "created", batch: { itemCount: 0, chunkCount: 0 } });
    t.like(await world.store.insertBatch(open), { kind: "repeat", batch: { itemCount: 0 } });
    t.is((await created(world, JOBS(1), { isStreamed: true, key: "k" })).batch.chunkCount, 1);
  });

  promise("BAT-16, BAT-26: a sealed batch takes no new chunk; sealing it again changes nothing", async (t, world) => {
    const options = { isStreamed: true, key: "k" };
    const { batch } = await created(world, JOBS(1), options);
    world.nowMs += 1_000;
    const sealing = seal(world, batch.id);
    t.like(only(await world.store.sealBatches([sealing])), { sealedAtMs: world.nowMs, failure: undefined });
    const late = batchOf(world, JOBS(1), { ...options, chunk: { index: 1, firstIndex: 1 } });
    t.like(await world.store.insertBatch(late), { kind: "sealed" });
    t.like(await world.store.insertBatch(batchOf(world, JOBS(1), options)), { kind: "repeat" });
    const failure = { message: "no", code: undefined, index: undefined, taskId: undefined };
    t.like(only(await world.store.sealBatches([{ ...sealing, failure, nowMs: world.nowMs + 5 }])), {
      sealedAtMs: world.nowMs,
      failure: undefined,
    });
    t.is(only(await world.store.sealBatches([{ ...sealing, environment: "prod" }])), undefined);
    t.truthy((await view(world, batch.id)).batch.key, "BAT-21: it keeps its key");
  });

  promise("BAT-21: a batch that ended early, or without items, loses its key", async (t, world) => {
    const early = await created(world, JOBS(1), { isStreamed: true, key: "k" });
    const failure = { message: "broken", code: "X", index: 7, taskId: "job" };
    t.deepEqual(only(await world.store.sealBatches([{ ...seal(world, early.batch.id), failure }]))?.failure, failure);
    t.is((await view(world, early.batch.id)).batch.key, undefined);
    const empty = await created(world, [], { isStreamed: true, key: "k", request: "second" });
    await world.store.sealBatches([seal(world, empty.batch.id)]);
    t.is((await created(world, JOBS(1), { key: "k", request: "third" })).batch.key?.text, "batch k");
  });

  promise(
    "BAT-18: an open batch without a new chunk is found by its time, and sealed only if none came since",
    async (t, world) => {
      const options = { isStreamed: true };
      const { batch } = await created(world, JOBS(1), options);
      await created(world, JOBS(1), { request: "sealed" });
      const foundAtMs = world.nowMs;
      t.deepEqual(await idle(world, foundAtMs - 1), []);
      t.deepEqual(await idle(world, foundAtMs), [batch.id]);
      world.nowMs += 10;
      await created(world, JOBS(1), { ...options, chunk: { index: 1, firstIndex: 1 } });
      const late = { ...seal(world, batch.id), idleSinceMs: foundAtMs };
      t.is(only(await world.store.sealBatches([late]))?.sealedAtMs, undefined);
      t.is(only(await world.store.sealBatches([{ ...late, idleSinceMs: world.nowMs }]))?.sealedAtMs, world.nowMs);
      t.deepEqual(await idle(world, world.nowMs), []);
    },
  );

  promise("BAT-18: an open batch is found when the attempt that opened it is over", async (t, world) => {
    await world.trigger();
    await world.open();
    const claimed = await world.claimOne();
    const { id: runId, attempt: number, attemptStartedAtMs } = claimed.run;
    const opener = { runId, number, sessionId: SESSION, startedAtMs: attemptStartedAtMs ?? 0 };
    const { batch } = await created(world, JOBS(1), { isStreamed: true, opener });
    t.deepEqual(await orphaned(world), []);
    world.nowMs += 5;
    await world.apply(runId, { event: "interrupt", ...world.lease(claimed), codeEnded: true, interruptionsMax: 20 });
    t.deepEqual(await orphaned(world), [batch.id]);
    await world.claim(10);
    t.like(await world.state(runId), { attempt: number, status: "EXECUTING" });
    t.deepEqual(await orphaned(world), [batch.id], "the attempt that follows has the same number, and is another");
    await world.store.sealBatches([seal(world, batch.id)]);
    t.deepEqual(await orphaned(world), []);
  });

  promise("RUN-9: a batch is purged after its runs, its key and its time", async (t, world) => {
    const { batch } = await created(world, JOBS(2), { key: "k" });
    await world.open();
    await drain(world);
    const purge = async (atMs: number) =>
      world.store.purge({ nowMs: atMs, finishedRunsKeptMs: 10 * DAY_MS, limit: 100 });
    await purge(world.nowMs + 9 * DAY_MS);
    t.is((await view(world, batch.id)).batch.itemCount, 2);
    const later = world.nowMs + 12 * DAY_MS;
    await purge(later);
    await purge(later + 2 * DAY_MS);
    t.is((await world.list()).length, 0);
    t.is(only(await world.store.readBatches([{ environment: "dev", batchId: batch.id }])), undefined);
    t.deepEqual(await positions(world, batch.id), []);
  });

  promise("BAT-27: a batch of another environment is unknown", async (t, world) => {
    const { batch } = await created(world, JOBS(1));
    t.is(only(await world.store.readBatches([{ environment: "prod", batchId: batch.id }])), undefined);
    t.deepEqual(
      await world.store.readBatchItems({ environment: "prod", batchId: batch.id, fromIndex: 0, limit: 9 }),
      [],
    );
  });

  promise("large specs, metadata and tags of members are kept", async (t, world) => {
    const spec = new Uint8Array(100_000).fill(7);
    const { items: made } = await created(world, [{ spec, metadataJson: '{"a":1}', tags: ["x"] }, {}]);
    const detail = await world.detail(made[0]?.runId ?? "");
    t.deepEqual(new Uint8Array(detail.spec), spec);
    t.is(detail.metadataJson, '{"a":1}');
    t.deepEqual(await world.list({ tags: ["x"] }), [made[0]?.runId ?? ""]);
  });

  promise("another request for the id of a batch is an internal error, and changes nothing", async (t, world) => {
    await created(world, JOBS(1));
    const clash = { ...batchOf(world, JOBS(1)), request: { hash: hashOf("x"), expiresAtMs: world.nowMs + 1 } };
    await t.throwsAsync(world.store.insertBatch(clash), { message: /not made by this request/ });
    t.is((await world.list()).length, 1);
  });
}

function seal(world: World, batchId: string) {
  const { environment, nowMs } = world;
  return { environment, batchId, failure: undefined, idleSinceMs: undefined, nowMs };
}

async function positions(world: World, batchId: string) {
  return world.store.readBatchItems({ environment: world.environment, batchId, fromIndex: 0, limit: 1_000 });
}

async function idle(world: World, untilMs: number): Promise<readonly string[]> {
  return (await world.store.findBatches({ kind: "idle", untilMs, limit: 10 })).map(({ id }) => id);
}

async function orphaned(world: World): Promise<readonly string[]> {
  return (await world.store.findBatches({ kind: "orphaned", limit: 10 })).map(({ id }) => id);
}
