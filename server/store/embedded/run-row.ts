/**
 * A run as a row: which column holds what, and which columns a change touches. An UPDATE names only columns that differ: SQLite rewrites
 * every index that a named column is part of, whether its value changed or not.
 */
import { decodeId, encodeId } from "../../domain/ids.js";
import { queueNameForTask } from "../../domain/queue.js";
import type { RunState } from "../../domain/run.js";
import { placeOf, type RunPlace, statusOfPlace } from "../../domain/run-machine.js";
import {
  bytesToHex,
  hexToView,
  numberAt,
  optionalBytesAt,
  optionalNumberAt,
  optionalTextAt,
  type Row,
  type SqlValue,
  textAt,
} from "./database.js";
import { type Fixed, fixedOf, fixedText } from "./fixed.js";
import type { Names } from "./names.js";
import { type Assigned, NO_COLUMNS } from "./shape.js";

/** The number of a place in the file. The order matters: QUEUED is 1–3, held by a worker 3–5, final from 6 on. Never renumber. */
const PLACES = [
  "DELAYED",
  "QUEUED_PARKED",
  "QUEUED_WAITING",
  "QUEUED_BOUND",
  "EXECUTING",
  "WAITING",
  "COMPLETED",
  "CANCELED",
  "FAILED",
  "CRASHED",
  "SYSTEM_FAILURE",
  "EXPIRED",
  "TIMED_OUT",
] as const satisfies readonly RunPlace[];

const PLACE_NUMBERS: ReadonlyMap<RunPlace, number> = new Map(PLACES.map((place, index) => [place, index]));

export const PLACE_COUNT = PLACES.length;

/** Places from here on are final. */
export const FINAL_FROM = 6;

export function placeNumber(place: RunPlace): number {
  return PLACE_NUMBERS.get(place) ?? 0;
}

export function placeOfNumber(place: number): RunPlace {
  const known = PLACES[place];
  if (known === undefined) throw new TypeError(`unknown place ${place}`);
  return known;
}

/** A row of `runs`, with what the state itself does not say. */
export interface StoredRun {
  readonly row: number;
  readonly env: number;
  readonly task: number;
  readonly queue: number;
  /** Of the last time that it was claimable or executing; undefined before. */
  readonly partition: number | undefined;
  /** Its task (positive) or session (negative) while it can be claimed. */
  readonly target: number | undefined;
  /** Something of it is in `results`. */
  readonly hasResults: boolean;
  readonly state: RunState;
}

/**
 * What {@link readRun} reads. The state comes as one JSON array: a row of sixty values costs the binding three times what one text costs,
 * its making and parsing included (56 against 20 µs). The id comes as hex, since a blob costs it 2 µs and a short text a tenth of that.
 */
export const RUN_COLUMNS = `hex(id), key_hash, fixed, json_array(
 row, env, task, place, version, queue, partition, target, order_ms, fence, attempt, session, report_fence,
 pick_up_ms, pick_up_failures, interruptions, created_ms, updated_ms, started_ms, finished_ms, attempt_started_ms,
 active_since_ms, attempt_active_ms, earlier_active_ms, due_ms, delayed_until_ms, expire_ms, expired_ms,
 policy_max_attempts, attempt_max_duration_s, deadline_ms, retry_ms, waiting_for, awaited, todo, tags, has_results,
 rejoin_attempt)`;

/** How many columns {@link RUN_COLUMNS} gives; a query may add its own behind them. */
export const RUN_COLUMN_COUNT = 4;

