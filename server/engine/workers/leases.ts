/**
 * The leases that sessions of this server hold, and the look after them where other servers share the store: a cancel or a loss that another
 * server wrote is told by its hint within milliseconds, and found here within {@link POLL_MS} where that is lost. Reads go by run id and
 * only while something is held; what is short-lived is gone before anybody looks.
 */
import type { Lease } from "../../domain/lease.js";
import type { RunState } from "../../domain/run.js";
import type { Timer } from "../clock.js";
import type { EngineDeps, Instruction, Report, SessionSink } from "../engine.js";
import { instructionFor } from "./instruction.js";

/** With the read and the way to the worker within the 700 ms that a cancel at another server may take. */
const POLL_MS = 500;
/** Runs of one read. */
const PAGE = 500;
/** Looks after which every waiting run has been looked after: a continuation that nobody wants costs memory, and no slot. */
const WAITING_TURNS = 30;

interface Held {
  readonly fence: number;
  /** A report is under way: what the record says now may be its doing. */
  isReporting: boolean;
  /** The worker has been told that its code is not wanted any more. */
  isTold: boolean;
  /** It waits, and holds nothing but a continuation: of many such runs, only few are looked after at a time. */
  isWaiting: boolean;
}

/** What one session holds, as far as this server has told it. */
export interface LeaseBook {
  readonly held: ReadonlyMap<string, Held>;
  /** Something is held that the record may have taken away without our knowing. */
  isUnsure(): boolean;
  give(lease: Lease): void;
  /** The worker has been told to stop the code; its report of that is still to come. */
  told(lease: Lease): void;
  /** The run waits; the lease stands. */
  waits(lease: Lease): void;
  /** The worker has been told that it holds the run no longer. */
  lost(lease: Lease): void;
  reporting(reports: readonly Report[]): void;
  /** @param instructions of these reports, in order; undefined where they failed. */
  reported(reports: readonly Report[], instructions: readonly Instruction[] | undefined): void;
}

export function createLeaseBook(): LeaseBook {
  const held = new Map<string, Held>();
  const at = ({ runId, fence }: Lease): Held | undefined => {
    const found = held.get(runId);
    return found?.fence === fence ? found : undefined;
  };
  const give = ({ runId, fence }: Lease): void =>
    void held.set(runId, { fence, isReporting: false, isTold: false, isWaiting: false });
  return {
    held,
    isUnsure: () => [...held.values()].some(({ isTold }) => !isTold),
    give,
    told(lease) {
      const found = at(lease);
      if (found !== undefined) found.isTold = true;
    },
    waits(lease) {
      const found = at(lease);
      if (found !== undefined) found.isWaiting = true;
    },
    lost(lease) {
      if (at(lease) !== undefined) held.delete(lease.runId);
    },
    reporting(reports) {
      for (const { lease } of reports) {
        const found = at(lease);
        if (found !== undefined) found.isReporting = true;
      }
    },
    reported(reports, instructions) {
      reports.forEach(({ lease }, index) => {
        const found = at(lease);
        if (found === undefined) return;
        found.isReporting = false;
        const instruction = instructions?.[index];
        switch (instruction?.kind) {
          case "finished":
          case "released":
          case "lost":
            held.delete(lease.runId);
            return;
          case "retry":
          case "resume":
            return give(instruction.lease);
          case "keepWaiting":
            found.isWaiting = true;
            return;
          case "cancel":
            found.isTold = true;
            return;
          default:
        }
      });
    },
  };
}

export interface WatchedSession {
  readonly environment: string;
  readonly sessionId: string;
  readonly sink: SessionSink;
  readonly leases: LeaseBook;
}

export interface LeaseWatch {
  /** Something is held. */
  wake(): void;
  stop(): void;
}

/** @param sessions those that are connected now. */
export function createLeaseWatch(deps: EngineDeps, sessions: () => Iterable<WatchedSession>): LeaseWatch {
  const { store, clock, events } = deps;
  let timer: Timer | undefined;
  let isLooking = false;
  let turn = 0;
  let isStopped = store.shared === undefined;

  async function look(): Promise<void> {
    isLooking = true;
    try {
      for (const session of sessions()) await lookAfter(session);
    } catch (error) {
      events.emit("store.unavailable", { error });
    } finally {
      isLooking = false;
    }
    if ([...sessions()].some(({ leases }) => leases.isUnsure())) wake();
  }

  async function lookAfter(session: WatchedSession): Promise<void> {
    const { environment, leases } = session;
    turn = (turn + 1) % WAITING_TURNS;
    const asked = [...leases.held].filter(
      ([, { isReporting, isTold, isWaiting }], index) =>
        !isReporting && !isTold && (!isWaiting || index % WAITING_TURNS === turn),
    );
    for (let from = 0; from < asked.length; from += PAGE) {
      const page = asked.slice(from, from + PAGE);
      const runs = await store.readRuns(page.map(([runId]) => ({ environment, runId })));
      for (const [index, [runId, held]] of page.entries()) {
        // Meanwhile it may have been reported on, or given anew.
        if (leases.held.get(runId) === held && !held.isReporting && !held.isTold) {
          await tell(session, { runId, fence: held.fence }, runs[index]);
        }
      }
    }
  }

  async function tell(session: WatchedSession, lease: Lease, run: RunState | undefined): Promise<void> {
    const { environment, sessionId, sink, leases } = session;
    const instruction = instructionFor(run, { lease, sessionId }, clock.nowMs());
    if (instruction.kind === "cancel") {
      leases.told(lease);
      sink.cancel([{ lease, reason: await cancelReason(deps, environment, lease.runId) }]);
    } else if (instruction.kind === "lost") {
      leases.lost(lease);
      sink.lost([lease]);
    }
  }

  function wake(): void {
    if (isStopped || isLooking || timer !== undefined) return;
    timer = clock.setTimer(POLL_MS, () => {
      timer = undefined;
      void look();
    });
  }

  return {
    wake,
    stop() {
      isStopped = true;
      timer?.cancel();
    },
  };
}

/** Why a run was cancelled, as its failure says it. */
export async function cancelReason({ store }: EngineDeps, environment: string, runId: string): Promise<string> {
  const [detail] = await store.readRunDetails([{ environment, runId }]);
  return detail?.failure?.message ?? "";
}
