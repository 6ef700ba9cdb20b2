/**
 * Claims: the best runs that can start now, in a number of steps that does not depend on their number.
 *
 * Runs of queues without a limit are claimed from their index: read the best n, write each guarded by what was read, and where not all
 * guards held, ask which did. Runs of limited partitions are found by their heads: read the best open heads, the slots of their
 * partitions, the best runs behind each; take slots by compare-and-set; claim the runs; then confirm the slots and move the heads on. Both
 * are merged by position. A round may give fewer than asked for (a race was lost, heads were stale or full); then heads are corrected, and
 * the next round looks again, further.
 *
 * The state after a claim is computed by the domain and not by an update of the database, so that there is one machine. Rejected: claiming
 * by `updateMany` with the changes as expressions (a second machine, and the policy differs by task).
 */
import type { AnyBulkWriteOperation, Binary } from "mongodb";
import { applyChange } from "../../domain/run-apply.js";
import { type Applied, isRefused } from "../../domain/run-change.js";
import type { ClaimableTask, ClaimedRun, ClaimRequest } from "../store.js";
import { filterOf } from "./client.js";
import { type Context, newToken } from "./context.js";
import { moveUnderHeads } from "./enter.js";
import { type HeadDoc, type HeadMoves, moveHeads } from "./heads.js";
import { changedFields, fieldsOf, type RunDoc, readState, sessionTarget, slotHolder, taskTarget } from "./run-doc.js";
import { standingSessions } from "./sessions.js";
import type { Snapshot } from "./settings.js";
import { confirmSlots, freeSlots, type Holder, type SlotsDoc, takeSlots } from "./slots.js";

/** Rounds of one claim. Each looks at four times as many heads as the one before, so this passes over any number of full ones. */
const CLAIM_ROUNDS_MAX = 12;
const HEADS_FIRST = 64;
const HEADS_MAX = 4_096;
/** Runs read behind the heads of a round, in all. */
const BEHIND_MAX = 4_096;
/** Lost races after which a claim gives up; its caller asks again. */
const LOST_MAX = 8;

/** Claims of one server one after the other: all want the best runs, and would only lose races against each other. */
export class Claims {
  #last: Promise<unknown> = Promise.resolve();

  claim(context: Context, requests: readonly ClaimRequest[]): Promise<readonly (readonly ClaimedRun[])[]> {
    const claims = this.#last.then(() => claimRuns(context, requests));
    this.#last = claims.catch(() => undefined);
    return claims;
  }
}

async function claimRuns(
  context: Context,
  requests: readonly ClaimRequest[],
): Promise<readonly (readonly ClaimedRun[])[]> {
  const asked = requests.filter(({ places }) => places > 0);
  const standing = await standingSessions(context, asked);
  const results: (readonly ClaimedRun[])[] = [];
  // One after the other: they want the same runs.
  for (const request of requests) {
    results.push(request.places > 0 && standing.has(request) ? await claim(context, request) : []);
  }
  return results;
}

async function claim(context: Context, request: ClaimRequest): Promise<readonly ClaimedRun[]> {
  const given: { readonly pos: string; readonly run: ClaimedRun }[] = [];
  let lost = 0;
  for (let round = 0; round < CLAIM_ROUNDS_MAX && given.length < request.places; round += 1) {
    const snapshot = await context.settings.read(request.environment);
    const headsMax = Math.min(HEADS_MAX, Math.max(HEADS_FIRST, request.places) * 4 ** Math.max(0, round - lost));
    const places = request.places - given.length;
    // Only after a lost race: others want the same runs, so look a little further on.
    const skip = lost === 0 ? 0 : Math.floor(uniform(context) * places * lost);
    const outcome = await claimRound(context, { request, snapshot, places, headsMax, skip });
    given.push(...outcome.given);
    if (outcome.isDone) break;
    if (outcome.isLost && ++lost >= LOST_MAX) break;
  }
  return given.toSorted((a, b) => (a.pos < b.pos ? -1 : 1)).map(({ run }) => run);
}

