/**
 * Claims: the best runs that can start now.
 *
 * A claim merges ordered streams: for each task of the session, and for the session itself, the open heads; behind each head that it
 * takes, the runs of that partition and target. The smallest (order, id) over all streams is the next run, as long as its partition has
 * room. It reads about as many rows as it gives out: closed heads are not in the index, a backlog is read from its front, and streams
 * are read in pages that double, so that one deep queue costs a few queries and a thousand partitions cost no more than their heads.
 *
 * Selection only reads; then the changes are written, and counters and heads with them. Rejected: claiming run by run with a new search
 * each (a query per task and run), and one query over all waiting runs (its cost grows with the blocked ones in front).
 */
import { applyChange } from "../../domain/run-apply.js";
import { isRefused } from "../../domain/run-change.js";
import type { ClaimableTask, ClaimedRun, ClaimRequest } from "../store.js";
import { writeApplied } from "./change.js";
import type { Context } from "./context.js";
import { bytesAt, hexToView, numberAt, optionalBytesAt, optionalTextAt, type Row, textAt } from "./database.js";
import { Merge, type Ordered } from "./merge.js";
import { RUN_COLUMN_COUNT, RUN_COLUMNS, readRun, type StoredRun } from "./run-row.js";
import { standingSessionRow } from "./sessions.js";

/** First page of a stream; each further one is twice as long. */
const FIRST_PAGE = 4;

export function claimRuns(context: Context, requests: readonly ClaimRequest[]): readonly (readonly ClaimedRun[])[] {
  return requests.map((request) => claim(context, request));
}

function claim(context: Context, request: ClaimRequest): readonly ClaimedRun[] {
  context.sees(request.nowMs);
  const env = context.names.findEnvironment(request.environment);
  const session = env === undefined ? undefined : standingSessionRow(context, env, request.sessionId);
  if (env === undefined || session === undefined || request.places <= 0) return [];
  context.flush();
  const tasks = new Map<number, ClaimableTask>();
  for (const task of request.tasks) {
    const id = context.names.findTask(env, task.taskId);
    if (id !== undefined) tasks.set(id, task);
  }
  const rows = select(context, [-session, ...tasks.keys()], request.places);
  const claimed = rows.map((row) => give(context, request, { row, tasks }));
  context.flush();
  return claimed;
}

// ── selection ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

/** The next entry of a stream: a run, or a head standing for its run and those behind it. */
interface Candidate extends Ordered {
  readonly partition: number;
  readonly target: number;
  /** Of a run; undefined for a head. */
  readonly row: Row | undefined;
}

function select(context: Context, targets: readonly number[], places: number): readonly Row[] {
  const rooms = new Map<number, number>();
  const candidates = new Merge<Candidate>({ isDescending: false, pageMax: places });
  for (const target of targets) {
    candidates.add({ firstPage: FIRST_PAGE, read: (after, count) => readHeads(context, target, after, count) });
  }
  const rows: Row[] = [];
  while (rows.length < places) {
    const candidate = candidates.next();
    if (candidate === undefined) break;
    const room = rooms.get(candidate.partition) ?? readRoom(context, candidate.partition);
    rooms.set(candidate.partition, room);
    if (room <= 0) continue;
    if (candidate.row !== undefined) {
      rows.push(candidate.row);
      rooms.set(candidate.partition, room - 1);
    } else {
      candidates.add({
        firstPage: Math.min(FIRST_PAGE, room),
        read: (after, count) => readRuns(context, candidate, after, count),
      });
    }
  }
  return rows;
}

const FROM_START = { order: Number.MIN_SAFE_INTEGER, id: new Uint8Array(0) } as const;

