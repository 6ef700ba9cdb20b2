/**
 * Random histories of triggers, workers, losses and duties, repeated from their seeds. `SIMULATION_SEEDS` (25) says how many, and
 * `SIMULATION_FIRST` (1) where they begin: a failure names its seed.
 */
import test from "ava";
import { isFinal } from "../../server/domain/run-status.js";
import { type Said, SimulatedWorker } from "./worker.js";
import { createWorld, triggerItem, type World } from "./world.js";

const SEEDS = Number(process.env["SIMULATION_SEEDS"] ?? 25);
const FIRST = Number(process.env["SIMULATION_FIRST"] ?? 1);
const STEPS = 150;
const PLACES = 4;
const TASKS = ["free", "narrow", "keyed"] as const;
const LIMITED = "limited";
const LIMIT = 2;
const PAGE = 100;

interface History {
  readonly world: World;
  readonly workers: SimulatedWorker[];
  /** Every run that a trigger acknowledged. */
  readonly acknowledged: Set<string>;
  readonly requests: Map<string, string>;
}

function sessionId(number: number): string {
  return `session_${String(number).padStart(26, "0")}`;
}

async function step(history: History): Promise<void> {
  const { world, workers } = history;
  const { engine, clock, chance, pick, random } = world;
  const worker = pick(workers);
  if (worker === undefined) return;
  const action = random();
  if (action < 0.25) await triggerSome(history);
  else if (action < 0.5) await worker.report(() => (chance(0.7) ? outcome(world) : undefined), chance(0.15));
  else if (action < 0.62) await worker.heartbeat();
  else if (action < 0.7) worker.offer(PLACES);
  else if (action < 0.76) await worker.disconnect();
  else if (action < 0.86) await worker.connect(TASKS, PLACES);
  else if (action < 0.88) replace(history, worker);
  else if (action < 0.92) await cancelSome(history);
  else if (action < 0.94) await engine.pauseQueue("dev", { name: LIMITED }).catch(() => undefined);
  else if (action < 0.98) await reportLate(history, worker);
  else await engine.resumeQueue("dev", { name: LIMITED }).catch(() => undefined);
  await clock.advance(Math.floor(random() ** 3 * 20_000));
  for (const duty of Object.values(engine.duties)) if (chance(0.4)) await duty(PAGE);
  await clock.advance(0);
}

function outcome({ random }: World): Said {
  const failure = { kind: "error", name: "Error", message: "boom" } as const;
  const dice = random();
  if (dice < 0.6) return { kind: "completed", output: undefined };
  if (dice < 0.75) return { kind: "failed", failure, retryDelayMs: 1_000 };
  if (dice < 0.85) return { kind: "failed", failure, retryDelayMs: 45_000 };
  if (dice < 0.9) return { kind: "interrupted", codeEnded: true };
  return { kind: "failed", failure, retryDelayMs: undefined };
}

async function triggerSome({ world, acknowledged, requests }: History): Promise<void> {
  const { engine, chance, pick, random } = world;
  const taskId = pick(TASKS) ?? "free";
  const requestId = chance(0.3) ? `request ${Math.floor(random() * 20)}` : undefined;
  const [result] = await engine.trigger("dev", [
    triggerItem(
      taskId,
      {
        ...(taskId === "free" ? {} : { queue: { name: LIMITED, concurrencyLimit: LIMIT } }),
        ...(taskId === "keyed" ? { concurrencyKey: pick(["a", "b"]) ?? "a" } : {}),
        ...(chance(0.2) ? { delay: { durationMs: 5_000 } } : {}),
        ...(chance(0.2) ? { ttl: "20s" } : {}),
        ...(chance(0.3) ? { idempotencyKey: { key: `key ${Math.floor(random() * 5)}` } } : {}),
      },
      requestId,
    ),
  ]);
  if (result?.ok !== true) throw new Error("a legal trigger was refused");
  acknowledged.add(result.runId);
  if (requestId === undefined) return;
  const before = requests.get(requestId);
  if (before !== undefined && before !== result.runId) throw new Error(`${requestId} got two runs`);
  requests.set(requestId, result.runId);
}

async function cancelSome({ world, acknowledged }: History): Promise<void> {
  const runId = world.pick([...acknowledged]);
  if (runId !== undefined) await world.engine.cancelRun("dev", runId, undefined);
}

