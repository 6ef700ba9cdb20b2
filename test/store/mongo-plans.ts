/**
 * Queries of claims, duties and lists use their index, as the server's own `explain` says of the very commands that the store sends. A server
 * that says how much it examined examined no more than what it returned, and a page.
 */
import test, { type ExecutionContext } from "ava";
import { type Document, MongoClient } from "mongodb";
import type { MongoStore } from "../../server/store/mongo/mongo-store.js";
import type { RunFilter } from "../../server/store/store.js";
import { testIf } from "../support/available.js";
import { Commands } from "./mongo-commands.js";
import { type Databases, MONGODB_URI, mongoStore } from "./mongo-world.js";
import { SESSION, World } from "./world.js";

/** Finished runs beside those that are looked for, so that an index is worth its while. */
const FINISHED = 2_000;
const PAGE = 100;

interface Plan {
  readonly indexes: ReadonlySet<string>;
  readonly isScan: boolean;
  /** Where the server says so. */
  readonly examined: number | undefined;
  readonly returned: number;
}

/** Fields of any depth. */
function walk(value: unknown, visit: (name: string, value: unknown) => void): void {
  if (Array.isArray(value)) {
    for (const item of value) walk(item, visit);
  } else if (typeof value === "object" && value !== null) {
    for (const [name, inner] of Object.entries(value)) {
      // Of indexes that were thought of.
      if (name === "IndexCosts" || name === "rejectedPlans") continue;
      visit(name, inner);
      walk(inner, visit);
    }
  }
}

async function explained(store: MongoStore, sent: Document): Promise<Plan> {
  const { lsid: _, $db: __, $clusterTime: ___, txnNumber: ____, ...command } = sent;
  const { readConcern: _____, ...explain } = command;
  const answer = await store.database.command({ explain, verbosity: "executionStats" });
  const indexes = new Set<string>();
  let isScan = false;
  // A command whose text is in the answer is not part of the plan.
  const { command: ______, serverInfo: _______, ...plan } = answer;
  walk(plan, (name, value) => {
    // As mongod says it, and as what is built on PostgreSQL does.
    if (name === "indexName" || name === "Index Name") indexes.add(String(value));
    if ((name === "stage" && value === "COLLSCAN") || (name === "Node Type" && value === "Seq Scan")) isScan = true;
  });
  const { totalDocsExamined, nReturned } = answer.executionStats ?? {};
  const examined = typeof totalDocsExamined === "number" ? totalDocsExamined : undefined;
  return { indexes, isScan, examined, returned: Number(nReturned ?? 0) };
}

/** A store with finished runs, and some of every other kind. */
async function furnish(world: World): Promise<{ readonly parent: string }> {
  const { store } = world;
  await world.open();
  for (let done = 0; done < FINISHED; done += 500) {
    await world.triggerMany(500, { taskId: `old${done}` });
    const claimed = await world.claim(500, { tasks: [`old${done}`] });
    const changes = claimed.map((run) =>
      world.changeOf(run.run.id, { event: "complete", ...world.lease(run), output: undefined }),
    );
    await store.changeRuns(changes);
  }
  const parent = await world.trigger({ maxDurationSeconds: 5 });
  await world.triggerMany(3, { parent: { runId: parent, rootRunId: parent, depth: 0 } });
  await world.triggerMany(5, { delayedUntilMs: world.nowMs + 1_000 });
  await world.triggerMany(5, { ttl: { ms: 1_000, text: "1s" } });
  await world.triggerMany(5, { tags: ["t"], queue: "limited", queueLimit: 2 });
  const [first, second] = await world.claim(3);
  if (first === undefined || second === undefined) throw new Error("runs can start");
  await world.apply(second.run.id, { event: "wait", ...world.lease(second), waitingFor: "w" });
  return { parent };
}

interface Query {
  readonly title: string;
  readonly index: string;
  /** The collection that is looked at. */
  readonly on?: "runs" | "heads";
  readonly ask: (world: World, known: { readonly parent: string }) => Promise<unknown>;
}

const due = (kind: "due" | "expired" | "unconfirmed" | "overrun"): Query["ask"] => {
  return ({ store, nowMs }) => store.findRuns({ kind, nowMs: nowMs + 60_000, limit: PAGE });
};
const list = (filter: RunFilter): Query["ask"] => {
  return ({ store, environment }) => store.listRuns({ environment, filter, limit: PAGE });
};
const claim: Query["ask"] = (world) => world.claim(3);

