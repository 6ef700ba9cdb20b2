/**
 * Claims runs for the sessions of this server that have free places.
 *
 * A hint ("runs of task X may be claimable", "this session has places") marks the sessions it concerns; one claim is under way at a time,
 * for all marked sessions together, and whatever is marked meanwhile is claimed for right after. So no wake-up falls between "nothing to
 * claim" and "now there is", no timer is involved, and under load the cost is one transaction per flush, not per run.
 *
 * Where other servers share the store, a hint of theirs may be lost. There sessions with places also look by themselves, soon after
 * something was found and ever more rarely while nothing is.
 *
 * Sessions take turns at being first, so that a quiet service with several workers does not feed only one.
 */
import type { ClaimableTask, ClaimRequest } from "../../store/store.js";
import type { Timer } from "../clock.js";
import type { AssignedRun, EngineDeps } from "../engine.js";
import { emitMoved } from "../moved.js";
import { outcomesFor } from "./outcomes.js";

/** A session as the dispatcher sees it. */
export interface Claimer {
  readonly environment: string;
  readonly sessionId: string;
  readonly tasks: ReadonlyMap<string, ClaimableTask>;
  /** Free places now; 0 while the worker is silent or draining. */
  places(): number;
  /** Hands over claimed runs and takes their places. Must not throw. */
  assign(runs: readonly AssignedRun[]): void;
}

export interface Dispatcher {
  add(claimer: Claimer): void;
  remove(claimer: Claimer): void;
  /** The claimer has places. */
  wake(claimer: Claimer): void;
  /** Runs of the task (undefined: of any) may be claimable. */
  wakeTask(environment: string, taskId: string | undefined): void;
  /** Runs of any environment may be claimable. */
  wakeAll(): void;
  /** Resolves when no claim is under way any more. */
  stop(): Promise<void>;
}

/** Runs of one claim, over all sessions: bounds the transaction and one message to a worker (design 22: claims of about 200). */
const CLAIM_MAX = 200;
/** Pauses between looks without a hint, of stores that are shared: from the first, twice as long each time, to the last (design 12). */
const POLL_FIRST_MS = 20;
const POLL_LAST_MS = 500;
/** After a claim failed (the store is away), the next try waits this long; hints go on marking meanwhile. */
const RETRY_MS = 250;

export function createDispatcher(deps: EngineDeps): Dispatcher {
  const { store, clock, limits, events } = deps;
  const byEnvironment = new Map<string, Set<Claimer>>();
  const marked = new Set<Claimer>();
  let underWay: Promise<void> | undefined;
  let isStopped = false;
  let turn = 0;
  let poll: Timer | undefined;
  let pollMs = POLL_FIRST_MS;

  const mark = (claimer: Claimer): void => {
    if (isStopped || claimer.places() <= 0) return;
    marked.add(claimer);
    underWay ??= Promise.resolve().then(claimUntilQuiet);
  };

  /** Sets the next look, if anybody has places for what it may find. */
  const armPoll = (): void => {
    if (store.shared === undefined || isStopped || poll !== undefined) return;
    const hasPlaces = [...byEnvironment.values()].some((set) => [...set].some((claimer) => claimer.places() > 0));
    if (!hasPlaces) return;
    poll = clock.setTimer(pollMs, () => {
      poll = undefined;
      pollMs = Math.min(2 * pollMs, POLL_LAST_MS);
      wakeAll();
      armPoll();
    });
  };

  const pollSoon = (): void => {
    pollMs = POLL_FIRST_MS;
    poll?.cancel();
    poll = undefined;
  };

  function wakeAll(): void {
    for (const set of byEnvironment.values()) for (const claimer of set) mark(claimer);
  }

  async function claimUntilQuiet(): Promise<void> {
    while (marked.size > 0) {
      if (isStopped) return;
      const claimers = inTurn([...marked]);
      marked.clear();
      try {
        await claimFor(claimers);
      } catch (error) {
        events.emit("store.unavailable", { error });
        for (const claimer of claimers) marked.add(claimer);
        await new Promise<void>((resolve) => clock.setTimer(RETRY_MS, resolve));
      }
    }
    underWay = undefined;
    armPoll();
    // A mark set between the last look and the line above found `underWay` still set.
    if (marked.size > 0 && !isStopped) underWay = claimUntilQuiet();
  }

  function inTurn(claimers: readonly Claimer[]): readonly Claimer[] {
    turn = (turn + 1) % Math.max(1, claimers.length);
    return [...claimers.slice(turn), ...claimers.slice(0, turn)];
  }

  async function claimFor(claimers: readonly Claimer[]): Promise<void> {
    const nowMs = clock.nowMs();
    const requests: { claimer: Claimer; request: ClaimRequest; isCut: boolean }[] = [];
    let left = CLAIM_MAX;
    for (const claimer of claimers) {
      const free = claimer.places();
      const places = Math.min(free, left);
      if (places <= 0) {
        if (free > 0) marked.add(claimer);
        continue;
      }
      left -= places;
      requests.push({
        claimer,
        isCut: places < free,
        request: {
          environment: claimer.environment,
          sessionId: claimer.sessionId,
          places,
          tasks: [...claimer.tasks.values()],
          nowMs,
          pickUpDeadlineMs: nowMs + limits.pickUpMs,
        },
      });
    }
    if (requests.length === 0) return;
    const results = await store.claimRuns(requests.map(({ request }) => request));
    const outcomes = await outcomesFor(deps, results.flat());
    requests.forEach(({ claimer, request, isCut }, index) => {
      const runs = results[index] ?? [];
      // Fewer than asked for: nothing more was there, and what came meanwhile was hinted at and has set a mark of its own.
      if (isCut && runs.length === request.places) marked.add(claimer);
      if (runs.length === 0) return;
      pollSoon();
      claimer.assign(runs.map((run) => ({ ...run, outcome: outcomes.get(run.run.waitingFor ?? "") })));
      for (const { run, isResume } of runs) {
        emitMoved(deps, isResume ? "resume" : "claim", run);
        if (run.deadlineMs !== undefined) deps.nudge("overrun", run.deadlineMs);
      }
    });
  }

  return {
    add(claimer) {
      const set = byEnvironment.get(claimer.environment) ?? new Set();
      byEnvironment.set(claimer.environment, set);
      set.add(claimer);
    },
    remove(claimer) {
      marked.delete(claimer);
      const set = byEnvironment.get(claimer.environment);
      set?.delete(claimer);
      if (set?.size === 0) byEnvironment.delete(claimer.environment);
    },
    wake: mark,
    wakeTask(environment, taskId) {
      for (const claimer of byEnvironment.get(environment) ?? []) {
        if (taskId === undefined || claimer.tasks.has(taskId)) mark(claimer);
      }
    },
    wakeAll,
    async stop() {
      isStopped = true;
      poll?.cancel();
      marked.clear();
      await underWay;
    },
  };
}
