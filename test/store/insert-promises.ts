/** New runs and what readers see of them. */
import { queueId } from "../../server/domain/ids.js";
import type { Promises } from "./store-contract.js";
import { hashOf, only, World } from "./world.js";

export function insertPromises(promise: Promises): void {
  promise("RUN-13: a run is read as it was triggered, as soon as its trigger was answered", async (t, world) => {
    const item = world.item({
      taskId: "mail",
      queue: "outgoing",
      concurrencyKey: "tenant-1",
      prioritySeconds: 1.5,
      ttl: { ms: 60_000, text: "1m" },
      maxAttempts: 7,
      maxDurationSeconds: 90,
      key: world.key("order-1"),
      parent: { runId: world.id(), rootRunId: world.id(), depth: 2 },
      replayOf: world.id(),
      triggerFunction: "triggerAndWait",
      isTest: true,
      tags: ["b", "a", "with, comma"],
      metadataJson: '{"a":1}',
      spec: new Uint8Array([9, 8, 7]),
      requestHash: hashOf("request"),
    });
    const result = only(await world.store.insertRuns([item]));
    t.deepEqual(result, { kind: "created", run: item.run, queueLimitIgnored: false });
    t.deepEqual(await world.state(item.run.id), item.run);
    const detail = await world.detail(item.run.id);
    t.deepEqual(detail.run, item.run);
    t.deepEqual([...detail.spec], [9, 8, 7]);
    t.is(detail.metadataJson, '{"a":1}');
    t.is(detail.output, undefined);
    t.is(detail.failure, undefined);
    t.deepEqual(detail.attempts, []);
    t.deepEqual(detail.logs, []);
  });

  promise("RUN-13: a plain run is read as it was triggered", async (t, world) => {
    const item = world.item();
    await world.store.insertRuns([item]);
    t.deepEqual(await world.state(item.run.id), item.run);
    t.is((await world.detail(item.run.id)).metadataJson, undefined);
  });

  promise("PAY-3: a large spec comes back whole, to readers and to workers", async (t, world) => {
    const spec = new Uint8Array(600_000).fill(7);
    const runId = await world.trigger({ spec });
    t.deepEqual((await world.detail(runId)).spec, spec);
    await world.open();
    const claimed = await world.claimOne();
    t.deepEqual(claimed.spec, spec);
  });

  promise("RUN-12: an id of another environment, an unknown and a malformed one are unknown", async (t, world) => {
    const runId = await world.trigger();
    const other = new World(world.store, "prod");
    await other.trigger();
    const refs = [
      { environment: "prod", runId },
      { environment: "nowhere", runId },
      { environment: "dev", runId: world.id() },
      { environment: "dev", runId: "run_nonsense" },
    ];
    t.deepEqual(await world.store.readRuns(refs), [undefined, undefined, undefined, undefined]);
    t.deepEqual(await world.store.readRunDetails(refs), [undefined, undefined, undefined, undefined]);
    const change = { event: "cancel", reason: "no" } as const;
    const refused = only(await world.store.changeRuns([{ ...world.changeOf(runId, change), environment: "prod" }]));
    t.deepEqual(refused, { kind: "refused", refusal: "unknown", run: undefined });
    t.is((await world.state(runId)).status, "QUEUED");
  });

  promise("REQ-1: a repeated request makes no second run and is not cached", async (t, world) => {
    const item = world.item({ requestHash: hashOf("r1") });
    t.is(only(await world.store.insertRuns([item])).kind, "created");
    const again = only(await world.store.insertRuns([item]));
    t.deepEqual(again, { kind: "repeat", runId: item.run.id, isCached: false });
    t.is((await world.list()).length, 1);
  });

  promise("REQ-1: a repeat is told from a new run whatever was written in between", async (t, world) => {
    await world.triggerMany(3);
    const item = world.item({ requestHash: hashOf("r1") });
    await world.store.insertRuns([item]);
    // The store's last write is then about another record, with a smaller number than the run's.
    await world.open();
    t.is(only(await world.store.insertRuns([item])).kind, "repeat");
    t.is((await world.queue("task/job")).queued, 4);
  });

  promise("REQ-1: of concurrent repeats of one request one creates, and all get its run", async (t, world) => {
    const item = world.item({ requestHash: hashOf("r1") });
    const results = await Promise.all(Array.from({ length: 16 }, () => world.store.insertRuns([item])));
    const kinds = results.map((result) => only(result).kind);
    t.is(kinds.filter((kind) => kind === "created").length, 1);
    t.is(kinds.filter((kind) => kind === "repeat").length, 15);
    t.is((await world.list()).length, 1);
    t.is((await world.queue("task/job")).queued, 1);
  });

  promise("REQ-1: two items of one call with one request are one run", async (t, world) => {
    const item = world.item({ requestHash: hashOf("r1") });
    const results = await world.store.insertRuns([item, world.item(), item]);
    t.deepEqual(
      results.map(({ kind }) => kind),
      ["created", "created", "repeat"],
    );
    t.is((await world.queue("task/job")).queued, 2);
  });

  promise("REQ-1: a hit under a request is answered again as a hit, also when the key has gone", async (t, world) => {
    const holder = await world.trigger({ key: world.key("k") });
    const item = world.item({ key: world.key("k"), requestHash: hashOf("r2") });
    t.deepEqual(only(await world.store.insertRuns([item])), { kind: "cached", runId: holder });
    const reset = { environment: "dev", recordHash: hashOf("k"), request: undefined, nowMs: world.nowMs };
    await world.store.resetKey(reset);
    t.deepEqual(only(await world.store.insertRuns([item])), { kind: "repeat", runId: holder, isCached: true });
  });

  promise("two different requests for one id are an internal error and harm no other call", async (t, world) => {
    const item = world.item({ requestHash: hashOf("r1") });
    await world.store.insertRuns([item]);
    const clash = { ...item, request: { hash: hashOf("r2"), expiresAtMs: item.nowMs + 1 } };
    const results = await Promise.allSettled([
      world.store.insertRuns([world.item()]),
      world.store.insertRuns([world.item(), clash]),
      world.store.insertRuns([world.item()]),
      world.store.claimRuns([]),
    ]);
    t.deepEqual(
      results.map(({ status }) => status),
      ["fulfilled", "rejected", "fulfilled", "fulfilled"],
    );
    // Nothing of the bad call was kept, and the counters and the order of the others are right.
    t.is((await world.list()).length, 3);
    t.is((await world.queue("task/job")).queued, 3);
    await world.open();
    t.is((await world.claim(10)).length, 3);
  });

  promise("an unexpected error reaches its caller as it was thrown, not as an unavailable store", async (t, world) => {
    const bad = { ...world.item(), run: { ...world.item().run, id: "run_nonsense" } };
    const error = await t.throwsAsync(world.store.insertRuns([bad]));
    t.regex(error.message, /run_nonsense/);
    t.false("reason" in error);
    t.is((await world.store.checkWritable()).ok, true);
  });

  promise(
    "QUE-10: the size of a queue is checked against all its QUEUED runs, those of the same call too",
    async (t, world) => {
      await world.trigger({ queue: "q", taskId: "a", concurrencyKey: "x" });
      const items = ["b", "c", "d"].map((taskId) => world.item({ queue: "q", taskId, queueSizeMax: 3 }));
      const results = await world.store.insertRuns(items);
      t.deepEqual(
        results.map(({ kind }) => kind),
        ["created", "created", "queueFull"],
      );
      t.deepEqual(results[2], { kind: "queueFull", size: 3 });
      t.is((await world.list({ queues: ["q"] })).length, 3);
      t.is((await world.insert({ queue: "q", taskId: "e" })).kind, "created");
    },
  );

  promise(
    "QUE-10, IDM-13: a hit is answered though the queue is full, and a refusal leaves no queue and no key",
    async (t, world) => {
      const holder = await world.trigger({ queue: "q", key: world.key("k") });
      t.deepEqual(await world.insert({ queue: "q", key: world.key("k"), queueSizeMax: 1 }), {
        kind: "cached",
        runId: holder,
      });
      t.is((await world.insert({ queue: "new", key: world.key("n"), queueSizeMax: 0 })).kind, "queueFull");
      t.is(await world.store.readQueue({ environment: "dev", name: "new" }), undefined);
      const taken = { environment: "dev", recordHash: hashOf("n"), request: undefined, nowMs: world.nowMs };
      t.is(await world.store.resetKey(taken), undefined);
    },
  );

  promise(
    "IDM-14: a refused trigger does not take the key from the failed run that still shows it",
    async (t, world) => {
      const failed = await world.trigger({ queue: "q", key: world.key("k"), ttl: { ms: 1, text: "1ms" } });
      world.nowMs += 10;
      await world.apply(failed, { event: "expire" });
      await world.trigger({ queue: "q" });
      t.is((await world.insert({ queue: "q", key: world.key("k"), queueSizeMax: 1 })).kind, "queueFull");
      t.is((await world.state(failed)).key?.text, "k");
    },
  );

  promise("QUE-11, QUE-33: a queue is made on first use, with the trigger's limit as its base", async (t, world) => {
    t.is(await world.store.readQueue({ environment: "dev", name: "q" }), undefined);
    await world.trigger({ queue: "q", queueLimit: 5 });
    const view = await world.queue("q");
    t.like(view, { name: "q", isDeclared: false, isPaused: false, baseLimit: 5, running: 0, queued: 1 });
    t.is(view.queueId, queueId("dev", "q"));
    t.deepEqual(await world.store.readQueue({ environment: "dev", queueId: view.queueId }), view);
    t.is(await world.store.readQueue({ environment: "prod", queueId: view.queueId }), undefined);
  });

  promise(
    "QUE-11, QUE-15: of several limits from triggers the last wins; none keeps the one there is",
    async (t, world) => {
      await world.trigger({ queue: "q", queueLimit: 5 });
      await world.trigger({ queue: "q", queueLimit: 2 });
      t.is((await world.queue("q")).baseLimit, 2);
      await world.trigger({ queue: "q" });
      t.is((await world.queue("q")).baseLimit, 2);
    },
  );

  promise(
    "QUE-11: the trigger's limit is ignored, and said to be, where a registration declares the queue",
    async (t, world) => {
      await world.register({ id: "job", queueName: "q", concurrencyLimit: 3 });
      const result = await world.insert({ queue: "q", queueLimit: 50 });
      t.like(result, { kind: "created", queueLimitIgnored: true });
      t.is((await world.queue("q")).baseLimit, 3);
      t.like(await world.insert({ queue: "q" }), { kind: "created", queueLimitIgnored: false });
    },
  );

  promise("the secret of a store stays the same and has 32 bytes", async (t, world) => {
    const secret = await world.store.readSecret();
    t.is(secret.length, 32);
    t.deepEqual(await world.store.readSecret(), secret);
  });

  promise("a store that is stopped answers UNAVAILABLE, and stops twice", async (t, world) => {
    await world.trigger();
    await Promise.all([world.store.stop(), world.store.stop()]);
    await t.throwsAsync(world.store.insertRuns([world.item()]), { message: /cannot be written/ });
    t.is((await world.store.checkWritable()).ok, false);
  });
}