const QUERIES: readonly Query[] = [
  { title: "claim", index: "claim", ask: claim },
  { title: "heads", index: "open", on: "heads", ask: claim },
  { title: "due", index: "due", ask: due("due") },
  { title: "expire", index: "expiry", ask: due("expired") },
  { title: "release", index: "pick_up", ask: due("unconfirmed") },
  { title: "overrun", index: "deadline", ask: due("overrun") },
  {
    title: "lose",
    index: "holder",
    ask: ({ store, environment }) => store.findRuns({ kind: "session", environment, sessionId: SESSION, limit: PAGE }),
  },
  {
    title: "settle",
    index: "todo",
    ask: ({ store, nowMs }) => store.findRuns({ kind: "todo", untilMs: nowMs + 60_000, limit: PAGE }),
  },
  {
    title: "children",
    index: "children",
    ask: ({ store, environment }, { parent }) =>
      store.findRuns({ kind: "children", environment, parentRunId: parent, limit: PAGE }),
  },
  {
    title: "waiting for",
    index: "waiting_for",
    ask: ({ store, environment }) => store.findRuns({ kind: "waiting", environment, waitingFor: ["w"], limit: PAGE }),
  },
  { title: "list", index: "list", ask: list({}) },
  { title: "list by task", index: "list_task", ask: list({ taskIds: ["job"] }) },
  { title: "list by queue", index: "list_queue", ask: list({ queues: ["limited"] }) },
  { title: "list by status", index: "list_status", ask: list({ statuses: ["QUEUED"] }) },
  { title: "list by tag", index: "list_tag", ask: list({ tags: ["t"] }) },
];

/** Heads of another environment beside the few that are looked for: of a collection of one page no server reads an index. */
async function addHeads({ database }: MongoStore): Promise<void> {
  const heads = Array.from({ length: FINISHED }, (_, index) => ({
    environment: "elsewhere",
    queue: "q",
    partition: "p",
    target: `t${index % 50}`,
    pos: String(index).padStart(20, "0"),
    open: true,
    v: "0",
    qv: 0,
  }));
  await database.collection("heads").insertMany(heads);
}

/** Whether the server's `explain` says how many documents it examined. */
async function saysExamined(): Promise<boolean> {
  if (MONGODB_URI === undefined) return false;
  const client = new MongoClient(MONGODB_URI);
  try {
    const explain = { find: "nothing", filter: {} };
    const answer = await client.db("hairtrigger_plans").command({ explain, verbosity: "executionStats" });
    return typeof answer.executionStats?.totalDocsExamined === "number";
  } finally {
    await client.close();
  }
}

// Asked before any test is declared, for they are declared at once.
const isExaminedSaid = await saysExamined();

export function mongoPlans(databases: Databases): void {
  test("design 12: queries of claims, duties and lists use their index", (t) =>
    inFurnished(t, databases, ({ title, index }, { indexes, isScan }) => {
      t.log(`${title}: ${[...indexes].join(", ") || "no index"}`);
      // Of the indexes that fit a list, servers choose by how many runs there are of each kind.
      const isRight = title.startsWith("list") ? indexes.size > 0 : indexes.has(index);
      t.true(isRight, `${title} uses ${[...indexes].join(", ") || "no index"} instead of ${index}`);
      t.false(isScan, `${title} reads the whole collection`);
    }));
  testIf(isExaminedSaid, "explain does not say what was examined")(
    "design 12: queries of claims, duties and lists examine no more than they return, and a page",
    (t) =>
      inFurnished(t, databases, ({ title }, { examined = 0, returned }) => {
        t.true(examined <= returned + PAGE, `${title} examined ${examined} for ${returned}`);
      }),
  );
}

async function inFurnished(
  t: ExecutionContext,
  databases: Databases,
  judge: (query: Query, plan: Plan) => void,
): Promise<void> {
  t.timeout(300_000);
  const name = await databases.take();
  const store = mongoStore(name);
  await store.start();
  try {
    const world = new World(store);
    const known = await furnish(world);
    await addHeads(store);
    const commands = new Commands(store);
    for (const query of QUERIES) {
      commands.reads.length = 0;
      await query.ask(world, known);
      const on = query.on ?? "runs";
      const [sent] = commands.reads.filter(({ find, filter }) => find === on && filter._id === undefined);
      if (sent === undefined) t.fail(`${query.title} asked nothing`);
      else judge(query, await explained(store, sent));
    }
  } finally {
    await store.stop();
    await databases.giveBack(name);
  }
}
