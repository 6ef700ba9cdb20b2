/** Changes of existing runs: read the row, ask the domain, write what differs with all that belongs to it. */
import { defaultLimits } from "../../domain/limits.js";
import type { AttemptSummary, RunState } from "../../domain/run.js";
import { applyChange } from "../../domain/run-apply.js";
import type { RunChange } from "../../domain/run-change.js";
import { type Applied, isRefused } from "../../domain/run-change.js";
import { isLegal, placeOf } from "../../domain/run-machine.js";
import type { ChangeResult } from "../store.js";
import type { Context } from "./context.js";
import { optionalTextAt, type SqlValue } from "./database.js";
import { nameObjects } from "./objects.js";
import { changedColumns, RUN_COLUMNS, readRun, runIdBytes, type StoredRun } from "./run-row.js";
import { sessionRow } from "./sessions.js";
import type { Assigned } from "./shape.js";
import { addTags, removeTag } from "./tags.js";

export function changeRuns(context: Context, changes: readonly RunChange[]): readonly ChangeResult[] {
  return changes.map((change) => changeRun(context, change));
}

function changeRun(context: Context, change: RunChange): ChangeResult {
  // A claim takes a slot, which only the search for runs that can start may do.
  if (change.event === "claim") throw new TypeError("a run is claimed by claimRuns");
  const stored = findRun(context, change.environment, change.runId);
  if (stored === undefined) return { kind: "refused", refusal: "unknown", run: undefined };
  const applied = applyChange(stored.state, change);
  if (isRefused(applied)) return { kind: "refused", refusal: applied.refused, run: stored.state };
  if (change.event !== "settle") context.sees(applied.next.updatedAtMs);
  const before = placeOf(stored.state);
  const hasFreedSlot = writeApplied(context, stored, applied, change.nowMs);
  if (change.event === "complete") nameObjects(context, stored.row, change.objectKeys ?? []);
  const becameClaimable = isClaimable(applied.next) && !isClaimable(stored.state);
  return { kind: "applied", before, run: applied.next, isClaimable: hasFreedSlot || becameClaimable };
}

// Texts of hot statements are made once: a text made anew for each call has to be hashed for each call.
const FIND_SQL = `SELECT ${RUN_COLUMNS} FROM runs WHERE id = ?`;

/** A run of this environment; undefined for an unknown id, and for one of another environment. */
export function findRun(context: Context, environment: string, runId: string): StoredRun | undefined {
  const held = context.held.get(runId);
  if (held !== undefined) return held.state.environment === environment ? held : undefined;
  const id = runIdBytes(runId);
  if (id === undefined) return undefined;
  // An earlier change of the same call may have been of this run.
  context.rowWrites.flush();
  const row = context.db.get(FIND_SQL, id);
  const stored = row === undefined ? undefined : readRun(row, context.names);
  return stored?.state.environment === environment ? stored : undefined;
}

/** @returns whether a slot of a limited queue is free now. */
export function writeApplied(context: Context, stored: StoredRun, applied: Applied, nowMs: number): boolean {
  const { state } = stored;
  const { next } = applied;
  const isPlaced = isClaimable(next) || next.status === "EXECUTING";
  const partition = isPlaced ? context.queues.partition(stored.queue, next.concurrencyKey) : stored.partition;
  const holder = isHeld(next) ? holderOf(context, stored, next) : null;
  const target = isClaimable(next) ? (next.readiness === "bound" ? -(holder ?? 0) : stored.task) : undefined;
  const results = resultsOf(stored, applied);
  const isHeldAnew = isHeld(next) !== isHeld(state) || next.sessionId !== state.sessionId;
  const assigned = withDerived(changedColumns(state, next), [
    ["partition", partition === stored.partition ? undefined : (partition ?? null)],
    ["target", target === stored.target ? undefined : (target ?? null)],
    ["holder", isHeldAnew ? holder : undefined],
    ["has_results", results.isBeside && !stored.hasResults ? 1 : undefined],
    ["output", results.output],
  ]);
  if (assigned.values.length > 0) context.rowWrites.add(stored.row, assigned);
  keepHeld(context, stored, { next, partition, target, hasResults: stored.hasResults || results.isBeside });
  countQueued(context, stored, next);
  touchHeads(context, stored, { next, partition, target, orderChanged: next.orderMs !== state.orderMs });
  if (results.isBeside) writeResults(context, stored, applied);
  if (next.tags !== state.tags) retag(context, stored, next);
  return moveSlot(context, stored, applied, { partition, nowMs });
}

/** @param derived columns that are no part of the state; undefined: unchanged. */
function withDerived(
  { shape: changed, values }: Assigned,
  derived: readonly (readonly [column: string, value: SqlValue | undefined])[],
): Assigned {
  let shape = changed;
  for (const [column, value] of derived) {
    if (value === undefined) continue;
    shape = shape.with(column);
    values.push(value);
  }
  return { shape, values };
}

function keepHeld(
  context: Context,
  stored: StoredRun,
  after: Pick<StoredRun, "partition" | "target" | "hasResults"> & { readonly next: RunState },
): void {
  const { next: state, partition, target, hasResults } = after;
  if (!isHeld(state)) return context.held.forget(stored.row);
  const { row, env, task, queue } = stored;
  context.held.keep({ row, env, task, queue, partition, target, hasResults, state });
}

function isClaimable(run: RunState): boolean {
  return run.readiness === "waiting" || run.readiness === "bound";
}

/** A worker holds its code: EXECUTING, WAITING, QUEUED bound. */
function isHeld(run: RunState): boolean {
  return isLegal("interrupt", placeOf(run));
}

