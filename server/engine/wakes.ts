/**
 * Wakes runs when what they wait for is over. No wake-up is lost, by one order (design 9): what is waited for is marked as awaited → the
 * run is WAITING, with a mark to look once more → what it waits for is read again, and the run woken if that is over → the mark goes. From
 * the other side: the end of something awaited leaves a mark → those who wait for it are found and woken → the mark goes. Whichever comes
 * second sees the other.
 *
 * Both sides are done here, right after the commit, everything of one flush together; what a crash left is found by its marks (`settle`).
 */
import { isBatchDone } from "../domain/batch.js";
import { type RunState, TODO } from "../domain/run.js";
import type { RunChange, Settle } from "../domain/run-change.js";
import { isFinal } from "../domain/run-status.js";
import { parseWaitTarget, waitTarget } from "../domain/wait.js";
import { targetOf, type Waitpoint } from "../domain/waitpoint.js";
import type { BatchRef, RunRef, WaitpointRef } from "../store/store.js";
import type { EngineDeps } from "./engine.js";
import { emitMoved } from "./moved.js";

export interface Wakes {
  /** These runs have ended; those of them that some run may wait for carry the mark. */
  ended(run: RunState): void;
  /** The run has begun to wait. */
  waiting(run: RunState): void;
  /** The waitpoint is over. */
  over(waitpoint: Waitpoint): void;
  /** Resolves when nothing is under way any more. */
  stop(): Promise<void>;
}

/** Of one step: bounds its transactions. */
const PAGE = 500;

/** @param deps those of the engine, in which what is made here has its place. */
export function createWakes(deps: () => EngineDeps): Wakes {
  let endedRuns: RunState[] = [];
  let waitingRuns: RunState[] = [];
  let waitpoints: Waitpoint[] = [];
  let underWay: Promise<void> | undefined;
  let isStopped = false;

  const start = (): void => {
    underWay ??= Promise.resolve().then(work);
  };

  async function work(): Promise<void> {
    // `stop` empties both.
    while (endedRuns.length + waitingRuns.length + waitpoints.length > 0) {
      const ended = endedRuns.splice(0, PAGE);
      const waiting = waitingRuns.splice(0, PAGE);
      const over = waitpoints.splice(0, PAGE);
      try {
        await Promise.all([
          ended.length === 0 ? undefined : wakeWaiters(deps(), ended),
          waiting.length === 0 ? undefined : lookOnceMore(deps(), waiting),
          over.length === 0 ? undefined : wakeWaitersForWaitpoints(deps(), over),
        ]);
      } catch (error) {
        // The marks stay, and `settle` finds them.
        deps().events.emit("store.unavailable", { error });
      }
    }
    underWay = undefined;
  }

  return {
    ended(run) {
      if (isStopped || (run.todo & TODO.wakeWaiting) === 0) return;
      endedRuns.push(run);
      start();
    },
    waiting(run) {
      if (isStopped) return;
      waitingRuns.push(run);
      start();
    },
    over(waitpoint) {
      if (isStopped) return;
      waitpoints.push(waitpoint);
      start();
    },
    async stop() {
      isStopped = true;
      endedRuns = [];
      waitingRuns = [];
      waitpoints = [];
      await underWay;
    },
  };
}

/** Wakes all who wait for these runs, which have ended, or for batches that are done with them; then clears the marks. */
export async function wakeWaiters(deps: EngineDeps, ended: readonly RunState[]): Promise<void> {
  const refs = ended.map(({ environment, id: runId }) => ({ environment, runId }));
  // Asked once for all of the flush: a batch of many pays for the runs that ended since the last look, not for all it has.
  const batches = await deps.store.doneBatches(refs);
  const targets = [
    ...refs.map(({ environment, runId }) => ({ environment, target: waitTarget({ kind: "run", runId }) })),
    ...batches.map(({ environment, batchId }) => ({ environment, target: waitTarget({ kind: "batch", batchId }) })),
  ];
  for (const [environment, own] of byEnvironment(targets)) {
    await wakeAllWaitingFor(
      deps,
      environment,
      own.map(({ target }) => target),
    );
  }
  await settle(deps, ended, TODO.wakeWaiting);
}

/** Wakes all who wait for these, which are over, then clears what is owed to them. */
export async function wakeWaitersForWaitpoints(deps: EngineDeps, over: readonly Waitpoint[]): Promise<void> {
  for (const [environment, waitpoints] of byEnvironment(over)) {
    await wakeAllWaitingFor(deps, environment, waitpoints.map(targetOf));
  }
  await deps.store.settleWaitpoints(over.map(({ environment, id: waitpointId }) => ({ environment, waitpointId })));
}

