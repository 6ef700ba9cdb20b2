/**
 * A run as a document: the state by the names of the domain, members that are undefined left out, and beside it what only this store
 * needs. Its field names are short and told here.
 */
import { createHash } from "node:crypto";
import type { Binary, Document } from "mongodb";
import type { Failure } from "../../domain/failure.js";
import { queueId } from "../../domain/ids.js";
import type { AttemptSummary, RunState } from "../../domain/run.js";
import { isLegal, placeOf } from "../../domain/run-machine.js";
import type { Identified } from "./client.js";
import type { SourceMark } from "./metadata.js";

type StateFields = Omit<RunState, "id">;

/** Code that may still run for a run that executes no more (QUE-4). */
export interface Linger {
  /** Fence that it was given under. */
  readonly f: number;
  /** Whose it is: {@link holderOf}. */
  readonly s?: string;
  readonly at: number;
  /** Generation of the slot that it keeps; none where its queue had no limit. */
  readonly g?: number;
}

export interface RunDoc extends Identified, Partial<StateFields> {
  readonly environment: string;
  /** Where it stands while it can be claimed: `u` in the claim index, under no limit; `l` behind the head of this id. */
  readonly u?: string;
  readonly l?: string;
  /** Sorts as (order, id). */
  readonly pos: string;
  /** Whether it stands under heads when it can be claimed: as its queue was when it was placed. */
  readonly limited: boolean;
  /** Generation of slots: rises with every slot that is taken for the run, or taken from a claim that was too late. */
  readonly gen: number;
  /** Generation of the slot that the executing run holds, and the token that it was taken under. */
  readonly slot?: number;
  readonly slotBy?: string;
  readonly linger?: readonly Linger[];
  /** Their number; absent where there are none. */
  readonly lingers?: number;
  /** Since when a follow-up in slots or heads is owed; how many were ever; generations to be freed. */
  readonly owes?: number;
  readonly owed: number;
  readonly free?: readonly number[];
  /** Token of the last change, and of the last claim: tells who won a race. */
  readonly by?: string;
  readonly claimBy?: string;
  /** Its debounce key, while it may be the holder; the last requests that pushed it. */
  readonly debounce?: string;
  readonly pushed?: readonly string[];
  /** Request that made it. */
  readonly req?: string;
  /** {@link holderOf} while a worker holds its code. */
  readonly holder?: string;
  /** Its expiry while it never started (TTL-2). */
  readonly expiryMs?: number;
  /** Retention counts from here; {@link purgeAt}: removal was decided, and the TTL index finishes what a crash left. */
  readonly purgeKey?: number;
  readonly purgeAt?: Date;
  /** Objects of the payload store that it names; absent where there are none. */
  readonly objects?: readonly string[];
  readonly spec?: Binary;
  readonly meta?: string;
  /** Up to which number the operations of a source are in `meta`, the least recent source first; `metaAway`: there are more beside. */
  readonly metaFrom?: readonly SourceMark[];
  readonly metaAway?: true;
  readonly output?: Binary;
  readonly failure?: Failure;
  readonly attempts?: readonly AttemptSummary[];
}

/** What a change need not read. */
export const WITHOUT_BODIES = { spec: 0, meta: 0, metaFrom: 0, output: 0, failure: 0, attempts: 0 } as const;

/** Members of the state that may be undefined; the others are always there. */
const OPTIONAL = [
  "readiness",
  "concurrencyKey",
  "dueMs",
  "delayedUntilMs",
  "ttlMs",
  "ttlText",
  "expireAtMs",
  "expiredAtMs",
  "maxAttempts",
  "policyMaxAttempts",
  "maxDurationSeconds",
  "attemptMaxDurationSeconds",
  "deadlineMs",
  "retryAtMs",
  "sessionId",
  "pickUpDeadlineMs",
  "reportFence",
  "waitingFor",
  "rejoinAttempt",
  "key",
  "batchId",
  "batchIndex",
  "parentRunId",
  "rootRunId",
  "replayOf",
  "startedAtMs",
  "finishedAtMs",
  "attemptStartedAtMs",
  "activeSinceMs",
] as const satisfies readonly (keyof StateFields)[];

