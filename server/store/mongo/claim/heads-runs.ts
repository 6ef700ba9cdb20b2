/** Runs of limited partitions: the best open heads, the slots of their partitions, and the best runs behind each. */
import { filterOf } from "../client.js";
import type { Context } from "../context.js";
import type { HeadDoc } from "../heads.js";
import type { Holder, SlotsDoc } from "../slots.js";
import { type Candidate, least } from "./pick.js";
import { notBlocked, type Round, targetsOf } from "./round.js";

/** Runs read behind the heads of a round, in all. */
const BEHIND_MAX = 4_096;

export function readHeads(context: Context, { request, snapshot, headsMax }: Round): Promise<readonly HeadDoc[]> {
  const filter = {
    environment: request.environment,
    target: { $in: targetsOf(request) },
    open: true,
    ...notBlocked(snapshot),
  };
  return context.heads.find(filterOf<HeadDoc>(filter), { sort: { pos: 1 }, limit: headsMax });
}

export interface Behind {
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

export async function readBehind(context: Context, round: Round, heads: readonly HeadDoc[]): Promise<Behind> {
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
