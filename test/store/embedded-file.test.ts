/** What only a store in a file promises: durability, one owner, migrations, full and read-only disks. */
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import test, { type ExecutionContext } from "ava";
import { isAppError } from "../../server/domain/error.js";
import { Database } from "../../server/store/embedded/database.js";
import { createEmbeddedStore, type EmbeddedStore } from "../../server/store/embedded/embedded-store.js";
import { SCHEMA_VERSION } from "../../server/store/embedded/schema.js";
import { testIf } from "../support/available.js";
import { DAY_MS, ids, only, World } from "./world.js";

const CHILD = new URL("./insert-child.js", import.meta.url).pathname;

async function temporaryDirectory(t: ExecutionContext): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), "hairtrigger-file-"));
  t.teardown(() => rm(directory, { recursive: true, force: true }));
  return directory;
}

async function started(t: ExecutionContext, directory: string): Promise<{ store: EmbeddedStore; world: World }> {
  const store = createEmbeddedStore({ directory });
  t.teardown(() => store.stop());
  await store.start();
  return { store, world: new World(store) };
}

test("an acknowledged write was synced: the live connection has synchronous = FULL and a write-ahead log", async (t) => {
  const { store } = await started(t, await temporaryDirectory(t));
  t.deepEqual(await store.query("PRAGMA synchronous"), [[2]]);
  t.deepEqual(await store.query("PRAGMA journal_mode"), [["wal"]]);
});

test("a store that is opened again has everything, its secret, its limits and its time", async (t) => {
  const directory = await temporaryDirectory(t);
  const first = await started(t, directory);
  await first.world.register({ id: "job", concurrencyLimit: 2 });
  const runs = await first.world.triggerMany(5, { tags: ["x"], metadataJson: "{}" });
  await first.world.open();
  await first.world.claim(10);
  const secret = await first.store.readSecret();
  const detail = await first.world.detail(runs[0] ?? "");
  await first.store.stop();

  const again = createEmbeddedStore({ directory });
  t.teardown(() => again.stop());
  const { lastTimeMs } = await again.start();
  const world = new World(again);
  t.true(lastTimeMs >= first.world.nowMs && lastTimeMs <= first.world.nowMs + 1_000);
  t.deepEqual(await again.readSecret(), secret);
  t.deepEqual(await world.detail(runs[0] ?? ""), detail);
  t.like(await world.queue("task/job"), { running: 2, queued: 3, baseLimit: 2 });
  t.deepEqual(await world.claim(10), []);
  await world.override("task/job", 3);
  t.deepEqual(ids(await world.claim(10)), [runs[2]]);
  t.deepEqual(await world.list({ tags: ["x"] }), runs.toReversed());
});

test("every run that was acknowledged before a kill -9 is there, whole, and the lock is free", async (t) => {
  const directory = await temporaryDirectory(t);
  for (let round = 0; round < 3; round += 1) {
    const acknowledged = await killedInserts(directory, 400);
    t.true(acknowledged.length >= 400);
    const { store, world } = await started(t, directory);
    const details = await store.readRunDetails(acknowledged.map((runId) => ({ environment: "dev", runId })));
    t.is(details.filter((detail) => detail === undefined).length, 0);
    t.is(details.filter((detail) => detail?.run.key !== undefined && detail.spec.length !== 4_000).length, 0);
    // What was under way is there as a whole or not at all: the counters agree with the runs.
    const { queued } = await world.queue("task/job");
    const [row] = await store.query("SELECT COUNT(*) FROM runs");
    t.deepEqual(row, [queued]);
    t.deepEqual(await store.query("PRAGMA integrity_check"), [["ok"]]);
    await store.stop();
  }
});

