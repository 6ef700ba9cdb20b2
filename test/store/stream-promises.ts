/** Streams of runs (RUN-27): chunks in one order, each once, and for how long. */
import type { PublishedChunk, StreamChunk } from "../../server/domain/run-streams.js";
import type { AppendStream, AppendStreamResult } from "../../server/store/store.js";
import type { Promises } from "./store-contract.js";
import { only, World } from "./world.js";

const DAY_MS = 86_400_000;
const BOUNDS = { chunkBytesMax: 10, chunksMax: 1_000, bytesMax: 100_000 };

function chunk(sequence: number, value: unknown = sequence, key = "a"): PublishedChunk {
  return { sequence, key, json: JSON.stringify(value) };
}

function itemOf(world: World, runId: string, chunks: readonly PublishedChunk[], options: Partial<AppendStream> = {}) {
  const { environment, nowMs } = world;
  return { environment, runId, source: "s", chunks, attempt: undefined, bounds: BOUNDS, nowMs, ...options };
}

async function append(world: World, ...item: Parameters<typeof itemOf> extends [World, ...infer R] ? R : never) {
  return only(await world.store.appendStreams([itemOf(world, ...item)]));
}

/** All chunks behind a position; with a limit, one read. */
async function read(world: World, runId: string, after = 0, limit?: number): Promise<readonly StreamChunk[]> {
  const { environment } = world;
  const query = { environment, runId, limit: limit ?? 1_000, bytesMax: 1_000_000 };
  const all: StreamChunk[] = [];
  for (;;) {
    const found = await world.store.readStream({ ...query, after: all.at(-1)?.position ?? after });
    all.push(...found);
    if (found.length === 0 || limit !== undefined) return all;
  }
}

const reasonOf = (result: AppendStreamResult): string | undefined => result.refusal?.reason;

export function streamPromises(promise: Promises): void {
  promise("RUN-27: chunks are read in the order in which they came, from any position on", async (t, world) => {
    const runId = await world.trigger();
    const version = (await world.state(runId)).version;
    t.deepEqual(await append(world, runId, [chunk(1, "x"), chunk(3, "y", "b"), chunk(4, null)]), {
      isChanged: true,
      refusal: undefined,
    });
    await append(world, runId, [chunk(1, "other", "b")], { source: "t", bounds: { ...BOUNDS, chunkBytesMax: 20 } });
    const all = [
      { position: 1, key: "a", json: '"x"' },
      { position: 2, key: "b", json: '"y"' },
      { position: 3, key: "a", json: "null" },
      { position: 4, key: "b", json: '"other"' },
    ];
    t.deepEqual(await read(world, runId), all);
    t.deepEqual(await read(world, runId, 1), all.slice(1), "also in the middle of what came together");
    t.deepEqual(await read(world, runId, 2, 1), all.slice(2, 3));
    t.deepEqual(await read(world, runId, 4), []);
    t.deepEqual(await read(new World(world.store, "prod"), runId), [], "another environment sees nothing");
    t.is((await world.state(runId)).version, version, "the run is as it was");
  });

  promise("RUN-27: a chunk of a source is added once, however often and from wherever it comes", async (t, world) => {
    const runId = await world.trigger();
    await append(world, runId, [chunk(1), chunk(2)]);
    t.like(await append(world, runId, [chunk(1), chunk(2)]), { isChanged: false });
    await append(world, runId, [chunk(2), chunk(3)]);
    t.deepEqual(
      (await read(world, runId)).map(({ json }) => json),
      ["1", "2", "3"],
    );
    const writers = Array.from({ length: 12 }, (_, index) => ({ source: `w${index}` }));
    const write = () =>
      Promise.all(writers.map((writer) => append(world, runId, [chunk(1, "w"), chunk(2, "w")], writer)));
    await Promise.all([write(), write()]);
    const all = await read(world, runId);
    t.is(all.length, 27);
    t.deepEqual(
      all.map(({ position }) => position),
      all.map((_, index) => index + 1),
    );
  });

  promise(
    "RUN-27, RUN-8: what is too large, too much, or not its run's any more is left out and told",
    async (t, world) => {
      const runId = await world.trigger();
      const some = await append(world, runId, [chunk(1), chunk(2, "much too large"), chunk(3)]);
      t.is(reasonOf(some), "tooLarge");
      t.true(some.isChanged);
      t.is((await read(world, runId)).length, 2);
      const few = { bounds: { ...BOUNDS, chunksMax: 3 } };
      t.is(reasonOf(await append(world, runId, [chunk(4), chunk(5)], few)), "tooLarge");
      t.is((await read(world, runId)).length, 3);
      t.is(reasonOf(await append(world, runId, [chunk(6)], { bounds: { ...BOUNDS, bytesMax: 3 } })), "tooLarge");
      const attempt = { sessionId: "session_x", number: 1 };
      t.is(reasonOf(await append(world, runId, [chunk(7)], { attempt })), "stale");
      t.is(reasonOf(await append(new World(world.store, "prod"), runId, [chunk(7)])), "unknown");
      await world.apply(runId, { event: "cancel", reason: "" });
      t.is(reasonOf(await append(world, runId, [chunk(8)])), "final");
      t.is(reasonOf(await append(world, runId, [chunk(4)])), undefined, "what is there is settled");
      t.is((await read(world, runId)).length, 3);
    },
  );

  promise("RUN-27: chunks are kept until 24 h after the run finished, however long it lived", async (t, world) => {
    const [runId, other] = [await world.trigger(), await world.trigger()];
    await append(world, runId, [chunk(1)]);
    await append(world, other, [chunk(1)]);
    const purge = (nowMs: number) => world.store.purge({ nowMs, finishedRunsKeptMs: 90 * DAY_MS, limit: 10 });
    const startMs = world.nowMs;
    for (const day of [1, 2, 3]) await purge(startMs + day * DAY_MS + 10);
    t.is((await read(world, runId)).length, 1, "it lives");
    world.nowMs = startMs + 3 * DAY_MS + 20;
    await world.apply(runId, { event: "cancel", reason: "" });
    await purge(world.nowMs + DAY_MS - 1);
    t.is((await read(world, runId)).length, 1);
    await purge(world.nowMs + DAY_MS);
    await purge(world.nowMs + DAY_MS + DAY_MS);
    t.is((await read(world, runId)).length, 0);
    t.is((await read(world, other)).length, 1);
  });
}