/** In [0, 1). */
function uniform({ entropy }: Context): number {
  return Buffer.from(entropy.bytes(4)).readUInt32BE(0) / 2 ** 32;
}

interface Round {
  readonly request: ClaimRequest;
  readonly snapshot: Snapshot;
  readonly places: number;
  readonly headsMax: number;
  /** Runs of the claim index that are passed over. */
  readonly skip: number;
}

interface RoundOutcome {
  readonly given: readonly { readonly pos: string; readonly run: ClaimedRun }[];
  /** Nothing more can start. */
  readonly isDone: boolean;
  readonly isLost: boolean;
}

async function claimRound(context: Context, round: Round): Promise<RoundOutcome> {
  const { places, snapshot } = round;
  const [free, heads] = await Promise.all([readFree(context, round), readHeads(context, round)]);
  const misplaced = free.filter(({ queue = "" }) => snapshot.of(queue).limit !== undefined);
  const behind = await readBehind(context, round, heads);
  const candidates: Candidate[] = [
    ...free
      .filter((doc) => !misplaced.includes(doc))
      .map((doc) => ({ doc, id: doc._id, pos: doc.pos, head: undefined })),
    ...behind.candidates,
  ].toSorted((a, b) => (a.pos < b.pos ? -1 : 1));
  // What lies behind the last of a full page was not read; nothing better than it may be passed over.
  const horizon = least(behind.horizon, misplaced.length > 0 && free.length === places ? free.at(-1)?.pos : undefined);
  const picked = pick(candidates, { places, horizon, rooms: behind.rooms });
  const taken = await take(context, round, picked, behind);
  if (misplaced.length > 0) await moveUnderHeads(context, { ids: misplaced.map(({ _id }) => _id) });
  const isCut = round.skip > 0 || free.length === places || heads.length === round.headsMax || behind.isCut;
  return {
    given: taken.given,
    isLost: taken.isLost,
    isDone: !taken.isLost && misplaced.length === 0 && !behind.isStale && (!isCut || taken.given.length === places),
  };
}

function least(a: string | undefined, b: string | undefined): string | undefined {
  if (a === undefined || b === undefined) return a ?? b;
  return a < b ? a : b;
}

// ── what can start ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────

function targetsOf({ sessionId, tasks }: ClaimRequest): readonly string[] {
  return [sessionTarget(sessionId), ...tasks.map(({ taskId }) => taskTarget(taskId))];
}

function readFree(context: Context, { request, snapshot, places, skip }: Round): Promise<readonly RunDoc[]> {
  const { environment } = request;
  const filter = { environment, u: { $in: targetsOf(request), $exists: true }, ...notBlocked(snapshot) };
  return context.runs.find(filterOf<RunDoc>(filter), { sort: { pos: 1 }, limit: places, skip });
}

function readHeads(context: Context, { request, snapshot, headsMax }: Round): Promise<readonly HeadDoc[]> {
  const filter = {
    environment: request.environment,
    target: { $in: targetsOf(request) },
    open: true,
    ...notBlocked(snapshot),
  };
  return context.heads.find(filterOf<HeadDoc>(filter), { sort: { pos: 1 }, limit: headsMax });
}

function notBlocked({ blocked }: Snapshot): { readonly queue?: { readonly $nin: readonly string[] } } {
  return blocked.length === 0 ? {} : { queue: { $nin: blocked } };
}

/** A run that may be picked: read whole, or known by its position behind a head. */
interface Candidate {
  readonly id: string;
  readonly pos: string;
  readonly doc: RunDoc | undefined;
  readonly head: HeadDoc | undefined;
}

interface Behind {
  readonly candidates: readonly Candidate[];
  /** Free slots by partition; absent: the queue has no limit. */
  readonly rooms: ReadonlyMap<string, number>;
  readonly slots: ReadonlyMap<string, SlotsDoc>;
  /** Runs read behind each head. */
  readonly lists: ReadonlyMap<HeadDoc, readonly { readonly _id: string; readonly pos: string }[]>;
  /** How many were asked for behind each. */
  readonly depth: number;
  /** Full partitions' heads. */
  readonly full: readonly HeadDoc[];
  /** Of the runs behind heads, those after it were not all read. */
  readonly horizon: string | undefined;
  readonly isCut: boolean;
  /** Some head promised a better run than there is. */
  readonly isStale: boolean;
}

