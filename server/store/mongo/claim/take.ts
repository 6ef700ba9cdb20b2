/** Takes slots, claims the picked runs, confirms the slots, and moves the heads on. */
import { applyChange } from "../../../domain/run-apply.js";
import { type Applied, isRefused } from "../../../domain/run-change.js";
import type { ClaimableTask, ClaimedRun } from "../../store.js";
import { type Context, newToken } from "../context.js";
import { type HeadMoves, moveHeads } from "../heads.js";
import { bytesOf, changedFields, fieldsOf, type RunDoc, readState, slotHolder } from "../run-doc.js";
import { confirmSlots, freeSlots, type Holder, takeSlots } from "../slots.js";
import { type GuardedUpdate, together } from "../together.js";
import type { Behind } from "./heads-runs.js";
import type { Candidate } from "./pick.js";
import type { Round, RoundOutcome } from "./round.js";

/** A picked run with the state that it is to have. */
interface Attempt {
  readonly candidate: Candidate;
  readonly doc: RunDoc;
  readonly applied: Applied;
  readonly isResume: boolean;
  /** Where it takes a slot. */
  readonly partition: string | undefined;
}

export async function take(
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
  const writes = attempts.map(({ doc, applied, partition }): GuardedUpdate => {
    const { set, unset } = changedFields(
      { ...fieldsOf(readState(doc), doc.limited) },
      fieldsOf(applied.next, doc.limited),
    );
    const slot = partition === undefined ? {} : { gen: doc.gen + 1, slot: doc.gen + 1, slotBy: token };
    return {
      id: doc._id,
      guard: { version: doc.version, gen: doc.gen },
      update: {
        $set: { ...set, ...slot, claimBy: token },
        ...(Object.keys(unset).length === 0 ? {} : { $unset: unset }),
      },
    };
  });
  const { matched } = await context.runs.guarded(together(writes));
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
