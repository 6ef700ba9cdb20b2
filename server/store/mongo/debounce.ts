/**
 * Debounced calls (section 9). A record of kind debounce names the run that holds the key, as other keys do (keys.ts); whether a call
 * pushes it is asked of the run alone. A push is one guarded write, which also enters the request that made it; its answer is remembered
 * first (design 6), so a repeat finds the run, and by the entry whether the push came.
 */
import { type AnyBulkWriteOperation, Binary, type Document } from "mongodb";
import { applyPush } from "../../domain/debounce.js";
import type { RunState } from "../../domain/run.js";
import { isRefused } from "../../domain/run-change.js";
import type { InsertRun, RequestMark } from "../store.js";
import { type Answer, expiryDate } from "./answers.js";
import { filterOf } from "./client.js";
import type { Context } from "./context.js";
import type { KeyDoc, KeyHolder } from "./keys.js";
import { changedFields, fieldsOf, type RunDoc, readState, WITHOUT_BODIES } from "./run-doc.js";

/** Requests that a run remembers: more than can come between the answer and the effect of one call. */
const PUSHES_KEPT = 100;

export type DebounceHolder = KeyHolder;

/** The holders of these keys, with their states. */
export async function lookForHolders(
  context: Context,
  recordHashes: readonly string[],
): Promise<ReadonlyMap<string, DebounceHolder>> {
  const records = await context.keys.findByIds(recordHashes);
  const runs = await context.runs.findByIds(
    [...records.values()].map(({ run }) => run),
    WITHOUT_BODIES,
  );
  return new Map(recordHashes.map((hash) => [hash, holderOf(records.get(hash), runs)] as const));
}

function holderOf(record: KeyDoc | undefined, runs: ReadonlyMap<string, RunDoc>): DebounceHolder {
  if (record === undefined) return { kind: "none" };
  const run = runs.get(record.run);
  return run === undefined ? { kind: "promised", record } : { kind: "held", record, run, keeps: false };
}

/** A push that the domain allows. */
export interface DebouncePlan {
  readonly item: InsertRun;
  readonly doc: RunDoc;
  readonly applied: RunState;
  answer(request: RequestMark): Answer;
}

export function debouncePlanOf(item: InsertRun, holder: DebounceHolder | undefined): DebouncePlan | undefined {
  const { debounce, run, nowMs } = item;
  if (debounce === undefined || holder?.kind !== "held") return undefined;
  const doc = holder.run;
  const { tags, maxAttempts, maxDurationSeconds } = run;
  const replacement = debounce.isTrailing ? { tags, maxAttempts, maxDurationSeconds } : undefined;
  const applied = applyPush(readState(doc), { ...debounce, nowMs, replacement });
  if (isRefused(applied)) return undefined;
  const answer = ({ hash, expiresAtMs }: RequestMark): Answer => {
    return { requestHash: hash, runId: doc._id, isCached: false, isPush: true, untilMs: expiresAtMs };
  };
  return { item, doc, applied: applied.next, answer };
}

/** The runs after their pushes, in order; undefined where somebody else changed the run meanwhile. */
export async function pushRuns(
  context: Context,
  plans: readonly DebouncePlan[],
  token: string,
): Promise<readonly (RunState | undefined)[]> {
  if (plans.length === 0) return [];
  await keepDebounceKeys(
    context,
    plans.map(({ doc, applied, item }) => {
      return { recordHash: doc.debounce, runId: doc._id, dueMs: applied.dueMs, nowMs: item.nowMs };
    }),
  );
  await context.runs.bulk(plans.map((plan) => writeOf(plan, token)));
  const present = await context.runs.findByIds(
    plans.map(({ doc }) => doc._id),
    { by: 1, version: 1 },
  );
  return plans.map(({ doc, applied }) => {
    const now = present.get(doc._id);
    return now?.by === token && now.version === applied.version ? applied : undefined;
  });
}

function writeOf({ item, doc, applied }: DebouncePlan, token: string): AnyBulkWriteOperation<RunDoc> {
  const before = readState(doc);
  const { set, unset } = changedFields(fieldsOf(before, doc.limited), fieldsOf(applied, doc.limited));
  const { request, spec, metadataJson, debounce } = item;
  const replaced: Document =
    debounce?.isTrailing === true
      ? { spec: new Binary(spec), ...(metadataJson === undefined ? {} : { meta: metadataJson }) }
      : {};
  const update: Document = { $set: { ...set, ...replaced, by: token } };
  const { objectKeys } = item;
  if (debounce?.isTrailing === true && objectKeys !== undefined) update.$addToSet = { objects: { $each: objectKeys } };
  if (Object.keys(unset).length > 0) update.$unset = unset;
  if (request !== undefined) update.$push = { pushed: { $each: [request.hash], $slice: -PUSHES_KEPT } };
  return { updateOne: { filter: { _id: doc._id, version: doc.version, gen: doc.gen, todo: doc.todo }, update } };
}

/** Whether the push of this request has come. */
export function hasPushed({ pushed }: RunDoc, requestHash: string): boolean {
  return pushed?.includes(requestHash) === true;
}

/** Answers whose push never came. */
export async function forgetAnswers(context: Context, requestHashes: readonly string[]): Promise<void> {
  if (requestHashes.length > 0) await context.answers.deleteMany({ _id: { $in: requestHashes }, push: true });
}

/** A record stands at least until its run is due, whoever moved that time; said before the time moves. */
export async function keepDebounceKeys(
  context: Context,
  moves: readonly {
    readonly recordHash: string | undefined;
    readonly runId: string;
    readonly dueMs: number | undefined;
    readonly nowMs: number;
  }[],
): Promise<void> {
  await context.keys.bulk(
    moves.flatMap(({ recordHash, runId, dueMs, nowMs }) =>
      recordHash === undefined || dueMs === undefined
        ? []
        : [
            {
              updateOne: {
                filter: filterOf<KeyDoc>({ _id: recordHash, run: runId }),
                update: { $max: { untilMs: dueMs, expireAt: expiryDate(context, dueMs, nowMs) } },
              },
            },
          ],
    ),
  );
}
