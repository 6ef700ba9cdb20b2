/**
 * Changes of existing runs: read them together, ask the domain, write them together, each guarded by what was read; those that lost a race
 * are read and asked again. What a change owes to slots and heads is said in its own write and done right after (follow-up.ts).
 */
import { Binary, type Document } from "mongodb";
import type { Failure } from "../../domain/failure.js";
import { defaultLimits } from "../../domain/limits.js";
import type { AttemptSummary, RunState } from "../../domain/run.js";
import { applyChange } from "../../domain/run-apply.js";
import { type Applied, isRefused, type RunChange } from "../../domain/run-change.js";
import { placeOf } from "../../domain/run-machine.js";
import type { ChangeResult } from "../store.js";
import { type Context, newToken, pause, ROUNDS_MAX, racesLost } from "./context.js";
import { keepDebounceKeys } from "./debounce.js";
import { type FollowUp, followUp } from "./follow-up.js";
import {
  changedFields,
  fieldsOf,
  holderOf,
  isClaimable,
  type Linger,
  type RunDoc,
  readState,
  WITHOUT_BODIES,
} from "./run-doc.js";
import { type GuardedUpdate, together } from "./together.js";

interface Item {
  readonly index: number;
  readonly change: RunChange;
}

export async function changeRuns(context: Context, changes: readonly RunChange[]): Promise<readonly ChangeResult[]> {
  const results: ChangeResult[] = changes.map(() => ({ kind: "refused", refusal: "unknown", run: undefined }));
  let left = new Map<string, Item[]>();
  changes.forEach((change, index) => {
    // A claim takes a slot, which only the search for runs that can start may do.
    if (change.event === "claim") throw new TypeError("a run is claimed by claimRuns");
    left.set(change.runId, [...(left.get(change.runId) ?? []), { index, change }]);
  });
  for (let round = 0; left.size > 0; round += 1) {
    if (round === ROUNDS_MAX) throw racesLost("a run");
    if (round > 2) await pause(context, round);
    left = await changeRound(context, left, results);
  }
  return results;
}

/** @returns the changes of runs that somebody else changed meanwhile. */
async function changeRound(
  context: Context,
  items: ReadonlyMap<string, Item[]>,
  results: ChangeResult[],
): Promise<Map<string, Item[]>> {
  const docs = await context.runs.findByIds(items.keys(), WITHOUT_BODIES);
  const token = newToken(context);
  const works = [...items].flatMap(([runId, own]): readonly Work[] => {
    const doc = docs.get(runId);
    if (doc === undefined) return [];
    return [workOf(doc, own, results)];
  });
  const writing = works.filter(({ isChanged }) => isChanged);
  await keepDebounceKeys(
    context,
    writing.map(({ doc, state, nowMs }) => ({ recordHash: doc.debounce, runId: doc._id, dueMs: state.dueMs, nowMs })),
  );
  const { matched } = await context.runs.guarded(together(writing.map((work) => writeOf(work, token))));
  const won = new Set(matched === writing.length ? writing : await winners(context, writing, token));
  const owed = [...won].flatMap(owedBy);
  await followUp(context, owed, [...items.values()][0]?.[0]?.change.nowMs ?? 0);
  return new Map(
    writing.flatMap((work): [string, Item[]][] =>
      won.has(work) ? [] : [[work.doc._id, items.get(work.doc._id) ?? []]],
    ),
  );
}

async function winners(context: Context, works: readonly Work[], token: string): Promise<readonly Work[]> {
  const present = await context.runs.findByIds(
    works.map(({ doc }) => doc._id),
    { by: 1 },
  );
  return works.filter(({ doc }) => present.get(doc._id)?.by === token);
}

/** A run with its changes applied one after the other. */
interface Work {
  readonly doc: RunDoc;
  readonly before: RunState;
  state: RunState;
  slot: number | undefined;
  isChanged: boolean;
  readonly free: number[];
  readonly linger: Linger[];
  readonly attempts: AttemptSummary[];
  readonly objects: string[];
  output: Uint8Array | undefined;
  failure: Failure | undefined;
  nowMs: number;
}