/** @returns the ids that a child printed before it was killed in the middle of its work. */
async function killedInserts(directory: string, count: number): Promise<readonly string[]> {
  const child = spawn(process.execPath, [CHILD, directory], { stdio: ["ignore", "pipe", "inherit"] });
  const lines: string[] = [];
  for await (const line of createInterface({ input: child.stdout })) {
    if (line.startsWith("run_")) lines.push(line);
    if (lines.length === count) child.kill("SIGKILL");
  }
  if (child.exitCode === null && child.signalCode === null) await once(child, "exit");
  // A line that the kill cut in two was not printed whole.
  return lines.filter((line) => line.length === "run_".length + 26);
}

test("one process owns a directory: a second start names it and changes nothing; a kill -9 frees it", async (t) => {
  const directory = await temporaryDirectory(t);
  const child = spawn(process.execPath, [CHILD, directory], { stdio: ["ignore", "pipe", "inherit"] });
  t.teardown(() => child.kill("SIGKILL"));
  await once(child.stdout, "data");
  const second = createEmbeddedStore({ directory });
  const error = await t.throwsAsync(second.start());
  t.regex(error.message, new RegExp(`in use by process ${child.pid}`));
  child.kill("SIGKILL");
  await once(child, "exit");
  const { store } = await started(t, directory);
  t.deepEqual(await store.checkWritable(), { ok: true });
  await t.throwsAsync(createEmbeddedStore({ directory }).start(), { message: new RegExp(`process ${process.pid}`) });
});

test("a file of a newer version is refused and left untouched", async (t) => {
  const directory = await temporaryDirectory(t);
  const first = await started(t, directory);
  await first.world.trigger();
  await first.store.stop();
  const file = join(directory, "hairtrigger.db");
  const db = new Database({ location: file, isReadOnly: false });
  db.exec(`PRAGMA user_version = ${SCHEMA_VERSION + 1}`);
  db.close();
  const before = await readFile(file);
  const error = await t.throwsAsync(createEmbeddedStore({ directory }).start());
  t.regex(error.message, /newer version of Hairtrigger/);
  t.false(isAppError(error));
  t.deepEqual(await readFile(file), before);
});

test("a file that is no store is refused, not overwritten", async (t) => {
  const directory = await temporaryDirectory(t);
  const file = join(directory, "hairtrigger.db");
  const text = "these are somebody's notes, and no database at all\n".repeat(100);
  await writeFile(file, text);
  await t.throwsAsync(createEmbeddedStore({ directory }).start());
  t.is(await readFile(file, "utf8"), text);
});

test("reads go on while a large transaction is written, and see what was acknowledged before them", async (t) => {
  const { store, world } = await started(t, await temporaryDirectory(t));
  const [first = ""] = await world.triggerMany(1);
  const writing = store.insertRuns(Array.from({ length: 20_000 }, () => world.item()));
  const winner = await Promise.race([writing.then(() => "write"), world.state(first).then(() => "read")]);
  t.is(winner, "read");
  const last = (await writing).at(-1);
  if (last?.kind !== "created") return t.fail();
  t.is((await world.state(last.run.id)).status, "QUEUED");
});

// ── disks ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

/** A file system of its own, as small as a test needs it; only root may mount one. */
function mount(t: ExecutionContext, directory: string, options: string): void {
  const { status, stderr } = spawnSync("mount", ["-t", "tmpfs", "-o", options, "tmpfs", directory]);
  if (status !== 0) throw new Error(`mount: ${String(stderr)}`);
  t.teardown(() => void spawnSync("umount", ["-l", directory]));
}

const canMount = canMountHere();

function canMountHere(): boolean {
  const directory = join(tmpdir(), `hairtrigger-mount-${process.pid}`);
  spawnSync("mkdir", ["-p", directory]);
  const { status } = spawnSync("mount", ["-t", "tmpfs", "-o", "size=1m", "tmpfs", directory]);
  if (status === 0) spawnSync("umount", [directory]);
  spawnSync("rmdir", [directory]);
  return status === 0;
}

