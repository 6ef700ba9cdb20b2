/**
 * Changes of metadata: read the runs, ask the domain, write each guarded by the version that was read. The run itself remembers the last
 * number of each source, in the write that changes it (design 8), so that no crash lies between. Those that were not heard of for long
 * are copied out before they leave the run: a root that thousands of children write to stays small.
 */
import { type AnyBulkWriteOperation, type Document } from "mongodb";
import type { RunState } from "../../domain/run.js";
import { changeMetadata as changeOf } from "../../domain/run-metadata.js";
import type { ChangeMetadata, ChangeMetadataResult } from "../store.js";
import { expiryDate } from "./answers.js";
import type { Identified } from "./client.js";
import { type Context, newToken, pause, ROUNDS_MAX, racesLost } from "./context.js";
import { changedFields, fieldsOf, type RunDoc, readState } from "./run-doc.js";

/** A source that left its run. `_id`: run and source. */
export interface MetadataSourceDoc extends Identified {
  readonly last: number;
  /** For the TTL index. */
  readonly expireAt: Date;
}

/** In a run. */
export interface SourceMark {
  readonly s: string;
  /** Last number. */
  readonly n: number;
}

/** Sources that a run remembers itself; at this number the older half is copied out. */
const SOURCES_MAX = 200;
/** How long one that was copied out is remembered: twice as long as a repeat may come (REQ-1). */
const REMEMBERED_MS = 2 * 86_400_000;

interface Item {
  readonly index: number;
  readonly change: ChangeMetadata;
}

const WHAT = { spec: 0, output: 0, failure: 0, attempts: 0 } as const;

export async function changeMetadata(
  context: Context,
  items: readonly ChangeMetadata[],
): Promise<readonly ChangeMetadataResult[]> {
  const results: ChangeMetadataResult[] = items.map(() => {
    return { kind: "refused", refusal: { reason: "unknown" }, run: undefined };
  });
  let left = new Map<string, Item[]>();
  const call = newToken(context);
  items.forEach((item, index) => {
    // A write that was overtaken cannot be told from one that was lost, but by the source that it entered.
    const change = { ...item, source: item.source ?? `~${call}${index}` };
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
  results: ChangeMetadataResult[],
): Promise<Map<string, Item[]>> {
  const docs = await context.runs.findByIds(items.keys(), WHAT);
  const away = await awaySources(context, docs, items);
  const token = newToken(context);
  const works = [...items].flatMap(([runId, own]): readonly Work[] => {
    const doc = docs.get(runId);
    return doc === undefined ? [] : [workOf(doc, own, away, results)];
  });
  const writing = works.filter(({ before, state }) => state !== before);
  await copyOut(context, writing);
  await context.runs.bulk(writing.map((work) => writeOf(work, token)));
  const present = await context.runs.findByIds(
    writing.map(({ doc }) => doc._id),
    { by: 1, version: 1 },
  );
  const lost = writing.filter(({ doc, state }) => {
    const now = present.get(doc._id);
    // Whoever came after us wrote over the token, and found our sources: the next round finds nothing left to apply.
    return now?.by !== token || now.version !== state.version;
  });
  return new Map(lost.map(({ doc }) => [doc._id, items.get(doc._id) ?? []]));
}

interface Work {
  readonly doc: RunDoc;
  readonly before: RunState;
  state: RunState;
  json: string | undefined;
  /** The least recent first. */
  sources: readonly SourceMark[];
  nowMs: number;
}

function workOf(
  doc: RunDoc,
  items: readonly Item[],
  away: ReadonlyMap<string, MetadataSourceDoc>,
  results: ChangeMetadataResult[],
): Work {
  const before = readState(doc);
  const work: Work = { doc, before, state: before, json: doc.meta, sources: doc.metaFrom ?? [], nowMs: 0 };
  for (const { index, change } of items) {
    const { source } = change;
    const mark = source === undefined ? undefined : work.sources.find(({ s }) => s === source);
    const appliedUpTo = source === undefined ? 0 : (mark?.n ?? away.get(awayId(doc._id, source))?.last ?? 0);
    results[index] = changeOne(work, change, appliedUpTo);
  }
  return work;
}

function changeOne(work: Work, change: ChangeMetadata, appliedUpTo: number): ChangeMetadataResult {
  const { state } = work;
  if (change.environment !== state.environment) {
    return { kind: "refused", refusal: { reason: "unknown" }, run: undefined };
  }
  const outcome = changeOf(state, work.json, { ...change, appliedUpTo });
  switch (outcome.kind) {
    case "same":
      return { kind: "applied", run: state, isChanged: false, metadataJson: work.json ?? "{}", refusal: undefined };
    case "refused":
      return { kind: "refused", refusal: outcome.refusal, run: state };
    case "changed": {
      const { run, json: metadataJson, refusal } = outcome;
      const { source, operations, nowMs } = change;
      work.state = run;
      work.json = metadataJson;
      work.nowMs = nowMs;
      if (source !== undefined) {
        const others = work.sources.filter(({ s }) => s !== source);
        work.sources = [...others, { s: source, n: operations.at(-1)?.sequence ?? 0 }];
      }
      return { kind: "applied", run, isChanged: true, metadataJson, refusal };
    }
  }
}

function writeOf({ doc, before, state, json, sources }: Work, token: string): AnyBulkWriteOperation<RunDoc> {
  const { set, unset } = changedFields(fieldsOf(before, doc.limited), fieldsOf(state, doc.limited));
  const isFull = sources.length > SOURCES_MAX;
  const update: Document = {
    $set: {
      ...set,
      by: token,
      meta: json,
      metaFrom: isFull ? sources.slice(sources.length - SOURCES_MAX / 2) : sources,
      ...(isFull ? { metaAway: true } : {}),
    },
  };
  if (Object.keys(unset).length > 0) update.$unset = unset;
  return { updateOne: { filter: { _id: doc._id, version: doc.version, gen: doc.gen, todo: doc.todo }, update } };
}

// ── sources that left their run ────────────────────────────────────────────────────────────────────────────────────────────────────

function awayId(runId: string, source: string): string {
  return `${runId}|${source}`;
}

function awaySources(
  context: Context,
  docs: ReadonlyMap<string, RunDoc>,
  items: ReadonlyMap<string, readonly Item[]>,
): Promise<ReadonlyMap<string, MetadataSourceDoc>> {
  return context.metadataSources.findByIds(
    [...docs.values()].flatMap((doc) =>
      doc.metaAway === true
        ? (items.get(doc._id) ?? []).flatMap(({ change: { source } }) =>
            source === undefined ? [] : [awayId(doc._id, source)],
          )
        : [],
    ),
  );
}

async function copyOut(context: Context, works: readonly Work[]): Promise<void> {
  await context.metadataSources.bulk(
    works.flatMap(({ doc, sources, nowMs }) => {
      if (sources.length <= SOURCES_MAX) return [];
      const expireAt = expiryDate(context, nowMs + REMEMBERED_MS, nowMs);
      return sources.slice(0, sources.length - SOURCES_MAX / 2).map(({ s, n }) => ({
        updateOne: {
          filter: { _id: awayId(doc._id, s) },
          update: { $max: { last: n }, $set: { expireAt } },
          upsert: true,
        },
      }));
    }),
  );
}
