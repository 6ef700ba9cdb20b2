/** Metadata changed from outside, and by workers on behalf of their runs (section 16). */
import type { MessageInitShape } from "@bufbuild/protobuf";
import test from "ava";
import type { MetadataOperationSchema } from "#proto/hairtrigger/v1/run_pb.js";
import { MetadataTarget } from "#proto/hairtrigger/v1/run_pb.js";
import { refusal, startApi, type TestApi } from "../../support/api.js";
import type { WireWorker } from "../../support/wire-worker.js";

type Operation = MessageInitShape<typeof MetadataOperationSchema>;

const add = (key: string, amount = 1, target = MetadataTarget.SELF): Operation => {
  return { target, operation: { case: "increment", value: { key, amount } } };
};
const change = (kind: "set" | "append" | "remove", key: string, value: unknown): Operation => {
  return { operation: { case: kind, value: { key, valueJson: JSON.stringify(value) } } };
};
const del = (key: string): Operation => ({ operation: { case: "deleteKey", value: key } });
const replace = (replaceJson: string): Operation => ({ operation: { case: "replaceJson", value: replaceJson } });

async function metadataOf(api: TestApi, runId: string): Promise<unknown> {
  return JSON.parse((await api.run(runId)).metadataJson || "{}");
}

test("MET-4, MET-6: operations change members and paths, in order, and the answer shows the whole", async (t) => {
  const api = await startApi(t);
  const cases: readonly (readonly [before: object, operations: readonly Operation[], after: object])[] = [
    [{}, [change("set", "a", { b: [1] })], { a: { b: [1] } }],
    [{ a: 1, b: 2 }, [del("a"), del("none")], { b: 2 }],
    [{ a: 1 }, [replace('{"z":true}')], { z: true }],
    [{}, [change("append", "l", 1), change("append", "l", [2])], { l: [1, [2]] }],
    [{ l: "old" }, [change("append", "l", "new")], { l: ["old", "new"] }],
    [
      { l: [{ x: 1, y: 2 }, 1, { y: 2, x: 1 }], s: 1 },
      [change("remove", "l", { x: 1, y: 2 }), change("remove", "s", 1)],
      { l: [1], s: 1 },
    ],
    [{ n: 1, t: "x" }, [add("n", 2.5), add("t"), add("new", -2)], { n: 3.5, t: 1, new: -2 }],
    [
      { a: { b: [{ c: 1 }] } },
      [add("$.a.b[0].c"), change("append", "$.a.b", 2), change("set", "$.d.e", 1)],
      { a: { b: [{ c: 2 }, 2] }, d: { e: 1 } },
    ],
    [{ a: { "x y": 1 } }, [change("set", '$.a["x y"]', 2), del("$.a.none.deep")], { a: { "x y": 2 } }],
    [{ "a.b": 1 }, [add("a.b")], { "a.b": 2 }],
  ];
  for (const [metadata, operations, after] of cases) {
    const { runId } = await api.runs.triggerTask({
      taskId: "work",
      options: { metadataSpec: { case: "metadataJson", value: JSON.stringify(metadata) } },
    });
    const { metadataJson } = await api.runs.updateRunMetadata({ runId, operations: [...operations] });
    t.deepEqual(JSON.parse(metadataJson), after);
    t.deepEqual(await metadataOf(api, runId), after, "MET-10: as everybody reads it");
  }
});

test("MET-1, MET-6: a forbidden or malformed key, no JSON and no object are refused, and nothing is changed", async (t) => {
  const api = await startApi(t);
  const runId = await api.triggered("work", { metadata: { a: 1 } });
  const bad: readonly Operation[] = [
    add("__proto__"),
    change("set", "constructor", 1),
    change("set", "$.a.prototype.b", 1),
    change("set", '$.["__proto__"].x', 1),
    add("$."),
    add("$.a..b"),
    add("$.a[x]"),
    add(""),
    add("a", Number.NaN),
    add("a", Number.POSITIVE_INFINITY),
    replace("[1]"),
    replace("nonsense"),
    { operation: { case: "set", value: { key: "a", valueJson: "nonsense" } } },
    { operation: { case: undefined } },
  ];
  for (const operation of bad) {
    const refused = await refusal(api.runs.updateRunMetadata({ runId, operations: [add("a"), operation] }));
    t.is(refused.reason, "INVALID_METADATA", JSON.stringify(operation.operation?.value));
  }
  t.deepEqual(await metadataOf(api, runId), { a: 1 });
  t.is(({} as { x?: unknown }).x, undefined);
  const foreign = api.runs.updateRunMetadata({ runId, operations: [add("a", 1, MetadataTarget.PARENT)] });
  t.is((await refusal(foreign)).reason, "INVALID_REQUEST");
});