function workOf(doc: RunDoc, items: readonly Item[], results: ChangeResult[]): Work {
  const before = readState(doc);
  const work: Work = {
    doc,
    before,
    state: before,
    slot: doc.slot,
    isChanged: false,
    free: [],
    linger: [],
    attempts: [],
    objects: [],
    output: undefined,
    failure: undefined,
    nowMs: 0,
  };
  for (const { index, change } of items) results[index] = applyOne(work, change);
  return work;
}

function applyOne(work: Work, change: RunChange): ChangeResult {
  const { state } = work;
  if (change.environment !== state.environment) return { kind: "refused", refusal: "unknown", run: undefined };
  const applied = applyChange(state, change);
  if (isRefused(applied)) return { kind: "refused", refusal: applied.refused, run: state };
  const hasFreedSlot = moveSlot(work, applied, change.nowMs);
  work.state = applied.next;
  work.isChanged = true;
  work.nowMs = change.nowMs;
  if (applied.attempt !== undefined) work.attempts.push(applied.attempt);
  work.output = applied.output ?? work.output;
  if (change.event === "complete") work.objects.push(...(change.objectKeys ?? []));
  work.failure = applied.failure ?? work.failure;
  const becameClaimable = isClaimable(applied.next) && !isClaimable(state);
  return {
    kind: "applied",
    before: placeOf(state),
    run: applied.next,
    isClaimable: hasFreedSlot || becameClaimable,
  };
}

/** The holder of a slot: the run itself while it executes, then for a while its code (QUE-4). @returns whether a slot is to be freed. */
function moveSlot(work: Work, applied: Applied, nowMs: number): boolean {
  const { state, slot } = work;
  if (state.status !== "EXECUTING" || applied.next.status === "EXECUTING") return false;
  work.slot = undefined;
  if (applied.slot === "linger") {
    const { fence, sessionId, environment } = state;
    work.linger.push({
      f: fence,
      at: nowMs,
      ...(sessionId === undefined ? {} : { s: holderOf(environment, sessionId) }),
      ...(slot === undefined ? {} : { g: slot }),
    });
    return false;
  }
  if (slot === undefined) return false;
  work.free.push(slot);
  return true;
}

/** The head under which it begins to wait, or waits in another place. */
function newHead({ doc, state }: Work): string | undefined {
  const { l, pos } = fieldsOf(state, doc.limited);
  return typeof l === "string" && (l !== doc.l || pos !== doc.pos) ? l : undefined;
}

function writeOf(work: Work, token: string): GuardedUpdate {
  const { doc, before, state, slot, free, linger, attempts, objects, output, failure, nowMs } = work;
  const { set, unset } = changedFields(fieldsOf(before, doc.limited), fieldsOf(state, doc.limited));
  const isOwing = free.length > 0 || newHead(work) !== undefined;
  const update: Document = {
    $set: {
      ...set,
      by: token,
      ...(isOwing ? { owes: nowMs } : {}),
      ...(output === undefined ? {} : { output: new Binary(output) }),
      ...(failure === undefined ? {} : { failure }),
    },
  };
  if (slot === undefined && doc.slot !== undefined) unset.slot = "";
  if (Object.keys(unset).length > 0) update.$unset = unset;
  const push: Document = {};
  if (free.length > 0) push.free = { $each: free };
  if (linger.length > 0) push.linger = { $each: linger };
  if (attempts.length > 0) push.attempts = { $each: attempts, $slice: -defaultLimits.attemptsKept };
  if (objects.length > 0) push.objects = { $each: objects };
  if (Object.keys(push).length > 0) update.$push = push;
  const increase: Document = {};
  if (linger.length > 0) increase.lingers = linger.length;
  if (isOwing) increase.owed = 1;
  if (Object.keys(increase).length > 0) update.$inc = increase;
  return { id: doc._id, guard: { version: doc.version, gen: doc.gen, todo: doc.todo }, update };
}

function owedBy(work: Work): readonly FollowUp[] {
  const { doc, state, free } = work;
  const l = newHead(work);
  if (free.length === 0 && l === undefined) return [];
  const { environment, queue, concurrencyKey } = state;
  const pos = String(fieldsOf(state, doc.limited).pos);
  return [{ run: { _id: doc._id, environment, queue, concurrencyKey, l, pos }, free, owed: doc.owed + 1 }];
}