function readHeads(
  context: Context,
  target: number,
  after: Candidate | undefined,
  count: number,
): readonly Candidate[] {
  const { order, id } = after ?? FROM_START;
  const rows = context.db.all(
    `SELECT partition, order_ms, run FROM heads WHERE open = 1 AND target = ? AND (order_ms, run) > (?, ?)
     ORDER BY order_ms, run LIMIT ?`,
    target,
    order,
    id,
    count,
  );
  return rows.map((row) => ({
    partition: numberAt(row, 0),
    target,
    order: numberAt(row, 1),
    id: bytesAt(row, 2),
    row: undefined,
  }));
}

// Hex for the reason given at RUN_COLUMNS; specs in the row are short.
const RUNS_SQL = `SELECT ${RUN_COLUMNS}, iif(spec IS NULL, NULL, hex(spec)), has_metadata, order_ms FROM runs
 WHERE partition = ? AND target = ? AND (order_ms, id) > (?, ?) ORDER BY order_ms, id LIMIT ?`;

/** The runs behind a head, itself first. */
function readRuns(
  context: Context,
  { partition, target }: Candidate,
  after: Candidate | undefined,
  count: number,
): readonly Candidate[] {
  const { order, id } = after ?? FROM_START;
  const rows = context.db.all(RUNS_SQL, partition, target, order, id, count);
  return rows.map((row) => ({
    partition,
    target,
    order: numberAt(row, RUN_COLUMN_COUNT + 2),
    id: hexToView(textAt(row, 0)),
    row,
  }));
}

/** How many runs may start in a partition now. Its counters have been flushed. */
function readRoom(context: Context, partition: number): number {
  const row = context.db.get("SELECT queue, holders FROM partitions WHERE id = ?", partition);
  return row === undefined ? 0 : context.queues.room(numberAt(row, 0), numberAt(row, 1));
}

// ── giving ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

interface Selected {
  readonly row: Row;
  readonly tasks: ReadonlyMap<number, ClaimableTask>;
}

function give(context: Context, request: ClaimRequest, { row, tasks }: Selected): ClaimedRun {
  const stored = readRun(row, context.names);
  const { state } = stored;
  const task = tasks.get(stored.task);
  const isResume = state.readiness === "bound";
  const applied = applyChange(state, {
    event: "claim",
    environment: request.environment,
    runId: state.id,
    nowMs: request.nowMs,
    sessionId: request.sessionId,
    pickUpDeadlineMs: request.pickUpDeadlineMs,
    // A resumed run may be of a task that the session does not list any more; it goes on as it began.
    maxDurationSeconds: task === undefined ? state.attemptMaxDurationSeconds : task.maxDurationSeconds,
    policyMaxAttempts: task?.maxAttempts ?? state.policyMaxAttempts ?? 1,
  });
  if (isRefused(applied)) throw new Error(`run ${state.id} stands in the claim index and is ${applied.refused}`);
  context.sees(applied.next.updatedAtMs);
  writeApplied(context, stored, applied, request.nowMs);
  const hexSpec = optionalTextAt(row, RUN_COLUMN_COUNT);
  return {
    run: applied.next,
    spec: hexSpec === undefined ? specBeside(context, stored) : hexToView(hexSpec),
    metadataJson: row[RUN_COLUMN_COUNT + 1] === 1 ? readMetadata(context, stored.row) : undefined,
    isLimited: context.queues.byId(stored.queue).limit !== undefined,
    isResume,
  };
}

/** The spec of a run read with `spec` behind {@link RUN_COLUMNS}. */
export function specOf(context: Context, stored: StoredRun, row: Row): Uint8Array {
  const spec = optionalBytesAt(row, RUN_COLUMN_COUNT);
  return spec ?? specBeside(context, stored);
}

function specBeside(context: Context, stored: StoredRun): Uint8Array {
  return bytesAt(context.db.get("SELECT spec FROM specs WHERE run = ?", stored.row) ?? [], 0);
}

export function readMetadata(context: Context, row: number): string {
  return textAt(context.db.get("SELECT json FROM metadata WHERE run = ?", row) ?? [], 0);
}