test("MET-2: 262,144 bytes of JSON pass, one more is refused whole", async (t) => {
  const api = await startApi(t);
  const runId = await api.triggered("work", { metadata: { a: 1 } });
  const room = 262_144 - '{"a":1,"t":""}'.length;
  await api.runs.updateRunMetadata({ runId, operations: [change("set", "t", "x".repeat(room))] });
  t.is(Buffer.byteLength((await api.run(runId)).metadataJson), 262_144);
  const refused = await refusal(
    api.runs.updateRunMetadata({ runId, operations: [del("none"), change("set", "t", "x".repeat(room + 1))] }),
  );
  t.is(refused.code, "RESOURCE_EXHAUSTED");
  t.is(refused.reason, "METADATA_TOO_LARGE");
  t.true(refused.message.includes("Metadata exceeds maximum size of 262144 bytes"));
  t.deepEqual(refused.metadata, { got: "262145", allowed: "262144" });
});

test("MET-11, RUN-12: metadata of a final run, and of an unknown one, is not changed", async (t) => {
  const api = await startApi(t);
  const runId = await api.triggered("work");
  const other = api.as(api.server.prodKey).runs.updateRunMetadata({ runId, operations: [add("a")] });
  t.is((await refusal(other)).reason, "RUN_NOT_FOUND");
  await api.runs.cancelRun({ runId });
  const refused = await refusal(api.runs.updateRunMetadata({ runId, operations: [add("a")] }));
  t.deepEqual([refused.code, refused.reason], ["FAILED_PRECONDITION", "RUN_FINAL"]);
  t.true(refused.message.includes("Cannot update metadata for a completed run"));
});

test("REQ-1: a repeated call applies no operation twice, a writer's numbers neither", async (t) => {
  const api = await startApi(t);
  const runId = await api.triggered("work");
  const once = { runId, operations: [add("n"), add("n")], requestId: "r1" };
  await api.runs.updateRunMetadata(once);
  t.is((await api.runs.updateRunMetadata(once)).metadataJson, '{"n":2}');
  await api.runs.updateRunMetadata({ ...once, requestId: "r2" });
  const by = (first: number, count: number) =>
    api.runs.updateRunMetadata({
      runId,
      operations: Array.from({ length: count }, () => add("n", 10)),
      writer: "w",
      firstSequence: BigInt(first),
    });
  await by(1, 2);
  t.is((await by(2, 3)).metadataJson, '{"n":44}', "2 was there, 3 and 4 are new");
  await api.runs.updateRunMetadata({ runId, operations: [add("n")] });
  t.is((await api.runs.updateRunMetadata({ runId, operations: [add("n")] })).metadataJson, '{"n":46}');
});

test("MET-9, MET-10, RUN-23: subscribers see changes; children do not inherit them", async (t) => {
  const api = await startApi(t);
  const runId = await api.triggered("work", { metadata: { a: 1 } });
  const watching = api.runs.watchRun({ runId })[Symbol.asyncIterator]();
  await watching.next();
  await api.runs.updateRunMetadata({ runId, operations: [add("a")] });
  t.is((await watching.next()).value?.run?.metadataJson, '{"a":2}');
  await watching.return?.();
  const child = await api.trigger("child", { parentRunId: runId });
  t.is((await api.run(child.runId)).metadataJson, "");
});

// ── from inside a run ──────────────────────────────────────────────────────────────────────────────────────────────────────────────

interface Sent {
  readonly runId: string;
  readonly attempt?: number;
  readonly first?: number;
}

async function send(worker: WireWorker, { runId, attempt = 1, first = 1 }: Sent, operations: readonly Operation[]) {
  worker.send({ metadata: [{ runId, attempt, firstSequence: BigInt(first), operations: [...operations] }] });
  const { sequence, error, ...answer } = await worker.metadata.take();
  if (answer.runId !== runId || answer.attempt !== attempt) throw new Error("the answer is about something else");
  return { sequence: Number(sequence), error: error?.message };
}

