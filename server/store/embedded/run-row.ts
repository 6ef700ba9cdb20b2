/**
 * A run as a row: which column holds what, and which columns a change touches. An UPDATE names only columns that differ: SQLite rewrites
 * every index that a named column is part of, whether its value changed or not.
 */
import { decodeId, encodeId } from "../../domain/ids.js";
import { queueNameForTask } from "../../domain/queue.js";
import type { KeyScope, RunState, TriggerFunction } from "../../domain/run.js";
import { placeOf, type RunPlace, statusOfPlace } from "../../domain/run-machine.js";
import {
  bytesAt,
  bytesToHex,
  numberAt,
  optionalBytesAt,
  optionalNumberAt,
  optionalTextAt,
  type Row,
  type SqlValue,
  textAt,
} from "./database.js";
import type { Names } from "./names.js";

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

const TRIGGER_FUNCTIONS = [
  "trigger",
  "triggerAndWait",
  "batchTrigger",
  "batchTriggerAndWait",
] as const satisfies readonly TriggerFunction[];

export function placeNumber(place: RunPlace): number {
  return PLACE_NUMBERS.get(place) ?? 0;
}

export function placeOfNumber(place: number): RunPlace {
  const known = PLACES[place];
  if (known === undefined) throw new TypeError(`unknown place ${place}`);
  return known;
}