export function readRun(row: Row, names: Names): StoredRun {
  const values: Row = JSON.parse(textAt(row, 3));
  const fixed = fixedOf(optionalTextAt(row, 2));
  const queue = numberAt(values, 5);
  const task = numberAt(values, 2);
  const env = numberAt(values, 1);
  const { status, readiness } = statusOfPlace(placeOfNumber(numberAt(values, 3)));
  const state: RunState = {
    environment: names.environmentName(env),
    id: encodeId("run", hexToView(textAt(row, 0))),
    taskId: names.taskName(task),
    status,
    readiness,
    version: numberAt(values, 4),
    queue: names.queueName(queue),
    concurrencyKey: fixed[1] ?? undefined,
    orderMs: numberAt(values, 8),
    prioritySeconds: fixed[0],
    dueMs: optionalNumberAt(values, 24),
    delayedUntilMs: optionalNumberAt(values, 25),
    ttlMs: fixed[2] ?? undefined,
    ttlText: fixed[3] ?? undefined,
    expireAtMs: optionalNumberAt(values, 26),
    expiredAtMs: optionalNumberAt(values, 27),
    attempt: numberAt(values, 10),
    maxAttempts: fixed[4] ?? undefined,
    policyMaxAttempts: optionalNumberAt(values, 28),
    maxDurationSeconds: fixed[5] ?? undefined,
    attemptMaxDurationSeconds: optionalNumberAt(values, 29),
    deadlineMs: optionalNumberAt(values, 30),
    retryAtMs: optionalNumberAt(values, 31),
    sessionId: optionalTextAt(values, 11),
    pickUpDeadlineMs: optionalNumberAt(values, 13),
    pickUpFailures: numberAt(values, 14),
    interruptions: numberAt(values, 15),
    fence: numberAt(values, 9),
    reportFence: optionalNumberAt(values, 12),
    waitingFor: optionalTextAt(values, 32),
    rejoinAttempt: optionalNumberAt(values, 37),
    awaited: numberAt(values, 33) === 1,
    todo: numberAt(values, 34),
    key: keyOf(row, fixed),
    batchId: fixed[9] ?? undefined,
    batchIndex: fixed[10] ?? undefined,
    parentRunId: fixed[11] ?? undefined,
    rootRunId: fixed[12] ?? undefined,
    depth: fixed[13],
    replayOf: fixed[14] ?? undefined,
    triggerFunction: fixed[15],
    isTest: fixed[16],
    tags: tagsOf(optionalTextAt(values, 35)),
    createdAtMs: numberAt(values, 16),
    updatedAtMs: numberAt(values, 17),
    startedAtMs: optionalNumberAt(values, 18),
    finishedAtMs: optionalNumberAt(values, 19),
    attemptStartedAtMs: optionalNumberAt(values, 20),
    activeSinceMs: optionalNumberAt(values, 21),
    attemptActiveMs: numberAt(values, 22),
    earlierActiveMs: numberAt(values, 23),
  };
  return {
    row: numberAt(values, 0),
    env,
    task,
    queue,
    partition: optionalNumberAt(values, 6),
    target: optionalNumberAt(values, 7),
    hasResults: numberAt(values, 36) === 1,
    state,
  };
}

/** A run that has lost its key has no `key_hash` any more, whatever was fixed. */
function keyOf(row: Row, fixed: Fixed): RunState["key"] {
  const hash = optionalBytesAt(row, 1);
  if (hash === undefined) return undefined;
  return {
    recordHash: bytesToHex(hash),
    text: fixed[6] ?? "",
    scope: fixed[7] ?? undefined,
    expiresAtMs: fixed[8] ?? 0,
  };
}

const NO_TAGS: readonly string[] = [];

function tagsOf(json: string | undefined): readonly string[] {
  if (json === undefined) return NO_TAGS;
  const tags: unknown = JSON.parse(json);
  return Array.isArray(tags) ? tags.filter((tag) => typeof tag === "string") : NO_TAGS;
}

type Column = readonly [name: string, value: (run: RunState) => SqlValue];