const testOnDisk = testIf(canMount, "tmpfs cannot be mounted here");

testOnDisk(
  "a full disk acknowledges nothing that is not in the file, and writing goes on when space is free",
  async (t) => {
    const directory = await temporaryDirectory(t);
    mount(t, directory, "size=8m");
    const ballast = join(directory, "ballast");
    await writeFile(ballast, new Uint8Array(4 << 20));
    const { store, world } = await started(t, directory);
    await world.open({ untilMs: world.nowMs + DAY_MS });
    const acknowledged: string[] = [];
    let refused = 0;
    // Several callers, small and large runs, so that the disk fills in the middle of a group.
    while (refused === 0) {
      const results = await Promise.allSettled(
        Array.from({ length: 16 }, (_, index) =>
          world.trigger({ spec: new Uint8Array(index % 4 === 0 ? 40_000 : 200) }),
        ),
      );
      for (const result of results) {
        if (result.status === "fulfilled") acknowledged.push(result.value);
        else {
          refused += 1;
          t.true(isAppError(result.reason) && result.reason.reason === "STORE_UNAVAILABLE");
          t.true(isAppError(result.reason) && result.reason.retryAfterMs !== undefined);
        }
      }
    }
    t.like(await store.checkWritable(), { ok: false });
    t.is(typeof (await store.checkWritable()).error, "string");
    await t.throwsAsync(world.trigger({ spec: new Uint8Array(1_000_000) }), { message: /cannot be written/ });
    // Reads go on, and see every acknowledged run and no other.
    const stored = await world.store.readRuns(acknowledged.map((runId) => ({ environment: "dev", runId })));
    t.is(stored.filter((run) => run === undefined).length, 0);
    t.deepEqual(await store.query("SELECT COUNT(*) FROM runs"), [[acknowledged.length]]);
    t.deepEqual(await store.query("SELECT SUM(queued) FROM queue_tasks"), [[acknowledged.length]]);

    await rm(ballast);
    t.deepEqual(await store.checkWritable(), { ok: true });
    acknowledged.push(await world.trigger({ spec: new Uint8Array(100_000) }));
    t.deepEqual(await store.query("PRAGMA integrity_check"), [["ok"]]);
    const claimed = ids(await world.claim(10_000));
    t.deepEqual(new Set(claimed), new Set(acknowledged));
  },
);

testOnDisk(
  "a store on a read-only file system does not start, is UNAVAILABLE, and starts when it can be written",
  async (t) => {
    const directory = await temporaryDirectory(t);
    mount(t, directory, "size=16m");
    const first = await started(t, directory);
    const runId = await first.world.trigger();
    await first.store.stop();
    spawnSync("mount", ["-o", "remount,ro", directory]);
    const error = await t.throwsAsync(createEmbeddedStore({ directory }).start());
    t.true(isAppError(error) && error.reason === "STORE_UNAVAILABLE");
    spawnSync("mount", ["-o", "remount,rw", directory]);
    const { world } = await started(t, directory);
    t.is((await world.state(runId)).status, "QUEUED");
  },
);

testOnDisk("a directory that cannot be made is UNAVAILABLE", async (t) => {
  const directory = await temporaryDirectory(t);
  mount(t, directory, "size=1m,ro");
  const error = await t.throwsAsync(createEmbeddedStore({ directory: join(directory, "store") }).start());
  t.true(isAppError(error) && error.reason === "STORE_UNAVAILABLE");
});

test("a directory is made with its parents, readable by its owner only", async (t) => {
  const parent = await temporaryDirectory(t);
  const directory = join(parent, "a", "b");
  await mkdir(join(parent, "a"));
  const { store } = await started(t, directory);
  t.deepEqual(await store.checkWritable(), { ok: true });
  const { stdout } = spawnSync("stat", ["-c", "%a", directory], { encoding: "utf8" });
  t.is(only(stdout.trim().split("\n")), "700");
});
