/**
 * Changes of metadata that runs make from inside, of themselves, their parents and their roots (MET-7): operations in call order, each
 * applied once however often the worker sends it. What is refused is told and lost; the run goes on (MET-2, MET-11).
 */
import { type AppError, isAppError, runNotFound, staleLease } from "../../domain/error.js";
import type { MetadataOperation } from "../../domain/metadata-operations.js";
import type { RunState } from "../../domain/run.js";
import type { AppendStream, ChangeMetadata } from "../../store/store.js";
import type { EngineDeps, MetadataReport } from "../engine.js";
import { metadataRefusal, streamRefusal } from "../metadata-refusal.js";
import { emitChanged } from "../moved.js";

interface Reporter {
  readonly environment: string;
  readonly sessionId: string;
}

type Target = MetadataReport["operations"][number]["target"];

export async function applyMetadataReports(
  deps: EngineDeps,
  reporter: Reporter,
  reports: readonly MetadataReport[],
): Promise<readonly (AppError | undefined)[]> {
  if (reports.length === 0) return [];
  const { environment, sessionId } = reporter;
  const runs = await deps.store.readRuns(reports.map(({ runId }) => ({ environment, runId })));
  const nowMs = deps.clock.nowMs();
  const errors: (AppError | undefined)[] = reports.map((report, index) => unreadable(report, runs[index], sessionId));
  const items = reports.flatMap((report, index) => {
    const run = runs[index];
    if (run === undefined) return [];
    return itemsOf(deps, { report, run, reporter, nowMs }).map((item) => ({ index, item }));
  });
  const results = await deps.store.changeMetadata(items.map(({ item }) => item));
  items.forEach(({ index, item }, position) => {
    const result = results[position];
    if (result === undefined) throw new Error("the store answered fewer items than it was asked");
    errors[index] = metadataRefusal(item, result) ?? errors[index];
    if (result.kind === "applied" && result.isChanged) emitChanged(deps, result.run);
  });
  const published = reports.flatMap((report, index) => {
    const run = runs[index];
    if (run === undefined) return [];
    return publishedBy(deps, { report, run, reporter, nowMs }).map((item) => ({ index, item }));
  });
  if (published.length === 0) return errors;
  const appended = await deps.store.appendStreams(published.map(({ item }) => item));
  published.forEach(({ index, item }, position) => {
    const { isChanged, refusal } = appended[position] ?? { isChanged: false, refusal: undefined };
    errors[index] = streamRefusal(item.runId, refusal) ?? errors[index];
    // The run is as it was; whoever watches its streams looks again.
    if (isChanged) deps.signals.publish([{ kind: "changed", environment, runId: item.runId, version: 0 }]);
  });
  return errors;
}

/** What is wrong with a report whatever its targets say. */
function unreadable(report: MetadataReport, run: RunState | undefined, sessionId: string): AppError | undefined {
  if (run === undefined) return runNotFound(report.runId);
  if (!holds(run, report, sessionId)) return staleLease(report.runId);
  return report.operations.map(({ operation }) => operation).findLast(isAppError);
}

function holds(run: RunState, { attempt }: MetadataReport, sessionId: string): boolean {
  return run.sessionId === sessionId && run.attempt === attempt;
}

interface Asked {
  readonly report: MetadataReport;
  readonly run: RunState;
  readonly reporter: Reporter;
  readonly nowMs: number;
}

/** One change for each run that the operations are about, in the order of its first operation. */
function itemsOf(deps: EngineDeps, { report, run, reporter, nowMs }: Asked): readonly ChangeMetadata[] {
  const { runId, attempt: number, firstSequence, operations } = report;
  const { environment, sessionId } = reporter;
  const byRun = new Map<string, { sequence: number; operation: MetadataOperation }[]>();
  operations.forEach(({ target, operation }, index) => {
    const targetId = targetOf(run, target);
    const numbered = byRun.get(targetId) ?? [];
    byRun.set(targetId, numbered);
    if (isAppError(operation) || operation.kind === "publish") return;
    numbered.push({ sequence: firstSequence + index, operation });
  });
  // An attempt that is over changes nobody; what it changed before is settled.
  const isOver = !holds(run, report, sessionId);
  return [...byRun].flatMap(([targetId, numbered]): readonly ChangeMetadata[] => {
    const isSelf = targetId === runId;
    if (numbered.length === 0 || (isOver && !isSelf)) return [];
    return [
      {
        environment,
        runId: targetId,
        // Of the session too: an attempt that was interrupted is executed again under its number, and its changes are new ones.
        source: `${runId}:${number}:${sessionId}`,
        operations: numbered,
        attempt: isSelf ? { sessionId, number } : undefined,
        isWhole: false,
        bytesMax: deps.limits.metadataBytesMax,
        nowMs,
      },
    ];
  });
}

/** The same for what is published. */
function publishedBy(deps: EngineDeps, { report, run, reporter, nowMs }: Asked): readonly AppendStream[] {
  const { runId, attempt: number, firstSequence, operations } = report;
  const { environment, sessionId } = reporter;
  const { limits } = deps;
  const byRun = new Map<string, AppendStream["chunks"][number][]>();
  operations.forEach(({ target, operation }, index) => {
    if (isAppError(operation) || operation.kind !== "publish") return;
    const targetId = targetOf(run, target);
    const chunks = byRun.get(targetId) ?? [];
    byRun.set(targetId, chunks);
    chunks.push({ sequence: firstSequence + index, key: operation.key, json: operation.json });
  });
  const isOver = !holds(run, report, sessionId);
  return [...byRun].flatMap(([targetId, chunks]): readonly AppendStream[] => {
    const isSelf = targetId === runId;
    if (isOver && !isSelf) return [];
    return [
      {
        environment,
        runId: targetId,
        source: `${runId}:${number}:${sessionId}`,
        chunks,
        attempt: isSelf ? { sessionId, number } : undefined,
        bounds: {
          chunkBytesMax: limits.streamChunkBytesMax,
          chunksMax: limits.streamChunksMax,
          bytesMax: limits.streamBytesMax,
        },
        nowMs,
      },
    ];
  });
}

/** A root is its own parent and root (MET-7). */
function targetOf(run: RunState, target: Target): string {
  switch (target) {
    case "self":
      return run.id;
    case "parent":
      return run.parentRunId ?? run.id;
    case "root":
      return run.rootRunId ?? run.id;
  }
}