interface HeadRuns {
  readonly _id: string;
  readonly runs: readonly { readonly _id: string; readonly pos: string }[];
}

async function readBehind(context: Context, round: Round, heads: readonly HeadDoc[]): Promise<Behind> {
  const { snapshot, places, headsMax } = round;
  const limited = heads.filter(({ queue }) => snapshot.of(queue).limit !== undefined);
  const slots = await context.slots.findByIds(limited.map(({ partition }) => partition));
  const rooms = new Map(
    limited.map(({ partition, queue }) => {
      const limit = snapshot.of(queue).limit ?? 0;
      return [partition, limit - (slots.get(partition)?.holders.length ?? 0)];
    }),
  );
  const roomOf = (head: HeadDoc): number => rooms.get(head.partition) ?? places;
  const full = heads.filter((head) => roomOf(head) <= 0);
  const open = heads.filter((head) => roomOf(head) > 0);
  // Runs that another claimer is at are passed over.
  const pending = new Set([...slots.values()].flatMap(({ holders }) => holders.flatMap(pendingRun)));
  const wanted = Math.min(places, Math.max(0, ...open.map(roomOf))) + pending.size;
  const depth = Math.min(wanted, Math.max(1, Math.floor(BEHIND_MAX / Math.max(1, open.length))));
  const found = await readRuns(context, open, depth);
  const lists = new Map(open.map((head) => [head, found.get(head._id) ?? []]));
  const cut = [...lists].filter(
    ([head, runs]) => runs.length === depth && depth < wanted && depth < roomOf(head) + pending.size,
  );
  const lastHead = heads.length === headsMax ? heads.at(-1)?.pos : undefined;
  const horizon = cut.map(([, runs]) => runs.at(-1)?.pos).reduce(least, lastHead);
  return {
    candidates: [...lists].flatMap(([head, runs]) =>
      runs.flatMap(({ _id, pos }): readonly Candidate[] =>
        pending.has(_id) ? [] : [{ id: _id, pos, doc: undefined, head }],
      ),
    ),
    rooms,
    slots,
    lists,
    depth,
    full,
    horizon,
    isCut: cut.length > 0,
    isStale: heads.length === headsMax && [...lists].some(([head, runs]) => runs[0]?.pos !== head.pos),
  };
}

function pendingRun({ i, at }: Holder): readonly string[] {
  return at === undefined ? [] : [i.slice(0, i.lastIndexOf(":"))];
}

async function readRuns(
  context: Context,
  heads: readonly HeadDoc[],
  depth: number,
): Promise<ReadonlyMap<string, HeadRuns["runs"]>> {
  if (heads.length === 0) return new Map();
  const pipeline = [{ $sort: { pos: 1 } }, { $limit: depth }, { $project: { pos: 1 } }];
  const found = await context.heads.aggregate<HeadRuns>([
    { $match: { _id: { $in: heads.map(({ _id }) => _id) } } },
    { $project: { _id: 1 } },
    { $lookup: { from: context.runs.name, localField: "_id", foreignField: "l", pipeline, as: "runs" } },
  ]);
  return new Map(found.map(({ _id, runs }) => [_id, runs]));
}

function pick(
  candidates: readonly Candidate[],
  {
    places,
    horizon,
    rooms,
  }: { readonly places: number; readonly horizon: string | undefined; readonly rooms: ReadonlyMap<string, number> },
): readonly Candidate[] {
  const left = new Map(rooms);
  const picked: Candidate[] = [];
  for (const candidate of candidates) {
    if (picked.length >= places || (horizon !== undefined && candidate.pos > horizon)) break;
    const partition = candidate.head?.partition;
    const room = partition === undefined ? undefined : left.get(partition);
    if (room !== undefined && room <= 0) continue;
    if (partition !== undefined && room !== undefined) left.set(partition, room - 1);
    picked.push(candidate);
  }
  return picked;
}

