/** What the writing connection keeps of held runs, and what it collects before it writes, against what is stored. */
import test from "ava";
import type { RunChange } from "../../server/domain/run-change.js";
import { Context } from "../../server/store/embedded/context.js";
import { Database } from "../../server/store/embedded/database.js";
import { createEmbeddedStore } from "../../server/store/embedded/embedded-store.js";
import { runGroup } from "../../server/store/embedded/group.js";
import { toInsertRow } from "../../server/store/embedded/insert-row.js";
import { RUN_COLUMNS, readRun, runIdBytes, type StoredRun } from "../../server/store/embedded/run-row.js";
import { migrate } from "../../server/store/embedded/schema.js";
import type { ArgumentOf, Call, ResultOf, VerbName } from "../../server/store/embedded/verbs.js";
import { DAY_MS, type RunOptions, SESSION, START_MS, World } from "./world.js";

const environment = "dev";
const LATER_MS = START_MS + 1_000;

class Held {
  readonly db = new Database({ location: ":memory:", isReadOnly: false });
  readonly context: Context;
  readonly world = new World(createEmbeddedStore({ directory: ":memory:" }));

  constructor() {
    migrate(this.db);
    this.context = new Context(this.db);
    this.call("openSession", this.world.session({ untilMs: START_MS + DAY_MS }));
  }

  call<V extends Exclude<VerbName, "insertRuns">>(verb: V, argument: ArgumentOf<V>): ResultOf<V> {
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- the caller names the type
    return this.#run({ verb, argument }) as ResultOf<V>;
  }

  claimed(count: number, options: RunOptions = {}): ResultOf<"claimRuns">[number] {
    const items = Array.from({ length: count }, () => this.world.item(options));
    this.#run({ verb: "insertRuns", inserts: items.map(toInsertRow) });
    const tasks = [{ taskId: "job", maxDurationSeconds: undefined, maxAttempts: 3 }];
    const pickUpDeadlineMs = START_MS + 10_000;
    const request = { environment, sessionId: SESSION, places: count, tasks, nowMs: START_MS, pickUpDeadlineMs };
    return this.call("claimRuns", [request])[0] ?? [];
  }

  stored(runId: string): StoredRun {
    const row = this.db.get(`SELECT ${RUN_COLUMNS} FROM runs WHERE id = ?`, runIdBytes(runId) ?? null);
    return readRun(row ?? [], this.context.names);
  }

  #run(call: Call): unknown {
    const [outcome] = runGroup(this.context, [call]);
    if (outcome?.kind !== "done") throw outcome?.error;
    return outcome.value;
  }
}

type Claimed = ResultOf<"claimRuns">[number][number];

function report({ run }: Claimed, event: "confirm"): RunChange;
function report({ run }: Claimed, event: "complete", output: Uint8Array): RunChange;
function report({ run }: Claimed, event: "confirm" | "complete", output?: Uint8Array): RunChange {
  const base = { environment, runId: run.id, fence: run.fence, sessionId: SESSION, nowMs: LATER_MS };
  return event === "confirm" ? { ...base, event } : { ...base, event, output };
}

test("what is kept of a held run is what is stored of it, from its claim to its end", (t) => {
  const held = new Held();
  const claimed = held.claimed(3, { tags: ["a"], metadataJson: "{}", key: undefined });
  const [first, second, third] = claimed;
  if (first === undefined || second === undefined || third === undefined) return t.fail("not claimed");
  for (const { run } of claimed) t.deepEqual(held.context.held.get(run.id), held.stored(run.id));
  held.call("changeRuns", [report(first, "confirm")]);
  const { id: runId, fence } = second.run;
  const failure = { kind: "string", message: "m" } as const;
  const base = { environment, runId, fence, sessionId: SESSION, nowMs: LATER_MS };
  held.call("changeRuns", [{ ...base, event: "retrySoon", failure, delayMs: 5 }]);
  for (const { run } of claimed) t.deepEqual(held.context.held.get(run.id), held.stored(run.id));
  held.call("changeRuns", [report(first, "complete", new Uint8Array([1]))]);
  t.is(held.context.held.get(first.run.id), undefined);
  t.is(held.stored(first.run.id).state.status, "COMPLETED");
});

test("runs of one call that get different values keep their own, and a repeat in the same call sees the first", (t) => {
  const held = new Held();
  const claimed = held.claimed(4);
  const outputs = [new Uint8Array([1]), new Uint8Array([1]), new Uint8Array([2]), new Uint8Array([1])];
  const none = new Uint8Array(0);
  const changes = claimed.map((run, index) => report(run, "complete", outputs[index] ?? none));
  const results = held.call("changeRuns", [...changes, ...changes]);
  t.deepEqual(
    results.map((result) => (result.kind === "refused" ? result.refusal : result.kind)),
    [...claimed.map(() => "applied"), ...claimed.map(() => "repeat")],
  );
  const details = held.call(
    "readRunDetails",
    claimed.map(({ run }) => ({ environment, runId: run.id })),
  );
  t.deepEqual(
    details.map((detail) => [detail?.run.status, [...(detail?.output ?? [])]]),
    outputs.map((output) => ["COMPLETED", [...output]]),
  );
});

test("IDM-28: a held run whose key is reset is not kept with its key", (t) => {
  const held = new Held();
  const key = held.world.key("k");
  const [claim] = held.claimed(1, { key });
  if (claim === undefined) return t.fail("not claimed");
  held.call("resetKey", { environment, recordHash: key.recordHash, request: undefined, nowMs: START_MS });
  const [result] = held.call("changeRuns", [report(claim, "confirm")]);
  t.is(result?.run?.key, undefined);
});

test("a change that is rolled back leaves nothing of itself in memory", (t) => {
  const held = new Held();
  const [claim] = held.claimed(1);
  if (claim === undefined) return t.fail("not claimed");
  const bad: Call = { verb: "appendLogs", argument: 1 };
  const good: Call = { verb: "changeRuns", argument: [report(claim, "complete", new Uint8Array(0))] };
  const outcomes = runGroup(held.context, [good, bad]);
  t.deepEqual(
    outcomes.map(({ kind }) => kind),
    ["done", "failed"],
  );
  t.is(held.stored(claim.run.id).state.status, "COMPLETED");
  t.is(held.context.held.get(claim.run.id), undefined);
});
