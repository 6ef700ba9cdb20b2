/** Metadata inside a run (section 16). */
import { metadata, runs, task, tasks } from "@hairtrigger/sdk";
import test from "ava";
import { gate, startSdkWorld, turns, until } from "../../support/sdk-world.js";

const isOver = ({ isCompleted }: { readonly isCompleted: boolean }): boolean => isCompleted;

export function registerMetadata(): void {
  test("MET-1, MET-3, MET-4, MET-5, MET-12: mutators act at once, chain, and are recorded when the run is over", async (t) => {
    const world = await startSdkWorld(t);
    const seen: unknown[] = [];
    const worker = task({
      id: "worker",
      run: async () => {
        seen.push(metadata.current(), metadata.get("customer"));
        metadata
          .set("at", new Date(0))
          .set("nothing", { a: undefined, b: 1 })
          .set("$.rows.done", 1)
          .increment("$.rows.done", 4)
          .decrement("left")
          .append("notes", "one")
          .append("notes", { n: 2 })
          .append("customer", "b")
          .remove("notes", { n: 2 });
        // oxlint-disable-next-line typescript/await-thenable -- what user code may do
        await metadata.set("gone", 1).del("gone");
        seen.push(metadata.get("$.rows.done"), metadata.get("nowhere"), metadata.current());
        const copy = metadata.current();
        if (copy !== undefined) copy.rows = "changed by hand";
        seen.push(metadata.get("rows"));
      },
    });
    await world.worker({ tasks: [worker] });
    const handle = await world.as(() => worker.trigger(undefined, { metadata: { customer: "a" } }));
    const after = {
      customer: ["a", "b"],
      at: "1970-01-01T00:00:00.000Z",
      nothing: { b: 1 },
      rows: { done: 5 },
      left: -1,
      notes: ["one"],
    };
    t.deepEqual((await world.runWhen(handle, isOver)).metadata, after);
    t.deepEqual(seen, [{ customer: "a" }, "a", 5, undefined, after, { done: 5 }]);
  });

  test("MET-3: changes are sent about once a second, at once by flush, and refresh reads what others made of it", async (t) => {
    const world = await startSdkWorld(t);
    const [counted, mayFlush, flushed, mayRefresh] = [gate(), gate(), gate(), gate()];
    const worker = task({
      id: "worker",
      run: async () => {
        for (let n = 0; n < 10_000; n += 1) metadata.increment("n");
        counted.open();
        await mayFlush.promise;
        await metadata.set("stage", "two").flush();
        flushed.open();
        await mayRefresh.promise;
        const before = metadata.get("outside");
        const refreshing = metadata.refresh();
        metadata.increment("n");
        await refreshing;
        return { before, after: metadata.current() };
      },
    });
    await world.worker({ tasks: [worker] });
    const handle = await world.as(() => worker.trigger());
    await counted.promise;
    await turns();
    t.is((await world.run(handle)).metadata, undefined, "not before its time");
    await world.pass(1_000);
    t.deepEqual((await world.run(handle)).metadata, { n: 10_000 });

    mayFlush.open();
    await flushed.promise;
    t.deepEqual((await world.run(handle)).metadata, { n: 10_000, stage: "two" }, "recorded when flush resolves");

    const increment = { increment: { key: "outside", amount: 5 } };
    await fetch(`${world.server.url}/hairtrigger.v1.RunService/UpdateRunMetadata`, {
      method: "POST",
      headers: { authorization: `Bearer ${world.server.key}`, "content-type": "application/json" },
      body: JSON.stringify({ runId: handle.id, operations: [increment] }),
    });
    mayRefresh.open();
    const { output, metadata: recorded } = await world.runWhen(handle, isOver);
    const all = { n: 10_001, stage: "two", outside: 5 };
    t.deepEqual(output, { before: undefined, after: all });
    t.deepEqual(recorded, all);
  });

  test("MET-6: forbidden keys, malformed paths and what is no JSON throw and change nothing", async (t) => {
    const world = await startSdkWorld(t);
    const worker = task({
      id: "worker",
      run: () => {
        metadata.set("a", 1);
        const wrong = [
          () => metadata.set("__proto__", 1),
          () => metadata.increment("$.a.constructor"),
          () => metadata.del('$.a["prototype"]'),
          () => metadata.append("$.a[", 1),
          () => metadata.set("", 1),
          () => metadata.set("f", () => 1),
          () => metadata.increment("a", Number.NaN),
          () => metadata.root.set("$.__proto__.polluted", 1),
          // @ts-expect-error -- an array is no plain object
          () => metadata.replace([1]),
        ];
        return wrong.map((call) => t.throws(call)?.name);
      },
    });
    await world.worker({ tasks: [worker] });
    const handle = await world.as(() => worker.trigger());
    const { status, metadata: recorded, output } = await world.runWhen(handle, isOver);
    t.is(status, "COMPLETED");
    t.deepEqual(recorded, { a: 1 });
    t.is((Array.isArray(output) ? output : []).length, 9);
    t.false("polluted" in {});
  });

  test("MET-7: children change parent and root; a run without parent is both", async (t) => {
    const world = await startSdkWorld(t);
    const leaf = task({
      id: "leaf",
      run: () => {
        metadata.parent.append("leaves", "leaf").append("leaves", 2);
        metadata.root.increment("n");
      },
    });
    const middle = task({
      id: "middle",
      run: async () => {
        metadata.root.increment("n").increment("n");
        await leaf.triggerAndWait(undefined).unwrap();
        await metadata.refresh();
        return metadata.current();
      },
    });
    const top = task({
      id: "top",
      run: async () => {
        metadata.root.set("n", 100);
        metadata.parent.set("own", true);
        const own = metadata.current();
        const middles = await middle.triggerAndWait(undefined).unwrap();
        await metadata.refresh();
        return { own, middles, after: metadata.get("n") };
      },
    });
    await world.worker({ tasks: [leaf, middle, top] });
    const handle = await world.as(() => top.trigger());
    const { output, metadata: recorded } = await world.runWhen(handle, isOver);
    t.deepEqual(output, { own: { n: 100, own: true }, middles: { leaves: ["leaf", 2] }, after: 103 });
    t.deepEqual(recorded, { n: 103, own: true });
  });

  test("MET-8: outside a run mutators do nothing, and there is nothing to read", async (t) => {
    t.is(metadata.set("a", 1).increment("b").parent.set("c", 1).del("c"), metadata.parent);
    t.is(metadata.current(), undefined);
    t.is(metadata.get("a"), undefined);
    await metadata.flush();
    await metadata.refresh();
    t.throws(() => metadata.set("__proto__", 1), undefined, "a mistake is one anywhere");
  });

  test("MET-9, MET-10: metadata lasts over attempts in one worker and in another, and is no child's", async (t) => {
    const world = await startSdkWorld(t);
    const child = task({ id: "child", run: () => metadata.current() });
    const seen: unknown[] = [];
    const worker = task({
      id: "worker",
      retry: { maxAttempts: 3, randomize: false },
      run: async (_: undefined, { ctx }) => {
        seen.push(metadata.get("tries"));
        metadata.increment("tries");
        // A long pause is spent in the queue, so that the last attempt is assigned anew.
        if (ctx.attempt.number < 3) throw new Error("again");
        return child.triggerAndWait(undefined).unwrap();
      },
      catchError: ({ ctx }) => ({ retryDelayInMs: ctx.attempt.number === 1 ? 5 : 60_000 }),
    });
    await world.worker({ tasks: [worker, child] });
    const handle = await world.as(() => worker.trigger(undefined, { metadata: { tries: 10 } }));
    await until(() => seen.length === 1);
    await world.pass(1_000);
    await until(() => seen.length === 2);
    await world.pass(61_000);
    const { output, metadata: recorded } = await world.runWhen(handle, isOver);
    t.deepEqual(seen, [10, 11, 12]);
    t.deepEqual(recorded, { tries: 13 });
    t.deepEqual(output, {});
  });

  test("MET-10, RUN-7: an attempt that another worker executes again changes what it finds, under the same number", async (t) => {
    const world = await startSdkWorld(t);
    const seen: unknown[] = [];
    const mayEnd = gate();
    const worker = task({
      id: "worker",
      run: async (_: undefined, { ctx }) => {
        seen.push([ctx.attempt.number, metadata.get("n")]);
        metadata.increment("n").increment("$.more");
        await metadata.flush();
        await mayEnd.promise;
      },
    });
    const first = await world.worker({ tasks: [worker] });
    const handle = await world.as(() => worker.trigger());
    await world.runWhen(handle, ({ metadata: recorded }) => recorded?.more === 1);
    void first.stop();
    await world.pass(1_000);
    await world.worker({ tasks: [worker] });
    await until(() => seen.length === 2);
    mayEnd.open();
    t.deepEqual((await world.runWhen(handle, isOver)).metadata, { n: 2, more: 2 });
    t.deepEqual(seen, [
      [1, undefined],
      [1, 1],
    ]);
    await world.pass(31_000);
    await first.closed;
  });

  test("MET-2, MET-11: what the server refuses is logged, the run goes on, and both sides agree afterwards", async (t) => {
    const world = await startSdkWorld(t);
    const child = task({
      id: "child",
      run: async () => {
        metadata.parent.increment("late");
        await metadata.flush();
      },
    });
    const top = task({ id: "top", run: async () => ({ child: (await tasks.trigger("child", undefined)).id }) });
    const large = task({
      id: "large",
      run: async () => {
        metadata.set("a", 1).set("big", "x".repeat(262_144)).set("b", 2);
        const before = Object.keys(metadata.current() ?? {});
        await metadata.flush();
        return { before, after: metadata.current() };
      },
    });
    const topWorker = await world.worker({ tasks: [top, large] });
    const handle = await world.as(() => large.trigger());
    // A line comes after the outcome where the store takes its time.
    const run = await world.runWhen(handle, (seen) => isOver(seen) && seen.logs.length > 0);
    t.deepEqual(run.output, { before: ["a", "big", "b"], after: { a: 1, b: 2 } });
    t.deepEqual(run.metadata, { a: 1, b: 2 });
    t.true(run.logs.some(({ message }) => message.includes("Metadata exceeds maximum size of 262144 bytes")));

    const finished = await world.runWhen(await world.as(() => top.trigger()), isOver);
    await world.worker({ tasks: [child] });
    const [late] = finished.relatedRuns.children;
    const lateRun = await world.runWhen({ id: late?.id ?? "" }, (seen) => isOver(seen) && seen.logs.length > 0);
    t.is(lateRun.status, "COMPLETED");
    t.true(lateRun.logs.some(({ message }) => message.includes("Cannot update metadata for a completed run")));
    t.is((await world.run(finished.id)).metadata, undefined);
    t.truthy(topWorker);
  });

  test("RUN-27, MET-4: a stream gives its items back and is published, in order, before the final state", async (t) => {
    const world = await startSdkWorld(t);
    const mayGoOn = gate();
    async function* words() {
      yield "one";
      yield { two: 2 };
      await mayGoOn.promise;
      for (let n = 3; n < 1_500; n += 1) yield n;
    }
    const child = task({
      id: "child",
      run: async () => {
        for await (const _ of metadata.root.stream("children", [true])) void _;
      },
    });
    const writer = task({
      id: "writer",
      run: async () => {
        const items: unknown[] = [];
        for await (const item of metadata.stream("words", words())) items.push(item);
        await child.triggerAndWait(undefined).unwrap();
        return items.length;
      },
    });
    await world.worker({ tasks: [writer, child] });
    const handle = await world.as(() => writer.trigger());
    const parts = world.as(() => runs.subscribeToRun(handle).withStreams<{ words: unknown; children: boolean }>());
    const chunks: unknown[] = [];
    const children: unknown[] = [];
    const statuses: string[] = [];
    for await (const part of parts) {
      if (part.type === "run") statuses.push(part.run.status);
      else if (part.type === "words") chunks.push(part.chunk);
      else children.push(part.chunk);
      if (chunks.length === 2) mayGoOn.open();
      if (part.type !== "run") t.not(statuses.at(-1), "COMPLETED");
    }
    const all = ["one", { two: 2 }, ...Array.from({ length: 1_497 }, (_, index) => index + 3)];
    t.deepEqual(chunks, all);
    t.deepEqual(children, [true]);
    t.is(statuses.at(-1), "COMPLETED");
    t.is((await world.run(handle)).output, all.length);
    t.is((await world.run(handle)).metadata, undefined, "metadata are as they were");

    const later: unknown[] = [];
    for await (const part of world.as(() => runs.subscribeToRun(handle).withStreams())) later.push(part);
    t.is(later.length, all.length + 2, "from the first on, for a watcher that comes late");
    const states: unknown[] = [];
    for await (const state of world.as(() => runs.subscribeToRun(handle))) states.push(state.status);
    t.deepEqual(states, ["COMPLETED"], "without streams there are states only");
  });

  test("RUN-27: a source that throws, a chunk that is too large, and a place outside a run", async (t) => {
    const world = await startSdkWorld(t);
    async function* failing() {
      yield 1;
      await Promise.resolve();
      throw new Error("the model is down");
    }
    const writer = task({
      id: "writer",
      retry: { maxAttempts: 1 },
      run: async () => {
        t.throws(() => metadata.stream("run", []));
        t.throws(() => metadata.stream("__proto__", []));
        for await (const _ of metadata.stream("large", ["x".repeat(524_288), "fits"])) void _;
        for await (const _ of metadata.stream("failing", failing())) void _;
      },
    });
    await world.worker({ tasks: [writer] });
    const handle = await world.as(() => writer.trigger());
    const run = await world.runWhen(handle, (seen) => isOver(seen) && seen.logs.length > 0);
    t.is(run.error?.message, "the model is down");
    t.true(run.logs.some(({ message }) => message.includes("524290 bytes exceeds the maximum of 524288 bytes")));
    const chunks: unknown[] = [];
    for await (const part of world.as(() => runs.subscribeToRun(handle).withStreams())) {
      if (part.type !== "run") chunks.push([part.type, "chunk" in part ? part.chunk : undefined]);
    }
    t.deepEqual(chunks, [
      ["large", "fits"],
      ["failing", 1],
    ]);
    const outside: number[] = [];
    for await (const item of metadata.stream("a", [1, 2])) outside.push(item);
    t.deepEqual(outside, [1, 2]);
  });
}