function holderOf(context: Context, stored: StoredRun, next: RunState): number | null {
  return next.sessionId === undefined ? null : (sessionRow(context, stored.env, next.sessionId) ?? null);
}

function countQueued(context: Context, stored: StoredRun, next: RunState): void {
  const count = (next.status === "QUEUED" ? 1 : 0) - (stored.state.status === "QUEUED" ? 1 : 0);
  if (count !== 0) context.pending.addQueued(stored.queue, stored.task, count);
}

interface Moved {
  readonly next: RunState;
  readonly partition: number | undefined;
  readonly target: number | undefined;
  readonly orderChanged: boolean;
}

function touchHeads(context: Context, stored: StoredRun, { partition, target, orderChanged }: Moved): void {
  if (stored.partition === partition && stored.target === target && !orderChanged) return;
  if (stored.partition !== undefined && stored.target !== undefined) {
    context.pending.touchHead(stored.partition, stored.target);
  }
  if (partition !== undefined && target !== undefined) context.pending.touchHead(partition, target);
}

/** The holder of a slot: itself while it executes, then for a while its code (QUE-4). */
function moveSlot(
  context: Context,
  stored: StoredRun,
  applied: Applied,
  { partition, nowMs }: { readonly partition: number | undefined; readonly nowMs: number },
): boolean {
  const before = stored.state.status === "EXECUTING";
  const after = applied.next.status === "EXECUTING";
  if (before === after) return false;
  const place = after ? partition : stored.partition;
  if (place === undefined) throw new Error(`run ${stored.state.id} has no partition`);
  if (after) {
    context.pending.addHolders(place, 1);
    return false;
  }
  if (applied.slot === "linger") {
    const { fence, sessionId } = stored.state;
    context.db.run(
      "INSERT OR IGNORE INTO lingering (run, fence, partition, queue, session, since_ms) VALUES (?, ?, ?, ?, ?, ?)",
      stored.row,
      fence,
      place,
      stored.queue,
      sessionId === undefined ? null : (sessionRow(context, stored.env, sessionId) ?? null),
      nowMs,
    );
    return false;
  }
  context.pending.addHolders(place, -1);
  return context.queues.byId(stored.queue).limit !== undefined;
}

/** Outputs up to this size lie in the row of a run that needs no row in `results` otherwise. */
const OUTPUT_IN_ROW_BYTES = 1_024;

interface Results {
  /** They need a row of their own. */
  readonly isBeside: boolean;
  /** What the row of the run takes in. */
  readonly output: Uint8Array | undefined;
}

/** A run that completes at its first attempt says by its state all that there is to say of it, but for its output. */
function resultsOf(stored: StoredRun, applied: Applied): Results {
  const { attempt, failure, output } = applied;
  if (attempt === undefined && failure === undefined && output === undefined) return { isBeside: false, output };
  const isShort =
    !stored.hasResults &&
    failure === undefined &&
    (output === undefined || output.length <= OUTPUT_IN_ROW_BYTES) &&
    isSameAttempt(attempt, completedAttempt(applied.next));
  return isShort ? { isBeside: false, output } : { isBeside: true, output: undefined };
}

/** The only attempt of a run that completed without a row in `results`; undefined where it has not completed. */
export function completedAttempt(run: RunState): AttemptSummary | undefined {
  if (run.status !== "COMPLETED" || run.attemptStartedAtMs === undefined || run.finishedAtMs === undefined) {
    return undefined;
  }
  return {
    number: run.attempt,
    outcome: "COMPLETED",
    startedAtMs: run.attemptStartedAtMs,
    finishedAtMs: run.finishedAtMs,
    worker: run.sessionId,
    error: undefined,
  };
}

function isSameAttempt(a: AttemptSummary | undefined, b: AttemptSummary | undefined): boolean {
  return (
    a !== undefined &&
    b !== undefined &&
    a.number === b.number &&
    a.outcome === b.outcome &&
    a.startedAtMs === b.startedAtMs &&
    a.finishedAtMs === b.finishedAtMs &&
    a.worker === b.worker &&
    a.error === undefined
  );
}

function writeResults(context: Context, { row, hasResults }: StoredRun, applied: Applied): void {
  const { attempt, failure, output } = applied;
  const earlier = attempt === undefined || !hasResults ? [] : readAttempts(context, row);
  const attempts =
    attempt === undefined ? null : JSON.stringify([...earlier, attempt].slice(-defaultLimits.attemptsKept));
  context.db.run(
    `INSERT INTO results (run, attempts, failure, output) VALUES (?, ?, ?, ?)
     ON CONFLICT DO UPDATE SET attempts = COALESCE(excluded.attempts, attempts),
       failure = COALESCE(excluded.failure, failure), output = COALESCE(excluded.output, output)`,
    row,
    attempts,
    failure === undefined ? null : JSON.stringify(failure),
    output ?? null,
  );
}

function readAttempts(context: Context, row: number): readonly unknown[] {
  const before = context.db.get("SELECT attempts FROM results WHERE run = ?", row);
  const json = before === undefined ? undefined : optionalTextAt(before, 0);
  const attempts: unknown = json === undefined ? [] : JSON.parse(json);
  return Array.isArray(attempts) ? attempts : [];
}

function retag(context: Context, stored: StoredRun, next: RunState): void {
  const id = runIdBytes(next.id);
  if (id === undefined) return;
  for (const tag of stored.state.tags) {
    // Tags are only ever added, but a debounced call may replace them (DEB-3).
    if (!next.tags.includes(tag)) removeTag(context, stored, tag);
  }
  const tags = next.tags.filter((tag) => !stored.state.tags.includes(tag));
  addTags(context, { env: stored.env, row: stored.row, id, createdAtMs: next.createdAtMs, tags });
}
