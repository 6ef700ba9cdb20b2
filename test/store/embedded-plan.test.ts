/** What the embedded store's statements cost, told by their plans and by the rows they read, never by time. */
import test from "ava";
import { Context } from "../../server/store/embedded/context.js";
import { Database, type Row, type SqlValue } from "../../server/store/embedded/database.js";
import { createEmbeddedStore } from "../../server/store/embedded/embedded-store.js";
import { runGroup } from "../../server/store/embedded/group.js";
import { toInsertRow } from "../../server/store/embedded/insert-row.js";
import { migrate } from "../../server/store/embedded/schema.js";
import type { ArgumentOf, Call, ResultOf, VerbName } from "../../server/store/embedded/verbs.js";
import { DAY_MS, type RunOptions, SESSION, START_MS, World } from "./world.js";

/** Keeps what was asked and how many rows came back. */
class WatchedDatabase extends Database {
  readonly statements = new Set<string>();
  calls = 0;
  rows = 0;

  override get(sql: string, ...params: readonly SqlValue[]): Row | undefined {
    const row = super.get(sql, ...params);
    this.#count(sql, row === undefined ? 0 : 1);
    return row;
  }

  override all(sql: string, ...params: readonly SqlValue[]): readonly Row[] {
    const rows = super.all(sql, ...params);
    this.#count(sql, rows.length);
    return rows;
  }

  override run(sql: string, ...params: readonly SqlValue[]): number {
    this.#count(sql, 0);
    return super.run(sql, ...params);
  }

  override insert(sql: string, ...params: readonly SqlValue[]): number {
    this.#count(sql, 0);
    return super.insert(sql, ...params);
  }

  override insertMany(sql: string, params: readonly SqlValue[]): { readonly count: number; readonly lastRow: number } {
    this.#count(sql, 0);
    return super.insertMany(sql, params);
  }

  #count(sql: string, rows: number): void {
    this.statements.add(sql);
    this.calls += 1;
    this.rows += rows;
  }
}

class Watched {
  readonly db = new WatchedDatabase({ location: ":memory:", isReadOnly: false });
  readonly #context: Context;
  readonly #items: World;

  constructor() {
    migrate(this.db);
    this.#context = new Context(this.db);
    this.#items = new World(createEmbeddedStore({ directory: ":memory:" }));
  }

  call<V extends Exclude<VerbName, "insertRuns">>(verb: V, argument: ArgumentOf<V>): ResultOf<V> {
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- the caller names the type
    return this.#run({ verb, argument }) as ResultOf<V>;
  }

