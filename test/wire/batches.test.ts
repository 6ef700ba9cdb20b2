/** Batches whose server is killed in the middle: after its restart they are whole or not there, never half, never twice. */
import { batch, runs, tasks } from "@hairtrigger/sdk";
import test, { type ExecutionContext } from "ava";
import { type ServerPlace, startServer } from "../support/processes.js";

const HASTE = { retry: { maxAttempts: 400, minTimeoutInMs: 20, maxTimeoutInMs: 100 } };

async function serverOf(t: ExecutionContext): Promise<ServerPlace> {
  const server = await startServer();
  t.teardown(() => server.remove());
  return server;
}

async function idsOf(
  batchId: string,
  options: { readonly clientConfig: ServerPlace["sdk"] },
): Promise<readonly string[]> {
  const ids: string[] = [];
  for await (const run of runs.list({ batch: batchId, limit: 100 }, options)) ids.push(run.id);
  return ids;
}

test("BAT-15, BAT-16: a stream goes on after its server was killed and started again, every item has one run", async (t) => {
  t.timeout(120_000);
  const server = await serverOf(t);
  const options = { ...HASTE, clientConfig: server.sdk };
  const count = 4_000;
  async function* items() {
    for (let n = 0; n < count; n += 1) {
      if (n === 1_700 || n === 3_100) {
        await server.kill();
        await server.start();
      }
      yield { payload: n };
    }
  }
  const handle = await tasks.batchTrigger("work", items(), {}, options);
  t.is(handle.runCount, count);
  const ids = await idsOf(handle.batchId, options);
  t.is(ids.length, count);
  t.is(new Set(ids).size, count);
  const payloads = await Promise.all(
    [ids[count - 1], ids[0]].map(async (id) => (await runs.retrieve(id ?? "", options)).payload),
  );
  t.deepEqual(payloads, [0, count - 1]);
  t.is((await batch.retrieve(handle.batchId, options)).status, "PENDING");
});

test("BAT-8, REQ-1: batches under way when their server is killed are whole, their callers' repeats get the same", async (t) => {
  t.timeout(120_000);
  const server = await serverOf(t);
  const options = { ...HASTE, clientConfig: server.sdk };
  const items = Array.from({ length: 500 }, (_, n) => ({ payload: n, options: { idempotencyKey: `k${n}` } }));
  const first = await tasks.batchTrigger("warm", [{ payload: 1 }], {}, options);
  t.is(first.runCount, 1);
  const calls = Array.from({ length: 12 }, (_, n) =>
    tasks.batchTrigger(`work${n}`, items, { idempotencyKey: `b${n}` }, options),
  );
  // In the middle of some of them: the first has been answered, the last have not.
  await Promise.race(calls);
  await server.kill();
  await server.start();
  const handles = await Promise.all(calls);
  for (const handle of handles) {
    t.is(handle.runCount, 500);
    const ids = await idsOf(handle.batchId, options);
    t.deepEqual(
      ids.toReversed(),
      handle.runs.map(({ id }) => id),
      "the runs that are there are those of the handle",
    );
    t.is(ids.length, 500);
  }
  const again = await tasks.batchTrigger("work0", items, { idempotencyKey: "b0" }, options);
  t.like(again, { isCached: true, batchId: handles[0]?.batchId ?? "" });
});
