/**
 * Wakes runs when what they wait for is over. No wake-up is lost, by one order (design 9): what is waited for is marked as awaited → the
 * run is WAITING, with a mark to look once more → what it waits for is read again, and the run woken if that is over → the mark goes. From
 * the other side: the end of something awaited leaves a mark → those who wait for it are found and woken → the mark goes. Whichever comes
 * second sees the other.
 *
 * Both sides are done here, right after the commit, everything of one flush together; what a crash left is found by its marks (`settle`).
 */
import { type RunState, TODO } from "../domain/run.js";
import type { RunChange, Settle } from "../domain/run-change.js";
import { isFinal } from "../domain/run-status.js";
import { parseWaitTarget, waitTarget } from "../domain/wait.js";
import type { EngineDeps } from "./engine.js";
import { emitMoved } from "./moved.js";

export interface Wakes {
  /** These runs have ended; those of them that some run may wait for carry the mark. */
  ended(run: RunState): void;
  /** The run has begun to wait. */
  waiting(run: RunState): void;
  /** Resolves when nothing is under way any more. */
  stop(): Promise<void>;
}

/** Of one step: bounds its transactions. */
const PAGE = 500;

/** @param deps those of the engine, in which what is made here has its place. */
export function createWakes(deps: () => EngineDeps): Wakes {
  let endedRuns: RunState[] = [];
  let waitingRuns: RunState[] = [];
  let underWay: Promise<void> | undefined;
  let isStopped = false;

  const start = (): void => {
    underWay ??= Promise.resolve().then(work);
  };

  async function work(): Promise<void> {
    // `stop` empties both.
    while (endedRuns.length + waitingRuns.length > 0) {
      const ended = endedRuns.splice(0, PAGE);
      const waiting = waitingRuns.splice(0, PAGE);
      try {
        await Promise.all([
          ended.length === 0 ? undefined : wakeWaiters(deps(), ended),
          waiting.length === 0 ? undefined : lookOnceMore(deps(), waiting),
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
    async stop() {
      isStopped = true;
      endedRuns = [];
      waitingRuns = [];
      await underWay;
    },
  };
}

/** Wakes all who wait for these runs, which have ended, then clears their marks. */
export async function wakeWaiters(deps: EngineDeps, ended: readonly RunState[]): Promise<void> {
  for (const [environment, runs] of byEnvironment(ended)) {
    await wakeAllWaitingFor(
      deps,
      environment,
      runs.map(({ id: runId }) => waitTarget({ kind: "run", runId })),
    );
  }
  await settle(deps, ended, TODO.wakeWaiting);
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
  const refs = waiting.flatMap(({ environment, waitingFor = "" }) => {
    const target = parseWaitTarget(waitingFor);
    return target.kind === "run" ? [{ environment, runId: target.runId }] : [];
  });
  const runs = refs.length === 0 ? [] : await deps.store.readRuns(refs);
  const over = new Set<string>();
  refs.forEach(({ environment, runId }, index) => {
    const run = runs[index];
    if (run === undefined || isFinal(run.status)) over.add(`${environment}|${runId}`);
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

function byEnvironment(runs: readonly RunState[]): ReadonlyMap<string, readonly RunState[]> {
  const groups = new Map<string, RunState[]>();
  for (const run of runs) groups.set(run.environment, [...(groups.get(run.environment) ?? []), run]);
  return groups;
}