// ── taking ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

/** A picked run with the state that it is to have. */
interface Attempt {
  readonly candidate: Candidate;
  readonly doc: RunDoc;
  readonly applied: Applied;
  readonly isResume: boolean;
  /** Where it takes a slot. */
  readonly partition: string | undefined;
}

async function take(
  context: Context,
  round: Round,
  picked: readonly Candidate[],
  behind: Behind,
): Promise<{ readonly given: RoundOutcome["given"]; readonly isLost: boolean }> {
  const { request } = round;
  const token = newToken(context);
  const read = await context.runs.findByIds(picked.flatMap(({ id, doc }) => (doc === undefined ? [id] : [])));
  const attempts = picked.flatMap((candidate): readonly Attempt[] => {
    const doc = candidate.doc ?? read.get(candidate.id);
    return doc === undefined ? [] : attemptOf(round, behind, candidate, doc);
  });
  const slotted = await takeAll(context, round, behind, attempts, token);
  const trying = attempts.filter(({ partition }) => partition === undefined || slotted.has(partition));
  const won = (await isCurrent(context, round, trying)) ? await write(context, trying, token) : new Set<Attempt>();
  const lost = trying.filter((attempt) => !won.has(attempt));
  await Promise.all([
    confirmSlots(context, holdersOf([...won]), token),
    freeSlots(context, { holders: holdersOf(lost), token, nowMs: request.nowMs }),
    moveHeads(context, movesOf(round, behind, [...won])),
  ]);
  return {
    given: [...won].map((attempt) => ({ pos: attempt.doc.pos, run: claimedOf(attempt) })),
    isLost: won.size < picked.length,
  };
}

/** Settings that are too old by now must not be acted on, unless they are still the same. */
async function isCurrent(
  context: Context,
  { request, snapshot }: Round,
  attempts: readonly Attempt[],
): Promise<boolean> {
  if (context.settings.isFresh(snapshot)) return true;
  const now = await context.settings.read(request.environment);
  return attempts.every(({ doc: { queue = "" } }) => {
    const before = snapshot.of(queue);
    const { limit, isBlocked } = now.of(queue);
    return before.limit === limit && before.isBlocked === isBlocked;
  });
}

function attemptOf(round: Round, behind: Behind, candidate: Candidate, doc: RunDoc): readonly Attempt[] {
  const { request, snapshot } = round;
  const { head } = candidate;
  // It changed since it was found.
  if (head !== undefined && doc.l !== head._id) return [];
  const state = readState(doc);
  const isLimited = snapshot.of(state.queue).limit !== undefined;
  const partition = head !== undefined && isLimited ? head.partition : undefined;
  const next = slotHolder(doc._id, doc.gen + 1);
  // Another claimer is at it, or was: then repair decides.
  if (partition !== undefined && behind.slots.get(partition)?.holders.some(({ i }) => i === next) === true) return [];
  const isResume = state.readiness === "bound";
  const task = request.tasks.find(({ taskId }) => taskId === state.taskId);
  const applied = applyChange(state, {
    event: "claim",
    environment: request.environment,
    runId: state.id,
    nowMs: request.nowMs,
    sessionId: request.sessionId,
    pickUpDeadlineMs: request.pickUpDeadlineMs,
    ...policyOf(task, state),
  });
  if (isRefused(applied)) throw new Error(`run ${state.id} stands in a claim index and is ${applied.refused}`);
  return [{ candidate, doc, applied, isResume, partition }];
}

/** A resumed run may be of a task that the session does not list any more; it goes on as it began. */
function policyOf(
  task: ClaimableTask | undefined,
  state: { readonly attemptMaxDurationSeconds: number | undefined; readonly policyMaxAttempts: number | undefined },
) {
  return {
    maxDurationSeconds: task === undefined ? state.attemptMaxDurationSeconds : task.maxDurationSeconds,
    policyMaxAttempts: task?.maxAttempts ?? state.policyMaxAttempts ?? 1,
  };
}

