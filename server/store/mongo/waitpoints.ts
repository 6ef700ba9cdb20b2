/**
 * Waitpoints. A key record names one, as those of runs do (keys.ts): a record that names none is the trace of a creation that has not come,
 * and the next caller inserts under that id. An end is one write, guarded by the status; that those who wait are to be woken is said in it.
 */
import { Binary, type Document } from "mongodb";
import { createRaceLost } from "../../domain/error.js";
import { isWindowOpen } from "../../domain/idempotency.js";
import { endWaitpoint, type Waitpoint } from "../../domain/waitpoint.js";
import type {
  EndWaitpoint,
  EndWaitpointResult,
  FindWaitpoints,
  InsertWaitpoint,
  InsertWaitpointResult,
  TokenCursor,
  TokenFilter,
  TokenPage,
  TokenQuery,
  WaitpointRef,
} from "../store.js";

import { filterOf, type Identified } from "./client.js";
import { type Context, newToken, pause, ROUNDS_MAX } from "./context.js";
import { claimKeys, type KeyHolder } from "./keys.js";
import { bytesOf } from "./run-doc.js";

export interface WaitpointDoc extends Identified, Omit<Waitpoint, "id" | "output" | "completedAtMs" | "key"> {
  readonly completedAtMs?: number;
  readonly key?: Waitpoint["key"];
  readonly output?: Binary;
  /** When it ends by itself, while it waits. */
  readonly dueMs?: number;
  /** Since when those who wait for it are to be woken. */
  readonly owes?: number;
  /** Request that made it. */
  readonly req?: string;
  /** Token of the write that ended it: tells who won a race. */
  readonly by?: string;
}

export function insertWaitpoints(
  context: Context,
  items: readonly InsertWaitpoint[],
): Promise<readonly InsertWaitpointResult[]> {
  return Promise.all(items.map((item) => insert(context, item)));
}

async function insert(context: Context, item: InsertWaitpoint): Promise<InsertWaitpointResult> {
  const { waitpoint, request } = item;
  for (let round = 0; round < ROUNDS_MAX; round += 1) {
    if (round > 2) await pause(context, round);
    const known = round === 0 && waitpoint.key === undefined ? undefined : await findOne(context, waitpoint.id);
    if (known !== undefined) return knownUnder(known, item);
    const place = waitpoint.key === undefined ? { id: waitpoint.id } : await claimKey(context, item, waitpoint.key);
    if (place === "again") continue;
    if ("holder" in place) return { kind: "cached", waitpoint: place.holder };
    const made = { ...waitpoint, id: place.id };
    const duplicates = await context.waitpoints.insertMany([docOf(made, request?.hash)]);
    if (duplicates.size === 0) return { kind: "created", waitpoint: made };
  }
  throw createRaceLost(waitpoint.key?.text ?? waitpoint.id);
}

function knownUnder(doc: WaitpointDoc, { waitpoint, request }: InsertWaitpoint): InsertWaitpointResult {
  const isOwn = request !== undefined && doc.req === request.hash;
  if (isOwn) return { kind: "repeat", waitpoint: readDoc(doc) };
  // Somebody else met our key record before our waitpoint, and inserted under our id.
  if (waitpoint.key !== undefined) return { kind: "cached", waitpoint: readDoc(doc) };
  throw new Error(`${doc._id} exists already, and was not made by this request`);
}

/** Who holds the key, or the id under which to insert; `again`: somebody was quicker. */
async function claimKey(
  context: Context,
  { waitpoint, nowMs }: InsertWaitpoint,
  key: NonNullable<Waitpoint["key"]>,
): Promise<{ readonly id: string } | { readonly holder: Waitpoint } | "again"> {
  const { recordHash, expiresAtMs: untilMs } = key;
  const record = (await context.keys.findByIds([recordHash])).get(recordHash);
  const holder = record === undefined ? undefined : await findOne(context, record.run);
  if (record !== undefined && holder === undefined) return { id: record.run };
  if (holder?.key !== undefined && isWindowOpen(holder.key.expiresAtMs, nowMs)) return { holder: readDoc(holder) };
  // A holder whose window is over loses the record; what it is does not matter to the guard.
  const before: KeyHolder = record === undefined ? { kind: "none" } : { kind: "promised", record };
  const claim = { recordHash, environment: waitpoint.environment, runId: waitpoint.id, untilMs, nowMs, holder: before };
  const [isOurs] = await claimKeys(context, [claim]);
  return isOurs === true ? { id: waitpoint.id } : "again";
}

export async function readWaitpoints(
  context: Context,
  refs: readonly WaitpointRef[],
): Promise<readonly (Waitpoint | undefined)[]> {
  const docs = await context.waitpoints.findByIds(refs.map(({ waitpointId }) => waitpointId));
  return refs.map(({ environment, waitpointId }) => {
    const doc = docs.get(waitpointId);
    return doc?.environment === environment ? readDoc(doc) : undefined;
  });
}

export async function endWaitpoints(
  context: Context,
  items: readonly EndWaitpoint[],
): Promise<readonly EndWaitpointResult[]> {
  const token = newToken(context);
  const before = await readWaitpoints(context, items);
  const ends = items.map(({ end }, index) => {
    const known = before[index];
    return known === undefined ? undefined : endWaitpoint(known, end);
  });
  await context.waitpoints.bulk(
    ends.flatMap((after, index) => {
      if (after?.completedAtMs === undefined) return [];
      const { id, status, completedAtMs, output } = after;
      return [
        {
          updateOne: {
            filter: { _id: id, status: "WAITING" as const },
            update: {
              $set: {
                status,
                completedAtMs,
                owes: completedAtMs,
                by: `${token}${index}`,
                ...(output === undefined ? {} : { output: new Binary(output) }),
              },
              $unset: { dueMs: "" as const },
            },
          },
        },
      ];
    }),
  );
  const present = await context.waitpoints.findByIds(ends.flatMap((after) => after?.id ?? []));
  return ends.map((after, index) => {
    if (after === undefined) return { isApplied: false, waitpoint: before[index] };
    const doc = present.get(after.id);
    return { isApplied: doc?.by === `${token}${index}`, waitpoint: doc === undefined ? undefined : readDoc(doc) };
  });
}