const NONE: Readonly<Record<(typeof OPTIONAL)[number], undefined>> = {
  readiness: undefined,
  concurrencyKey: undefined,
  dueMs: undefined,
  delayedUntilMs: undefined,
  ttlMs: undefined,
  ttlText: undefined,
  expireAtMs: undefined,
  expiredAtMs: undefined,
  maxAttempts: undefined,
  policyMaxAttempts: undefined,
  maxDurationSeconds: undefined,
  attemptMaxDurationSeconds: undefined,
  deadlineMs: undefined,
  retryAtMs: undefined,
  sessionId: undefined,
  pickUpDeadlineMs: undefined,
  reportFence: undefined,
  waitingFor: undefined,
  rejoinAttempt: undefined,
  key: undefined,
  batchId: undefined,
  batchIndex: undefined,
  parentRunId: undefined,
  rootRunId: undefined,
  replayOf: undefined,
  startedAtMs: undefined,
  finishedAtMs: undefined,
  attemptStartedAtMs: undefined,
  activeSinceMs: undefined,
};

const REQUIRED = [
  "environment",
  "taskId",
  "status",
  "version",
  "queue",
  "orderMs",
  "prioritySeconds",
  "attempt",
  "pickUpFailures",
  "interruptions",
  "fence",
  "awaited",
  "todo",
  "depth",
  "triggerFunction",
  "isTest",
  "tags",
  "createdAtMs",
  "updatedAtMs",
  "attemptActiveMs",
  "earlierActiveMs",
] as const satisfies readonly (keyof StateFields)[];

/** All members but the id, so that none is forgotten when one is added. */
type Listed = (typeof OPTIONAL)[number] | (typeof REQUIRED)[number];
const NAMES: readonly Listed[] = [...OPTIONAL, ...REQUIRED];

/** @throws TypeError for a document that this store did not write. */
export function readState(doc: RunDoc): RunState {
  const picked: Partial<Record<Listed, unknown>> = { ...NONE };
  for (const name of NAMES) {
    const value = doc[name];
    if (value !== undefined && value !== null) picked[name] = value;
  }
  for (const name of REQUIRED) if (picked[name] === undefined) throw new TypeError(`run ${doc._id} has no ${name}`);
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- written by this store from a RunState, and complete: checked above
  const state = picked as Omit<RunState, "id">;
  return { ...state, id: doc._id, ...(doc.key === undefined ? {} : { key: keyOf(doc.key) }) };
}

function keyOf(key: NonNullable<RunState["key"]>): RunState["key"] {
  const { recordHash, text, expiresAtMs } = key;
  return { recordHash, text, scope: key.scope ?? undefined, expiresAtMs };
}

/** Members of a document by name; undefined: absent. */
export type Fields = Readonly<Record<string, unknown>>;

/** A new run. @param how.token of the call that stores it. */
export function newRunDoc(
  insert: {
    readonly run: RunState;
    readonly spec: Binary;
    readonly metadataJson: string | undefined;
    readonly requestHash: string | undefined;
    readonly objectKeys: readonly string[] | undefined;
    readonly nowMs: number;
  },
  how: { readonly isLimited: boolean; readonly token: string; readonly debounceHash: string | undefined },
): RunDoc {
  const { isLimited, token, debounceHash } = how;
  const { run, spec, metadataJson, requestHash, objectKeys, nowMs } = insert;
  const owes = isLimited && isClaimable(run);
  const doc: Document = {
    _id: run.id,
    ...fieldsOf(run, isLimited),
    limited: isLimited,
    gen: 0,
    by: token,
    owed: owes ? 1 : 0,
    owes: owes ? nowMs : undefined,
    req: requestHash,
    debounce: debounceHash,
    objects: objectKeys === undefined ? undefined : [...objectKeys],
    spec,
    meta: metadataJson,
  };
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- made of a whole RunState just above
  return doc as RunDoc;
}