async function takeAll(
  context: Context,
  { request }: Round,
  behind: Behind,
  attempts: readonly Attempt[],
  token: string,
): Promise<ReadonlyMap<string, number>> {
  const wanted = new Map<string, { readonly queue: string; readonly holders: Holder[] }>();
  for (const { doc, partition } of attempts) {
    if (partition === undefined) continue;
    const group = wanted.get(partition) ?? { queue: doc.queue ?? "", holders: [] };
    group.holders.push({ i: slotHolder(doc._id, doc.gen + 1), k: token, at: request.nowMs });
    wanted.set(partition, group);
  }
  return takeSlots(
    context,
    [...wanted].map(([partition, { queue, holders }]) => ({
      partition,
      environment: request.environment,
      queue,
      known: behind.slots.get(partition),
      holders,
    })),
  );
}

/** @returns attempts whose guard held. */
async function write(context: Context, attempts: readonly Attempt[], token: string): Promise<ReadonlySet<Attempt>> {
  const writes = attempts.map(({ doc, applied, partition }): AnyBulkWriteOperation<RunDoc> => {
    const { set, unset } = changedFields(
      { ...fieldsOf(readState(doc), doc.limited) },
      fieldsOf(applied.next, doc.limited),
    );
    const slot = partition === undefined ? {} : { gen: doc.gen + 1, slot: doc.gen + 1, slotBy: token };
    return {
      updateOne: {
        filter: { _id: doc._id, version: doc.version, gen: doc.gen },
        update: {
          $set: { ...set, ...slot, claimBy: token },
          ...(Object.keys(unset).length === 0 ? {} : { $unset: unset }),
        },
      },
    };
  });
  const { matched } = await context.runs.bulk(writes);
  if (matched === attempts.length) return new Set(attempts);
  const present = await context.runs.findByIds(
    attempts.map(({ doc }) => doc._id),
    { claimBy: 1 },
  );
  return new Set(attempts.filter(({ doc }) => present.get(doc._id)?.claimBy === token));
}

function holdersOf(attempts: readonly Attempt[]): ReadonlyMap<string, readonly string[]> {
  const holders = new Map<string, string[]>();
  for (const { doc, partition } of attempts) {
    if (partition === undefined) continue;
    const group = holders.get(partition) ?? [];
    group.push(slotHolder(doc._id, doc.gen + 1));
    holders.set(partition, group);
  }
  return holders;
}

/** Heads move to the best run that is known to be left behind them; where that was not read, they stay, too good. */
function movesOf({ snapshot }: Round, behind: Behind, won: readonly Attempt[]): HeadMoves {
  const gone = new Set(won.map(({ doc }) => doc._id));
  const taken = new Map<string, number>();
  for (const { partition } of won) {
    if (partition !== undefined) taken.set(partition, (taken.get(partition) ?? 0) + 1);
  }
  const moved = [...behind.lists].flatMap(([head, runs]) => {
    const left = runs.find(({ _id }) => !gone.has(_id));
    return left === undefined && runs.length === behind.depth ? [] : [{ head, pos: left?.pos }];
  });
  const filled = [...behind.lists.keys()].filter(({ partition }) => {
    const room = behind.rooms.get(partition);
    return room !== undefined && room - (taken.get(partition) ?? 0) <= 0;
  });
  const full = [...behind.full, ...filled].map((head) => ({ head, settings: snapshot.of(head.queue).version }));
  return { moved, full };
}

function claimedOf({ doc, applied, isResume, partition }: Attempt): ClaimedRun {
  return {
    run: applied.next,
    spec: bytesOf(doc.spec) ?? new Uint8Array(0),
    metadataJson: doc.meta,
    isLimited: partition !== undefined,
    isResume,
  };
}

export function bytesOf(binary: Binary | undefined): Uint8Array | undefined {
  return binary === undefined ? undefined : new Uint8Array(binary.value());
}
