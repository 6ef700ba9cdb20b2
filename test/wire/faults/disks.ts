/** Disks that are full, fail, or cannot be written; and that an answer waits for the disk. */
import { randomUUID } from "node:crypto";
import { closeSync, mkdirSync, openSync, rmSync, writeSync } from "node:fs";
import { join } from "node:path";
import { Code, ConnectError, createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { runs, tasks } from "@hairtrigger/sdk";
import type { ExecutionContext } from "ava";
import { ErrorInfoSchema, RetryInfoSchema } from "#proto/google/rpc/error_details_pb.js";
import { RunService } from "#proto/hairtrigger/v1/run_service_pb.js";
import { testIf } from "../../support/available.js";
import { removeDirectory, smallDisk } from "../../support/children.js";
import { type ServerPlace, startServer } from "../../support/processes.js";
import { canTrace, type Trace, trace } from "../../support/strace.js";
import { assertStored, everyRun, inScene, pass, until } from "./scene.js";

interface RawTriggers {
  readonly acknowledged: ReadonlySet<string>;
  readonly refused: readonly { readonly requestId: string; readonly error: ConnectError }[];
  /** @param bytes of the payload. @returns whether it was acknowledged. */
  readonly trigger: (bytes: number, requestId?: string) => Promise<boolean>;
}

/** Triggers by the wire alone, without the SDK's further tries, and remembers how each ended. */
function rawTriggers(server: ServerPlace): RawTriggers {
  const client = createClient(RunService, createGrpcTransport({ baseUrl: server.url }));
  const headers = { authorization: `Bearer ${server.key}` };
  const acknowledged = new Set<string>();
  const refused: { readonly requestId: string; readonly error: ConnectError }[] = [];
  return {
    acknowledged,
    refused,
    async trigger(bytes, requestId = randomUUID()) {
      try {
        const payload = { data: { case: "json" as const, value: JSON.stringify("x".repeat(bytes)) } };
        const { runId } = await client.triggerTask({ taskId: "nobody-serves-this", payload, requestId }, { headers });
        acknowledged.add(runId);
        return true;
      } catch (error) {
        refused.push({ requestId, error: ConnectError.from(error) });
        return false;
      }
    },
  };
}

async function readiness({ url }: ServerPlace): Promise<number> {
  return (await fetch(`${url}/readyz`)).status;
}

/** Every refusal says that the store cannot be written, and when to ask again. */
function assertRefusals(t: ExecutionContext, { refused }: RawTriggers): void {
  t.true(refused.length > 0);
  for (const { error } of refused) {
    t.is(error.code, Code.Unavailable, error.message);
    t.deepEqual(
      error.findDetails(ErrorInfoSchema).map(({ reason, domain }) => [reason, domain]),
      [["STORE_UNAVAILABLE", "hairtrigger"]],
    );
    t.is(error.findDetails(RetryInfoSchema).length, 1);
  }
}

/** What was refused can be asked again; what was acknowledged is there; nothing else is. */
async function assertWhole(t: ExecutionContext, server: ServerPlace, triggers: RawTriggers): Promise<void> {
  const { acknowledged, refused } = triggers;
  const stored = async (): Promise<Set<string>> => {
    const ids = new Set<string>();
    for await (const run of runs.list({ taskIdentifier: "nobody-serves-this", limit: 100 })) ids.add(run.id);
    return ids;
  };
  assertStored(t, await stored(), acknowledged);
  const again = refused.slice(0, 10);
  for (const { requestId } of again) t.true(await triggers.trigger(2, requestId));
  assertStored(t, await stored(), acknowledged);
  await server.kill();
  await server.start();
  assertStored(t, await stored(), acknowledged, "after a crash");
}

const DISK_MEGABYTES = 24;
const CHUNK_BYTES = 64 * 1_024;

/** Another program takes all that is left of the disk. */
function fill(file: string): void {
  const open = openSync(file, "w");
  try {
    for (const size of [CHUNK_BYTES, 4_096]) {
      try {
        for (;;) if (writeSync(open, Buffer.alloc(size)) < size) break;
      } catch {
        // Full: the next size is smaller.
      }
    }
  } finally {
    closeSync(open);
  }
}

/** Whether a file system can be mounted here; found out once, by doing it. */
function canMount(): boolean {
  const disk = process.platform === "linux" ? smallDisk(1) : undefined;
  if (disk !== undefined) removeDirectory(disk);
  return disk !== undefined;
}

export function registerDisks(): void {
  testIf(canMount(), "no file system can be mounted (not root?)")(
    "TRG-7: on a full disk triggers are refused as UNAVAILABLE, nothing is half done, and the server recovers without a restart",
    async (t) => {
      t.timeout(90_000);
      const disk = smallDisk(DISK_MEGABYTES);
      if (disk === undefined) throw new Error("it could be mounted before");
      t.teardown(() => removeDirectory(disk));
      const directory = join(disk, "store");
      mkdirSync(directory);
      await inScene(t, { directory }, async ({ server, ledger, startWorker }) => {
        const { pid } = server;
        const triggers = rawTriggers(server);
        const worker = await startWorker({ name: "worker" });
        const held = await tasks.trigger("work", { number: 1, holdIn: "worker" });
        await ledger.first("start", { number: 1 });
        for (let count = 0; count < 20; count += 1) t.true(await triggers.trigger(1_000));
        t.is(await readiness(server), 200);

        fill(join(disk, "filler"));
        await until("the server says that it is not ready", async () => {
          await Promise.all(Array.from({ length: 8 }, () => triggers.trigger(20_000)));
          return (await readiness(server)) === 503;
        });
        t.is((await runs.retrieve(held)).status, "EXECUTING", "reading goes on");
        // Both wait for the disk: a report of a worker, and a call of the SDK, which tries again.
        worker.release(1);
        const patient = tasks.trigger("work", { number: 2 }, {}, { retry: { maxAttempts: 50, maxTimeoutInMs: 500 } });
        await ledger.first("end", { number: 1 });
        t.is((await runs.retrieve(held)).status, "EXECUTING", "an end that is not stored is not shown");

        rmSync(join(disk, "filler"));
        await until("the server is ready", async () => (await readiness(server)) === 200);
        t.like(await runs.poll(held, { pollIntervalMs: 50 }), { status: "COMPLETED", attemptCount: 1 });
        t.like(await runs.poll(await patient, { pollIntervalMs: 50 }), { status: "COMPLETED", attemptCount: 1 });
        await ledger.first("start", { number: 2 });
        t.is(ledger.count("start"), 2);
        t.is(server.pid, pid);
        assertRefusals(t, triggers);
        await assertWhole(t, server, triggers);
      });
    },
  );

  testIf(canMount(), "no file system can be mounted (not root?)")(
    "a server whose store cannot be written does not start, and says where and why",
    async (t) => {
      t.timeout(60_000);
      const disk = smallDisk(1, ["ro"]);
      if (disk === undefined) throw new Error("it could be mounted before");
      t.teardown(() => removeDirectory(disk));
      const error = await t.throwsAsync(startServer({ directory: disk }));
      t.regex(error?.message ?? "", new RegExp(`${disk} cannot be opened as a store: \\w`));
    },
  );

  testIf(canTrace(), "strace cannot trace")(
    "TRG-7: on a disk that turns read-only triggers are refused as UNAVAILABLE, nothing is half done, and the server recovers without a restart",
    async (t) => {
      t.timeout(90_000);
      await inScene(t, {}, async ({ server }) => {
        const { pid } = server;
        const triggers = rawTriggers(server);
        for (let count = 0; count < 20; count += 1) t.true(await triggers.trigger(1_000));
        const readOnly = await failing(server, "pwrite64,pwritev,ftruncate,fallocate,openat", "EROFS");
        await until("the server says that it is not ready", async () => {
          await Promise.all(Array.from({ length: 8 }, () => triggers.trigger(1_000)));
          return (await readiness(server)) === 503;
        });
        t.is((await everyRun()).size, triggers.acknowledged.size, "reading goes on");
        await readOnly.detach();
        await until("the server is ready", async () => (await readiness(server)) === 200);
        t.is(server.pid, pid);
        assertRefusals(t, triggers);
        await assertWhole(t, server, triggers);
      });
    },
  );

  testIf(canTrace(), "strace cannot trace")(
    "TRG-7: where the disk fails to keep what was written, the trigger is refused",
    async (t) => {
      t.timeout(90_000);
      await inScene(t, {}, async ({ server }) => {
        const triggers = rawTriggers(server);
        for (let count = 0; count < 20; count += 1) t.true(await triggers.trigger(1_000));
        const failed = await failing(server, "fsync,fdatasync", "EIO");
        for (let count = 0; count < 20; count += 1) t.false(await triggers.trigger(1_000));
        await failed.detach();
        await until("the server is ready", async () => (await readiness(server)) === 200);
        assertRefusals(t, triggers);
        await assertWhole(t, server, triggers);
      });
    },
  );

  testIf(canTrace(), "strace cannot trace")(
    "TRG-7: between a lone trigger and its answer the store's file is synchronised with the disk",
    async (t) => {
      t.timeout(60_000);
      await inScene(t, {}, async ({ server }) => {
        await tasks.trigger("work", { number: 0 });
        // Nothing else writes in the meantime, save the scheduler every two seconds: ten triggers are not all beside one of its writes.
        const calls = await trace(server.pid, ["-yy", "-s", "200", "-e", "trace=read,write,writev,fsync,fdatasync"]);
        const lone = 10;
        for (let number = 1; number <= lone; number += 1) {
          const response = await fetch(`${server.url}/hairtrigger.v1.RunService/TriggerTask`, {
            method: "POST",
            headers: { authorization: `Bearer ${server.key}`, "content-type": "application/json" },
            body: JSON.stringify({ taskId: "work", payload: { value: { number } } }),
          });
          t.is(response.status, 200);
          await response.json();
          await pass(20);
        }
        const between = syncsBetween(await calls.detach());
        t.is(between.length, lone);
        t.deepEqual(
          between.filter((count) => count === 0),
          [],
        );
        t.log(`fsync or fdatasync between request and answer: ${between.join(", ")}`);
      });
    },
  );
}

/** From now on these system calls on the files of the store fail. */
async function failing({ pid, directory }: ServerPlace, calls: string, error: string): Promise<Trace> {
  const files = ["hairtrigger.db", "hairtrigger.db-wal"].flatMap((name) => ["-P", join(directory, name)]);
  return trace(pid, ["-e", `trace=${calls}`, "-e", `inject=${calls}:error=${error}`, ...files]);
}

const REQUEST = '"POST /hairtrigger.v1.RunService/TriggerTask';
const ANSWER = '"HTTP/1.1 200';
/** A call that has returned without an error; strace prints it in one line, or in a second one where another thread's came between. */
const SYNC_DONE = /(?:\bf(?:data)?sync\(.*|<\.\.\. f(?:data)?sync resumed>\))\s*= 0$/;

/** For each trigger, in order, how often the store's file was synchronised between the request's arrival and its answer. */
function syncsBetween(calls: readonly string[]): readonly number[] {
  const counts: number[] = [];
  let current: number | undefined;
  for (const call of calls) {
    if (call.includes(REQUEST)) current = 0;
    else if (current !== undefined && SYNC_DONE.test(call)) current += 1;
    else if (current !== undefined && call.includes(ANSWER)) {
      counts.push(current);
      current = undefined;
    }
  }
  return counts;
}
