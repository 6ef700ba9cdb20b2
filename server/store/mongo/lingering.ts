/** Lingering holders: code that may still run for a run that executes no more, and keeps its slot for a while (QUE-4). Kept with the run. */
import type { EndLingering } from "../store.js";
import { filterOf } from "./client.js";
import { type Context, newToken } from "./context.js";
import { type FollowUp, followUp } from "./follow-up.js";
import { type Linger, type RunDoc, WITHOUT_BODIES } from "./run-doc.js";

export async function endLingering(context: Context, which: EndLingering): Promise<number> {
  if (which.kind === "expired") {
    const untilMs = which.nowMs - which.graceMs;
    const docs = await context.runs.find(filterOf<RunDoc>({ lingers: { $gt: 0 }, "linger.at": { $lte: untilMs } }), {
      sort: { "linger.at": 1 },
      limit: which.limit,
      projection: WITHOUT_BODIES,
    });
    return end(context, docs, ({ at }) => at <= untilMs);
  }
  const docs = await context.runs.find(
    filterOf<RunDoc>({ _id: which.runId, environment: which.environment, lingers: { $gt: 0 } }),
    { projection: WITHOUT_BODIES },
  );
  return end(context, docs, ({ f }) => f === which.fence);
}

/** Sessions of a page, each with a page of such runs. */
const PAGE = 1_000;

/** @param holders sessions, as {@link holderOf} names them. */
export async function endLingeringOfSessions(context: Context, holders: readonly string[]): Promise<void> {
  if (holders.length === 0) return;
  const ended = new Set<string | undefined>(holders);
  const filter = filterOf<RunDoc>({ lingers: { $gt: 0 }, "linger.s": { $in: holders } });
  for (;;) {
    const docs = await context.runs.find(filter, { limit: PAGE, projection: WITHOUT_BODIES });
    await end(context, docs, ({ s }) => ended.has(s));
    if (docs.length < PAGE) return;
  }
}

/** @returns how many were ended; those that somebody else is at are left to him. */
async function end(context: Context, docs: readonly RunDoc[], isEnded: (code: Linger) => boolean): Promise<number> {
  const token = newToken(context);
  const nowMs = Math.floor(context.databaseMs());
  const ends = docs.flatMap((doc) => {
    const all = doc.linger ?? [];
    const ended = all.filter(isEnded);
    const left = all.filter((code) => !isEnded(code));
    const free = ended.flatMap(({ g }) => (g === undefined ? [] : [g]));
    return ended.length === 0 ? [] : [{ doc, ended, left, free }];
  });
  const { matched } = await context.runs.bulk(
    ends.map(({ doc, left, free }) => ({
      updateOne: {
        filter: { _id: doc._id, version: doc.version, gen: doc.gen, lingers: doc.lingers },
        update: {
          $set: {
            by: token,
            ...(left.length === 0 ? {} : { linger: left, lingers: left.length }),
            ...(free.length === 0 ? {} : { owes: nowMs }),
          },
          ...(left.length === 0 ? { $unset: { linger: "", lingers: "" } } : {}),
          ...(free.length === 0 ? {} : { $push: { free: { $each: free } }, $inc: { owed: 1 } }),
        },
      },
    })),
  );
  const ids = ends.map(({ doc }) => doc._id);
  const present = matched === ends.length ? undefined : await context.runs.findByIds(ids, { by: 1 });
  const won = ends.filter(({ doc }) => present === undefined || present.get(doc._id)?.by === token);
  const owed = won.flatMap(({ doc, free }): readonly FollowUp[] => {
    const { _id, environment, queue = "", concurrencyKey, pos } = doc;
    return free.length === 0
      ? []
      : [{ run: { _id, environment, queue, concurrencyKey, l: undefined, pos }, free, owed: doc.owed + 1 }];
  });
  await followUp(context, owed, nowMs);
  return won.reduce((sum, { ended }) => sum + ended.length, 0);
}