/** The fields that follow from the state, undefined ones included. */
export function fieldsOf(run: RunState, isLimited: boolean): Fields {
  const target = targetOf(run);
  const { id: _, ...state } = run;
  return {
    ...state,
    pos: positionOf(run.orderMs, run.id),
    u: isLimited ? undefined : target,
    l: isLimited && target !== undefined ? headId(partitionOf(run), target) : undefined,
    holder: isHeld(run) && run.sessionId !== undefined ? holderOf(run.environment, run.sessionId) : undefined,
    expiryMs: run.status === "QUEUED" && run.startedAtMs === undefined ? run.expireAtMs : undefined,
    purgeKey: run.finishedAtMs,
  };
}

/** Fields that differ, to be set and to be removed. */
export function changedFields(
  before: Fields,
  next: Fields,
): { readonly set: Record<string, unknown>; readonly unset: Record<string, ""> } {
  const set: Record<string, unknown> = {};
  const unset: Record<string, ""> = {};
  for (const [name, value] of Object.entries(next)) {
    if (before[name] === value) continue;
    if (value === undefined) unset[name] = "";
    else set[name] = value;
  }
  return { set, unset };
}

// ── names ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

/** A worker holds its code: EXECUTING, WAITING, QUEUED bound. */
export function isHeld(run: RunState): boolean {
  return isLegal("interrupt", placeOf(run));
}

export function isClaimable(run: RunState): boolean {
  return run.readiness === "waiting" || run.readiness === "bound";
}

/** Who may claim the run: any worker of the task, or the one that holds its continuation. */
export function targetOf(run: RunState): string | undefined {
  if (run.readiness === "waiting") return taskTarget(run.taskId);
  return run.readiness === "bound" ? sessionTarget(run.sessionId ?? "") : undefined;
}

export function taskTarget(taskId: string): string {
  return `t|${taskId}`;
}

export function sessionTarget(sessionId: string): string {
  return `s|${sessionId}`;
}

export function holderOf(environment: string, sessionId: string): string {
  return `${environment}|${sessionId}`;
}

/** The holder of a slot. */
export function slotHolder(runId: string, generation: number): string {
  return `${runId}:${generation}`;
}

export function headId(partition: string, target: string): string {
  return `${partition}|${target}`;
}

const queueIds = new Map<string, string>();
/** Ids kept in memory, each a hash: more than an installation has queues. */
const QUEUE_IDS_MAX = 20_000;

/** The `_id` of a queue's record. */
export function queueIdOf(environment: string, name: string): string {
  const key = `${environment}|${name}`;
  const known = queueIds.get(key);
  if (known !== undefined) return known;
  if (queueIds.size >= QUEUE_IDS_MAX) queueIds.clear();
  const id = queueId(environment, name);
  queueIds.set(key, id);
  return id;
}

/** The partition of a run: its queue and its concurrency key; an empty key is none (QUE-20). */
export function partitionOf(run: Pick<RunState, "environment" | "queue" | "concurrencyKey">): string {
  const { concurrencyKey = "" } = run;
  const queue = queueIdOf(run.environment, run.queue);
  return concurrencyKey === "" ? queue : `${queue}.${createHash("sha256").update(concurrencyKey).digest("base64url")}`;
}

/** Orders are between −2^52 and 2^53 (domain/queue.ts). */
const POSITION_OFFSET = 2n ** 56n;

/** A text that sorts as (order, id): one field of an index, and one value for `$min`. */
export function positionOf(orderMs: number, runId: string): string {
  return `${(BigInt(orderMs) + POSITION_OFFSET).toString(16).padStart(15, "0")}${runId}`;
}

export function bytesOf(binary: Binary | undefined): Uint8Array | undefined {
  return binary === undefined ? undefined : new Uint8Array(binary.value());
}