/** RUN-8: a report under an old fence changes nothing. */
async function reportLate({ world }: History, worker: SimulatedWorker): Promise<void> {
  const lease = world.pick(worker.given);
  if (lease === undefined) return;
  const refs = [{ environment: "dev", runId: lease.runId }];
  const [before] = await world.store.readRuns(refs);
  if (before === undefined || before.fence === lease.fence) return;
  await worker.reportLate(lease);
  const [after] = await world.store.readRuns(refs);
  if (after?.version !== before.version)
    throw new Error(`a report under fence ${lease.fence} of ${before.fence} was applied`);
}

/** kill -9: the process and all it knew is gone; another one starts some time. */
function replace({ world, workers }: History, worker: SimulatedWorker): void {
  const fresh = new SimulatedWorker(
    world.engine,
    () => world.clock.nowMs(),
    sessionId(Math.floor(world.random() * 1e9)),
  );
  workers.splice(workers.indexOf(worker), 1, fresh);
}

/** QUE-4, QUE-16: neither the record nor the workers exceed the limit of a partition; here each key, and none, is one. */
async function limitsHold({ world, workers }: History): Promise<string | undefined> {
  const states = await Promise.all([...TASKS].map((taskId) => executing(world, taskId)));
  const narrow = states[1] ?? [];
  const keyed = states[2] ?? [];
  for (const group of [narrow, keyed.filter((key) => key === "a"), keyed.filter((key) => key === "b")]) {
    if (group.length > LIMIT) return `${group.length} executing in a partition of limit ${LIMIT}`;
  }
  const running = workers.reduce((sum, worker) => sum + worker.executing(LIMITED), 0);
  return running > 3 * LIMIT ? `${running} running in workers, over three partitions of limit ${LIMIT}` : undefined;
}

async function executing({ engine }: World, taskId: string): Promise<readonly (string | undefined)[]> {
  const page = await engine.listRuns({
    environment: "dev",
    filter: { statuses: ["EXECUTING"], taskIds: [taskId] },
    limit: PAGE,
  });
  return page.runs.map(({ concurrencyKey }) => concurrencyKey);
}

/** From here on everything works: whatever was acknowledged must end. */
async function quiesce(history: History): Promise<void> {
  const { world } = history;
  const { engine, clock } = world;
  await engine.resumeQueue("dev", { name: LIMITED }).catch(() => undefined);
  const healthy = new SimulatedWorker(engine, () => clock.nowMs(), sessionId(0));
  await healthy.connect(TASKS, PLACES);
  const completed: Said = { kind: "completed", output: undefined };
  for (let round = 0; round < 400; round++) {
    await clock.advance(2_000);
    for (const duty of Object.values(engine.duties)) await duty(PAGE);
    await healthy.heartbeat();
    await healthy.report(() => completed, false);
    healthy.offer(PLACES);
    await clock.advance(0);
  }
}

async function unfinished({ world, acknowledged }: History): Promise<readonly string[]> {
  const refs = [...acknowledged].map((runId) => ({ environment: "dev", runId }));
  const runs = await world.store.readRuns(refs);
  return runs.flatMap((run, index) => {
    if (run === undefined) return [`${refs[index]?.runId ?? "?"} is gone`];
    return isFinal(run.status) ? [] : [`${run.id} is ${run.status} ${run.readiness ?? ""}`];
  });
}

test("TRG-7, QUE-4, RUN-6, RUN-7, RUN-8: in any history no limit is exceeded, and everything acknowledged ends, with all slots free", async (t) => {
  for (let seed = FIRST; seed < FIRST + SEEDS; seed++) {
    const world = await createWorld(seed);
    const workers = [1, 2, 3].map((id) => new SimulatedWorker(world.engine, () => world.clock.nowMs(), sessionId(id)));
    const history: History = { world, workers, acknowledged: new Set(), requests: new Map() };
    for (let count = 0; count < STEPS; count++) {
      await step(history);
      t.is(await limitsHold(history), undefined, `seed ${seed}, step ${count}`);
    }
    await quiesce(history);
    t.deepEqual(await unfinished(history), [], `seed ${seed}`);
    const { queues } = await world.engine.listQueues("dev", 1, PAGE);
    for (const { name, running, queued } of queues)
      t.deepEqual({ running, queued }, { running: 0, queued: 0 }, `${name}, seed ${seed}`);
    await world.engine.stop();
    await world.store.stop();
  }
});
