/** What turning a limit on does page by page: runs that started without a slot get a holder, runs that wait without a head get one. */
import { filterOf } from "./client.js";
import { type Context, newToken } from "./context.js";
import { type FollowUp, followUp } from "./follow-up.js";
import { headId, type Linger, partitionOf, type RunDoc, slotHolder, WITHOUT_BODIES } from "./run-doc.js";
import type { QueueDoc } from "./settings.js";
import { confirmSlots, freeSlots, type Holder, type Taking, takeSlots } from "./slots.js";

const PAGE = 500;

/** A run as far as slots are concerned, with what it takes for itself and for its lingering code. */
interface Entering {
  readonly doc: RunDoc;
  readonly partition: string;
  readonly holders: readonly Holder[];
  readonly gen: number;
  readonly slot: number | undefined;
  readonly linger: readonly Linger[] | undefined;
}

/**
 * Enters holders for what runs without one, whatever the limit: what executes goes on, and is counted. As in a claim, a holder is pending
 * until the run shows it, and a run that ended meanwhile has its holders removed.
 */
export async function enterHolders(context: Context, queue: QueueDoc): Promise<void> {
  const { environment, name } = queue;
  const queries = [
    { environment, queue: name, status: "EXECUTING", slot: { $exists: false } },
    { environment, queue: name, lingers: { $gt: 0 }, linger: { $elemMatch: { g: { $exists: false } } } },
  ];
  for (const query of queries) {
    for (;;) {
      const docs = await context.runs.find(filterOf<RunDoc>(query), { projection: WITHOUT_BODIES, limit: PAGE });
      if (docs.length === 0) break;
      await enterPage(context, docs);
    }
  }
}

async function enterPage(context: Context, docs: readonly RunDoc[]): Promise<void> {
  const token = newToken(context);
  const entering = docs.map((doc) => enteringOf(context, doc, token));
  const byPartition = new Map<string, Entering[]>();
  for (const run of entering) byPartition.set(run.partition, [...(byPartition.get(run.partition) ?? []), run]);
  const known = await context.slots.findByIds(byPartition.keys());
  const takings = [...byPartition].flatMap(([partition, runs]): readonly Taking[] => {
    const { environment, queue = "" } = runs[0]?.doc ?? {};
    if (environment === undefined) return [];
    return [
      { partition, environment, queue, known: known.get(partition), holders: runs.flatMap((run) => run.holders) },
    ];
  });
  const taken = await takeSlots(context, takings);
  const won = entering.filter(({ partition }) => taken.has(partition));
  await context.runs.bulk(
    won.map(({ doc, gen, slot, linger }) => ({
      updateOne: {
        filter: { _id: doc._id, version: doc.version, gen: doc.gen },
        update: {
          $set: {
            gen,
            by: token,
            ...(slot === undefined ? {} : { slot, slotBy: token }),
            ...(linger === undefined ? {} : { linger }),
          },
        },
      },
    })),
  );
  const present = await context.runs.findByIds(
    won.map(({ doc }) => doc._id),
    { slot: 1, slotBy: 1, linger: 1 },
  );
  const confirmed = new Map<string, string[]>();
  const failed = new Map<string, string[]>();
  for (const { doc, partition, holders } of won) {
    for (const { i } of holders) {
      const group = shows(present.get(doc._id), i, token) ? confirmed : failed;
      group.set(partition, [...(group.get(partition) ?? []), i]);
    }
  }
  await confirmSlots(context, confirmed, token);
  await freeSlots(context, { holders: failed, token, nowMs: context.databaseMs() });
}

/** Whether the run, or code of it that lingers, shows that it holds this slot. */
function shows(doc: RunDoc | undefined, holder: string, token: string): boolean {
  if (doc === undefined) return false;
  if (doc.slot !== undefined && slotHolder(doc._id, doc.slot) === holder) return doc.slotBy === token;
  return doc.linger?.some(({ g }) => g !== undefined && slotHolder(doc._id, g) === holder) === true;
}

function enteringOf(context: Context, doc: RunDoc, token: string): Entering {
  const at = context.databaseMs();
  const holders: Holder[] = [];
  let { gen } = doc;
  const next = (): number => {
    gen += 1;
    holders.push({ i: slotHolder(doc._id, gen), k: token, at });
    return gen;
  };
  const slot = doc.status === "EXECUTING" && doc.slot === undefined ? next() : undefined;
  const linger = doc.linger?.map((code) => (code.g === undefined ? { ...code, g: next() } : code));
  return { doc, partition: partitionOf(placed(doc)), holders, gen, slot, linger };
}

function placed({ environment, queue = "", concurrencyKey }: RunDoc) {
  return { environment, queue, concurrencyKey };
}

/**
 * Moves a page of runs from the claim index under heads. @param which all of a queue, or those found by a claim.
 * @returns how many were found.
 */
export async function moveUnderHeads(
  context: Context,
  which: { readonly environment: string; readonly queue: string } | { readonly ids: readonly string[] },
): Promise<number> {
  const filter =
    "ids" in which
      ? { _id: { $in: which.ids }, u: { $exists: true } }
      : { environment: which.environment, queue: which.queue, status: "QUEUED", u: { $exists: true } };
  const docs = await context.runs.find(filterOf<RunDoc>(filter), { projection: WITHOUT_BODIES, limit: PAGE });
  const nowMs = Math.floor(context.databaseMs());
  const moved = docs.flatMap((doc) =>
    doc.u === undefined ? [] : [{ doc, l: headId(partitionOf(placed(doc)), doc.u) }],
  );
  await context.runs.bulk(
    moved.map(({ doc, l }) => ({
      updateOne: {
        filter: { _id: doc._id, version: doc.version, u: doc.u },
        // A change or claim under way that read the run before must read it again.
        update: { $set: { l, limited: true, owes: nowMs }, $unset: { u: "" }, $inc: { owed: 1, gen: 1 } },
      },
    })),
  );
  const owed = moved.map(({ doc, l }): FollowUp => {
    return { run: { ...placed(doc), _id: doc._id, l, pos: doc.pos }, free: [], owed: doc.owed + 1 };
  });
  await followUp(context, owed, nowMs);
  return docs.length;
}