/** Columns that changes move; compared one by one, so each gives the same primitive for the same state. */
const CHANGING: readonly Column[] = [
  ["place", (run) => placeNumber(placeOf(run))],
  ["version", (run) => run.version],
  ["updated_ms", (run) => run.updatedAtMs],
  ["order_ms", (run) => run.orderMs],
  ["fence", (run) => run.fence],
  ["attempt", (run) => run.attempt],
  ["session", (run) => run.sessionId ?? null],
  ["report_fence", (run) => run.reportFence ?? null],
  ["pick_up_ms", (run) => run.pickUpDeadlineMs ?? null],
  ["pick_up_failures", (run) => run.pickUpFailures],
  ["interruptions", (run) => run.interruptions],
  ["started_ms", (run) => run.startedAtMs ?? null],
  ["finished_ms", (run) => run.finishedAtMs ?? null],
  ["purge_key", (run) => run.finishedAtMs ?? null],
  ["attempt_started_ms", (run) => run.attemptStartedAtMs ?? null],
  ["active_since_ms", (run) => run.activeSinceMs ?? null],
  ["attempt_active_ms", (run) => run.attemptActiveMs],
  ["earlier_active_ms", (run) => run.earlierActiveMs],
  ["due_ms", (run) => run.dueMs ?? null],
  ["delayed_until_ms", (run) => run.delayedUntilMs ?? null],
  ["expire_ms", (run) => run.expireAtMs ?? null],
  ["expired_ms", (run) => run.expiredAtMs ?? null],
  ["policy_max_attempts", (run) => run.policyMaxAttempts ?? null],
  ["attempt_max_duration_s", (run) => run.attemptMaxDurationSeconds ?? null],
  ["deadline_ms", (run) => run.deadlineMs ?? null],
  ["retry_ms", (run) => run.retryAtMs ?? null],
  ["waiting_for", (run) => run.waitingFor ?? null],
  ["rejoin_attempt", (run) => run.rejoinAttempt ?? null],
  ["awaited", (run) => (run.awaited ? 1 : 0)],
  ["todo", (run) => run.todo],
  ["tags", (run) => (run.tags.length === 0 ? null : JSON.stringify(run.tags))],
];

/** Columns that stay as the trigger made them: `fixed`, and of what it has those that a query asks for. */
const FIXED: readonly Column[] = [
  ["created_ms", (run) => run.createdAtMs],
  ["fixed", fixedText],
  ["key_expires_ms", (run) => run.key?.expiresAtMs ?? null],
  ["batch", (run) => run.batchId ?? null],
  ["parent", (run) => run.parentRunId ?? null],
  ["is_test", (run) => (run.isTest ? 1 : null)],
  ["is_elsewhere", (run) => (run.queue === queueNameForTask(run.taskId) ? null : 1)],
];

/** Columns of CHANGING whose default is 0: left out of an INSERT where they are. */
const ZERO_BY_DEFAULT: ReadonlySet<string> = new Set([
  "fence",
  "attempt",
  "pick_up_failures",
  "interruptions",
  "attempt_active_ms",
  "earlier_active_ms",
  "awaited",
  "todo",
]);

/** All of a new run that differs from the defaults of the table, but for ids, hashes and the spec. */
export function insertedColumns(run: RunState): Assigned {
  let shape = NO_COLUMNS;
  const values: SqlValue[] = [];
  for (const [name, value] of CHANGING) {
    const current = value(run);
    if (current === null || (current === 0 && ZERO_BY_DEFAULT.has(name))) continue;
    shape = shape.with(name);
    values.push(current);
  }
  for (const [name, value] of FIXED) {
    const current = value(run);
    if (current === null) continue;
    shape = shape.with(name);
    values.push(current);
  }
  return { shape, values };
}

/** Columns of a shape that hold text; all others hold numbers. */
export const TEXT_COLUMNS: ReadonlySet<string> = new Set([
  "session",
  "waiting_for",
  "tags",
  "fixed",
  "batch",
  "parent",
]);

/** The columns that a change moves, but for those that the store derives. */
export function changedColumns(before: RunState, next: RunState): Assigned {
  let shape = NO_COLUMNS;
  const values: SqlValue[] = [];
  for (const [name, value] of CHANGING) {
    if (name === "tags" && before.tags === next.tags) continue;
    const current = value(next);
    if (current === value(before)) continue;
    shape = shape.with(name);
    values.push(current);
  }
  return { shape, values };
}

/** The 16 bytes of a run id; undefined for a text that is none. */
export function runIdBytes(runId: string): Uint8Array | undefined {
  return decodeId("run", runId);
}