  insert(count: number, options: RunOptions = {}): readonly string[] {
    const items = Array.from({ length: count }, () => this.#items.item(options));
    this.#run({ verb: "insertRuns", inserts: items.map(toInsertRow) });
    return items.map(({ run }) => run.id);
  }

  open(): void {
    this.call("openSession", this.#items.session({ untilMs: START_MS + DAY_MS }));
  }

  claim(places: number, tasks: readonly string[] = ["job"]): ResultOf<"claimRuns">[number] {
    const request = {
      environment: "dev",
      sessionId: SESSION,
      places,
      tasks: tasks.map((taskId) => ({ taskId, maxDurationSeconds: undefined, maxAttempts: 3 })),
      nowMs: START_MS,
      pickUpDeadlineMs: START_MS + 10_000,
    };
    return this.call("claimRuns", [request])[0] ?? [];
  }

  /** Calls and rows of one piece of work. */
  cost(work: () => void): { readonly calls: number; readonly rows: number } {
    const { calls, rows } = this.db;
    work();
    return { calls: this.db.calls - calls, rows: this.db.rows - rows };
  }

  #run(call: Call): unknown {
    const [outcome] = runGroup(this.#context, [call]);
    if (outcome?.kind !== "done") throw outcome?.error;
    return outcome.value;
  }
}

/** A claim of five from two queues, and what it cost. */
function claimAmong(prepare: (watched: Watched) => void): { readonly calls: number; readonly rows: number } {
  const watched = new Watched();
  watched.open();
  prepare(watched);
  watched.insert(20);
  watched.insert(20, { queue: "other" });
  // The first claim reads settings that are then known.
  watched.claim(1);
  let given = 0;
  const cost = watched.cost(() => {
    given = watched.claim(5).length;
  });
  if (given !== 5) throw new Error(`the claim gave ${given}`);
  return cost;
}

test("QUE-9: the cost of a claim depends neither on the backlog nor on blocked runs and closed heads", (t) => {
  const plain = claimAmong(() => undefined);
  const crowded = claimAmong((watched) => {
    for (let index = 0; index < 500; index += 1) {
      watched.insert(2, { queue: "closed", concurrencyKey: `k${index}`, queueLimit: 0 });
    }
    watched.insert(3_000, { taskId: "unserved" });
    watched.insert(500, { queue: "paused" });
    watched.call("changeQueue", { environment: "dev", name: "paused", nowMs: START_MS, kind: "pause" });
  });
  t.deepEqual(crowded, plain);
  const backlog = claimAmong((watched) => watched.insert(5_000));
  t.true(backlog.rows <= plain.rows + 5 && backlog.calls <= plain.calls + 2, JSON.stringify({ backlog, plain }));
});

test("a claim reads about as many rows as it gives", (t) => {
  const watched = new Watched();
  watched.open();
  watched.insert(2_000);
  watched.claim(1);
  const { rows } = watched.cost(() => watched.claim(200));
  t.true(rows < 2 * 200 + 20, `${rows} rows for 200 runs`);
});

test("inserts of one group share statements: a run costs no statement of its own", (t) => {
  const watched = new Watched();
  watched.insert(1);
  const { calls } = watched.cost(() => watched.insert(160));
  // Ten for the rows, sixteen each; a few for counters and heads.
  t.true(calls < 18, `${calls} statements`);
});

/** Plans that look at a whole table or index, and why that is right. */
const ALLOWED: readonly RegExp[] = [
  // Partial indexes whose entries are all wanted.
  /SCAN sessions USING INDEX sessions_lapsed/,
  // One row.
  /SCAN answers/,
  /SCAN CONSTANT ROW/,
  // Lists that came as a parameter.
  /SCAN \w+ VIRTUAL TABLE/,
  // The rows of the statement itself.
  /SCAN \d+-ROW VALUES CLAUSE/,
  // Of a subquery that was cut to a bound.
  /SCAN \(subquery/,
];

test("no statement scans a table or sorts what it could read in order", (t) => {
  const watched = new Watched();
  everyVerb(watched);
  t.true(watched.db.statements.size > 60, `only ${watched.db.statements.size} statements were seen`);
  const bad: string[] = [];
  const statements = Array.from(watched.db.statements);
  for (const sql of statements) {
    for (const row of watched.db.all(`EXPLAIN QUERY PLAN ${sql}`)) {
      const detail = String(row[3]);
      const isScan = /\bSCAN\b/.test(detail) && !ALLOWED.some((allowed) => allowed.test(detail));
      const isSort = /TEMP B-TREE/.test(detail) && !/queue_tasks/.test(sql);
      if (isScan || isSort) bad.push(`${detail}: ${sql.replaceAll(/\s+/g, " ").slice(0, 200)}`);
    }
  }
  t.deepEqual(bad, []);
});

/** Calls every verb at least once, in states in which it has something to do. */
function everyVerb(watched: Watched): void {
  const items = new World(createEmbeddedStore({ directory: ":memory:" }));
  const environment = "dev";
  const tasks = [{ id: "job", concurrencyLimit: 5 }];
  watched.call("registerTasks", { environment, tasks, queues: [], nowMs: START_MS });
  watched.open();
  watched.insert(30, { key: undefined });
  watched.insert(2, { key: items.key("k"), requestHash: "ab".repeat(32), queueSizeMax: 100 });
  const [parent = ""] = watched.insert(1, { tags: ["x"], metadataJson: "{}", spec: new Uint8Array(5_000), queue: "q" });
  watched.insert(1, { parent: { runId: parent, rootRunId: parent, depth: 0 }, delayedUntilMs: START_MS + 5 });
  const request = { hash: "cd".repeat(32), expiresAtMs: START_MS + 5 };
  watched.call("resetKey", { environment, recordHash: items.key("k").recordHash, request, nowMs: START_MS });
  const claimed = watched.claim(10);
  const lease = ({ run }: (typeof claimed)[number]) => ({ fence: run.fence, sessionId: SESSION });
  const [first, second, third] = claimed;
  if (first === undefined || second === undefined || third === undefined) throw new Error("nothing was claimed");
  const failure = { kind: "error", message: "no" } as const;
  watched.call("changeRuns", [
    items.changeOf(first.run.id, { event: "complete", ...lease(first), output: undefined }),
    items.changeOf(second.run.id, { event: "retryLater", ...lease(second), failure, delayMs: 50 }),
    items.changeOf(third.run.id, { event: "cancel", reason: "" }),
    items.changeOf(parent, { event: "addTags", attempt: undefined, tags: ["y"], tagsMax: 10 }),
  ]);
  const refs = [first, second, third].map(({ run }) => ({ environment, runId: run.id }));
  watched.call("readRuns", refs);
  watched.call("readRunDetails", [...refs, { environment, runId: parent }]);
  const line = { timeMs: 1, level: "info", attempt: 1, message: "m", fieldsJson: undefined } as const;
  watched.call("appendLogs", [{ environment, runId: parent, lines: [line], linesMax: 10, bytesMax: 100 }]);
  watched.call("endLingering", { kind: "run", environment, runId: third.run.id, fence: 99 });
  watched.call("endLingering", { kind: "expired", nowMs: START_MS + 50, graceMs: 1, limit: 10 });
  for (const kind of ["due", "expired", "unconfirmed", "overrun"] as const) {
    watched.call("findRuns", { kind, nowMs: START_MS + 50, limit: 10 });
  }
  watched.call("findRuns", { kind: "todo", untilMs: START_MS + 50, limit: 10 });
  watched.call("findRuns", { kind: "session", environment, sessionId: SESSION, limit: 10 });
  watched.call("findRuns", { kind: "children", environment, parentRunId: parent, limit: 10 });
  const cursor = { createdAtMs: START_MS, runId: parent };
  for (const filter of [
    {},
    { taskIds: ["job"] },
    { statuses: ["QUEUED", "COMPLETED"] as const },
    { queues: ["q", "task/job"] },
    { tags: ["x", "y"] },
    { batchId: "batch_1" },
    { tags: ["x"], queues: ["q"], statuses: ["QUEUED"] as const, taskIds: ["job"], batchId: "batch_1", isTest: false },
    { taskIds: ["job"], fromMs: START_MS, toMs: START_MS + 5 },
    { isTest: true },
    { allTags: ["x", "y"], updatedFromMs: START_MS },
  ]) {
    watched.call("countRuns", { environment, filter });
    watched.call("listRuns", { environment, filter, limit: 10 });
    watched.call("listRuns", { environment, filter, limit: 10, after: cursor });
    watched.call("listRuns", { environment, filter, limit: 10, before: cursor });
  }
  const operations = [{ sequence: 1, operation: { kind: "increment", key: "n", amount: 1 } as const }];
  const metadata = { environment, source: "s", operations, attempt: undefined, isWhole: true, bytesMax: 100 };
  watched.call("changeMetadata", [{ ...metadata, runId: parent, nowMs: START_MS + 5 }]);
  watched.call("listTasks", { environment });
  watched.call("listQueues", { environment, page: 1, perPage: 10 });
  watched.call("readQueue", { environment, name: "q" });
  watched.call("changeQueue", { environment, name: "q", nowMs: START_MS, kind: "override", limit: 1, by: "me" });
  watched.call("listSessions", { environment });
  watched.call("keepSessions", [{ environment, sessionId: SESSION, connectionEpoch: 1, untilMs: START_MS + 2 }]);
  watched.call("purge", { nowMs: START_MS + 90 * DAY_MS, finishedRunsKeptMs: DAY_MS, limit: 100 });
  watched.call("lapseSessions", { nowMs: START_MS + 2 * DAY_MS, limit: 10 });
  watched.call("closeSession", { environment, sessionId: SESSION });
}

test("what has drained leaves no heads, no holders, and partitions only until they are purged", async (t) => {
  const store = createEmbeddedStore({ directory: ":memory:" });
  await store.start();
  const world = new World(store);
  await world.open();
  for (let index = 0; index < 50; index += 1) await world.trigger({ concurrencyKey: `k${index}`, queueLimit: 1 });
  for (const claimed of await world.claim(100)) await world.complete(claimed);
  t.deepEqual(await store.query("SELECT COUNT(*) FROM heads"), [[0]]);
  t.deepEqual(await store.query("SELECT COUNT(*), SUM(holders) FROM partitions"), [[50, 0]]);
  const purge = () => store.purge({ nowMs: world.nowMs, finishedRunsKeptMs: DAY_MS, limit: 20 });
  for (let step = 0; step < 4; step += 1) await purge();
  t.deepEqual(await store.query("SELECT COUNT(*) FROM partitions"), [[0]]);
  await store.stop();
});
