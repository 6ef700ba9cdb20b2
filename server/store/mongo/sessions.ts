/** Sessions: one record per worker process. A lapsed one is marked first, and its record stays for a while, and while runs name it. */
import type { SessionRecord } from "../../domain/session.js";
import type { ClaimRequest, KeepSession } from "../store.js";
import { filterOf, type Identified } from "./client.js";
import { type Context, newToken, ROUNDS_MAX, racesLost } from "./context.js";
import { endLingeringOfSessions } from "./lingering.js";
import { holderOf } from "./run-doc.js";

type SessionFields = Omit<SessionRecord, "id">;

/** `_id`: {@link holderOf}. */
export interface SessionDoc extends Identified, SessionFields {
  readonly sessionId: string;
  readonly lapsed: boolean;
  readonly lapsedMs?: number;
  readonly lapsedBy?: string;
}

/** A lapsed session without runs is remembered this long: a claim may be under way that saw it standing. */
const REMEMBERED_MS = 60_000;

/** Requests of sessions that may claim: known, and not declared lapsed. */
export async function standingSessions(
  context: Context,
  requests: readonly ClaimRequest[],
): Promise<ReadonlySet<ClaimRequest>> {
  const idOf = ({ environment, sessionId }: ClaimRequest): string => holderOf(environment, sessionId);
  const docs = await context.sessions.findByIds(requests.map(idOf), { lapsed: 1 });
  return new Set(requests.filter((request) => docs.get(idOf(request))?.lapsed === false));
}

function docOf(session: SessionRecord): SessionDoc {
  const { id, ...fields } = session;
  return { _id: holderOf(session.environment, id), sessionId: id, ...fields, lapsed: false };
}

function sessionOf(doc: SessionDoc): SessionRecord {
  const { environment, sessionId: id, workerName, sdk, connectionEpoch, taskIds, concurrency } = doc;
  const { connectedAtMs, untilMs } = doc;
  return { environment, id, workerName, sdk, connectionEpoch, taskIds, concurrency, connectedAtMs, untilMs };
}

export async function openSession(
  context: Context,
  session: SessionRecord,
): Promise<"opened" | "lapsed" | "superseded"> {
  const { _id, untilMs, ...fields } = docOf(session);
  for (let round = 0; round < ROUNDS_MAX; round += 1) {
    const known = (await context.sessions.findByIds([_id])).get(_id);
    if (known === undefined) {
      if ((await context.sessions.insertMany([docOf(session)])).size === 0) return "opened";
    } else if (known.lapsed) {
      if ((await holdersWithRuns(context, [_id])).has(_id)) return "lapsed";
      const renewed = { $set: { ...fields, untilMs }, $unset: { lapsedMs: "", lapsedBy: "" } } as const;
      if (await context.sessions.updateOne({ _id, lapsed: true, lapsedMs: known.lapsedMs }, renewed)) return "opened";
    } else {
      if (known.connectionEpoch > session.connectionEpoch) return "superseded";
      const filter = { _id, lapsed: false, connectionEpoch: { $lte: session.connectionEpoch } };
      if (await context.sessions.updateOne(filter, { $set: fields, $max: { untilMs } })) return "opened";
    }
  }
  throw racesLost(`session ${session.id}`);
}

export async function keepSessions(context: Context, items: readonly KeepSession[]): Promise<readonly boolean[]> {
  const ids = items.map(({ environment, sessionId }) => holderOf(environment, sessionId));
  const { matched } = await context.sessions.bulk(
    items.map(({ connectionEpoch, untilMs }, index) => ({
      updateOne: {
        filter: { _id: ids[index] ?? "", lapsed: false, connectionEpoch: { $lte: connectionEpoch } },
        update: { $max: { untilMs } },
      },
    })),
  );
  if (matched === items.length) return items.map(() => true);
  // The guard again, on what is there now.
  const docs = await context.sessions.findByIds(ids);
  return items.map(({ connectionEpoch, untilMs }, index) => {
    const doc = docs.get(ids[index] ?? "");
    return doc?.lapsed === false && doc.connectionEpoch <= connectionEpoch && doc.untilMs >= untilMs;
  });
}

export async function lapseSessions(
  context: Context,
  { nowMs, limit }: { readonly nowMs: number; readonly limit: number },
): Promise<readonly SessionRecord[]> {
  const token = newToken(context);
  const [past, earlier] = await Promise.all([
    context.sessions.find(filterOf<SessionDoc>({ lapsed: false, untilMs: { $lt: nowMs } }), {
      sort: { untilMs: 1 },
      limit,
    }),
    context.sessions.find(filterOf<SessionDoc>({ lapsed: true }), { sort: { lapsedMs: 1 }, limit }),
  ]);
  await context.sessions.bulk(
    past.map(({ _id }) => ({
      updateOne: {
        filter: { _id, lapsed: false, untilMs: { $lt: nowMs } },
        update: { $set: { lapsed: true, lapsedMs: nowMs, lapsedBy: token } },
      },
    })),
  );
  const marked = await context.sessions.findByIds(
    past.map(({ _id }) => _id),
    { lapsedBy: 1 },
  );
  const lapsed = past.filter(({ _id }) => marked.get(_id)?.lapsedBy === token);
  // Those of a lapse that was cut off too.
  await endLingeringOfSessions(
    context,
    [...lapsed, ...earlier].map(({ _id }) => _id),
  );
  const held = await holdersWithRuns(
    context,
    earlier.map(({ _id }) => _id),
  );
  const gone = earlier.filter(({ _id, lapsedMs = 0 }) => !held.has(_id) && lapsedMs + REMEMBERED_MS <= nowMs);
  if (gone.length > 0) {
    await context.sessions.deleteMany(
      filterOf<SessionDoc>({
        _id: { $in: gone.map(({ _id }) => _id) },
        lapsed: true,
        lapsedMs: { $lte: nowMs - REMEMBERED_MS },
      }),
    );
  }
  return [...lapsed, ...earlier.filter(({ _id }) => held.has(_id))].slice(0, limit).map(sessionOf);
}

export async function closeSession(
  context: Context,
  params: { readonly environment: string; readonly sessionId: string },
): Promise<boolean> {
  const _id = holderOf(params.environment, params.sessionId);
  if ((await holdersWithRuns(context, [_id])).has(_id)) return false;
  await endLingeringOfSessions(context, [_id]);
  await context.sessions.deleteMany({ _id });
  return true;
}

export async function listSessions(
  context: Context,
  { environment }: { readonly environment: string },
): Promise<readonly SessionRecord[]> {
  const docs = await context.sessions.find(filterOf<SessionDoc>({ environment, lapsed: false }), {
    sort: { sessionId: 1 },
  });
  return docs.map(sessionOf);
}

/** Which of these sessions hold live runs. */
async function holdersWithRuns(context: Context, holders: readonly string[]): Promise<ReadonlySet<string>> {
  if (holders.length === 0) return new Set();
  const groups = await context.runs.aggregate<{ readonly _id: string }>([
    { $match: { holder: { $in: [...holders], $exists: true } } },
    { $group: { _id: "$holder" } },
  ]);
  return new Set(groups.map(({ _id }) => _id));
}