export async function wakeAllWaitingFor(
  deps: EngineDeps,
  environment: string,
  waitingFor: readonly string[],
): Promise<void> {
  for (;;) {
    const waiters = await deps.store.findRuns({ kind: "waiting", environment, waitingFor, limit: PAGE });
    await wake(deps, waiters);
    if (waiters.length < PAGE) return;
  }
}

/** Reads again what these runs have begun to wait for, and wakes those for whom it is over. */
export async function lookOnceMore(deps: EngineDeps, waiting: readonly RunState[]): Promise<void> {
  const isOver = await readEnds(deps, waiting);
  const [over, open] = [waiting.filter((run) => isOver(run)), waiting.filter((run) => !isOver(run))];
  await wake(deps, over);
  await settle(deps, open, TODO.watch);
}

/** Whether what a run waits for is over; what does not exist will never end otherwise. */
async function readEnds(deps: EngineDeps, waiting: readonly RunState[]): Promise<(run: RunState) => boolean> {
  const runRefs: RunRef[] = [];
  const batchRefs: BatchRef[] = [];
  const waitpointRefs: (WaitpointRef & { readonly waitingFor: string })[] = [];
  for (const { environment, waitingFor = "" } of waiting) {
    const target = parseWaitTarget(waitingFor);
    if (target.kind === "run") runRefs.push({ environment, runId: target.runId });
    if (target.kind === "batch") batchRefs.push({ environment, batchId: target.batchId });
    if (target.kind === "token" || target.kind === "time") {
      waitpointRefs.push({ environment, waitpointId: target.waitpointId, waitingFor });
    }
  }
  const [runs, batches, waitpoints] = await Promise.all([
    runRefs.length === 0 ? [] : deps.store.readRuns(runRefs),
    batchRefs.length === 0 ? [] : deps.store.readBatches(batchRefs),
    waitpointRefs.length === 0 ? [] : deps.store.readWaitpoints(waitpointRefs),
  ]);
  const over = new Set<string>();
  runRefs.forEach(({ environment, runId }, index) => {
    const run = runs[index];
    if (run === undefined || isFinal(run.status)) over.add(`${environment}|${runId}`);
  });
  batchRefs.forEach(({ environment, batchId }, index) => {
    const view = batches[index];
    if (view === undefined || isBatchDone(view.batch, view.hasLiveRun)) over.add(`${environment}|${batchId}`);
  });
  waitpointRefs.forEach(({ environment, waitingFor }, index) => {
    if (waitpoints[index]?.status !== "WAITING") over.add(`${environment}|${waitingFor}`);
  });
  return ({ environment, waitingFor }) => over.has(`${environment}|${waitingFor}`);
}

async function wake(deps: EngineDeps, waiters: readonly RunState[]): Promise<void> {
  const { store, clock, signals } = deps;
  if (waiters.length === 0) return;
  const nowMs = clock.nowMs();
  const changes = waiters.map(
    ({ environment, id: runId, waitingFor = "" }): RunChange => ({
      event: "wake",
      environment,
      runId,
      nowMs,
      waitingFor,
    }),
  );
  const environments = new Set<string>();
  for (const result of await store.changeRuns(changes)) {
    if (result.kind !== "applied") continue;
    emitMoved(deps, "wake", result.run);
    environments.add(result.run.environment);
  }
  signals.publish([...environments].map((environment) => ({ kind: "claimable", environment, taskId: undefined })));
}

/** Clears a mark, unless the run has changed since it was read. */
async function settle({ store, clock }: EngineDeps, runs: readonly RunState[], bits: number): Promise<void> {
  if (runs.length === 0) return;
  const nowMs = clock.nowMs();
  await store.changeRuns(
    runs.map(
      ({ environment, id: runId, version }): Settle => ({ event: "settle", environment, runId, nowMs, bits, version }),
    ),
  );
}

function byEnvironment<T extends { readonly environment: string }>(
  items: readonly T[],
): ReadonlyMap<string, readonly T[]> {
  const groups = new Map<string, T[]>();
  for (const item of items) {
    const group = groups.get(item.environment);
    if (group === undefined) groups.set(item.environment, [item]);
    else group.push(item);
  }
  return groups;
}
