/**
 * Worker sessions of this server. A session is one worker process; it outlives its connections, which may come back at any server. Here
 * lives only what a connection needs: places, the last sign of life, and the sink that messages go to; everything else is in the record.
 *
 * Opening: mark the session in the record (a newer connection ends older ones) → register its tasks → answer for every lease that the
 * worker holds, from the record: go on, retry here, cancel, lost. Runs of the session that the worker does not list were never received
 * (released) or are gone (lost) (design 8).
 */
import { appError, staleLease } from "../../domain/error.js";
import { resolveRetryPolicy } from "../../domain/retry.js";
import type { RunState } from "../../domain/run.js";
import type { RunChange } from "../../domain/run-change.js";
import type { Signal } from "../../signals/signals.js";
import type { ClaimableTask } from "../../store/store.js";
import { loseRuns, loseSession } from "../duties/lose.js";
import { releaseRuns } from "../duties/release.js";
import type {
  AssignedRun,
  EngineDeps,
  HeldLease,
  Instruction,
  OpenedSession,
  OpenSession,
  SessionSink,
} from "../engine.js";
import type { TaskRegistry } from "../task-registry.js";
import type { Claimer, Dispatcher } from "./claim.js";
import { instructionFor } from "./instruction.js";
import { cancelReason, createLeaseBook, createLeaseWatch, type LeaseBook } from "./leases.js";
import { applyMetadataReports } from "./metadata.js";
import { applyReports } from "./report.js";

export interface Sessions {
  open(params: OpenSession, sink: SessionSink): Promise<OpenedSession>;
  /** Whether a session connected here has sent something after `sinceMs`. */
  readonly heardSince: (sessionId: string, sinceMs: number) => boolean;
  /** It let a pick-up lapse: it is given nothing until its next message (design 8). */
  readonly suspend: (sessionId: string) => void;
  stop(): void;
}

/** A connected session. */
interface Connected extends Claimer {
  readonly leases: LeaseBook;
  readonly connectionEpoch: number;
  readonly sink: SessionSink;
  lastMessageMs: number;
  isSuspended: boolean;
}

/** Runs of a session are read in pages of this size when it opens. */
const RUNS_PAGE = 500;