test("MET-7, MET-3: a run changes itself, its parent and its root; each operation once, however often it is sent", async (t) => {
  const api = await startApi(t);
  const worker = await api.worker({ tasks: ["work"] });
  const root = (await api.trigger("work")).runId;
  const parent = (await api.trigger("work", { parentRunId: root })).runId;
  const { runId } = await api.trigger("work", { parentRunId: parent });
  for (let index = 0; index < 3; index += 1) await worker.assigned();
  const operations = [add("n"), add("p", 2, MetadataTarget.PARENT), add("r", 3, MetadataTarget.ROOT), add("n")];
  t.deepEqual(await send(worker, { runId }, operations), { sequence: 4, error: undefined });
  t.deepEqual(await send(worker, { runId }, [...operations, add("n")]), { sequence: 5, error: undefined });
  t.deepEqual(await metadataOf(api, runId), { n: 3 });
  t.deepEqual(await metadataOf(api, parent), { p: 2 });
  t.deepEqual(await metadataOf(api, root), { r: 3 });
  await send(worker, { runId: root }, [add("own", 1, MetadataTarget.PARENT), add("own", 1, MetadataTarget.ROOT)]);
  t.deepEqual(await metadataOf(api, root), { r: 3, own: 2 }, "a root is its own parent and root");
});

test("MET-7: 100 children that each add 1 to a counter of their root add 100", async (t) => {
  const api = await startApi(t);
  const root = (await api.trigger("root")).runId;
  const children = await Promise.all(Array.from({ length: 100 }, () => api.trigger("work", { parentRunId: root })));
  const worker = await api.worker({ tasks: ["work"], credit: 100 });
  for (const _ of children) await worker.assigned();
  for (const { runId } of children) {
    worker.send({
      metadata: [{ runId, attempt: 1, firstSequence: 1n, operations: [add("done", 1, MetadataTarget.ROOT)] }],
    });
  }
  for (const _ of children) t.is((await worker.metadata.take()).error, undefined);
  t.deepEqual(await metadataOf(api, root), { done: 100 });
});

test("MET-2, MET-11: what is refused is acknowledged with its reason, the other operations are applied, and the run goes on", async (t) => {
  const api = await startApi(t);
  const worker = await api.worker({ tasks: ["work"] });
  const parent = (await api.trigger("parent")).runId;
  const { runId } = await api.trigger("work", { parentRunId: parent });
  const { lease } = await worker.assigned();
  const tooLarge = await send(worker, { runId }, [add("n"), change("set", "t", "x".repeat(262_144)), add("n")]);
  t.is(tooLarge.sequence, 3);
  t.regex(tooLarge.error ?? "", /Metadata exceeds maximum size/);
  t.deepEqual(await metadataOf(api, runId), { n: 2 });
  await api.runs.cancelRun({ runId: parent });
  const other = (await api.trigger("parent")).runId;
  t.not(other, parent);
  const late = await send(worker, { runId, first: 4 }, [add("p", 1, MetadataTarget.PARENT)]);
  t.regex(late.error ?? "", /lease|completed run/);
  t.truthy(lease);
});

test("RUN-8: operations of an attempt that is over change nothing", async (t) => {
  const api = await startApi(t);
  const worker = await api.worker({ tasks: ["work"] });
  const { runId } = await api.trigger("work");
  await worker.assigned();
  const wrong = await send(worker, { runId, attempt: 2 }, [add("n"), add("n", 1, MetadataTarget.ROOT)]);
  t.regex(wrong.error ?? "", /lease/);
  const other = await api.worker({ tasks: ["other"] });
  t.regex((await send(other, { runId }, [add("n")])).error ?? "", /lease/);
  t.regex((await send(other, { runId: "run_00000000000000000000000000" }, [add("n")])).error ?? "", /not found/);
  t.deepEqual(await metadataOf(api, runId), {});
});

test("MET-3: changes that are sent before the result of their run are in the record before it", async (t) => {
  const api = await startApi(t);
  const worker = await api.worker({ tasks: ["work"] });
  const { runId } = await api.trigger("work");
  const { lease } = await worker.assigned();
  const metadata = [{ runId, attempt: 1, firstSequence: 1n, operations: [add("n")] }];
  await worker.report(lease, { metadata, completed: [{ lease }] });
  t.is((await worker.metadata.take()).error, undefined);
  t.deepEqual(await metadataOf(api, runId), { n: 1 });
  t.is(await api.status(runId), "COMPLETED");
});