export async function settleWaitpoints(context: Context, refs: readonly WaitpointRef[]): Promise<void> {
  await context.waitpoints.updateMany(
    { _id: { $in: refs.map(({ waitpointId }) => waitpointId) } },
    { $unset: { owes: "" } },
  );
}

export async function findWaitpoints(context: Context, query: FindWaitpoints): Promise<readonly Waitpoint[]> {
  const [field, untilMs] = query.kind === "due" ? ["dueMs", query.nowMs] : ["owes", query.untilMs];
  const filter = filterOf<WaitpointDoc>({ [field]: { $exists: true, $lte: untilMs } });
  return (await context.waitpoints.find(filter, { sort: { [field]: 1 }, limit: query.limit })).map(readDoc);
}

export async function listTokens(context: Context, query: TokenQuery): Promise<TokenPage> {
  const { limit, after, before, filter, environment } = query;
  const base: readonly Document[] = [{ environment, kind: "token" }, ...conditionsOf(filter)];
  const isNewer = before !== undefined;
  const cursor = before ?? after;
  const [found, behind] = await Promise.all([
    readPage(context, [...base, ...beyond(cursor, isNewer, false)], isNewer, limit + 1),
    cursor === undefined ? [] : readPage(context, [...base, ...beyond(cursor, !isNewer, true)], !isNewer, 1),
  ]);
  const page = found.slice(0, limit);
  if (isNewer) page.reverse();
  const [hasMore, hasBehind] = [found.length > limit, behind.length > 0];
  return {
    tokens: page.map(readDoc),
    hasOlder: isNewer ? hasBehind : hasMore,
    hasNewer: isNewer ? hasMore : hasBehind,
  };
}

async function readPage(
  context: Context,
  conditions: readonly Document[],
  isNewer: boolean,
  limit: number,
): Promise<WaitpointDoc[]> {
  const direction = isNewer ? 1 : -1;
  const filter = filterOf<WaitpointDoc>({ $and: conditions });
  return [...(await context.waitpoints.find(filter, { sort: { createdAtMs: direction, _id: direction }, limit }))];
}

/** Tokens on one side of a cursor. */
function beyond(cursor: TokenCursor | undefined, isNewer: boolean, isInclusive: boolean): readonly Document[] {
  if (cursor === undefined) return [];
  const { createdAtMs, waitpointId } = cursor;
  const side = isNewer ? "$gt" : "$lt";
  return [
    {
      $or: [
        { createdAtMs: { [side]: createdAtMs } },
        { createdAtMs, _id: { [isInclusive ? `${side}e` : side]: waitpointId } },
      ],
    },
  ];
}

function conditionsOf({ statuses = [], tags = [], keyText, fromMs, toMs }: TokenFilter): readonly Document[] {
  const conditions: Document[] = [];
  if (statuses.length > 0) conditions.push({ status: { $in: [...statuses] } });
  if (tags.length > 0) conditions.push({ tags: { $in: [...tags] } });
  if (keyText !== undefined) conditions.push({ "key.text": keyText });
  if (fromMs !== undefined) conditions.push({ createdAtMs: { $gte: fromMs } });
  if (toMs !== undefined) conditions.push({ createdAtMs: { $lte: toMs } });
  return conditions;
}

/** Objects outlive the keys that name them by an hour (design 6). */
const KEY_LATER_MS = 3_600_000;

/** Ended ones go after the retention of runs, and an hour after their key. */
export async function purgeWaitpoints(
  context: Context,
  params: { readonly nowMs: number; readonly finishedRunsKeptMs: number; readonly limit: number },
): Promise<void> {
  const { nowMs, finishedRunsKeptMs, limit } = params;
  const filter = filterOf<WaitpointDoc>({
    completedAtMs: { $exists: true, $lte: nowMs - finishedRunsKeptMs },
    owes: { $exists: false },
    $or: [{ key: { $exists: false } }, { "key.expiresAtMs": { $lte: nowMs - KEY_LATER_MS } }],
  });
  const docs = await context.waitpoints.find(filter, { sort: { completedAtMs: 1 }, limit, projection: { _id: 1 } });
  if (docs.length > 0) await context.waitpoints.deleteMany({ _id: { $in: docs.map(({ _id }) => _id) } });
}

async function findOne(context: Context, waitpointId: string): Promise<WaitpointDoc | undefined> {
  return (await context.waitpoints.findByIds([waitpointId])).get(waitpointId);
}

/** A new one has no output. */
function docOf({ id, output: _output, ...waitpoint }: Waitpoint, req: string | undefined): WaitpointDoc {
  return { _id: id, ...waitpoint, dueMs: waitpoint.timeoutAtMs, ...(req === undefined ? {} : { req }) };
}

function readDoc(doc: WaitpointDoc): Waitpoint {
  const { environment, kind, status, createdAtMs, timeoutAtMs, key, tags } = doc;
  return {
    environment,
    id: doc._id,
    kind,
    status,
    createdAtMs,
    timeoutAtMs,
    completedAtMs: doc.completedAtMs,
    output: bytesOf(doc.output),
    key: key === undefined ? undefined : { ...key, scope: key.scope ?? undefined },
    tags,
  };
}