export function createSessions(deps: EngineDeps, registry: TaskRegistry, dispatcher: Dispatcher): Sessions {
  const { store, clock, limits, signals, events } = deps;
  const connected = new Map<string, Connected>();
  const leaseWatch = createLeaseWatch(deps, () => connected.values());

  const unsubscribe = signals.subscribe((signal) => {
    const session = "sessionId" in signal ? connected.get(signal.sessionId) : undefined;
    if (session !== undefined && session.environment === signal.environment) tell(session, signal);
  });

  function tell(session: Connected, signal: Signal): void {
    switch (signal.kind) {
      case "cancel":
        session.leases.told(signal);
        session.sink.cancel([{ lease: { runId: signal.runId, fence: signal.fence }, reason: signal.reason }]);
        return;
      case "lost":
        session.leases.lost(signal);
        session.sink.lost([{ runId: signal.runId, fence: signal.fence }]);
        return;
      case "superseded":
        if (signal.connectionEpoch > session.connectionEpoch) session.sink.end("superseded");
        return;
      default:
    }
  }

  async function open(params: OpenSession, sink: SessionSink): Promise<OpenedSession> {
    const { environment, sessionId, connectionEpoch } = params;
    await registry.register(environment, params);
    // A declaration may have raised a limit.
    signals.publish([{ kind: "claimable", environment, taskId: undefined }]);
    await enter(params);
    signals.publish([{ kind: "superseded", environment, sessionId, connectionEpoch }]);
    const instructions = await reconcile(params);

    const leases = createLeaseBook();
    instructions.forEach((instruction, index) => {
      const isRenewed = instruction.kind === "retry" || instruction.kind === "resume";
      const lease = isRenewed ? instruction.lease : params.held[index]?.lease;
      if (lease === undefined || instruction.kind === "lost" || instruction.kind === "finished") return;
      if (instruction.kind !== "released") leases.give(lease);
      if (instruction.kind === "cancel") leases.told(lease);
      if (instruction.kind === "keepWaiting") leases.waits(lease);
    });

    let places = 0;
    let isClosed = false;
    const session: Connected = {
      environment,
      sessionId,
      connectionEpoch,
      sink,
      leases,
      tasks: claimableTasks(params),
      lastMessageMs: clock.nowMs(),
      isSuspended: false,
      places: () => (isClosed || isSilent() ? 0 : places),
      assign(runs: readonly AssignedRun[]) {
        places -= runs.length;
        for (const { run } of runs) leases.give({ runId: run.id, fence: run.fence });
        leaseWatch.wake();
        sink.assign(runs);
      },
    };
    const isSilent = (): boolean => session.isSuspended || clock.nowMs() - session.lastMessageMs > limits.silentMs;
    connected.set(sessionId, session);
    dispatcher.add(session);
    if (leases.held.size > 0) leaseWatch.wake();
    events.emit("session.opened", {
      environment,
      sessionId,
      taskCount: params.tasks.length,
      isReconnect: connectionEpoch > 1,
    });

    return {
      instructions,
      setPlaces(free) {
        places = free;
        dispatcher.wake(session);
      },
      noteMessage() {
        const wasSilent = isSilent();
        session.lastMessageMs = clock.nowMs();
        session.isSuspended = false;
        if (wasSilent) dispatcher.wake(session);
      },
      async heartbeat(confirmed) {
        const nowMs = clock.nowMs();
        const keep = { environment, sessionId, connectionEpoch, untilMs: nowMs + limits.sessionMs };
        const confirms = confirmed.map(
          ({ runId, fence }): RunChange => ({ event: "confirm", environment, sessionId, runId, fence, nowMs }),
        );
        const [kept] = await Promise.all([
          store.keepSessions([keep]),
          confirms.length === 0 ? undefined : store.changeRuns(confirms),
        ]);
        return kept[0] === true;
      },
      async report(reports) {
        leases.reporting(reports);
        let answers: readonly Instruction[] | undefined;
        try {
          answers = await applyReports(deps, { environment, sessionId }, reports);
          return answers;
        } finally {
          leases.reported(reports, answers);
        }
      },
      changeMetadata: (reports) => applyMetadataReports(deps, { environment, sessionId }, reports),
      appendLogs: (entries) =>
        store.appendLogs(
          entries.map(({ runId, lines }) => ({
            environment,
            runId,
            lines,
            linesMax: limits.logLinesKept,
            bytesMax: limits.logBytesKept,
          })),
        ),
      async close(how) {
        if (isClosed) return;
        isClosed = true;
        dispatcher.remove(session);
        if (connected.get(sessionId) === session) connected.delete(sessionId);
        const wasRemoved = how === "left" && (await store.closeSession({ environment, sessionId }));
        // Lingering code of a session that has left no longer counts.
        if (wasRemoved) signals.publish([{ kind: "claimable", environment, taskId: undefined }]);
        events.emit("session.closed", { environment, sessionId, reason: how });
      },
    };
  }

  /** Enters the session into the record. A lapsed one first loses what it held, then begins anew under its id. */
  async function enter(params: OpenSession): Promise<void> {
    const nowMs = clock.nowMs();
    const record = {
      environment: params.environment,
      id: params.sessionId,
      workerName: params.workerName,
      sdk: params.sdk,
      connectionEpoch: params.connectionEpoch,
      taskIds: params.tasks.map(({ id }) => id),
      concurrency: params.concurrency,
      connectedAtMs: nowMs,
      untilMs: nowMs + limits.sessionMs,
    };
    let outcome = await store.openSession(record);
    if (outcome === "lapsed") {
      await loseSession(deps, registry, record);
      outcome = await store.openSession(record);
    }
    if (outcome === "superseded") throw staleLease();
    if (outcome === "lapsed") throw appError("STORE_UNAVAILABLE", `Session ${record.id} lapsed and is being cleared`);
  }

  /** The answers to the leases that the worker lists, after what it does not list has been given back. */
  async function reconcile(params: OpenSession): Promise<readonly Instruction[]> {
    const { environment, sessionId, held } = params;
    const listed = new Map(held.map((item) => [item.lease.runId, item]));
    await giveBackUnlisted(params, listed);
    const nowMs = clock.nowMs();
    const changes = held.map(({ lease, isInterrupted, codeEnded }): RunChange => {
      const base = { environment, sessionId, runId: lease.runId, fence: lease.fence, nowMs };
      if (!isInterrupted) return { ...base, event: "confirm" };
      return { ...base, event: "interrupt", codeEnded, interruptionsMax: limits.interruptionsMax };
    });
    const results = changes.length === 0 ? [] : await store.changeRuns(changes);
    return Promise.all(
      results.map(async (result, index): Promise<Instruction> => {
        const item = held[index];
        if (item === undefined) return { kind: "lost" };
        if (item.isInterrupted && result.kind === "applied") {
          signals.publish([{ kind: "claimable", environment, taskId: result.run.taskId }]);
          return { kind: "released" };
        }
        const instruction = instructionFor(result.run, { lease: item.lease, sessionId }, nowMs);
        return instruction.kind === "cancel"
          ? { kind: "cancel", reason: await cancelReason(deps, environment, item.lease.runId) }
          : instruction;
      }),
    );
  }

  async function giveBackUnlisted(params: OpenSession, listed: ReadonlyMap<string, HeldLease>): Promise<void> {
    const { environment, sessionId } = params;
    const isListed = (run: RunState): boolean => {
      const fence = listed.get(run.id)?.lease.fence;
      return fence !== undefined && (fence === run.fence || fence === run.reportFence);
    };
    for (;;) {
      const runs = await store.findRuns({ kind: "session", environment, sessionId, limit: RUNS_PAGE });
      const unlisted = runs.filter((run) => !isListed(run));
      const unconfirmed = unlisted.filter((run) => run.pickUpDeadlineMs !== undefined && run.status === "EXECUTING");
      const confirmed = unlisted.filter((run) => !unconfirmed.includes(run));
      await releaseRuns(deps, unconfirmed, { heardSince: () => false, force: true });
      await loseRuns(deps, registry, { environment, sessionId }, confirmed);
      // Listed runs stay in the page: a full page of them only would be read for ever.
      if (runs.length < RUNS_PAGE || unlisted.length === 0) return;
    }
  }

  return {
    open,
    suspend(sessionId) {
      const session = connected.get(sessionId);
      if (session !== undefined) session.isSuspended = true;
    },
    heardSince: (sessionId, sinceMs) => (connected.get(sessionId)?.lastMessageMs ?? 0) > sinceMs,
    stop() {
      unsubscribe();
      leaseWatch.stop();
      for (const session of connected.values()) session.sink.end("stopping");
      connected.clear();
    },
  };
}

/** TRG-6: what the worker's declarations add where a trigger gave nothing. */
function claimableTasks({ tasks }: OpenSession): ReadonlyMap<string, ClaimableTask> {
  return new Map(
    tasks.map(({ id, retry, maxDurationSeconds }) => [
      id,
      { taskId: id, maxDurationSeconds, maxAttempts: resolveRetryPolicy(retry).maxAttempts },
    ]),
  );
}