export function triggerFunctionOf(code: number): TriggerFunction {
  return TRIGGER_FUNCTIONS[code] ?? "trigger";
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
 * its making and parsing included (56 against 20 µs). JSON cannot say blobs, and SQLite cuts its fractions to 15 digits, so these come
 * beside it.
 */
export const RUN_COLUMNS = `id, key_hash, priority_s, json_array(row, env, task, place, version, queue, partition, target, order_ms, fence, attempt, session, report_fence, pick_up_ms,
 pick_up_failures, interruptions, created_ms, updated_ms, started_ms, finished_ms, attempt_started_ms, active_since_ms,
 attempt_active_ms, earlier_active_ms, due_ms, delayed_until_ms, ttl_ms, ttl_text, expire_ms, expired_ms, max_attempts,
 policy_max_attempts, max_duration_s, attempt_max_duration_s, deadline_ms, retry_ms, waiting_for, awaited, todo,
 concurrency_key, key_text, key_scope, key_expires_ms, batch, batch_index, parent, root, depth, replay_of,
 trigger_function, is_test, tags, has_results)`;

/** How many columns {@link RUN_COLUMNS} gives; a query may add its own behind them. */
export const RUN_COLUMN_COUNT = 4;

export function readRun(row: Row, names: Names): StoredRun {
  const values: Row = JSON.parse(textAt(row, 3));
  const queue = numberAt(values, 5);
  const task = numberAt(values, 2);
  const env = numberAt(values, 1);
  const { status, readiness } = statusOfPlace(placeOfNumber(numberAt(values, 3)));
  const state: RunState = {
    environment: names.environmentName(env),
    id: encodeId("run", bytesAt(row, 0)),
    taskId: names.taskName(task),
    status,
    readiness,
    version: numberAt(values, 4),
    queue: names.queueName(queue),
    concurrencyKey: optionalTextAt(values, 39),
    orderMs: numberAt(values, 8),
    prioritySeconds: numberAt(row, 2),
    dueMs: optionalNumberAt(values, 24),
    delayedUntilMs: optionalNumberAt(values, 25),
    ttlMs: optionalNumberAt(values, 26),
    ttlText: optionalTextAt(values, 27),
    expireAtMs: optionalNumberAt(values, 28),
    expiredAtMs: optionalNumberAt(values, 29),
    attempt: numberAt(values, 10),
    maxAttempts: optionalNumberAt(values, 30),
    policyMaxAttempts: optionalNumberAt(values, 31),
    maxDurationSeconds: optionalNumberAt(values, 32),
    attemptMaxDurationSeconds: optionalNumberAt(values, 33),
    deadlineMs: optionalNumberAt(values, 34),
    retryAtMs: optionalNumberAt(values, 35),
    sessionId: optionalTextAt(values, 11),
    pickUpDeadlineMs: optionalNumberAt(values, 13),
    pickUpFailures: numberAt(values, 14),
    interruptions: numberAt(values, 15),
    fence: numberAt(values, 9),
    reportFence: optionalNumberAt(values, 12),
    waitingFor: optionalTextAt(values, 36),
    awaited: numberAt(values, 37) === 1,
    todo: numberAt(values, 38),
    key: keyOf(row, values),
    batchId: optionalTextAt(values, 43),
    batchIndex: optionalNumberAt(values, 44),
    parentRunId: optionalTextAt(values, 45),
    rootRunId: optionalTextAt(values, 46),
    depth: numberAt(values, 47),
    replayOf: optionalTextAt(values, 48),
    triggerFunction: triggerFunctionOf(numberAt(values, 49)),
    isTest: numberAt(values, 50) === 1,
    tags: tagsOf(optionalTextAt(values, 51)),
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
    hasResults: numberAt(values, 52) === 1,
    state,
  };
}

function keyOf(row: Row, values: Row): RunState["key"] {
  const hash = optionalBytesAt(row, 1);
  if (hash === undefined) return undefined;
  return {
    recordHash: bytesToHex(hash),
    text: optionalTextAt(values, 40) ?? "",
    scope: scopeOf(optionalTextAt(values, 41)),
    expiresAtMs: numberAt(values, 42),
  };
}

function scopeOf(text: string | undefined): KeyScope | undefined {
  return text === "run" || text === "attempt" || text === "global" ? text : undefined;
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
  ["awaited", (run) => (run.awaited ? 1 : 0)],
  ["todo", (run) => run.todo],
  ["tags", (run) => (run.tags.length === 0 ? null : JSON.stringify(run.tags))],
];

/** Columns that stay as the trigger made them; a lost key is cleared by keys.ts. */
const FIXED: readonly Column[] = [
  ["created_ms", (run) => run.createdAtMs],
  ["ttl_ms", (run) => run.ttlMs ?? null],
  ["ttl_text", (run) => run.ttlText ?? null],
  ["max_attempts", (run) => run.maxAttempts ?? null],
  ["max_duration_s", (run) => run.maxDurationSeconds ?? null],
  ["priority_s", (run) => (run.prioritySeconds === 0 ? null : run.prioritySeconds)],
  ["concurrency_key", (run) => run.concurrencyKey ?? null],
  ["key_text", (run) => run.key?.text ?? null],
  ["key_scope", (run) => run.key?.scope ?? null],
  ["key_expires_ms", (run) => run.key?.expiresAtMs ?? null],
  ["batch", (run) => run.batchId ?? null],
  ["batch_index", (run) => run.batchIndex ?? null],
  ["parent", (run) => run.parentRunId ?? null],
  ["root", (run) => run.rootRunId ?? null],
  ["depth", (run) => (run.depth === 0 ? null : run.depth)],
  ["replay_of", (run) => run.replayOf ?? null],
  ["trigger_function", (run) => TRIGGER_FUNCTIONS.indexOf(run.triggerFunction) || null],
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

/**
 * A set of columns, as the text of a statement names them. Shapes are made once: statements are looked up by their text, and a text that
 * is built for every row would have to be hashed for every row.
 */
export class Shape {
  readonly columns: readonly string[];
  /** Separated by a comma and a blank. */
  readonly text: string;
  /** `a = ?, b = ?` */
  readonly assignments: string;
  readonly #longer = new Map<string, Shape>();

  constructor(columns: readonly string[]) {
    this.columns = columns;
    this.text = columns.join(", ");
    this.assignments = columns.map((column) => `${column} = ?`).join(", ");
  }

  /** This shape and one more column. */
  with(column: string): Shape {
    const known = this.#longer.get(column);
    if (known !== undefined) return known;
    const longer = new Shape([...this.columns, column]);
    this.#longer.set(column, longer);
    return longer;
  }
}

const NO_COLUMNS = new Shape([]);

/** Columns and their values. */
export interface Assigned {
  readonly shape: Shape;
  readonly values: SqlValue[];
}

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
  "ttl_text",
  "concurrency_key",
  "key_text",
  "key_scope",
  "batch",
  "parent",
  "root",
  "replay_of",
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
