/** Changes of metadata (section 16), each once. */
import type { MetadataOperation } from "../../server/domain/metadata-operations.js";
import type { ChangeMetadata, ChangeMetadataResult } from "../../server/store/store.js";
import type { Promises } from "./store-contract.js";
import { only, World } from "./world.js";

const add = (key: string, amount = 1): MetadataOperation => ({ kind: "increment", key, amount });

function itemOf(
  world: World,
  runId: string,
  operations: readonly MetadataOperation[],
  options: Partial<ChangeMetadata> & { readonly first?: number } = {},
): ChangeMetadata {
  const { first = 1, ...more } = options;
  return {
    environment: world.environment,
    runId,
    source: "s",
    operations: operations.map((operation, index) => ({ sequence: first + index, operation })),
    attempt: undefined,
    isWhole: true,
    bytesMax: 1_000,
    nowMs: world.nowMs,
    ...more,
  };
}

async function change(world: World, ...item: Parameters<typeof itemOf> extends [World, ...infer R] ? R : never) {
  return only(await world.store.changeMetadata([itemOf(world, ...item)]));
}

const jsonOf = (result: ChangeMetadataResult): unknown =>
  result.kind === "applied" ? JSON.parse(result.metadataJson) : result.refusal.reason;

export function metadataPromises(promise: Promises): void {
  promise("MET-7, RUN-5: changes of metadata are read at once, and raise version and update time", async (t, world) => {
    const runId = await world.trigger({ metadataJson: '{"a":1}' });
    const before = await world.state(runId);
    world.nowMs += 5;
    const result = await change(world, runId, [add("a"), { kind: "set", key: "b", valueJson: '"x"' }]);
    const after = await world.state(runId);
    t.like(result, { kind: "applied", isChanged: true, run: after });
    t.is(after.version, before.version + 1);
    t.true(after.updatedAtMs > before.updatedAtMs);
    t.deepEqual(JSON.parse((await world.detail(runId)).metadataJson ?? ""), { a: 2, b: "x" });
    await world.open();
    t.deepEqual(JSON.parse((await world.claimOne()).metadataJson ?? ""), { a: 2, b: "x" });
  });

  promise("REQ-1: operations of a source are applied once, those of nobody every time", async (t, world) => {
    const runId = await world.trigger();
    t.deepEqual(jsonOf(await change(world, runId, [add("n"), add("n")])), { n: 2 });
    t.like(await change(world, runId, [add("n"), add("n")]), { isChanged: false, metadataJson: '{"n":2}' });
    t.deepEqual(jsonOf(await change(world, runId, [add("n"), add("n"), add("n")])), { n: 3 }, "the third is new");
    t.deepEqual(jsonOf(await change(world, runId, [add("n")], { source: "other" })), { n: 4 });
    await change(world, runId, [add("n")], { source: undefined });
    t.deepEqual(jsonOf(await change(world, runId, [add("n")], { source: undefined })), { n: 6 });
    await world.apply(runId, { event: "cancel", reason: "" });
    t.like(await change(world, runId, [add("n")]), { isChanged: false }, "what was applied is said to be, also later");
  });

  promise("MET-7: hundreds of writers at once add up, and a late repeat of each adds nothing", async (t, world) => {
    const runId = await world.trigger();
    const items = Array.from({ length: 450 }, (_, index) => itemOf(world, runId, [add("n")], { source: `s${index}` }));
    const chunk = (from: number) => world.store.changeMetadata(items.slice(from, from + 50));
    await Promise.all([0, 50, 100, 150].map(chunk));
    for (const from of [200, 250, 300, 350, 400]) await chunk(from);
    await world.store.changeMetadata(items);
    t.deepEqual(JSON.parse((await world.detail(runId)).metadataJson ?? ""), { n: 450 });
  });

  promise("MET-2, MET-11, RUN-8: what is refused leaves the run as it was", async (t, world) => {
    const runId = await world.trigger({ metadataJson: '{"a":1}' });
    const large: MetadataOperation = { kind: "set", key: "x", valueJson: JSON.stringify("y".repeat(2_000)) };
    t.is(jsonOf(await change(world, runId, [add("a"), large])), "METADATA_TOO_LARGE");
    t.is((await world.state(runId)).version, 1);
    const each = await change(world, runId, [add("a"), large, add("a")], { isWhole: false });
    t.like(each, { kind: "applied", metadataJson: '{"a":3}', refusal: { reason: "METADATA_TOO_LARGE" } });
    t.is(jsonOf(await change(world, runId, [add("__proto__")], { source: "p" })), "INVALID_METADATA");
    const attempt = { sessionId: "session_x", number: 1 };
    t.is(jsonOf(await change(world, runId, [add("a")], { source: "q", attempt })), "stale");
    t.is(jsonOf(await change(new World(world.store, "prod"), runId, [add("a")])), "unknown");
    await world.apply(runId, { event: "cancel", reason: "" });
    t.is(jsonOf(await change(world, runId, [add("a")], { source: "z" })), "final");
    t.is((await world.detail(runId)).metadataJson, '{"a":3}');
  });
}
